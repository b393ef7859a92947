"""The HW4 data folder as one object. Opening it checks it; after that everything is slicing.

Example::

    corpus = Corpus.open("data/simulated")
    corpus.labelled.mel(0).shape  # (435, 40)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..utils.errors import CorpusError, escape_controls, is_text, short_repr
from ..utils.files import explain_os_errors, tensor_bytes
from ..utils.progress import progress_bar
from .hw4_format import MAPPING, METADATA, TESTDATA, Listing, read_mapping, read_metadata, read_testdata
from .packing import (
    find_pack,
    pack_differences,
    pack_problems,
    packed_frames,
    read_feature,
    size_problems,
    value_problem,
    write_pack,
)

_PARTS = ("labelled", "test")  # what their packs are called


@dataclass(frozen=True)
class Utterances:
    """Utterances end to end in one array: number i is ``frames[offsets[i] : offsets[i + 1]]``."""

    frames: np.ndarray  # (total frames, n_mels) float16, memory-mapped: the natural log of mel power, a frame per 10 ms
    offsets: np.ndarray  # (utterances + 1,) int64
    labels: np.ndarray  # (utterances,) int64, class ids; -1 in a test set
    sessions: tuple[str, ...] | None  # the recording each utterance was cut from
    paths: tuple[str, ...]  # its file in the data folder

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def lengths(self) -> np.ndarray:
        """(utterances,) int64, frames."""
        return np.diff(self.offsets)

    def mel(self, i: int) -> np.ndarray:
        """One whole utterance, (frames, n_mels) float32."""
        if not 0 <= i < len(self):
            raise IndexError(f"utterance {i} of {len(self)}")
        return self.frames[self.offsets[i] : self.offsets[i + 1]].astype(np.float32)


@dataclass(frozen=True)
class Corpus:
    """A data set in the HW4 layout: labelled utterances, and perhaps a test set without labels."""

    folder: Path
    speakers: tuple[str, ...]  # names by class id
    labelled: Utterances
    test: Utterances | None
    n_mels: int
    source: str  # a sentence on where the data come from, for every figure and table made of them
    digest: str  # of the labelled listing and the speakers: two corpora with one digest are the same data

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Corpus:
        """Opens a data folder and packs it if that was not done yet.

        Raises CorpusError naming the file that cannot be used and what to do.
        """
        folder = Path(folder)
        speakers, metadata, testdata = _read_listings(folder)
        return cls(
            folder=folder,
            speakers=speakers,
            labelled=_utterances(folder, metadata, _PARTS[0]),
            test=_utterances(folder, testdata, _PARTS[1]) if testdata else None,
            n_mels=metadata.n_mels,
            source=metadata.source or f"the data set in {escape_controls(folder.resolve().name)}",
            digest=hashlib.sha256("\n".join([metadata.digest, *speakers]).encode()).hexdigest(),
        )

    @property
    def n_speakers(self) -> int:
        """How many classes there are."""
        return len(self.speakers)


def check_corpus(folder: str | os.PathLike[str]) -> tuple[str, list[str]]:
    """Reads every file of a data folder: a summary, and a sentence per feature that cannot be used. Writes nothing.

    Where the pack is there and none of the files that it would be made from, the pack is read instead; where both are there,
    a sample of the pack is compared with its files.
    Raises CorpusError if the index files themselves cannot be used.
    """
    folder = Path(folder)
    speakers, metadata, testdata = _read_listings(folder)
    problems = []
    for listing, part in zip((metadata, testdata), _PARTS, strict=True):
        if listing is None:
            continue
        bad = size_problems(folder, listing)
        with progress_bar(len(listing), "Check", "uttr") as bar:
            if len(bad) == len(listing) and find_pack(folder, listing, part):
                for _, problem in pack_problems(folder, listing, part):
                    problems += [problem] * (problem is not None)
                    bar.update()
                continue
            problems += bad.values()
            for name, length in zip(listing.paths, listing.lengths.tolist(), strict=True):
                try:
                    if name not in bad:
                        read_feature(folder / name, length, listing.n_mels)
                except CorpusError as problem:
                    problems.append(str(problem))
                bar.update()
        problems += pack_differences(folder, listing, part)
    return _summary(folder, speakers, metadata, testdata), problems


class CorpusWriter:
    """Writes the HW4 layout: into a folder beside ``out``, which takes that name when the block ends well.

    Example::

        with CorpusWriter("data/mine", source="my own recordings") as writer:
            writer.add(mel, speaker="ada", session="monday.wav")
    """

    def __init__(self, out: str | os.PathLike[str], source: str, n_mels: int = 40) -> None:
        self.out, self.source, self.n_mels = Path(out), source, n_mels
        self._temporary = self.out.absolute().with_name(f".{self.out.absolute().name}.{os.getpid()}.partial")
        self._speakers: dict[str, list[dict]] = {}
        self._test: list[dict] = []
        self._written = 0

    def __enter__(self) -> CorpusWriter:
        refuse_existing(self.out)
        self._check_name(self.source)
        with explain_os_errors(self.out):
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary.mkdir(parents=True)
        return self

    def add(self, mel: np.ndarray, speaker: str, session: str | None = None) -> None:
        """A labelled utterance: ``mel`` (frames, n_mels) float32, natural log of mel power."""
        self._check_name(speaker)
        self._speakers.setdefault(speaker, []).append(self._write(mel, session))

    def add_test(self, mel: np.ndarray, session: str | None = None) -> None:
        """An utterance of the test set, without a label."""
        self._test.append(self._write(mel, session))

    def write_packed(self, speakers: dict[str, list[dict]], test: list[dict], frames: Iterable[Iterable[np.ndarray]]) -> None:
        """All utterances at once, as packs in place of the feature files.

        ``speakers`` and ``test`` are the entries of the index files; ``frames`` gives the blocks of the labelled utterances,
        then those of the test set, each block (frames, n_mels) float16, natural log of mel power.  Raises CorpusError if they
        are not as many as the entries say or the disk has no room, and WriteError if it does not take them.
        """
        self._speakers, self._test = speakers, test
        self._write_index()
        for listing, part, blocks in zip(_read_listings(self._temporary)[1:], _PARTS, frames, strict=True):
            if listing is not None:
                write_pack(self._temporary, listing, part, blocks)

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                self._write_index()
                with explain_os_errors(self.out):
                    self._temporary.replace(self.out)
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _write(self, mel: np.ndarray, session: str | None) -> dict:
        self._check_name(session or "")
        mel = np.ascontiguousarray(mel, dtype=np.float32)
        if mel.ndim != 2 or mel.shape[1] != self.n_mels or not len(mel):
            raise CorpusError(f"an utterance of shape {mel.shape} does not fit {self.out}: it takes (frames, {self.n_mels}).")
        if problem := value_problem(mel):
            raise CorpusError(f"an utterance for {self.out} holds {problem}: leave it out.")
        # HW4's names are 32 hexadecimal digits; numbering them keeps two runs of the same command equal.
        name = f"uttr-{hashlib.md5(str(self._written).encode(), usedforsecurity=False).hexdigest()}.pt"
        self._written += 1
        with explain_os_errors(self._temporary / name):
            (self._temporary / name).write_bytes(tensor_bytes(torch.from_numpy(mel.copy())))
        return {"feature_path": name, "mel_len": len(mel)} | ({} if session is None else {"session": session})

    def _check_name(self, name: str) -> None:
        if not is_text(name):
            raise CorpusError(f"the name {short_repr(name)} for {self.out} has characters that cannot be shown: choose another.")

    def _write_index(self) -> None:
        if not self._speakers:
            raise CorpusError(f"there is no utterance to write to {self.out}: give it at least one speaker's.")
        names = sorted(self._speakers)
        indexes = {
            METADATA: {"n_mels": self.n_mels, "source": self.source, "speakers": self._speakers},
            MAPPING: {
                "speaker2id": {name: i for i, name in enumerate(names)},
                "id2speaker": {str(i): name for i, name in enumerate(names)},
            },
        }
        if self._test:
            indexes[TESTDATA] = {"n_mels": self.n_mels, "utterances": self._test}
        for name, index in indexes.items():
            with explain_os_errors(self._temporary / name):
                (self._temporary / name).write_text(json.dumps(index, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def refuse_existing(out: str | os.PathLike[str]) -> None:
    """Raises CorpusError if ``out`` holds anything: no command of the kit writes over what is there."""
    out = Path(out)
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise CorpusError(f"{out} is there already: name another folder, or delete it first.")


def _read_listings(folder: Path) -> tuple[tuple[str, ...], Listing, Listing | None]:
    speakers = read_mapping(folder)
    metadata, testdata = read_metadata(folder, speakers), read_testdata(folder)
    if testdata and testdata.n_mels != metadata.n_mels:
        raise CorpusError(
            f"{folder / TESTDATA} has {testdata.n_mels} mel bands and {METADATA} has {metadata.n_mels}: fetch both again."
        )
    return speakers, metadata, testdata


def _utterances(folder: Path, listing: Listing, name: str) -> Utterances:
    return Utterances(
        frames=packed_frames(folder, listing, name),
        offsets=np.concatenate([[0], np.cumsum(listing.lengths)]),  # (utterances + 1,)
        labels=listing.labels,
        sessions=listing.sessions,
        paths=listing.paths,
    )


def _summary(folder: Path, speakers: tuple[str, ...], metadata: Listing, testdata: Listing | None) -> str:
    lengths = metadata.lengths
    n_test = f"{len(testdata):,}" if testdata else "none"
    sessions = len(set(zip(metadata.labels.tolist(), metadata.sessions, strict=True))) if metadata.sessions else None
    return "\n".join(
        [
            f"{folder}: {metadata.source or 'no source is given'}",
            f"{len(speakers):,} speakers, {len(metadata):,} labelled utterances, {n_test} for the test set",
            f"{lengths.sum() / 360_000:.1f} hours; frames of 10 ms per utterance: min {lengths.min():,}, "
            f"median {np.median(lengths):,.0f}, max {lengths.max():,}; {metadata.n_mels} mel bands",
            f"{sessions:,} sessions" if sessions else "no sessions are given, so train.split=session is not possible",
        ]
    )
