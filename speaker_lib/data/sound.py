"""Reading one recording.  In: a file.  Out: its sound as (samples,) float32 at 16 kHz, and what there is to say of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..utils.errors import SpeakerError, first_line

SAMPLE_RATE = 16_000  # Hz
LONGEST = 2 * 3600  # seconds: a longer recording needs more memory than a laptop has
IMPOSSIBLE = 24 * 3600  # seconds: a header that claims more is damaged
BLOCK = 2**20  # samples read at a time, of all channels
SLOWEST, FASTEST = 4_000, 768_000  # Hz, sampling rates of recordings


@dataclass(frozen=True)
class Sound:
    """A recording: its samples, and sentences on what is odd about the file."""

    samples: np.ndarray  # (samples,) float32 at 16 kHz, channels averaged
    notes: tuple[str, ...] = ()


def is_audio(path: str | os.PathLike[str]) -> bool:
    """Whether the content of a file is a recording's, whatever its name: it is opened, not decoded."""
    import soundfile

    try:
        with soundfile.SoundFile(path):
            return True
    except (soundfile.SoundFileError, TypeError, ValueError, OSError):
        return False


def read_audio(path: str | os.PathLike[str]) -> Sound:
    """The sound of a recording at 16 kHz, channels averaged. Raises SpeakerError with the file's name and its problem."""
    try:
        import soundfile  # here, because the rest of the library works without them
        import soxr
    except ImportError:
        raise SpeakerError("reading recordings needs soundfile and soxr: run `pip install soundfile soxr`.") from None
    path = Path(path)
    if not path.is_file():
        raise SpeakerError(f"{path} is not there: check the path of the recording.")
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            if file.frames > IMPOSSIBLE * rate or not SLOWEST <= rate <= FASTEST:
                raise ValueError(f"{file.frames:,} samples at {rate:,} Hz")
            if file.frames > LONGEST * rate:
                hours = file.frames / rate / 3600
                raise SpeakerError(f"{path} lasts {hours:.1f} hours: cut it into pieces of at most {LONGEST // 3600} hours.")
            samples = _mono(file)  # (samples,)
    except (soundfile.SoundFileError, TypeError, ValueError, OSError, MemoryError) as error:
        problem = f"{path} is not a readable recording ({first_line(error)})"
        raise SpeakerError(f"{problem}: convert it to WAV, FLAC, OGG or MP3.") from error
    if rate != SAMPLE_RATE and len(samples) and np.isfinite(samples).all():
        samples = soxr.resample(samples, rate, SAMPLE_RATE)  # (samples at 16 kHz,)
    if not np.isfinite(samples).all():
        raise SpeakerError(f"{path} holds samples that are not numbers (NaN or infinity): record it again.")
    return Sound(samples)


def _mono(file) -> np.ndarray:
    """All samples of an open soundfile, (samples,) float32, its channels averaged."""
    blocks = [np.zeros(0, dtype=np.float32)]
    # Block by block: neither all channels nor the length that a damaged header claims must fit into memory.
    with np.errstate(over="ignore", invalid="ignore"):  # the caller checks the values
        while len(block := file.read(BLOCK // file.channels + 1, dtype="float32", always_2d=True)):  # (samples, channels)
            blocks.append(block.mean(axis=1))
    return np.concatenate(blocks)
