"""The classifier and its parts."""
