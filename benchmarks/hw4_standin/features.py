"""Generates log-mel features of synthetic speakers, without audio: a statistical model of 40-band frames.

`speaker_lib.simulation.voices` renders waveforms; this module draws features directly, thousands of utterances a minute.
An utterance is a sequence of random syllables of the same phones. Each phone has the spectral envelope of its formants (Fant
1960), to which coarticulation, the harmonics of the pitch, loudness, the scatter of a 25 ms spectrum, channel and noise are
added. A speaker shifts all utterances, a mood shifts one. Nothing measured on these data is a result about people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch

from speaker_lib.simulation.voices import (
    BANDWIDTHS,
    CONSONANTS,
    HIGHER_POLES,
    N_FORMANTS,
    SILENT,
    UPPER_FORMANTS,
    VOWELS,
    numpy_stream,
)
from speaker_lib.sound.features import N_MELS, POWER_FLOOR, SAMPLE_RATE, mel_edges, mel_filters
from speaker_lib.utils.errors import ConfigError

FLOOR, CEILING = math.log(POWER_FLOOR), 8.92  # nats: the features of digital silence and of full scale
LEVEL = 0.7  # nats, loudness of a vowel in bands without a formant: chosen for HW4's mean of all values
NAT = math.log(10) / 10  # a decibel of power
FASTEST = math.log(20.0)  # log of the speaking rate, from 1/20 to 20: a faster utterance would need too many sounds
RAMP = 4.0  # frames of coarticulation on each side of a boundary between sounds
GATED = 0.47  # fraction of sessions with digital silence in their pauses, as in HW4
RIPPLED = 20  # lowest bands, which are narrow enough to resolve harmonics
KNOT = 16  # frames between the random changes of pitch

# The columns of a table with a row per speaker; below, their standard deviations between speakers and between moods.
_PITCH, _TRACT, _FORMANTS, _BANDWIDTH, _TILT, _RATE = 0, 1, slice(2, 2 + N_FORMANTS), 7, 8, 9
N_ACCENT = 16  # directions in which the phones of speakers differ
_ACCENT = slice(10, 10 + N_ACCENT)
_AMONG_PEOPLE = np.array([0.35, 0.07, *[0.035] * N_FORMANTS, 0.25, 2.0 * NAT, 0.13, *[0.20] * N_ACCENT])
_AMONG_MOODS = np.array([0.08, 0.01, *[0.010] * N_FORMANTS, 0.08, 1.0 * NAT, 0.08, *[0.06] * N_ACCENT])

# The sounds as rows of a table: the vowels, then all parts of the consonants, then silence.
PHONES = (*VOWELS, *(part for consonant in CONSONANTS for part in consonant), SILENT)
_FIRST_PART = len(VOWELS) + np.cumsum([0, *(len(c) for c in CONSONANTS[:-1])])  # (consonants,) row of the first part
_LAST_PART = _FIRST_PART + np.array([len(c) - 1 for c in CONSONANTS])  # (consonants,) row of the last part, often the same


@dataclass(frozen=True)
class Variability:
    """Variability between and within speakers, relative to a first guess. It decides how hard identification is.

    With the defaults, the sample code of 2022 learns as fast as on HW4.  Raises ConfigError.
    """

    speaker: float = 1.8  # between speakers; more makes identification easier
    mood: float = 1.6  # between utterances; a longer segment does not average it out
    session: float = 1.0  # between sessions; makes unseen sessions harder
    token: float = 2.1  # between sounds and frames; a longer segment averages it out
    variety: float = 0.8  # SD of the log of the mood's spread: some utterances are easy, some hopeless

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            # Variety is a logarithm: at 1, one utterance in fifty has seven times the mood. Others at 10 are far from speech.
            most = 1 if item.name == "variety" else 10
            if not 0.0 <= value <= most:  # NaN fails this too
                raise ConfigError(f"the {item.name} spread is {value}: choose a number from 0 to {most}.")


class FeatureModel:
    """Speakers and sessions are drawn once; `frames` then draws their utterances on the device.

    ``n_sessions`` is the number of sessions of all speakers together.
    """

    def __init__(self, n_people: int, n_sessions: int, spreads: Variability, seed: int, device: torch.device) -> None:
        self.spreads, self.seed, self.device = spreads, seed, device
        people = numpy_stream(seed, 0).normal(0.0, 1.0, (n_people, len(_AMONG_PEOPLE)))
        people[:, _TRACT] = 0.8 * people[:, _PITCH] + 0.6 * people[:, _TRACT]  # short vocal tracts and high pitch are correlated
        self._people = self._tensor(people * _AMONG_PEOPLE * spreads.speaker)  # (people, columns)
        self._moods = self._tensor(_AMONG_MOODS * spreads.mood)  # (columns,)
        channel, background, gated = _sessions(numpy_stream(seed, 1), n_sessions, spreads.session)
        self._channel, self._background = self._tensor(channel), self._tensor(background)  # each (sessions, 40)
        self._gated = torch.from_numpy(gated).to(device)  # (sessions,)

        hertz = mel_edges()  # (42,)
        self._centre = self._tensor(hertz[1:-1])  # (40,) Hz
        width = (hertz[2:] - hertz[:-2]) / 2  # (40,) Hz
        self._width = self._tensor(width)
        self._octaves = self._tensor(np.log2(np.maximum(hertz[1:-1], 500.0) / 500.0))  # (40,)
        self._area = self._tensor(mel_filters().sum(dim=1).log().numpy())  # (40,) nats: a broad band sums more bins
        # The power of a spectral bin has an exponential distribution; a mel band averages its bins.
        self._scatter = self._tensor(0.8 / np.sqrt(1.0 + width / (SAMPLE_RATE / 400)))  # (40,) nats
        self._blur = self._tensor(np.hypot(20.0, width / math.sqrt(6.0)))[:RIPPLED]  # (20,) Hz, blur by window and band

        rng = numpy_stream(0, 2)  # the same for all stand-ins: the language
        waves = np.cos(np.pi * np.outer(np.arange(1, 9), (np.arange(N_MELS) + 0.5) / N_MELS))  # (8, 40) smooth curves
        waves /= np.sqrt((waves**2).sum(axis=0).mean())
        self._waves = self._tensor(waves)
        accents = rng.normal(0.0, 1.0, (N_ACCENT, len(PHONES), len(waves))) @ waves
        self._accents = self._tensor(accents)  # (accents, phones, 40)
        self._formants = self._tensor([(*p.formants, *UPPER_FORMANTS) for p in PHONES])  # (phones, 5) Hz
        self._voicing = self._tensor([p.voicing for p in PHONES])  # (phones,)
        self._frication = self._tensor([p.frication for p in PHONES])  # (phones,)
        self._narrowing = self._tensor([(p.noise_centre, p.noise_width) for p in PHONES])  # (phones, 2) Hz
        self._duration = self._tensor([100.0 * p.seconds for p in PHONES])  # (phones,) frames
        self._parts = torch.from_numpy(np.stack([_FIRST_PART, _LAST_PART])).to(device)  # (2, consonants)

    def frames(self, lengths: np.ndarray, people: np.ndarray, sessions: np.ndarray, stream: int) -> torch.Tensor:
        """Utterances of ``lengths`` (n,) frames, with a speaker and a session (n,) for each, end to end.

        Returns (total frames, 40) float16 on the device, natural log of mel power.  ``stream`` selects the random stream.
        """
        draw = torch.Generator(self.device).manual_seed(int(np.random.SeedSequence((self.seed, 3, stream)).generate_state(1)[0]))
        lengths = torch.from_numpy(lengths).to(self.device)  # (n,)
        count, total = len(lengths), int(lengths.sum())
        person = self._people[torch.from_numpy(people).to(self.device)]  # (n, columns)
        moods = self._moods * self._normal(draw, *person.shape)  # (n, columns)
        if self.spreads.variety:  # without variety there must be no draw: it would change all later ones
            moods = moods * (self.spreads.variety * self._normal(draw, count, 1)).exp()
        person = person + moods
        person[:, _RATE].clamp_(-FASTEST, FASTEST)
        of = torch.repeat_interleave(torch.arange(count, device=self.device), lengths, output_size=total)  # (frames,) utterance

        phones, ends = self._syllables(draw, int(total * math.exp(float(person[:, _RATE].max()))) + 1)
        clock = person[:, _RATE].double().exp()[of].cumsum(0)  # (frames,) frames at the average speaking rate
        token = torch.searchsorted(ends, clock)  # (frames,)
        starts = torch.ones(total, dtype=torch.bool, device=self.device)
        starts[1:] = (token[1:] != token[:-1]) | (of[1:] != of[:-1])
        first = torch.nonzero(starts)[:, 0]  # (sounds,) first frame of each sound
        sound = starts.cumsum(0) - 1  # (frames,)
        phone = phones[token[first]]  # (sounds,)

        waved = self._normal(draw, len(first), len(self._waves)) @ self._waves  # (sounds, 40)
        loudness = 0.8 * self._normal(draw, len(first), 1)  # (sounds, 1)
        target = self._envelopes(person)[of[first], phone] + self.spreads.token * (0.9 * waved + loudness)  # (sounds, 40)
        neighbour, weight = _glide(first, sound, of)  # each (frames,)
        mels = torch.lerp(target[sound], target[neighbour], weight[:, None])  # (frames, 40)
        voicing = torch.lerp(self._voicing[phone][sound], self._voicing[phone][neighbour], weight)  # (frames,)
        mels[:, :RIPPLED] += self._ripple(draw, person[:, _PITCH], of, voicing)
        session = torch.from_numpy(sessions).to(self.device)[of]  # (frames,)
        mels = torch.logaddexp(mels, self._background[session])
        mute = self._gated[session] & (phone == len(PHONES) - 1)[sound]  # (frames,)
        scatter = self._normal(draw, total + 1, N_MELS)
        scatter = 0.9 * scatter[1:] + 0.44 * scatter[:-1]  # (frames, 40): windows overlap, so neighbours are correlated
        mels += scatter * self._scatter * (self.spreads.token * (1.0 - 0.5 * voicing))[:, None]
        mels = (mels + self._channel[session]).masked_fill_(mute[:, None], FLOOR)
        return mels.clamp_(FLOOR, CEILING).half()

    def _syllables(self, draw: torch.Generator, n_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Random sounds for at least ``n_frames``: the phone of each and its end in frames, (sounds,) each."""
        count = n_frames // 14 + 16  # syllables: they have some 24 frames, the shortest 14
        onset = self._integers(draw, len(CONSONANTS), count)  # (syllables,)
        coda = self._integers(draw, len(CONSONANTS), count)
        vowel = self._integers(draw, len(VOWELS), count)
        silence = torch.full_like(vowel, len(PHONES) - 1)
        phones = torch.stack([silence, *self._parts[:, onset], vowel, *self._parts[:, coda]], dim=1)  # (syllables, 6)
        chance = torch.rand(count, 2, generator=draw, device=self.device)
        present = torch.ones(phones.shape, dtype=torch.bool, device=self.device)
        present[:, 0] = chance[:, 0] < 0.15  # a pause
        present[:, 1] = phones[:, 1] != phones[:, 2]  # a closure before a burst
        present[:, 4:] = (chance[:, 1] < 0.3)[:, None]  # a closing consonant
        present[:, 4] &= phones[:, 4] != phones[:, 5]
        stretch = torch.tensor([0.7, 0.8, 0.8, 0.7, 0.7, 0.7], device=self.device)
        more = torch.tensor([0.8, 0.5, 0.5, 1.1, 0.4, 0.4], device=self.device)
        stretch = stretch + more * torch.rand(phones.shape, generator=draw, device=self.device)
        durations = self._duration[phones] * stretch * present  # (syllables, 6) frames, 0 for a sound that is left out
        return phones.flatten(), durations.flatten().double().cumsum(0)

    def _envelopes(self, person: torch.Tensor) -> torch.Tensor:
        """(n, phones, 40) nats: the spectral envelope of each phone for each speaker (n, columns), without harmonics."""
        tract = person[:, _TRACT].exp()  # (n,)
        scale = tract[:, None] * (1.0 + person[:, _FORMANTS])  # (n, 5)
        peaks = (scale[:, None] * self._formants).square()  # (n, phones, 5) Hz²
        bandwidths = person[:, _BANDWIDTH].exp()[:, None] * self._tensor(BANDWIDTHS)  # (n, 5) Hz
        envelope = torch.zeros(len(person), len(PHONES), N_MELS, device=self.device)
        frequency = self._centre.square()  # (40,) Hz²
        for k in range(N_FORMANTS):  # a resonance, widened by the band
            peak = peaks[:, :, k : k + 1]
            breadth = bandwidths[:, k, None].square() + self._width.square()  # (n, 40) Hz²
            envelope -= (((peak - frequency) / peak).square() + (frequency * breadth[:, None]) / peak.square()).log()
        tilt = (HIGHER_POLES - 4.5) * NAT - person[:, _TILT]  # (n,) nats per octave
        envelope += tilt[:, None, None] * self._octaves + 2.0 * (self._voicing[:, None] + 1e-6).log()
        centre, width = self._narrowing.T[:, None, :, None]  # each (1, phones, 1) Hz
        noise = -2.0 * ((self._centre - centre * tract[:, None, None]) / width).square()  # (n, phones, 40)
        envelope = torch.logaddexp(envelope, noise + 2.0 * (self._frication[:, None] + 1e-6).log() - 1.0)
        accent = torch.einsum("na,apm->npm", person[:, _ACCENT], self._accents)
        return envelope + accent + self._area + LEVEL

    def _ripple(self, draw: torch.Generator, pitch: torch.Tensor, of: torch.Tensor, voicing: torch.Tensor) -> torch.Tensor:
        """(frames, 20) nats: the harmonics of a pitch that varies by two semitones, blurred by window and band."""
        turns = self._normal(draw, len(of) // KNOT + 2) / 6.0  # (knots,) octaves, at every 16th frame
        at = torch.arange(len(of), device=self.device)
        wander = torch.lerp(turns[at // KNOT], turns[at // KNOT + 1], at % KNOT / KNOT)  # (frames,)
        f0 = 155.0 * torch.exp2(pitch[of] + wander)[:, None]  # (frames, 1) Hz
        depth = 1.9 * voicing[:, None] * torch.exp(-2.0 * (math.pi * self._blur / f0).square())  # (frames, 20)
        return torch.log1p(depth.clamp_(max=0.97) * torch.cos(2.0 * math.pi * self._centre[:RIPPLED] / f0))

    def _tensor(self, values: object) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self.device)

    def _normal(self, draw: torch.Generator, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw, device=self.device)

    def _integers(self, draw: torch.Generator, below: int, count: int) -> torch.Tensor:
        return torch.randint(below, (count,), generator=draw, device=self.device)


def _glide(first: torch.Tensor, sound: torch.Tensor, of: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Coarticulation: the nearest other sound of each frame (frames,), and its weight from 0 to 0.5 (frames,)."""
    total = len(sound)
    last = torch.cat([first[1:], first.new_tensor([total])]) - 1  # (sounds,)
    at = torch.arange(total, device=sound.device)
    since, left = at - first[sound], last[sound] - at  # each (frames,)
    neighbour = (sound + torch.where(since <= left, -1, 1)).clamp_(0, len(first) - 1)  # (frames,)
    weight = 0.5 * (1.0 - (torch.minimum(since, left) + 0.5) / RAMP).clamp_(min=0.0)  # (frames,)
    return neighbour, weight * (of[first][neighbour] == of)  # 0 across the boundary of two utterances


def _sessions(rng: np.random.Generator, count: int, spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Channel and background noise (sessions, 40) in nats, and whether a session is gated (sessions,) bool."""
    x = (np.arange(N_MELS) + 0.5) / N_MELS  # (40,) 0 to 1
    ripple = rng.normal(0.0, 2.5 * NAT, (count, 4)) @ np.cos(np.pi * np.outer(np.arange(1, 5), x))  # (sessions, 40)
    cut = -rng.exponential(1.0, (count, 1)) * np.maximum(0.0, (x - rng.uniform(0.5, 1.2, (count, 1))) / 0.2)
    noise = rng.uniform(-2.5, 2.5, (count, 1)) + rng.normal(0.0, 1.5, (count, 1)) * (0.5 - x)  # (sessions, 40)
    return spread * (ripple + cut), LEVEL - 4.5 + spread * noise, rng.random(count) < GATED
