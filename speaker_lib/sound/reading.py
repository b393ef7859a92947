"""Reading one recording.  In: a file.  Out: its sound as (samples,) float32 at 16 kHz, and notes on what is odd about it.

libsndfile decodes WAV, FLAC, Ogg, Opus, MP3, AIFF, AU, CAF, W64 and others, whatever the name of the file.  It reads forward
only and until nothing more comes, in the parts that `containers` finds, so that no sound is lost to a wrong length in a
header.  ffmpeg, where it is installed, decodes M4A, AAC, WMA, WebM, AMR and the rest.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..utils.errors import SpeakerError
from . import ffmpeg
from .containers import parts
from .decoder import LONGEST, Decoded, Undecodable, broken, can_open, decode, packages, too_long

SAMPLE_RATE = 16_000  # Hz


@dataclass(frozen=True)
class Sound:
    """A recording: its samples, and sentences on what is odd about the file."""

    samples: np.ndarray  # (samples,) float32 at 16 kHz, channels averaged
    notes: tuple[str, ...] = ()


def is_audio(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds sound by its content, whatever its name: its beginning is read, nothing is decoded.

    A file that may not be opened counts as one, so that `read_audio` says why.  Raises SpeakerError without soundfile.
    """
    packages()
    path = Path(path)
    try:
        if not path.is_file():  # to open a pipe would wait for ever
            return False
        with path.open("rb") as file:
            return bool(ffmpeg.kind_of(file)) or can_open(parts(file)[0])
    except OSError:
        return True


def read_audio(path: str | os.PathLike[str]) -> Sound:
    """The sound of a recording at 16 kHz, channels averaged. Raises SpeakerError with the file's name and its problem."""
    packages()
    path = Path(path)
    try:
        if path.is_dir():
            raise SpeakerError(f"{path} is a folder: name a recording in it.")
        if not path.is_file():
            raise SpeakerError(f"{path} is not there: check the path of the recording.")
        with path.open("rb") as file:
            decoded = _decoded(file, path)
        samples = np.concatenate([_resampled(piece, path) for piece in decoded])  # (samples of all parts,)
    except PermissionError:
        raise SpeakerError(f"{path} may not be read: change its permissions.") from None
    except OSError as error:
        raise SpeakerError(f"{path} cannot be read ({error.strerror or error}): check the disk that it is on.") from error
    except MemoryError:
        raise SpeakerError(f"{path} does not fit into memory: cut it into shorter recordings.") from None
    return Sound(samples, tuple(_notes(decoded, path)))


def _decoded(file: BinaryIO, path: Path) -> list[Decoded]:
    try:
        pieces, seconds = [], 0.0
        for piece in (piece for part in parts(file) for piece in decode(part)):
            pieces.append(piece)
            seconds += len(piece.samples) / piece.rate
            if seconds > LONGEST:
                raise too_long(path, seconds, "at least ")
        return pieces
    except Undecodable as error:
        kind, reason = ffmpeg.kind_of(file), str(error)
        if kind and (ffmpeg.is_here() or ffmpeg.is_needed_for(kind)):
            return [ffmpeg.decode(path, kind, SAMPLE_RATE)]
    except ValueError as error:
        reason = str(error)
    raise SpeakerError(f"{path} is not a readable recording ({reason}): convert it to WAV, FLAC, OGG or MP3.")


def _resampled(decoded: Decoded, path: Path) -> np.ndarray:
    """(samples,) at 16 kHz, of the length that librosa.resample gives it: no shorter than the recording."""
    samples, rate = decoded.samples, decoded.rate
    if not np.isfinite(samples).all():
        raise SpeakerError(f"{path} holds samples that are not numbers (NaN or infinity): record it again.")
    if rate == SAMPLE_RATE or not len(samples):
        return samples
    length = math.ceil(len(samples) * SAMPLE_RATE / rate)
    _, soxr = packages()
    try:
        resampled = soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ")  # (samples at 16 kHz,)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise broken(error) from error
    return np.pad(resampled[:length], (0, max(0, length - len(resampled))))  # (length,)


def _notes(decoded: list[Decoded], path: Path) -> Iterator[str]:
    held = sum(len(piece.samples) / piece.rate for piece in decoded)  # seconds
    named = sum(piece.named for piece in decoded)
    if named - held > max(0.25, 0.01 * named):
        yield f"{path} holds {held:.1f} of the {named:.1f} s that its header names: record it again if the rest matters."
    elif decoded[-1].problem and not named:
        yield f"{path} cannot be decoded after {held:.1f} s ({decoded[-1].problem}): record it again if the rest matters."
