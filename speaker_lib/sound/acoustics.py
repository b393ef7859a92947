"""Rooms, microphones and noise as filters.  In: frequencies or a random stream.  Out: gains (bins,) or samples (samples,).

`channels` augments recordings with them, and the simulated sessions are made of them.
"""

from __future__ import annotations

import numpy as np

from .features import SAMPLE_RATE


def room_response(reverberation: float, echo: float, rng: np.random.Generator) -> np.ndarray:
    """The impulse response of a room (samples,): the direct sound, then noise that falls by 60 dB in ``reverberation`` seconds.

    ``echo`` is the amplitude of that noise relative to the direct sound (Polack's model of late reverberation, 1988).
    """
    time = np.arange(int(reverberation * SAMPLE_RATE)) / SAMPLE_RATE  # (samples,) seconds
    tail = rng.normal(0.0, 1.0, len(time)) * 10 ** (-3.0 * time / reverberation)  # (samples,)
    tail *= echo / np.sqrt((tail**2).sum())
    tail[0] += 1.0
    return tail


def band_pass(frequency: np.ndarray, low: float, high: float, low_order: int, high_order: int) -> np.ndarray:
    """The gain (bins,) of Butterworth slopes below ``low`` and above ``high`` Hz, 6 dB per octave and order."""
    below = 1 / np.sqrt(1 + (low / np.maximum(frequency, 1.0)) ** (2 * low_order))  # (bins,)
    above = 1 / np.sqrt(1 + (frequency / high) ** (2 * high_order))  # (bins,)
    return below * above


def ripple(frequency: np.ndarray, waves: tuple[float, ...]) -> np.ndarray:
    """The gain (bins,) of an uneven microphone: slow waves over log frequency, ``waves`` their heights in dB."""
    x = np.log2(np.maximum(frequency, 60.0) / 60.0) / np.log2(SAMPLE_RATE / 2 / 60.0)  # (bins,) 0 to 1
    decibels = sum(height * np.cos(np.pi * (k + 1) * x) for k, height in enumerate(waves))  # (bins,)
    return 10 ** (decibels / 20)


def tilt(frequency: np.ndarray, decibels_per_octave: float) -> np.ndarray:
    """The gain (bins,) of a spectrum that rises or falls from 100 Hz on."""
    return 10 ** (decibels_per_octave * np.log2(np.maximum(frequency, 100.0) / 100.0) / 20)
