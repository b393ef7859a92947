"""The pitch of a voice: its fundamental frequency F0, the rate at which the vocal folds open and close."""

from __future__ import annotations

import numpy as np

from .features import SAMPLE_RATE

LOWEST, HIGHEST = 60.0, 400.0  # Hz, of speaking voices
WINDOW = SAMPLE_RATE // 20  # samples, 50 ms: three periods of the lowest pitch
VOICED = 0.5  # least autocorrelation of a frame with a pitch
_LESS_THAN_BEST = 0.9  # of the best peak: the shortest period that is nearly as good, else an octave too low is taken


def median_pitch(samples: np.ndarray) -> float:
    """The median F0 in Hz over the voiced frames of (samples,) at 16 kHz; NaN where none is voiced.

    The first high peak of the autocorrelation of each Hann window, divided by that of the window (Boersma 1993, Accurate
    short-term analysis of the fundamental frequency).
    """
    if len(samples) < WINDOW:
        return float("nan")
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), WINDOW)[:: WINDOW // 2]  # (frames, WINDOW)
    window = np.hanning(WINDOW)  # (WINDOW,)
    similar = _autocorrelation((frames - frames.mean(axis=1, keepdims=True)) * window)  # (frames, WINDOW)
    similar = similar / np.maximum(_autocorrelation(window[None]), 1e-3)  # (frames, WINDOW)
    first, last = int(SAMPLE_RATE / HIGHEST), int(SAMPLE_RATE / LOWEST)
    inner = similar[:, first : last + 1]  # (frames, lags)
    peaks = (inner >= similar[:, first - 1 : last]) & (inner >= similar[:, first + 1 : last + 2])  # (frames, lags)
    heights = np.where(peaks, inner, 0.0)  # (frames, lags)
    best = heights.max(axis=1)  # (frames,)
    loud = frames.std(axis=1)  # (frames,)
    voiced = (best > VOICED) & (loud > 0.1 * loud.max())
    if not voiced.any():
        return float("nan")
    lags = (heights >= _LESS_THAN_BEST * best[:, None]).argmax(axis=1) + first  # (frames,)
    return float(np.median(SAMPLE_RATE / lags[voiced]))


def _autocorrelation(frames: np.ndarray) -> np.ndarray:
    """Of each row of (frames, n), by lag from 0 up, 1 at lag 0: (frames, n)."""
    n = frames.shape[1]
    power = np.abs(np.fft.rfft(frames, 2 * n, axis=1)) ** 2  # (frames, n + 1)
    found = np.fft.irfft(power, axis=1)[:, :n]  # (frames, n)
    return found / np.maximum(found[:, :1], 1e-12)
