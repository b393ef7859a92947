"""Enrolment: people are added by a few recordings, without training, and recognised among them, or as nobody of them.

A recording's score for a person is the cosine between its embedding and the person's enrolment mean, normalised against a cohort
where there is one.  It is accepted from a threshold on that is calibrated on people who are not in the book, a `Reference`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..data.corpus import Corpus
from ..data.splits import can_hold_out_sessions, split_utterances
from ..sound.features import FRAMES_PER_SECOND
from ..training.run import Run
from ..utils.errors import ConfigError, CorpusError, SpeakerError
from .book import Book, Entry, Reference, unit
from .embeddings import embed
from .recordings import SHORTEST, SHORTEST_ENROLMENT, embed_recording, open_model, read_recording, read_recordings

COHORT = 20  # the nearest people of the cohort, by which a score is normalised
LEAST_COHORT = 40  # people: mean and deviation of the nearest of fewer would be too uncertain
FALSE_ACCEPTS = 0.05
MOST_SPEAKERS, MOST_EACH = 200, 5  # of a reference: speakers, and utterances of each to enrol by and to test
_LEAST_SPEAKERS = 4
_DRAWS = 100  # simulated books


@dataclass(frozen=True)
class Threshold:
    """A threshold and the error rates it stands for, counted on simulated books of the reference's people."""

    score: float
    false_accepts: float  # fraction of the tests of strangers that are taken for somebody in the book
    false_rejects: float  # fraction of the tests of enrolled people that are rejected or taken for another
    n_people: int  # in a simulated book
    n_recordings: int  # of each person, at most
    n_tests: int  # utterances; each is a stranger's in some books and an enrolled person's in others


@dataclass(frozen=True)
class Recognised:
    """The scores of a recording for the people in a book, highest first."""

    recording: str
    seconds: float  # of speech, after pauses were removed
    scores: tuple[tuple[str, float], ...]

    def name(self, threshold: float) -> str | None:
        """The person with the highest score, or None if that is below the threshold."""
        name, score = self.scores[0]
        return name if score >= threshold else None


def make_entries(
    run: Run, name: str, recordings: Iterable[str | os.PathLike[str]], device: torch.device, shortest: float = SHORTEST_ENROLMENT
) -> tuple[list[Entry], np.ndarray]:
    """A person's recordings for a book, and their unit vectors, (recordings, d).

    Raises SpeakerError for one that cannot be used, or with less than ``shortest`` seconds of speech.
    """
    model, entries, vectors = open_model(run, device), [], []
    for path in map(Path, recordings):
        mels = read_recording(path, shortest)  # (frames, n_mels)
        content = hashlib.sha256(mels.tobytes()).hexdigest()
        entries.append(Entry(name, path.name, content, len(mels) / FRAMES_PER_SECOND))
        vectors.append(embed_recording(model, mels, device))
    return entries, np.stack(vectors)  # (recordings, d)


def make_reference(run: Run, corpus: Corpus, device: torch.device) -> Reference:
    """The embeddings of a corpus's people: of the run's own, or better of others, whom it was not trained on.

    Raises CorpusError for fewer than four people, RunError if the corpus has other mel bands than the run.
    """
    chosen, speakers, tests = reference_utterances(run, corpus)
    found = embed(run, corpus, torch.from_numpy(chosen), device)
    own = corpus.digest == run.data.digest
    kind = "held-out utterances of the training data's people" if own else "utterances of people whom the run was not trained on"
    return Reference(unit(found.vectors), speakers, tests, f"{kind}, {corpus.source}")


