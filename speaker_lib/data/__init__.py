"""From recordings or HW4's files to batches."""
