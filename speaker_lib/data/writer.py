"""Writes a corpus in the HW4 layout: all of it or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from ..utils.errors import CorpusError, is_text, short_repr
from ..utils.files import explain_os_errors, tensor_bytes
from ..utils.progress import progress_bar
from .corpus import PARTS, Corpus, read_listings
from .hw4_format import MAPPING, METADATA, TESTDATA
from .packing import value_problem, write_pack


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
        are not as many as the entries say, and WriteError if the disk does not take them.
        """
        self._speakers, self._test = speakers, test
        self._write_index()
        for listing, part, blocks in zip(read_listings(self._temporary)[1:], PARTS, frames, strict=True):
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


def write_subset(corpus: Corpus, out: str | os.PathLike[str], n_speakers: int) -> None:
    """Writes the labelled utterances of the first ``n_speakers`` speakers (by class id) to ``out``.

    Raises CorpusError if ``out`` holds anything already.
    """
    utterances = corpus.labelled
    chosen = [i for i, label in enumerate(utterances.labels.tolist()) if label < n_speakers]
    source = f"the first {n_speakers} of {corpus.source}"
    with CorpusWriter(out, source, corpus.n_mels) as writer, progress_bar(len(chosen), "Subset", "uttr") as bar:
        for i in chosen:
            session = None if utterances.sessions is None else utterances.sessions[i]
            writer.add(utterances.mel(i), corpus.speakers[int(utterances.labels[i])], session)
            bar.update()
