"""The front end of HW4.  In: a recording.  Out: log-mel features (frames, 40), a frame per 10 ms.

16 kHz mono, peak normalised to -3 dB, all pauses removed, power spectrum of 25 ms Hann windows every 10 ms,
40 mel bands of equal height on the HTK scale from 50 Hz to 8 kHz, natural logarithm.  What is done for recordings that HW4
does not have stands in `sound` and `levels`; it does not change the features of an ordinary one.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

import numpy as np
import torch

from ..utils.errors import SpeakerError
from .levels import BLOCK, block_levels, check_speech, loud_moment, note_on_pauses, remove_offset
from .reading import SAMPLE_RATE, read_audio

N_FFT = WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
FRAMES_PER_SECOND = SAMPLE_RATE / HOP
N_MELS = 40
F_MIN, F_MAX = 50.0, 8_000.0  # Hz
POWER_FLOOR = 1e-9  # its logarithm, -20.72, is the lowest value of a feature
PEAK = 10 ** (-3 / 20)  # -3 dB of full scale
SILENCE_LEVEL = 0.01  # RMS, of full scale
SILENCE_BLOCKS = 5  # quiet blocks in a row, 0.1 s, are a pause


@dataclass(frozen=True)
class Features:
    """The features of a recording, and sentences on what is odd about the file."""

    mel: np.ndarray  # (frames, 40) float32
    seconds: float  # of the recording, before pauses were cut
    notes: tuple[str, ...] = ()
    samples: np.ndarray | None = None  # (samples,) at 16 kHz, from which the features were made


def extract_features(path: str | os.PathLike[str]) -> np.ndarray:
    """The features of a recording, (frames, 40) float32. Raises SpeakerError with the file's name and its problem."""
    return extract(path).mel


def extract(path: str | os.PathLike[str]) -> Features:
    """`extract_features`, with the recording's length and notes on it: what the file lacks, how little speech is in it.

    Raises SpeakerError, also for a recording without speech.
    """
    sound = read_audio(path)
    try:
        samples, offset = remove_offset(sound.samples)  # (samples,)
        normalised = normalise_peak(samples)
        check_speech(samples)
        speech = remove_silence(normalised)  # (samples that are no pause,)
        mel = log_mel(speech)  # (frames, 40)
    except ValueError as error:
        raise SpeakerError(f"{path} {error}: leave it out or record it again.") from error
    notes = [f"{path} {note}" for note in (offset, note_on_pauses(samples, speech)) if note]
    return Features(mel, len(samples) / SAMPLE_RATE, (*sound.notes, *notes), samples)


def normalise_peak(samples: np.ndarray) -> np.ndarray:
    """Scales (samples,) to a peak of -3 dB. Raises ValueError for digital silence."""
    peak = np.abs(samples).max(initial=0.0)
    if peak < 1e-6:
        raise ValueError("holds no sound")
    return samples * np.float32(PEAK / peak)


def remove_silence(samples: np.ndarray) -> np.ndarray:
    """Cuts every pause out of (samples,), see `is_sound`. Raises ValueError if nothing is left."""
    kept = samples[is_sound(samples)]
    if len(kept) < WINDOW:
        raise ValueError(f"holds no sound longer than a pause{loud_moment(samples)}")
    return kept


def is_sound(samples: np.ndarray) -> np.ndarray:
    """(samples,) bool, false in a pause: an RMS below 1% of full scale for at least 0.1 s."""
    quiet = block_levels(samples) < SILENCE_LEVEL  # (blocks,)
    edges = np.flatnonzero(np.diff(quiet, prepend=False, append=False))  # (2 * runs,) blocks where quiet runs begin and end
    keep = np.ones(len(samples), dtype=bool)  # (samples,)
    for begin, end in edges.reshape(-1, 2):  # (runs, 2)
        if end - begin >= SILENCE_BLOCKS:
            keep[begin * BLOCK : end * BLOCK] = False
    return keep


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Log-mel features of (samples,) at 16 kHz: (1 + samples // 160, 40) float32, the natural log of mel power.

    Raises ValueError for less than one window of 25 ms.
    """
    if len(samples) < WINDOW:
        raise ValueError("is shorter than 25 ms")
    waveform = torch.from_numpy(samples.astype(np.float64))  # (samples,); float32 errs by some 0.003 in faint bands
    window = torch.hann_window(WINDOW, dtype=torch.float64)  # (400,)
    spectrum = torch.stft(waveform, N_FFT, HOP, window=window, return_complex=True)  # (bins, frames), the ends reflected
    power = spectrum.abs().square()  # (bins, frames)
    mel = mel_filters() @ power  # (40, frames)
    return mel.clamp(min=POWER_FLOOR).log().T.float().contiguous().numpy()  # (frames, 40)


@functools.cache
def mel_filters() -> torch.Tensor:
    """(40, 201) triangular filters of height 1, equally spaced on the HTK mel scale, 2595 log10(1 + f / 700)."""
    edges = mel_edges()  # (42,) Hz
    bins = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)  # (201,) Hz
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]  # (40, 201)
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]  # (40, 201)
    return torch.from_numpy(np.maximum(0.0, np.minimum(rising, falling)))


def mel_edges() -> np.ndarray:
    """(42,) Hz: band i rises from edge i to its centre, edge i + 1, and falls to edge i + 2."""
    lowest, highest = (2595.0 * np.log10(1.0 + hertz / 700.0) for hertz in (F_MIN, F_MAX))  # mel
    return 700.0 * (10.0 ** (np.linspace(lowest, highest, N_MELS + 2) / 2595.0) - 1.0)  # (42,)
