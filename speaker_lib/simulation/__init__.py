"""Simulated voices: a data set without recordings."""

from ..utils.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, {"corpus": "Simulation simulate simulated_recording speaker_name"})
