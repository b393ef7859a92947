"""From a sound file to log-mel features, and a recording in other channels."""

from ..utils.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {"features": "SAMPLE_RATE log_mel normalise_peak remove_silence", "pitch": "median_pitch"},
)
