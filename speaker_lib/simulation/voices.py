"""Simulated voices: a source-filter synthesiser (Fant 1960) with cascaded formants (Klatt 1980).

In: a random stream per speaker and per utterance.  Out: random syllables, (samples,) float32 at 16 kHz.

A voice is drawn once per speaker: pitch and its range, length of the vocal tract, formants, bandwidths, tilt, breath, rate.
With simulated voices every lesson runs offline.  They are easier to identify and less varied than real voices: no accuracy
on them is a result about people.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..sound.features import SAMPLE_RATE

FILTER_WINDOW, FILTER_HOP = 512, 128  # samples: the filter changes every 8 ms; not the frames of `features`
FILTER_FRAMES_PER_SECOND = SAMPLE_RATE / FILTER_HOP
N_FORMANTS = 5
BANDWIDTHS = np.array([60.0, 90.0, 130.0, 200.0, 280.0])  # Hz
HIGHER_POLES = 6.0  # dB per octave above 500 Hz, in place of all resonances above the fifth
UPPER_FORMANTS = (3500.0, 4500.0)  # Hz, the fourth and fifth formant, which differ little between phones


@dataclass(frozen=True)
class Phone:
    """One speech sound of a neutral speaker."""

    formants: tuple[float, float, float]  # Hz
    voicing: float = 1.0  # amplitude of the glottal pulses
    frication: float = 0.0  # amplitude of the noise at a constriction
    noise_centre: float = 4_000.0  # Hz
    noise_width: float = 1_500.0  # Hz
    seconds: float = 0.08


# Vowels after Peterson & Barney (1952), men's averages.
VOWELS = tuple(
    Phone(formants, seconds=0.12)
    for formants in (
        (270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410), (730, 1090, 2440),
        (570, 840, 2410), (440, 1020, 2240), (300, 870, 2240), (640, 1190, 2390), (490, 1350, 1690),
    )
)  # fmt: skip
_NEUTRAL = (450.0, 1450.0, 2450.0)
SILENT = Phone(_NEUTRAL, voicing=0.0, seconds=0.06)
# Each onset is a phone or, for a plosive, its closure and its burst.
CONSONANTS: tuple[tuple[Phone, ...], ...] = (
    (Phone((250, 1000, 2200), 0.4),),  # m
    (Phone((250, 1600, 2600), 0.4),),  # n
    (Phone((350, 1100, 2700), 0.6),),  # l
    (Phone((330, 1200, 1600), 0.6),),  # r
    (Phone((300, 700, 2200), 0.6),),  # w
    (Phone(_NEUTRAL, 0.0, 0.80, 6_000, 1_200, 0.11),),  # s
    (Phone(_NEUTRAL, 0.0, 0.80, 3_500, 1_000, 0.11),),  # sh
    (Phone(_NEUTRAL, 0.0, 0.25, 5_000, 3_500, 0.09),),  # f
    (Phone(_NEUTRAL, 0.4, 0.40, 6_000, 1_200, 0.09),),  # z
    (SILENT, Phone(_NEUTRAL, 0.0, 1.00, 1_200, 800, 0.015)),  # p
    (SILENT, Phone(_NEUTRAL, 0.0, 1.00, 4_500, 1_500, 0.02)),  # t
    (SILENT, Phone(_NEUTRAL, 0.0, 1.00, 2_200, 700, 0.025)),  # k
    (Phone((200, 900, 2300), 0.15), Phone(_NEUTRAL, 0.3, 0.80, 1_200, 800, 0.01)),  # b
    (Phone((200, 1700, 2600), 0.15), Phone(_NEUTRAL, 0.3, 0.80, 4_500, 1_500, 0.01)),  # d
)


@dataclass(frozen=True)
class Voice:
    """The parameters in which simulated speakers differ."""

    pitch: float  # Hz, the centre of the range
    pitch_range: float  # semitones, standard deviation
    tract: float  # formant frequencies relative to a neutral tract; lower for a longer tract
    formant_offsets: tuple[float, ...]  # relative, one per formant
    bandwidth: float  # bandwidth of the resonances, relative
    tilt: float  # dB per octave, fall of the source above 500 Hz
    breath: float  # amplitude of aspiration noise relative to the pulses
    rate: float  # speaking rate, relative


def numpy_stream(*key: int) -> np.random.Generator:
    """The random stream of a key (a seed, then the purpose), so that any speaker or utterance can be made alone."""
    return np.random.default_rng(np.random.SeedSequence(key))


def draw_voice(rng: np.random.Generator) -> Voice:
    """A random speaker. Pitch and tract are correlated, as in people."""
    size = rng.uniform(-1.0, 1.0)  # from a small speaker with a high voice to a large one with a deep voice
    return Voice(
        pitch=float(155.0 * 2 ** (-0.55 * size + rng.normal(0.0, 0.12))),
        pitch_range=float(rng.uniform(1.0, 3.5)),
        tract=float(np.exp(-0.10 * size + rng.normal(0.0, 0.03))),
        formant_offsets=tuple(rng.normal(0.0, 0.035, N_FORMANTS).tolist()),
        bandwidth=float(np.exp(rng.normal(0.0, 0.25))),
        tilt=float(rng.uniform(1.0, 8.0)),
        breath=float(10 ** rng.uniform(-2.0, -0.8)),
        rate=float(rng.uniform(0.8, 1.25)),
    )


def vary_voice(voice: Voice, rng: np.random.Generator) -> Voice:
    """The voice of the same speaker in another utterance, for example in another mood or with a cold."""
    return replace(
        voice,
        pitch=voice.pitch * 2 ** (rng.normal(0.0, 1.0) / 12),
        tract=voice.tract * np.exp(rng.normal(0.0, 0.01)),
        tilt=voice.tilt + rng.normal(0.0, 1.0),
        breath=voice.breath * 10 ** rng.normal(0.0, 0.1),
        rate=voice.rate * np.exp(rng.normal(0.0, 0.08)),
    )


def speak(voice: Voice, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Random syllables in that voice: (samples,) float32 at 16 kHz, peak 1."""
    n_frames = max(2, round(seconds * FILTER_FRAMES_PER_SECOND))
    phones, durations = _random_phones(n_frames, voice.rate, rng)
    tracks = _tracks(phones, durations)[:n_frames]  # (frames, 7)
    formants, voicing, frication, centre, width = np.split(tracks, [3, 4, 5, 6], axis=1)  # (frames, 3), then (frames, 1) each

    pulses = _pulses(_pitch(voice, n_frames, rng), rng)  # (samples,)
    noise = rng.normal(0.0, 1.0, len(pulses))  # (samples,)
    tract, glottis, constriction = _filters(voice, formants, centre, width)  # (frames, bins), (bins,), (frames, bins)
    pulses, noise = _stft(pulses), _stft(noise)  # (frames, bins)
    # Breath passes through the same tract as the pulses; frication begins in the mouth and does not.
    voiced = voicing * glottis * (pulses + voice.breath * noise)  # (frames, bins)
    samples = _istft(tract * voiced + frication * constriction * noise)  # (samples,)
    return (samples / max(1e-9, np.abs(samples).max())).astype(np.float32)


