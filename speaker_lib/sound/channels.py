"""Augmentation on waveforms: a recording as another room, microphone, telephone or noise would have given it.

In: (samples,) at 16 kHz.  Out: as many samples, or log-mels (frames, 40) of augmented copies of the recording's utterances.

Training on copies in other channels is what makes speaker embeddings hold across channels (Snyder et al. 2018, "X-vectors",
section 3.3).  Here all noise is made, not recorded: babble of other recordings would carry held-out voices into training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .acoustics import band_pass, ripple, room_response, tilt
from .features import HOP, SAMPLE_RATE, is_sound, log_mel, normalise_peak, remove_silence

TELEPHONE = (300.0, 3_400.0)  # Hz, the band of ITU-T G.712
MOST_COPIES = 100  # of an utterance: a larger number is mistyped
SWINGS_PER_SECOND = 4  # of noise that comes and goes, about the rate of syllables
_FADE = 4_096  # samples after the end, in which the microphone's filter dies away


@dataclass(frozen=True)
class Channel:
    """What a recording passes through, in this order. The defaults change nothing."""

    reverberation: float = 0.0  # seconds in which the echo falls by 60 dB (RT60); 0 is no room
    echo: float = 0.0  # amplitude of the echo relative to the direct sound
    snr: float | None = None  # dB, speech in its room over noise; None is no noise
    noise_tilt: float = 0.0  # dB per octave: 0 is white noise, -3 pink, and -6 about as steep as speech
    noise_swing: float = 0.0  # dB, standard deviation of a level that comes and goes as that of babble
    low_cut: float = 0.0  # Hz
    high_cut: float = float("inf")  # Hz
    low_order: int = 2  # of the slopes, 6 dB per octave each
    high_order: int = 4
    ripple: tuple[float, ...] = ()  # dB, slow waves over log frequency
    tilt: float = 0.0  # dB per octave of the microphone
    drift: float = 0.0  # dB that the gain gains or loses from the first sample to the last
    clip: float | None = None  # the fraction of the peak above which samples are cut off


def draw_channel(rng: np.random.Generator) -> Channel:
    """A random channel: every second in a room, seven in ten noisy, three in ten a telephone, one in seven clipped."""
    in_room, noisy, on_telephone, clipped = (rng.random(4) < (0.5, 0.7, 0.3, 0.15)).tolist()
    room = {"reverberation": rng.uniform(0.1, 0.8), "echo": rng.uniform(0.1, 1.2)}
    noise = {"snr": rng.uniform(0.0, 25.0), "noise_tilt": rng.uniform(-9.0, 0.0), "noise_swing": rng.uniform(0.0, 6.0)}
    band = {"low_cut": rng.uniform(20.0, 300.0), "high_cut": rng.uniform(3_000.0, 8_000.0)}
    gains = {"ripple": tuple(rng.normal(0.0, 2.0, 4).tolist()), "tilt": rng.uniform(-3.0, 3.0), "drift": rng.uniform(-6.0, 6.0)}
    clip = {"clip": rng.uniform(0.2, 0.8)}
    telephone = {"low_cut": TELEPHONE[0], "high_cut": TELEPHONE[1], "low_order": 8, "high_order": 12}
    drawn = (room if in_room else {}) | (noise if noisy else {}) | (clip if clipped else {})
    return Channel(**drawn, **(telephone if on_telephone else band), **gains)


def apply_channel(samples: np.ndarray, channel: Channel, rng: np.random.Generator) -> np.ndarray:
    """(samples,) at 16 kHz through a channel: (samples,) float32, not normalised. ``rng`` draws the echo and the noise."""
    n, sound = len(samples), samples.astype(np.float64)  # (samples,)
    if channel.reverberation:
        response = room_response(channel.reverberation, channel.echo, rng)  # (response,)
        n_fft = _fft_size(n + len(response))
        sound = np.fft.irfft(np.fft.rfft(sound, n_fft) * np.fft.rfft(response, n_fft), n_fft)[:n]  # (samples,)
    if channel.snr is not None:
        noise = _noise(n, channel, rng)  # (samples,)
        sound = sound + noise * (_rms(sound) / max(_rms(noise), 1e-12) / 10 ** (channel.snr / 20))
    n_fft = _fft_size(n + _FADE)
    frequency = np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE)  # (bins,) Hz
    gain = band_pass(frequency, channel.low_cut, channel.high_cut, channel.low_order, channel.high_order)  # (bins,)
    gain *= ripple(frequency, channel.ripple) * tilt(frequency, channel.tilt)
    sound = np.fft.irfft(np.fft.rfft(sound, n_fft) * gain, n_fft)[:n]  # (samples,)
    sound *= 10 ** (np.linspace(0.0, channel.drift, n) / 20)
    if channel.clip is not None:
        limit = channel.clip * np.abs(sound).max(initial=0.0)
        sound = sound.clip(-limit, limit)
    return sound.astype(np.float32)


def augmented_source(copies: int) -> str:
    """What follows the source of data with so many augmented copies of each utterance."""
    return f", with {copies} augmented cop{'y' if copies == 1 else 'ies'} of each utterance" if copies else ""


def augmented_copies(samples: np.ndarray, lengths: Sequence[int], copies: int, name: str) -> list[list[np.ndarray]]:
    """For each utterance of a recording (samples,), its augmented copies, (frames, 40) each.

    ``lengths`` are the frames of the utterances that the recording's clean features were cut into, in order.  A copy is the
    stretch of the recording from which the utterance comes, through a channel of its own, then the usual front end: its pauses
    are removed anew, so its length differs.  ``name`` and the numbers of utterance and copy decide the channel.
    """
    sound = np.flatnonzero(is_sound(normalise_peak(samples)))  # (samples without pauses,)
    seed = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big")
    found, begin = [], 0
    for i, length in enumerate(lengths):
        end = min(begin + length * HOP, len(sound))
        stretch = samples[sound[begin] : sound[end - 1] + 1]  # (samples of the utterance,)
        found.append([_augmented(stretch, np.random.default_rng((seed, i, copy))) for copy in range(copies)])
        begin = end
    return found


def _augmented(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The features (frames, 40) of (samples,) through a drawn channel."""
    heard = normalise_peak(apply_channel(samples, draw_channel(rng), rng))  # (samples,)
    try:
        return log_mel(remove_silence(heard))
    except ValueError:  # a single loud click may make all else a pause; the clean utterance had sound enough
        return log_mel(heard)


def _noise(n: int, channel: Channel, rng: np.random.Generator) -> np.ndarray:
    """(samples,) of coloured noise, not scaled."""
    n_fft = _fft_size(n)
    spectrum = np.fft.rfft(rng.normal(0.0, 1.0, n), n_fft) * tilt(np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE), channel.noise_tilt)
    knots = rng.normal(0.0, channel.noise_swing, 2 + n * SWINGS_PER_SECOND // SAMPLE_RATE)  # (knots,) dB
    level = np.interp(np.arange(n) * SWINGS_PER_SECOND / SAMPLE_RATE, np.arange(len(knots)), knots)  # (samples,) dB
    return np.fft.irfft(spectrum, n_fft)[:n] * 10 ** (level / 20)


def _fft_size(n: int) -> int:
    return 1 << max(n - 1, 1).bit_length()  # the FFT is fastest for a power of two


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples**2)))
