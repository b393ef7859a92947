"""Open data sets: fetched from mirrors, verified and unpacked, or left as they were."""