def _random_phones(n_frames: int, rate: float, rng: np.random.Generator) -> tuple[list[Phone], np.ndarray]:
    """Phones and their durations in frames: syllables of consonant, vowel and perhaps a consonant, and some pauses."""
    phones, durations = [], []

    def say(sound: tuple[Phone, ...], shortest: float, longest: float) -> None:
        for phone in sound:
            phones.append(phone)
            seconds = phone.seconds * rng.uniform(shortest, longest) / rate
            durations.append(max(1, round(seconds * FILTER_FRAMES_PER_SECOND)))

    while sum(durations) < n_frames:
        for _ in range(rng.integers(4, 11)):
            say(CONSONANTS[rng.integers(len(CONSONANTS))], 0.8, 1.3)
            say((VOWELS[rng.integers(len(VOWELS))],), 0.7, 1.8)
            if rng.random() < 0.3:
                say(CONSONANTS[rng.integers(len(CONSONANTS))], 0.7, 1.1)
        say((SILENT,), 2.0, 7.0)
    return phones, np.array(durations)


def _tracks(phones: list[Phone], durations: np.ndarray) -> np.ndarray:
    """(frames, 7): three formants, voicing, frication, noise centre and width, smoothed from phone to phone."""
    targets = np.array([(*p.formants, p.voicing, p.frication, p.noise_centre, p.noise_width) for p in phones])  # (phones, 7)
    steps = np.repeat(targets, durations, axis=0)  # (frames, 7)
    # Coarticulation: formants need some 120 ms from one target to the next, amplitudes need 25 ms.
    steps[:, :3] = _smooth(steps[:, :3], 15)
    steps[:, 3:5] = _smooth(steps[:, 3:5], 3)
    return steps


