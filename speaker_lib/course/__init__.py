"""What a notebook needs: data, profiles, preflight, widgets."""
