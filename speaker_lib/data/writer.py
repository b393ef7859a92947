"""Writes a corpus in the HW4 layout: all of it or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..utils.errors import CorpusError, is_text, short_repr
from ..utils.files import explain_os_errors, tensor_bytes
from ..utils.progress import progress_bar
from .corpus import Corpus
from .hw4_format import MAPPING, METADATA, TESTDATA
from .packing import value_problem


class CorpusWriter:
    """Writes a data folder. A temporary ``folder`` beside ``out`` is renamed to ``out`` when the block ends well, else deleted.

    Raises CorpusError if ``out`` holds anything already, and WriteError if the operating system refuses a file.  Example::

        with CorpusWriter("data/mine", source="my own recordings") as writer:
            writer.add(mel, speaker="ada", session="monday.wav")
    """

    def __init__(self, out: str | os.PathLike[str], source: str, n_mels: int = 40) -> None:
        self.out, self.source, self.n_mels = Path(out), source, n_mels
        self.folder = self.out.absolute().with_name(f".{self.out.absolute().name}.{os.getpid()}.partial")
        self.speakers: dict[str, list[dict]] = {}  # the index entries of the labelled utterances, by speaker
        self.test: list[dict] = []  # those of the test set
        self._written = 0

    def __enter__(self) -> CorpusWriter:
        if self.out.is_symlink() or (self.out.exists() and not (self.out.is_dir() and not any(self.out.iterdir()))):
            raise CorpusError(f"{self.out} is there already: name another folder, or delete it first.")
        self._check_name(self.source)
        with explain_os_errors(self.out):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
        return self

    def add(
        self,
        mel: np.ndarray,
        speaker: str,
        session: str | None = None,
        recording: str | None = None,
        augmented_from: str | None = None,
    ) -> str:
        """A labelled utterance: ``mel`` (frames, n_mels) float32, natural log of mel power. Returns its file's name.

        ``session`` is the occasion on which it was recorded, ``recording`` the file that it was cut from, ``augmented_from`` the
        name that was returned for the clean utterance of an augmented copy.  Raises CorpusError.
        """
        self._check_name(speaker)
        entry = self._write(mel, session, recording)
        if augmented_from is not None:
            entry["augmented_from"] = augmented_from
        self.speakers.setdefault(speaker, []).append(entry)
        return entry["feature_path"]

    def add_test(
        self, mel: np.ndarray, session: str | None = None, recording: str | None = None, name: str | None = None
    ) -> None:
        """An utterance of the test set, without a label: ``mel`` as for `add`, and a file ``name``. Raises CorpusError."""
        self.test.append(self._write(mel, session, recording, name))

    def skip_name(self) -> None:
        """Leaves the next file name unused."""
        self._written += 1

    def write_index(self) -> None:
        """Writes the index files for ``speakers`` and ``test``, as also the end of the block does. Raises CorpusError."""
        if not self.speakers:
            raise CorpusError(f"there is no utterance to write to {self.out}: give it at least one speaker's.")
        ids = {name: i for i, name in enumerate(sorted(self.speakers))}
        indexes = {
            METADATA: {"n_mels": self.n_mels, "source": self.source, "speakers": self.speakers},
            MAPPING: {"speaker2id": ids, "id2speaker": {str(i): name for name, i in ids.items()}},
        }
        if self.test:
            indexes[TESTDATA] = {"n_mels": self.n_mels, "utterances": self.test}
        for name, index in indexes.items():
            with explain_os_errors(self.folder / name):
                (self.folder / name).write_text(json.dumps(index, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                self.write_index()
                with explain_os_errors(self.out):
                    self.folder.replace(self.out)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, mel: np.ndarray, session: str | None, recording: str | None, name: str | None = None) -> dict:
        origin = {key: name for key, name in (("session", session), ("recording", recording)) if name is not None}
        for given in origin.values():
            self._check_name(given)
        mel = np.ascontiguousarray(mel, dtype=np.float32)  # (frames, n_mels)
        if mel.ndim != 2 or mel.shape[1] != self.n_mels or not len(mel):
            raise CorpusError(f"an utterance of shape {mel.shape} does not fit {self.out}: it takes (frames, {self.n_mels}).")
        if problem := value_problem(mel):
            raise CorpusError(f"an utterance for {self.out} holds {problem}: leave it out.")
        if name is None:
            # HW4's names are 32 hexadecimal digits. The digest of a running number makes two runs of a command write the same.
            name = f"uttr-{hashlib.md5(str(self._written).encode(), usedforsecurity=False).hexdigest()}.pt"
            self._written += 1
        with explain_os_errors(self.folder / name):
            (self.folder / name).write_bytes(tensor_bytes(torch.from_numpy(mel.copy())))
        return {"feature_path": name, "mel_len": len(mel)} | origin

    def _check_name(self, name: str) -> None:
        if not is_text(name):
            raise CorpusError(f"the name {short_repr(name)} for {self.out} has characters that cannot be shown: choose another.")


def write_subset(corpus: Corpus, out: str | os.PathLike[str], n_speakers: int, n_utterances: int | None = None) -> None:
    """Writes the labelled utterances of the first ``n_speakers`` speakers (by class id) to ``out``, of each all or the first few.

    Augmented copies go with their clean utterances, and are not counted.  Raises CorpusError if ``out`` holds anything already.
    """
    utterances, taken, chosen = corpus.labelled, Counter(), []
    for i in utterances.clean.tolist():
        label = int(utterances.labels[i])
        if label < n_speakers and (n_utterances is None or taken[label] < n_utterances):
            taken[label] += 1
            chosen.append(i)
    chosen += utterances.copies_of(np.array(chosen)).tolist()  # after all the clean ones, which they name
    source = f"the first {n_speakers} of {corpus.source}"
    if n_utterances is not None:
        source = f"{n_utterances} utterances of each of {source}"
    with CorpusWriter(out, source, corpus.n_mels) as writer:
        copy_utterances(writer, corpus, chosen, "Subset")


def copy_utterances(writer: CorpusWriter, corpus: Corpus, chosen: Sequence[int], what: str) -> None:
    """Adds the labelled utterances ``chosen`` of a corpus, augmented copies after all the clean ones. Raises CorpusError."""
    utterances, written = corpus.labelled, {}
    with progress_bar(len(chosen), what, "uttr") as bar:
        for i in chosen:
            session, recording = (names and names[i] for names in (utterances.sessions, utterances.recordings))
            original = i if utterances.originals is None else int(utterances.originals[i])
            speaker = corpus.speakers[int(utterances.labels[i])]
            written[i] = writer.add(utterances.mel(i), speaker, session, recording, written.get(original))
            bar.update()