def _smooth(tracks: np.ndarray, width: int) -> np.ndarray:
    kernel = np.hanning(width + 2)[1:-1]  # (width,)
    padded = np.pad(tracks, ((width // 2, width // 2), (0, 0)), mode="edge")  # (frames + width - 1, columns)
    return np.stack([np.convolve(track, kernel / kernel.sum(), mode="valid") for track in padded.T], axis=1)


def _pitch(voice: Voice, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """(frames,) Hz: slow random changes within the speaker's range, and a slight fall to the end."""
    knots = np.arange(0, n_frames + 40, 20)  # one every 160 ms
    changes = np.interp(np.arange(n_frames), knots, rng.normal(0.0, voice.pitch_range, len(knots)))  # (frames,)
    semitones = changes + np.linspace(1.0, -1.0, n_frames)  # (frames,)
    return voice.pitch * 2 ** (semitones / 12)


def _pulses(pitch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(samples,) glottal pulses for a pitch (frames,) in Hz. A pulse between two samples is divided between them."""
    n_samples = (len(pitch) - 1) * FILTER_HOP
    per_sample = np.interp(np.arange(n_samples) / FILTER_HOP, np.arange(len(pitch)), pitch)  # (samples,) Hz
    phase = np.cumsum(per_sample / SAMPLE_RATE) + rng.random()  # (samples,)
    at = np.flatnonzero(np.diff(np.floor(phase)))  # (pulses,) the sample before each pulse
    late = (np.ceil(phase[at]) - phase[at]) / (phase[at + 1] - phase[at])  # (pulses,) 0 to 1, from that sample to the next
    strength = np.sqrt(SAMPLE_RATE / per_sample[at]) * (1.0 + rng.normal(0.0, 0.05, len(at)))  # (pulses,) with shimmer
    pulses = np.zeros(n_samples)
    pulses[at] += strength * (1.0 - late)
    pulses[at + 1] += strength * late
    return pulses


def _filters(voice: Voice, formants: np.ndarray, centre: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, ...]:
    """Frequency responses of the tract (frames, bins), of the glottis (bins,) and of the constriction (frames, bins)."""
    frequency = np.linspace(0.0, SAMPLE_RATE / 2, FILTER_WINDOW // 2 + 1, dtype=np.float32)  # (bins,) Hz
    upper = np.broadcast_to(UPPER_FORMANTS, (len(formants), 2))  # (frames, 2) Hz
    scale = voice.tract * (1.0 + np.array(voice.formant_offsets))  # (5,)
    resonances = (np.concatenate([formants, upper], axis=1) * scale).astype(np.float32)  # (frames, 5) Hz
    tract = np.ones((len(formants), len(frequency)), dtype=np.complex64)
    for k in range(N_FORMANTS):
        peak, bandwidth = resonances[:, k : k + 1], np.float32(BANDWIDTHS[k] * voice.bandwidth)
        tract *= peak**2 / (peak**2 - frequency**2 + 1j * frequency * bandwidth)
    octaves = np.log2(np.maximum(frequency, 500.0) / 500.0)
    glottis = 10 ** ((HIGHER_POLES - voice.tilt) * octaves / 20)  # (bins,)
    constriction = np.exp(-(((frequency - centre * voice.tract) / width) ** 2))  # (frames, bins)
    return tract, glottis, constriction


def _stft(samples: np.ndarray) -> np.ndarray:
    """(samples,) to (frames, bins) complex."""
    samples, window = torch.from_numpy(samples.astype(np.float32)), torch.hann_window(FILTER_WINDOW)
    return torch.stft(samples, FILTER_WINDOW, FILTER_HOP, window=window, return_complex=True).T.numpy()


def _istft(spectrum: np.ndarray) -> np.ndarray:
    """(frames, bins) complex to (samples,)."""
    spectrum = torch.from_numpy(np.ascontiguousarray(spectrum.T.astype(np.complex64)))
    return torch.istft(spectrum, FILTER_WINDOW, FILTER_HOP, window=torch.hann_window(FILTER_WINDOW)).numpy()
