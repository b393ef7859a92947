"""A test set that does not give its speakers away, and its key.  In: labelled utterances.  Out: a folder to hand out, a CSV.

The order and the file names of the test set follow from a seed.  Nothing of the seed is written, so it, like the key, stays with
the instructor: whoever has it and the same data can make the key again.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..config.schema import TrainConfig
from ..utils.errors import ConfigError, CorpusError, short_repr
from ..utils.files import write_csv
from .corpus import Corpus, Utterances
from .hw4_format import SUBMISSION_HEADER
from .splits import split_utterances
from .writer import CorpusWriter, copy_utterances

FEWEST_SEED, LARGEST_SEED = 10**17, 2**63 - 1  # a shorter seed could be found by trying them all


def secret_seed(seed: int | None = None) -> int:
    """``seed``, or one drawn at random. Raises ConfigError for one that is short enough to be found."""
    if seed is None:
        return FEWEST_SEED + secrets.randbelow(LARGEST_SEED - FEWEST_SEED)
    if not FEWEST_SEED <= seed <= LARGEST_SEED:
        raise ConfigError(f"test-seed is {seed}: choose a number of 18 digits, or leave it out and one is drawn.")
    return seed


def check_key(key: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Raises ConfigError if ``key`` is there already, or lies in ``out``, the folder that is handed out."""
    if Path(key).resolve().is_relative_to(Path(out).resolve()):
        raise ConfigError(f"the key {key} lies in {out}, which students get: name a file elsewhere.")
    if os.path.lexists(key):
        raise ConfigError(f"{key} is there already, maybe the key of another test set: name another file, or delete it first.")


def write_key(key: str | os.PathLike[str], rows: Sequence[tuple[str, str]]) -> None:
    """Writes what `add_hidden` returned, in the format of a submission. Raises WriteError."""
    write_csv(key, SUBMISSION_HEADER, rows)


def add_hidden(writer: CorpusWriter, utterances: Sequence[tuple[np.ndarray, str]], seed: int) -> list[tuple[str, str]]:
    """Adds utterances, each (frames, n_mels) and its speaker, to the test set; returns the file name and the speaker of each.

    A name is a digest of the seed and a running number, and the names are sorted: neither they nor the order nor the times at
    which the files are written tell anything.  Sessions and recordings are left out.  Raises CorpusError.
    """
    names = [hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()[:32] for number in range(len(utterances))]
    rows = []
    for name, number in sorted(zip(names, range(len(names)), strict=True)):
        mel, speaker = utterances[number]
        writer.add_test(mel, name=f"uttr-{name}.pt")
        rows.append((writer.test[-1]["feature_path"], speaker))
    return rows


@dataclass(frozen=True)
class HeldOut:
    """What `hold_out` did."""

    n_labelled: int  # utterances left to train on, without augmented copies
    n_test: int
    n_speakers: int
    n_apart: int  # speakers who have whole sessions held out


def hold_out(
    corpus: Corpus, out: str | os.PathLike[str], key: str | os.PathLike[str], fraction: float = 0.1, seed: int | None = None
) -> HeldOut:
    """Writes a corpus to hand out, in which a random ``fraction`` of each speaker's utterances is a test set, and its ``key``.

    Of a speaker with several sessions whole sessions are held out.  A test set that ``corpus`` has is left out.  Raises
    CorpusError if ``out`` holds anything already or a speaker has one utterance, ConfigError for settings that make no sense.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"fraction is {fraction}: choose a number between 0 and 1.")
    check_key(key, out)
    seed, utterances = secret_seed(seed), corpus.labelled
    grouped, n_apart = _grouped(corpus)
    split_seed = int(hashlib.sha256(f"{seed}/split".encode()).hexdigest()[:7], 16)  # does not tell the seed
    config = TrainConfig(split="session", valid_fraction=fraction, split_seed=split_seed)
    training, test = (part.numpy() for part in split_utterances(grouped, config))
    clean, copies = np.intersect1d(training, utterances.clean), np.setdiff1d(training, utterances.clean)  # in their order
    source = f"{len(clean):,} of the utterances of {corpus.source}"
    with CorpusWriter(out, source, corpus.n_mels) as writer:
        copy_utterances(writer, corpus, [*clean.tolist(), *copies.tolist()], "Hold out")
        hidden = [(utterances.mel(i), corpus.speakers[utterances.labels[i]]) for i in np.sort(test).tolist()]
        write_key(key, add_hidden(writer, hidden, seed))
    return HeldOut(len(clean), len(test), corpus.n_speakers, n_apart)


def _grouped(corpus: Corpus) -> tuple[Utterances, int]:
    """The labelled utterances, each of a speaker with one session as a session of its own; and how many have several."""
    utterances, sessions = corpus.labelled, defaultdict(set)
    for label, session in zip(utterances.labels.tolist(), utterances.sessions or (), strict=False):
        sessions[label].add(session)
    own = utterances.paths if utterances.originals is None else [utterances.paths[i] for i in utterances.originals]
    apart = [len(sessions[label]) > 1 for label in utterances.labels.tolist()]
    names = tuple(utterances.sessions[i] if several else own[i] for i, several in enumerate(apart))
    counts = Counter(utterances.labels[utterances.clean].tolist())
    for label, speaker in enumerate(corpus.speakers):
        if counts[label] < 2:
            problem = f"{corpus.folder}: speaker {short_repr(speaker)} has {counts[label]} utterances, too few to hold one out"
            raise CorpusError(f"{problem}: prepare the data with more, or cut recordings with --chunk.")
    return replace(utterances, sessions=names), sum(len(found) > 1 for found in sessions.values())
