"""Simulated recording sessions: channel, room and noise, shared by all utterances of a session.

A model that is trained on few sessions per speaker learns the sessions as well as the voices.  A split by sessions is
therefore harder than a split by utterances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..sound.acoustics import band_pass, ripple, room_response, tilt
from ..sound.features import SAMPLE_RATE


@dataclass(frozen=True)
class Session:
    """One recording session."""

    low_cut: float  # Hz, lower cutoff of the microphone
    high_cut: float  # Hz, upper cutoff
    ripple: tuple[float, ...]  # dB, four slow waves over log frequency
    reverberation: float  # seconds in which the echo falls by 60 dB (RT60)
    distance: float  # amplitude of the echo relative to the direct sound
    noise_level: float  # dB relative to the speech
    noise_tilt: float  # dB per octave


def draw_session(rng: np.random.Generator) -> Session:
    """A random session, from a quiet studio to a call in a corridor."""
    return Session(
        low_cut=float(rng.uniform(30, 250)),
        high_cut=float(rng.uniform(3_600, 8_000)),
        ripple=tuple(rng.normal(0.0, 2.5, 4).tolist()),
        reverberation=float(rng.uniform(0.1, 0.6)),
        distance=float(rng.uniform(0.0, 0.6)),
        noise_level=float(rng.uniform(-35, -12)),
        noise_tilt=float(rng.uniform(-6, 0)),
    )


def apply_session(samples: np.ndarray, session: Session, rng: np.random.Generator) -> np.ndarray:
    """Speech (samples,) at 16 kHz with the session's echo, noise and microphone: (samples,) float32."""
    n = len(samples)
    echo = room_response(session.reverberation, session.distance, rng)  # (samples,)
    n_fft = 1 << (n + len(echo) - 1).bit_length()  # the FFT is fastest for a power of two
    frequency = np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE)  # (bins,) Hz
    noise = np.fft.rfft(rng.normal(0.0, 1.0, n), n_fft) * tilt(frequency, session.noise_tilt)  # (bins,)
    speech = np.fft.rfft(samples, n_fft) * np.fft.rfft(echo, n_fft)  # (bins,)
    noise *= 10 ** (session.noise_level / 20) * _level(speech) / _level(noise)
    microphone = band_pass(frequency, session.low_cut, session.high_cut, low_order=2, high_order=4)  # (bins,)
    microphone *= ripple(frequency, session.ripple)
    return np.fft.irfft((speech + noise) * microphone, n_fft)[:n].astype(np.float32)


def _level(spectrum: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.abs(spectrum) ** 2))) + 1e-12
