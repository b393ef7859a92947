"""Simulated voices: data for when none are at hand."""

from ..utils.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "corpus": "Simulation simulate simulated_recording speaker_name",
    },
)
