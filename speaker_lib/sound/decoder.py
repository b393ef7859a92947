"""libsndfile, read to the true end of the sound.  In: a part of a file, see `containers`.  Out: (samples,) at its own rate.

The package soundfile stops at the length in the header, and moves the place in the file after each read; here it reads
forward only, until libsndfile has no more, and keeps what came before an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..utils.errors import SpeakerError, first_line
from .containers import Part, begins_as_mp3, mp3

LONGEST = 2 * 3600  # seconds: a longer recording needs more memory than a laptop has
IMPOSSIBLE = 24 * 3600  # seconds: a header that claims more is damaged
UNKNOWN = 2**63 - 1  # samples: libsndfile's word for a length that the header does not name
SLOWEST, FASTEST = 4_000, 768_000  # Hz, sampling rates of recordings
BLOCK = 2**12  # samples of each channel read at a time: an error may cost as many


class Undecodable(Exception):
    """The decoder's reason, in a few words."""


@dataclass(frozen=True)
class Decoded:
    """What a decoder made of a recording."""

    samples: np.ndarray  # (samples,) float32, channels averaged
    rate: int  # Hz
    named: float = 0.0  # seconds that the header names, 0 if it does not
    problem: str = ""  # why the decoder went no further


def packages() -> tuple:
    """soundfile and soxr, which the rest of the library works without. Raises SpeakerError saying what to install."""
    try:
        import soundfile
    except OSError as error:  # the C library is missing
        advice = "`apt-get install libsndfile1`, `conda install libsndfile` or `pip install --force-reinstall soundfile`"
        raise SpeakerError(f"reading recordings needs the library libsndfile ({first_line(error)}): run {advice}.") from error
    except Exception as error:  # a compiled package that does not fit its surroundings raises anything
        raise broken(error) from error
    try:
        import soxr
    except Exception as error:
        raise broken(error) from error
    return soundfile, soxr


def broken(error: Exception) -> SpeakerError:
    """The error for a package that is missing or does not work."""
    return SpeakerError(
        f"reading recordings needs the packages soundfile and soxr ({first_line(error)}): run `pip install soundfile soxr`."
    )


def decode(part: Part) -> Iterator[Decoded]:
    """The sound of a part up to its true end: one piece, or more of an MP3 that is damaged or changes its rate on the way.

    Raises Undecodable if nothing can be decoded, SpeakerError for more than two hours, ValueError for an impossible header,
    and OSError.
    """
    piece, rest = _decode(part)
    yield piece
    while rest and len(piece.samples):
        try:
            piece, rest = _decode(rest)
        except (Undecodable, ValueError):  # what follows is no sound
            return
        yield piece


def _decode(part: Part) -> tuple[Decoded, Part | None]:
    """What libsndfile decodes of a part, and what it left of an MP3."""
    soundfile, _ = packages()
    try:
        file, named = _open(part)
    except soundfile.SoundFileError as error:
        raise Undecodable(_reason(error)) from error
    blocks, n_samples, problem = [np.zeros(0, dtype=np.float32)], 0, ""
    with file, np.errstate(over="ignore", invalid="ignore"):  # the caller looks for samples that are infinite or NaN
        try:
            # Block by block: neither all channels nor the length that a damaged header claims must fit into memory.
            while len(block := file.read(min(BLOCK, file.frames - n_samples), dtype="float32", always_2d=True)):
                blocks.append(block.mean(axis=1))  # (samples, channels) -> (samples,)
                n_samples += len(block)
                if n_samples > LONGEST * file.samplerate:
                    raise too_long(part.file.name, n_samples / file.samplerate, "more than ")
        except soundfile.SoundFileError as error:
            problem = _reason(error)
        rate, read, rest = file.samplerate, file.name, None  # the part that was opened
        if file.format == "MP3" and (read.stretch > 1 or n_samples < named - rate):
            rest = read.rest()
            problem *= not n_samples  # a tag at the end is one, too
    if read.error:
        raise read.error
    if problem and not n_samples:
        raise Undecodable(problem)
    return Decoded(np.concatenate(blocks), rate, named / rate, problem), rest  # (samples of all blocks,)


def too_long(path: Path, seconds: float, more: str = "") -> SpeakerError:
    """The error for a recording that does not fit into memory."""
    hours = f"{more}{seconds / 3600:.1f} hours"
    return SpeakerError(f"{path} lasts {hours}: cut it into pieces of at most {LONGEST // 3600} hours.")


def can_open(part: Part) -> bool:
    """Whether libsndfile knows the format, be the recording usable or not."""
    soundfile, _ = packages()
    try:
        _open(part)[0].close()
    except soundfile.SoundFileError:
        return False
    except (SpeakerError, ValueError):  # too long, or at an impossible rate
        pass
    return True


def _open(part: Part) -> tuple:
    """An open soundfile that can be read to its true end, and the number of samples that its header names, 0 if it does not."""
    soundfile, _ = packages()
    found, reason = list(mp3(part)), None
    plain = [(part, None), (part.stretched(1000), None)]  # a CAF that was cut off opens only as if it were whole
    for candidate, n_frames in [*found, *plain] if begins_as_mp3(part) else [*plain, *found]:
        try:
            file = _forward(candidate)
        except soundfile.SoundFileError as error:
            reason = reason or error
            continue
        rate, length = file.samplerate, 0 if file.frames == UNKNOWN else file.frames
        certain = candidate.stretch == 1
        if (certain and length > IMPOSSIBLE * rate) or not SLOWEST <= rate <= FASTEST:
            raise ValueError(f"{length:,} samples at {rate:,} Hz")
        if certain and length > LONGEST * rate:
            raise too_long(part.file.name, length / rate)
        if file.format == "MP3":
            return file, (n_frames or 0) * (1152 if rate >= 32_000 else 576)
        return file, length if file.format in ("FLAC", "OGG") else _named(candidate, length)
    raise reason


def _named(part: Part, length: int) -> int:
    """The length in the header, which libsndfile cuts down to what a file can hold: it is asked about two larger ones."""
    soundfile, _ = packages()
    try:
        lengths = []
        for stretch in (1000, 2000):
            with _forward(part.stretched(stretch)) as file:
                lengths.append(file.frames)
    except soundfile.SoundFileError:
        return length
    return lengths[0] if lengths[0] == lengths[1] else 0  # a header that names none gives what the file holds


def _forward(part: Part):
    """An open soundfile that never moves back."""
    soundfile, _ = packages()

    class Forward(soundfile.SoundFile):
        def seekable(self) -> bool:
            return False

    return Forward(part.stretched(part.stretch))


def _reason(error: Exception) -> str:
    return getattr(error, "error_string", first_line(error)).rpartition("Error : ")[2].rstrip(".")
