"""A book of enrolled people: one file with an embedding per recording, made with the weights of one run.

In: a path.  Out: a `Book`.  The file is in safetensors format: a tensor of unit vectors, a `Reference` to calibrate the threshold
on, and JSON in its metadata.  It may have been downloaded: what cannot be used raises RunError with one sentence.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import filelock
import numpy as np
import safetensors
import safetensors.numpy

from ..training.run import Run, digest
from ..utils.errors import ConfigError, RunError, SpeakerError, escape_controls, first_line, is_text, short_repr
from ..utils.files import explain_os_errors, make_folder, replacing

BOOK = "people.safetensors"  # the book in a run's folder
_FORMAT = "speaker_lib book 1"
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Entry:
    """One recording of an enrolled person."""

    name: str  # of the person
    recording: str  # its file's name
    content: str  # SHA-256 of its features
    seconds: float  # of speech, after pauses were removed


@dataclass(frozen=True)
class Reference:
    """Embeddings of people who are not in the book: trials for the threshold, and a cohort to normalise scores against."""

    vectors: np.ndarray  # (utterances, d) float32, unit vectors
    speakers: np.ndarray  # (utterances,) int64, a number for each speaker, from 0 up
    tests: np.ndarray  # (utterances,) bool, true for a test, false for an utterance to enrol by
    source: str  # where they come from, a phrase

    @property
    def n_speakers(self) -> int:
        """The number of speakers."""
        return int(self.speakers.max()) + 1


@dataclass(frozen=True)
class Book:
    """The enrolled people. ``vectors`` (recordings, d) float32 are unit vectors, a row for each of ``entries``."""

    weights: str  # digest of the run's weights
    entries: tuple[Entry, ...]
    vectors: np.ndarray
    reference: Reference | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str], run: Run) -> Book:
        """The book in a file. Raises RunError if it cannot be read, or was made with other weights than the run's."""
        path = Path(path)
        try:
            book = _read(path)
        except FileNotFoundError:
            raise RunError(f"{path} is not there: make it with `enrol --run {run.folder} --name NAME RECORDING …`.") from None
        except OSError as error:
            raise RunError(f"{path} cannot be read ({error.strerror or error}): check the path and its permissions.") from error
        except (safetensors.SafetensorError, *_DAMAGED) as error:
            raise RunError(
                f"{path} is not a book of enrolled people ({first_line(error)}): enrol them in another file."
            ) from error
        if book.weights != digest(run.weights()):
            advice = "use that run, or enrol the people anew in another file (--book)"
            raise RunError(f"{path} was made with other weights than those in {run.folder}: {advice}.")
        return book

    def save(self, path: str | os.PathLike[str]) -> None:
        """Replaces the file, atomically. Raises WriteError."""
        about = {"format": _FORMAT, "weights": self.weights, "entries": [asdict(entry) for entry in self.entries]}
        tensors = {"vectors": self.vectors.astype(np.float32)}
        if self.reference is not None:
            about["source"] = self.reference.source
            tensors["reference"] = self.reference.vectors.astype(np.float16)  # half the size; scores change by less than 0.001
            tensors |= {"reference_speakers": self.reference.speakers, "reference_tests": self.reference.tests}
        content = safetensors.numpy.save(tensors, metadata={"book": json.dumps(about, ensure_ascii=False)})
        with replacing(path) as file:
            file.write(content)

    @staticmethod
    @contextlib.contextmanager
    def locked(path: str | os.PathLike[str]) -> Iterator[None]:
        """Around opening, changing and saving a book: another process that changes it waits."""
        path = Path(path)
        make_folder(path.parent)
        with explain_os_errors(path):
            lock = filelock.FileLock(path.with_name(f".{path.name}.lock")).acquire()
        with lock:
            yield

    @property
    def people(self) -> list[str]:
        """The names, sorted."""
        return sorted({entry.name for entry in self.entries})

    @property
    def recordings_each(self) -> int:
        """The median number of recordings of a person, rounded down; 1 if the book is empty."""
        return int(np.median(list(Counter(entry.name for entry in self.entries).values()) or [1]))

    def add(self, entries: Sequence[Entry], vectors: np.ndarray) -> Book:
        """The book with further recordings, ``vectors`` (n, d).

        Raises SpeakerError for a recording that is enrolled already: twice the same tells nothing new.
        """
        known = {entry.content: entry for entry in self.entries}
        for entry in entries:
            if twin := known.get(entry.content):
                same = f"{entry.recording} holds the same sound as {twin.recording}"
                whose = "is enrolled already" if twin.name == entry.name else f"is enrolled as {twin.name}"
                raise SpeakerError(f"{same}, which {whose}: leave it out, or remove {twin.name} first (--remove).")
            known[entry.content] = entry
        return replace(self, entries=(*self.entries, *entries), vectors=np.concatenate([self.vectors, vectors]))

    def remove(self, name: str) -> Book:
        """The book without a person. Raises ConfigError if nobody in it has that name."""
        keep = [i for i, entry in enumerate(self.entries) if entry.name != name]
        if len(keep) == len(self.entries):
            people = ", ".join(self.people[:10]) + ", …" * (len(self.people) > 10) if self.entries else "nobody"
            raise ConfigError(f"nobody in the book is called {short_repr(name)}: it has {people}.")
        return replace(self, entries=tuple(self.entries[i] for i in keep), vectors=self.vectors[keep])

    def means(self) -> np.ndarray:
        """An enrolment mean per person, (people, d): the mean of the recordings' unit vectors, made a unit vector."""
        names = np.array([entry.name for entry in self.entries])  # (recordings,)
        return np.stack([unit(self.vectors[names == name].mean(axis=0)) for name in self.people])  # (people, d)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., d) divided by their Euclidean lengths; zeros stay zeros."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def check_name(name: str) -> str:
    """A person's name without spaces around it. Raises ConfigError for one that is empty or cannot be printed."""
    name = name.strip()
    if not name or not is_text(name) or len(name) > 100:
        what = (
            "is empty"
            if not name
            else "is longer than 100 characters"
            if is_text(name)
            else "has characters that cannot be shown"
        )
        raise ConfigError(f"the name {escape_controls(short_repr(name))} {what}: choose another --name.")
    return name