def reference_utterances(run: Run, corpus: Corpus) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The utterances of a `Reference`, (n,), a number for the speaker of each, (n,), and which are tests, (n,) bool.

    In the run's own corpus the held-out utterances are tests, and one enrols by some that were trained on; in another the
    sessions of each speaker are divided, or the utterances where no sessions are known.
    """
    labels, config, own = corpus.labelled.labels, run.preset.train, corpus.digest == run.data.digest
    if not own:
        split = "session" if can_hold_out_sessions(corpus.labelled) else "random"
        config = replace(config, split=split, valid_fraction=0.5)
    rng = np.random.default_rng(0)
    sides = [
        rng.permutation(np.intersect1d(side, corpus.labelled.clean))  # (n,) without augmented copies
        for side in split_utterances(corpus.labelled, config)  # to enrol by; tests
    ]
    new = [k for k, name in enumerate(corpus.speakers) if own or name not in run.data.speakers]
    first, second = (np.intersect1d(labels[side], new) for side in sides)  # the people on each side
    both = np.intersect1d(first, second)
    if len(both) < _LEAST_SPEAKERS:
        which = "" if own else " whose names the run's training data do not have"
        problem = f"{corpus.folder} has {len(both)} people{which} with an utterance to enrol by and another to test"
        raise CorpusError(f"{problem}, and a threshold takes {_LEAST_SPEAKERS}: use --data of more people.")
    order = np.concatenate([rng.permutation(both), np.setdiff1d(first, both)])  # (speakers,) the others are in the cohort only
    people = np.sort(order[:MOST_SPEAKERS])  # (speakers,)
    parts = [np.concatenate([side[labels[side] == k][:MOST_EACH] for k in people]) for side in sides]  # (n,) each
    chosen = np.concatenate(parts)  # (n,)
    tests = np.repeat([False, True], [len(part) for part in parts])  # (n,)
    return chosen, np.searchsorted(people, labels[chosen]), tests


def find_reference(run: Run, data: str | os.PathLike[str] | None, device: torch.device) -> Reference:
    """`make_reference` of a data folder, by default the run's own. Raises CorpusError if that is not there, or has changed."""
    if data is not None:
        return make_reference(run, Corpus.open(data), device)
    try:
        corpus = Corpus.open(run.data.folder)
    except CorpusError:
        corpus = None
    if corpus is None or corpus.digest != run.data.digest:
        raise CorpusError(
            f"the training data are not in {run.data.folder} any more: name them, or data of other people, with --data."
        )
    return make_reference(run, corpus, device)


def compare(
    run: Run, recordings: tuple[str | os.PathLike[str], str | os.PathLike[str]], reference: Reference | None, device: torch.device
) -> float:
    """The score of two recordings for being one person's. Raises SpeakerError."""
    _, vectors = make_entries(run, "", recordings, device, SHORTEST)  # (2, d)
    return float(score_people(vectors[:1], vectors[1:], cohort_of(reference))[0, 0])


