"""Simulated voices: data for when none are at hand."""
