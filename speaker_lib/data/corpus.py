"""The HW4 data folder as one object: ``Corpus.open("data/simulated").labelled.mel(0)`` is its first utterance.

In: a folder.  Out: frames (total frames, n_mels) with the offsets, labels and sessions of its utterances.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..utils.errors import CorpusError, escape_controls
from ..utils.language import translate_finished
from .hw4_format import METADATA, TESTDATA, Listing, read_mapping, read_metadata, read_testdata
from .packing import packed_frames

PARTS = ("labelled", "test")  # of a data set; their packs have these names


@dataclass(frozen=True)
class Utterances:
    """Utterances end to end in one array: utterance ``i`` is ``frames[offsets[i] : offsets[i + 1]]``."""

    frames: np.ndarray  # (total frames, n_mels) float16, memory-mapped: natural log of mel power, a frame per 10 ms
    offsets: np.ndarray  # (utterances + 1,) int64
    labels: np.ndarray  # (utterances,) int64, class ids; -1 in a test set
    sessions: tuple[str, ...] | None  # the occasion on which each utterance was recorded
    paths: tuple[str, ...]  # the file of each utterance in the data folder
    recordings: tuple[str, ...] | None = None  # the recording that each utterance was cut from
    originals: np.ndarray | None = None  # (utterances,) int64, the clean utterance of an augmented copy, else itself

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def lengths(self) -> np.ndarray:
        """(utterances,) int64, frames."""
        return np.diff(self.offsets)

    @property
    def clean(self) -> np.ndarray:
        """(n,) int64, the utterances that are no augmented copies: only these are held out or evaluated."""
        every = np.arange(len(self))  # (utterances,)
        return every if self.originals is None else every[self.originals == every]  # (n,)

    def copies_of(self, indices: np.ndarray) -> np.ndarray:
        """(n,) int64, all augmented copies of some clean utterances."""
        if self.originals is None:
            return np.zeros(0, dtype=np.int64)
        copies = np.isin(self.originals, indices) & (self.originals != np.arange(len(self)))  # (utterances,)
        return np.flatnonzero(copies)  # (n,)

    def mel(self, i: int) -> np.ndarray:
        """One whole utterance, (frames, n_mels) float32."""
        if not 0 <= i < len(self):
            raise IndexError(f"utterance {i} of {len(self)}")
        return self.frames[self.offsets[i] : self.offsets[i + 1]].astype(np.float32)


@dataclass(frozen=True)
class Corpus:
    """A data set in the HW4 layout: labelled utterances, and a test set without labels if there is one."""

    folder: Path
    speakers: tuple[str, ...]  # names by class id
    labelled: Utterances
    test: Utterances | None
    n_mels: int
    source: str  # a sentence on where the data come from, shown in every figure and table
    digest: str  # SHA-256 of the labelled listing and the speakers: the same digest means the same data

    def __reduce__(self) -> tuple[object, ...]:
        """Another process opens the folder itself, instead of being sent all the frames."""
        return Corpus.open, (self.folder,)

    @property
    def title(self) -> str:
        """``source`` in the reader's language, for a lesson to show."""
        return translate_finished(self.source)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Corpus:
        """Opens a data folder, and packs it the first time. Raises CorpusError with the file that cannot be used."""
        folder = Path(folder)
        speakers, metadata, testdata = read_listings(folder)
        return cls(
            folder=folder,
            speakers=speakers,
            labelled=_utterances(folder, metadata, PARTS[0]),
            test=_utterances(folder, testdata, PARTS[1]) if testdata else None,
            n_mels=metadata.n_mels,
            source=metadata.source or f"the data set in {escape_controls(folder.resolve().name)}",
            digest=hashlib.sha256("\n".join([metadata.digest, *speakers]).encode()).hexdigest(),
        )

    @property
    def n_speakers(self) -> int:
        """The number of classes."""
        return len(self.speakers)


def read_listings(folder: Path) -> tuple[tuple[str, ...], Listing, Listing | None]:
    """Speaker names by class id, the labelled listing, and the test listing or None. Raises CorpusError."""
    speakers = read_mapping(folder)
    metadata, testdata = read_metadata(folder, speakers), read_testdata(folder)
    if testdata and testdata.n_mels != metadata.n_mels:
        bands = f"{testdata.n_mels} mel bands and {METADATA} has {metadata.n_mels}"
        raise CorpusError(f"{folder / TESTDATA} has {bands}: fetch both again.")
    return speakers, metadata, testdata


def _utterances(folder: Path, listing: Listing, part: str) -> Utterances:
    frames = packed_frames(folder, listing, part)  # (total frames, n_mels)
    offsets = np.concatenate([[0], np.cumsum(listing.lengths)])  # (utterances + 1,)
    names = (listing.sessions, listing.paths, listing.recordings)
    return Utterances(frames, offsets, listing.labels, *names, listing.originals)