def calibrate(
    reference: Reference, n_people: int, n_recordings: int, false_accepts: float = FALSE_ACCEPTS, normalised: bool = True
) -> Threshold:
    """The threshold that so large a fraction of strangers' tests exceeds, for a book of that size.

    Each of a hundred simulated books enrols ``n_people`` of the reference's people, at most half of those who have tests, by at
    most ``n_recordings`` utterances.  The others are the strangers: the more people in a book, the likelier is one of them like
    a stranger.  ``normalised`` is false for plain cosines although the reference has a cohort.  Raises ConfigError for a rate
    that is not between 0 and 1.
    """
    if not 0 < false_accepts < 1:
        raise ConfigError(f"false-accepts is {false_accepts}: choose a fraction between 0 and 1, such as 0.05.")
    speakers, tests = reference.speakers, np.flatnonzero(reference.tests)
    testable = np.unique(speakers[tests])  # (speakers,)
    n_people = max(1, min(n_people, len(testable) // 2))
    cohort, rng = cohort_of(reference) if normalised else None, np.random.default_rng(0)
    strangers, own, right = [], [], []
    for _ in range(_DRAWS):
        enrolled = rng.permutation(testable)[:n_people]  # (people,)
        pools = (rng.permutation(np.flatnonzero((speakers == k) & ~reference.tests)) for k in enrolled)
        means = np.stack([unit(reference.vectors[pool[:n_recordings]].mean(axis=0)) for pool in pools])  # (people, d)
        scores = score_people(reference.vectors[tests], means, cohort, speakers[tests], enrolled)  # (tests, people)
        known = np.isin(speakers[tests], enrolled)  # (tests,)
        best = scores.max(axis=1)  # (tests,)
        strangers.append(best[~known])
        own.append(best[known])
        right.append((enrolled[scores.argmax(axis=1)] == speakers[tests])[known])
    strangers, own, right = map(np.concatenate, (strangers, own, right))
    score = float(np.quantile(strangers, 1 - false_accepts))
    rejects = float(1 - (right & (own >= score)).mean())
    return Threshold(score, float((strangers >= score).mean()), rejects, n_people, n_recordings, len(tests))


def score_people(
    tests: np.ndarray,
    means: np.ndarray,
    cohort: np.ndarray | None,
    test_speakers: np.ndarray | None = None,
    mean_speakers: np.ndarray | None = None,
) -> np.ndarray:
    """The scores (tests, people) of unit vectors ``tests`` (tests, d) for enrolment ``means`` (people, d).

    Without a ``cohort`` they are cosines.  With one, (cohort, d), they are normalised adaptively (AS-norm 1 of Matejka et al.
    2017, "Analysis of score normalization in multilingual speaker recognition", section 2): a cosine minus the mean, divided by
    the deviation, of those with the `COHORT` nearest people; once with the test's, once with the mean's, and the two averaged.
    ``test_speakers`` (tests,) and ``mean_speakers`` (people,) are rows of the cohort that do not count for their own scores.
    """
    scores = tests @ means.T  # (tests, people)
    if cohort is None:
        return scores
    at, spread = _nearest(tests @ cohort.T, test_speakers)  # (tests,) each
    mean_at, mean_spread = _nearest(means @ cohort.T, mean_speakers)  # (people,) each
    return ((scores - at[:, None]) / spread[:, None] + (scores - mean_at) / mean_spread) / 2  # (tests, people)


def cohort_of(reference: Reference | None) -> np.ndarray | None:
    """The mean of each speaker's utterances to enrol by, (cohort, d) unit vectors; None for fewer than `LEAST_COHORT`."""
    if reference is None or reference.n_speakers < LEAST_COHORT:
        return None
    speakers = np.where(reference.tests, -1, reference.speakers)  # (utterances,)
    return np.stack([unit(reference.vectors[speakers == k].mean(axis=0)) for k in range(reference.n_speakers)])  # (cohort, d)


def recognise(
    run: Run, book: Book, recordings: Sequence[str | os.PathLike[str]], device: torch.device, most: int = 5
) -> Iterator[Recognised | SpeakerError]:
    """The ``most`` similar people of the book for each recording, or the problem that it has. Raises RunError, ConfigError."""
    if not book.entries:
        raise ConfigError("the book is empty: add somebody with `enrol --name NAME RECORDING …`.")
    model, people, means, cohort = open_model(run, device), book.people, book.means(), cohort_of(book.reference)

    def answer(path: Path, mels: np.ndarray) -> Recognised:
        scores = score_people(embed_recording(model, mels, device)[None], means, cohort)[0]  # (people,)
        best = [(people[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")[:most]]
        return Recognised(str(path), len(mels) / FRAMES_PER_SECOND, tuple(best))

    return read_recordings(recordings, answer)


def _nearest(cosines: np.ndarray, own: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the `COHORT` highest of cosines (n, cohort), (n,) each, without column ``own`` (n,) of each row."""
    cosines = np.array(cosines)  # (n, cohort)
    if own is not None:
        cosines[np.arange(len(own)), own] = -np.inf
    nearest = np.sort(cosines, axis=1)[:, -COHORT:]  # (n, COHORT)
    return nearest.mean(axis=1), np.maximum(nearest.std(axis=1), 1e-6)
