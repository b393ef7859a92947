"""Simulated recording sessions: channel, room and noise, shared by all utterances of a session.

A model that is trained on few sessions per speaker learns the sessions as well as the voices.  A split by sessions is
therefore harder than a split by utterances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.features import SAMPLE_RATE


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
    echo = _echo(session, rng)
    n_fft = 1 << (n + len(echo) - 1).bit_length()  # the FFT is fastest for a power of two
    frequency = np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE)  # (bins,) Hz
    noise = np.fft.rfft(rng.normal(0.0, 1.0, n), n_fft) * _tilt(frequency, session.noise_tilt)  # (bins,)
    speech = np.fft.rfft(samples, n_fft) * np.fft.rfft(echo, n_fft)  # (bins,)
    noise *= 10 ** (session.noise_level / 20) * _level(speech) / _level(noise)
    return np.fft.irfft((speech + noise) * _channel(frequency, session), n_fft)[:n].astype(np.float32)


def _echo(session: Session, rng: np.random.Generator) -> np.ndarray:
    """The impulse response of the room (samples,): the direct sound, then decaying noise."""
    time = np.arange(int(session.reverberation * SAMPLE_RATE)) / SAMPLE_RATE  # (samples,) seconds
    tail = rng.normal(0.0, 1.0, len(time)) * 10 ** (-3.0 * time / session.reverberation)  # (samples,)
    tail *= session.distance / np.sqrt((tail**2).sum())
    tail[0] += 1.0
    return tail


def _channel(frequency: np.ndarray, session: Session) -> np.ndarray:
    """The gain of the microphone at each frequency (bins,)."""
    x = np.log2(np.maximum(frequency, 60.0) / 60.0) / np.log2(SAMPLE_RATE / 2 / 60.0)  # (bins,) 0 to 1
    ripple = sum(gain * np.cos(np.pi * (k + 1) * x) for k, gain in enumerate(session.ripple))
    low = 1 / np.sqrt(1 + (session.low_cut / np.maximum(frequency, 1.0)) ** 4)  # (bins,) second-order slopes
    high = 1 / np.sqrt(1 + (frequency / session.high_cut) ** 8)
    return low * high * 10 ** (ripple / 20)


def _tilt(frequency: np.ndarray, decibels_per_octave: float) -> np.ndarray:
    return 10 ** (decibels_per_octave * np.log2(np.maximum(frequency, 100.0) / 100.0) / 20)


def _level(spectrum: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.abs(spectrum) ** 2))) + 1e-12
