"""Grades a submission against a key.  In: two CSV files with the columns Id and Category.  Out: which rows are right.

What could be meant in two ways is refused with one sentence.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..data.hw4_format import SUBMISSION_HEADER
from ..utils.errors import SpeakerError, short_repr
from ..utils.sheets import read_rows

LARGEST = 64 * 1024**2  # bytes; HW4's submission has 0.4 MB
Z = 1.959964  # of a normal distribution: 95 % lie within


class SubmissionError(SpeakerError):
    """A submission or a key that cannot be graded."""


@dataclass(frozen=True)
class Key:
    """The right answers."""

    answers: dict[str, str]  # the speaker by utterance
    speakers: frozenset[str]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Key:
        """The key in a CSV file. Raises SubmissionError."""
        answers = read_answers(path)
        return cls(answers, frozenset(answers.values()))


@dataclass(frozen=True)
class Grade:
    """Which utterances of the key a submission names right."""

    right: tuple[bool, ...]  # (utterances,), in the order of the key

    @property
    def n_right(self) -> int:
        """The number of utterances that are right."""
        return sum(self.right)

    @property
    def accuracy(self) -> float:
        """0 to 1."""
        return self.n_right / len(self.right)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy."""
        return wilson(self.n_right, len(self.right))


def grade(path: str | os.PathLike[str], key: Key) -> Grade:
    """Grades a submission. Raises SubmissionError unless it names a speaker of the key once for each of its utterances."""
    answers = read_answers(path)
    missing = [name for name in key.answers if name not in answers]
    unknown = [name for name in answers if name not in key.answers]
    strangers = [speaker for speaker in answers.values() if speaker not in key.speakers]
    _refuse(path, missing, "lacks utterances of the key", "write a line for each")
    _refuse(path, unknown, "has utterances that are not in the key", "predict the test set that belongs to it")
    _refuse(path, strangers, "names speakers who are not in the key", "write the names as in mapping.json")
    return Grade(tuple(answers[name] == speaker for name, speaker in key.answers.items()))


def read_answers(path: str | os.PathLike[str]) -> dict[str, str]:
    """The speaker by utterance in a CSV file, in its order. Raises SubmissionError."""
    try:
        rows = read_rows(Path(path), SubmissionError, "is no submission: `predict` writes one.", LARGEST)
    except OSError as error:
        raise SubmissionError(f"{path} cannot be read ({error.strerror}): check the path.") from None
    if not rows:
        raise SubmissionError(f"{path} is empty: `predict` writes a submission.")
    (_, header), *rows = rows
    if [name.casefold() for name in header] != [name.casefold() for name in SUBMISSION_HEADER]:
        raise SubmissionError(f"{path} begins with {short_repr(','.join(header))}, not with Id,Category: write these columns.")
    for line, row in rows:
        if len(row) != 2 or not all(row):
            what = f"{path}, line {line} is {short_repr(','.join(row))}, not an utterance and a speaker"
            raise SubmissionError(f"{what}: write two values in each line.")
    if not rows:
        raise SubmissionError(f"{path} has no lines below Id,Category: `predict` writes one for each utterance.")
    counts = Counter(name for _, (name, _) in rows)
    _refuse(path, [name for name, count in counts.items() if count > 1], "has several lines for utterances", "keep one of each")
    return {name: speaker for _, (name, speaker) in rows}


def _refuse(path: str | os.PathLike[str], names: list[str], what: str, advice: str) -> None:
    """Raises SubmissionError if there are ``names``, with their number and the first."""
    if names:
        raise SubmissionError(f"{path} {what} ({len(names):,}, the first is {short_repr(names[0])}): {advice}.")


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a fraction by its score (Wilson 1927), which stays between 0 and 1 also for few utterances."""
    fraction, z2 = n_right / n, Z**2 / n
    middle = (fraction + z2 / 2) / (1 + z2)
    half = Z / (1 + z2) * math.sqrt(fraction * (1 - fraction) / n + z2 / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def sign_test(first: Grade, other: Grade) -> float:
    """Two-sided p-value of the exact sign test on the utterances that only one of two submissions has right (McNemar 1947)."""
    won = sum(a > b for a, b in zip(first.right, other.right, strict=True))
    lost = sum(a < b for a, b in zip(first.right, other.right, strict=True))
    tail = sum(math.comb(won + lost, k) for k in range(min(won, lost) + 1))
    return min(1.0, 2 * tail / 2 ** (won + lost))