def _read(path: Path) -> Book:
    with path.open("rb"), safetensors.safe_open(path, framework="numpy") as file:  # the first for Python's own errors
        about = json.loads((file.metadata() or {})["book"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
    if about["format"] != _FORMAT:
        raise ValueError(f"its format is {short_repr(about['format'])}")
    entries = tuple(Entry(**entry) for entry in about["entries"])
    vectors, reference = _vectors(tensors["vectors"], len(entries)), None
    texts = [text for entry in entries for text in (entry.name, entry.recording, entry.content)]
    if not all(isinstance(text, str) and is_text(text) for text in [*texts, about["weights"], about.get("source", "")]):
        raise ValueError("a name has characters that cannot be shown")
    if not all(isinstance(entry.seconds, float) for entry in entries):
        raise ValueError("a duration is missing")
    if "reference" in tensors:
        speakers, tests = tensors["reference_speakers"], tensors["reference_tests"]
        found = _vectors(tensors["reference"], len(speakers))
        numbered = speakers.dtype == np.int64 and np.array_equal(np.unique(speakers), np.arange(speakers.max(initial=-1) + 1))
        if not numbered or tests.dtype != bool or tests.shape != speakers.shape or found.shape[1] != vectors.shape[1]:
            raise ValueError("its reference does not fit together")
        reference = Reference(unit(found), speakers, tests, about["source"])
    return Book(about["weights"], entries, vectors, reference)


def _vectors(vectors: np.ndarray, count: int) -> np.ndarray:
    if vectors.ndim != 2 or len(vectors) != count or vectors.dtype.kind != "f" or not np.isfinite(vectors).all():
        raise ValueError(f"it has vectors of shape {vectors.shape} for {count} recordings, or some that are not finite")
    return vectors.astype(np.float32)
