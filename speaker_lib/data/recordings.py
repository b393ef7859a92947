"""Turns a folder of recordings, one folder per speaker, into a corpus in the HW4 layout."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..utils.errors import ConfigError, CorpusError, SpeakerError
from ..utils.parallel import parallel_map
from .channels import MOST_COPIES, augmented_copies, augmented_source
from .features import FRAMES_PER_SECOND, LONGEST, extract_features, read_audio
from .writer import CorpusWriter

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


@dataclass(frozen=True)
class Prepared:
    """The counts of a corpus that `prepare` has written, and the recordings it skipped."""

    n_speakers: int
    n_recordings: int
    n_utterances: int
    n_test: int
    skipped: tuple[str, ...]  # a sentence per recording that could not be used


def prepare(
    audio_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    chunk: float | None = None,
    test_folder: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    augment: int = 0,
) -> Prepared:
    """Extracts the features of ``audio_folder/<speaker>/**/*.wav`` (FLAC, OGG, MP3 too) into a new corpus ``out``.

    Each recording is a session, and is cut into utterances of ``chunk`` seconds, see `cut`.  ``test_folder`` becomes the test
    set: its recordings are not cut, and are sorted by name.  Recordings that cannot be used are skipped and reported.
    Beside each utterance stand ``augment`` copies of it in other channels, see `channels`, which are for training only.
    Raises CorpusError if none can be used, and ConfigError for a ``chunk`` that is too short or too long.
    """
    if chunk is not None and not 0.1 <= chunk <= LONGEST:  # NaN is neither
        raise ConfigError(f"chunk is {chunk}: choose a number of seconds from 0.1 up to {LONGEST:,}.")
    if not 0 <= augment <= MOST_COPIES:
        raise ConfigError(f"augment is {augment}: choose a whole number of copies from 0 up to {MOST_COPIES}.")
    audio_folder, kinds = Path(audio_folder), ", ".join(SUFFIXES)
    if not audio_folder.is_dir():
        raise CorpusError(f"{audio_folder} is not a folder: name the one that holds a folder of recordings per speaker.")
    speakers = [path for path in _visible(audio_folder.iterdir()) if path.is_dir()]
    labelled = [path for speaker in speakers for path in _recordings(speaker)]
    if not labelled:
        raise CorpusError(f"{audio_folder} has no folder with {kinds} files in it: make one folder per speaker.")
    test = _recordings(Path(test_folder)) if test_folder else []
    if test_folder and not test:
        raise CorpusError(f"{test_folder} holds no {kinds} file: name the folder of the test recordings.")

    frames = None if chunk is None else round(chunk * FRAMES_PER_SECOND)
    paths = [*labelled, *test]
    skipped, used_speakers, n_utterances, n_test = [], set(), 0, 0
    names = [path.relative_to(audio_folder).as_posix() for path in labelled]  # decide the copies' channels
    items = [*zip(labelled, names, strict=True), *((path, None) for path in test)]
    source = f"recordings of {audio_folder.resolve().name}" + augmented_source(augment)
    with CorpusWriter(out, source) as writer:
        extract = functools.partial(_extract, frames, augment)
        for i, pieces in enumerate(parallel_map(extract, items, "Prepare", "recording", workers)):
            if isinstance(pieces, str):
                skipped.append(pieces)
            elif i < len(labelled):
                speaker, *rest = paths[i].relative_to(audio_folder).parts
                session = "/".join(rest)
                for piece, copies in pieces:
                    original = writer.add(piece, speaker, session)
                    for copy in copies:
                        writer.add(copy, speaker, session, augmented_from=original)
                used_speakers.add(speaker)
                n_utterances += len(pieces)
            else:
                writer.add_test(pieces[0][0], session=paths[i].relative_to(test_folder).as_posix())
                n_test += 1
        if not n_utterances:
            raise CorpusError(f"none of the {len(labelled):,} recordings of {audio_folder} can be used; the first: {skipped[0]}")
    return Prepared(len(used_speakers), len(paths) - len(skipped), n_utterances, n_test, tuple(skipped))


def cut(mel: np.ndarray, frames: int | None) -> list[np.ndarray]:
    """Splits (total, n_mels) into pieces of ``frames``. Leaves out a shorter rest of less than half, if there are others."""
    if frames is None:
        return [mel]
    pieces = [mel[start : start + frames] for start in range(0, len(mel), frames)]
    return [piece for i, piece in enumerate(pieces) if i == 0 or 2 * len(piece) >= frames]


def _extract(frames: int | None, augment: int, item: tuple[Path, str | None]) -> list[tuple[np.ndarray, list[np.ndarray]]] | str:
    """The utterances with their copies, or the sentence of an error: an exception would end the work on the other recordings."""
    path, name = item
    try:
        if name is None:
            return [(extract_features(path), [])]
        pieces = cut(extract_features(path), frames)  # (frames, 40) each
        copies = augmented_copies(read_audio(path), [len(piece) for piece in pieces], augment, name) if augment else []
        return list(zip(pieces, copies or [[] for _ in pieces], strict=True))
    except SpeakerError as problem:
        return str(problem)


def _recordings(folder: Path) -> list[Path]:
    return [path for path in _visible(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]


def _visible(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if not path.name.startswith("."))  # macOS leaves hidden files beside the others
