"""Trials of speaker verification: pairs of one speaker (targets) and of two (non-targets), drawn or read from a file."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..data.corpus import Corpus
from ..utils.errors import ConfigError, CorpusError, first_line, short_repr


@dataclass(frozen=True)
class Trials:
    """Pairs of labelled utterances of a corpus."""

    first: np.ndarray  # (trials,) int64, one utterance of each pair
    second: np.ndarray  # (trials,) int64, the other utterance
    same: np.ndarray  # (trials,) bool, whether both are of one speaker
    rule: str  # how the pairs were chosen, in words

    def __len__(self) -> int:
        return len(self.same)


def draw_trials(
    corpus: Corpus, utterances: torch.Tensor, count: int = 20_000, seed: int = 0, within_sessions: bool = False
) -> Trials:
    """At most ``count`` different pairs of the labelled ``utterances`` (n,), half of them of one speaker, half of two.

    Every possible pair is equally likely.  If the corpus names sessions, the two utterances of one speaker come from different
    ones: within a session they share the room and the microphone, which are easier to recognise than a voice.
    ``within_sessions`` allows such pairs, of two recordings where the data name them.  Raises ConfigError for a count below 2 or
    a seed below 0, CorpusError if no pair of a kind is possible.
    """
    for name, value, least in (("trials", count, 2), ("seed", seed, 0)):
        if value < least:
            raise ConfigError(f"{name} is {value}: choose a whole number from {least} up.")
    chosen, sessions = utterances.numpy(), corpus.labelled.sessions
    if within_sessions:
        sessions = corpus.labelled.recordings
    speakers = corpus.labelled.labels[chosen]  # (n,)
    groups = np.arange(len(chosen))  # (n,) without sessions every utterance counts as one
    if sessions is not None:
        groups = np.unique([sessions[i] for i in chosen], return_inverse=True)[1]  # (n,)
    keys = speakers * len(chosen) + groups  # (n,) one number per speaker and session
    order = np.argsort(keys, kind="stable")  # (n,) by speaker, then by session
    chosen, speakers, keys = chosen[order], speakers[order], keys[order]
    end_of_speaker = np.searchsorted(speakers, speakers, side="right")  # (n,)
    end_of_session = np.searchsorted(keys, keys, side="right")  # (n,)
    targets = end_of_speaker - end_of_session  # (n,) how many later utterances form a target with this one
    others = len(chosen) - end_of_speaker  # (n,) how many form a non-target
    if not targets.sum():
        what = "utterances" if sessions is None else "utterances from two sessions"
        advice = "use other data, or --all" if within_sessions else "allow one session (--within-sessions), or use --all"
        raise CorpusError(f"no speaker in the utterances of {corpus.folder} to compare has two {what}: {advice}, or --pairs.")
    if not others.sum():
        raise CorpusError(f"{corpus.folder} has utterances of one speaker only to compare: use other data, or --all.")
    half = int(min(count // 2, targets.sum(), others.sum()))
    rng = np.random.default_rng(seed)
    pairs = [_draw(counts, first, half, rng) for counts, first in ((targets, end_of_session), (others, end_of_speaker))]
    first, second = chosen[np.concatenate(pairs, axis=1)]  # (2 * half,) each
    rule = "pairs of one speaker are from two sessions" if sessions is not None else "sessions are not known"
    if within_sessions:
        rule = "pairs of one speaker may be from one session, which is easier"
    return Trials(first, second, np.repeat([True, False], half), f"drawn with seed {seed}, {rule}")


def read_trials(path: str | os.PathLike[str], corpus: Corpus) -> Trials:
    """The pairs of a file in VoxCeleb's format, one line ``label path path`` per pair: 1 for one speaker, 0 for two.

    A path is one in the corpus's metadata.json, or a recording or ``speaker/session`` that it names, if that is one utterance.
    Raises CorpusError naming the file and the line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read ({first_line(error)}): name a file of lines like `1 path path`.") from error
    names = _utterances_by_name(corpus)
    trials = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                trials.append(_trial(line, names, corpus.labelled.labels))
            except ValueError as problem:
                raise CorpusError(f"{path}, line {number} {problem}: write it as `1 path path` or `0 path path`.") from None
    columns = np.array(trials, dtype=np.int64).reshape(-1, 3)  # (trials, 3)
    if len(set(columns[:, 0])) < 2:
        raise CorpusError(f"{path} needs pairs of one speaker (1) and of two (0), but one kind is missing: add it.")
    return Trials(columns[:, 1], columns[:, 2], columns[:, 0].astype(bool), f"the pairs in {path.name}")


def utterance_names(corpus: Corpus) -> list[str]:
    """Names for people to read: the recording as the data name it, else ``speaker/session``, else the file in the data folder."""
    utterances = corpus.labelled
    if utterances.recordings is not None:
        return list(utterances.recordings)
    if utterances.sessions is None:
        return list(utterances.paths)
    return [f"{corpus.speakers[k]}/{session}" for k, session in zip(utterances.labels, utterances.sessions, strict=True)]


def _utterances_by_name(corpus: Corpus) -> dict[str, list[int]]:
    """The utterances that a trial list may mean by a name: a path, a recording, or either name of `speaker/session`."""
    utterances, names = corpus.labelled, utterance_names(corpus)
    found: dict[str, list[int]] = {}
    for i, (path, name, label) in enumerate(zip(utterances.paths, names, utterances.labels, strict=True)):
        speaker = corpus.speakers[label]
        keys = {path, name, f"{speaker}/{name}"}
        if utterances.sessions is not None:
            keys.add(f"{speaker}/{utterances.sessions[i]}")
        for key in keys:
            found.setdefault(key, []).append(i)
    return found


def _trial(line: str, names: dict[str, list[int]], labels: np.ndarray) -> tuple[bool, int, int]:
    """Raises ValueError saying what is wrong with a line."""
    words = line.split()
    if len(words) != 3 or words[0] not in ("0", "1"):
        raise ValueError(f"is {short_repr(line)}")
    for name in words[1:]:
        if name not in names:
            raise ValueError(f"names {short_repr(name)}, which is no labelled utterance of the data")
        if (count := len(names[name])) > 1:
            raise ValueError(f"names {short_repr(name)}, which {count} utterances of the data were cut from")
    same, first, second = words[0] == "1", *(names[name][0] for name in words[1:])
    if first == second:
        raise ValueError("compares an utterance with itself")
    if same != (labels[first] == labels[second]):
        raise ValueError(f"says {words[0]}, against the speakers in the data")
    return same, first, second


def _draw(counts: np.ndarray, first: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(2, size) different pairs: i with one of the ``counts[i]`` places from ``first[i]`` on, all pairs equally likely."""
    ends = np.cumsum(counts)  # (n,) where the pairs of i end in the list of all possible pairs
    ranks = rng.choice(ends[-1], size, replace=False)  # (size,)
    i = np.searchsorted(ends, ranks, side="right")  # (size,)
    return np.stack([i, first[i] + ranks - (ends[i] - counts[i])])  # (2, size)
