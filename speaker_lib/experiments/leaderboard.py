"""A leaderboard of submissions.  In: a folder of CSV files and a key.  Out: their ranks.

A submission is compared with the first on the same utterances, and the comparisons are corrected together: a small lead
may be chance.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..evaluation.grading import Grade, Key, SubmissionError, grade, sign_test
from ..utils.errors import escape_controls
from ..utils.text import text_table
from .conclusions import holm

SUBMISSION = "submission.csv"


@dataclass(frozen=True)
class Place:
    """A submission's place on a leaderboard."""

    name: str
    grade: Grade
    rank: int | None  # None for a reference; submissions that are right equally often share one
    behind: bool | None  # whether it is significantly behind the first; None for rank 1 and a reference

    @property
    def remark(self) -> str:
        """What its rank does not say."""
        if self.rank is None:
            return "reference"
        return "not clearly behind the first" if self.behind is False else ""


@dataclass(frozen=True)
class Leaderboard:
    """Every submission below a folder, the best first."""

    places: tuple[Place, ...]
    refused: tuple[str, ...]  # a sentence for each file that could not be graded
    n_utterances: int
    n_speakers: int

    @property
    def guessing(self) -> float:
        """The expected accuracy of naming any of the speakers."""
        return 1 / self.n_speakers

    @property
    def summary(self) -> str:
        """What was asked of everybody, in a sentence."""
        asked = f"{self.n_utterances:,} utterances of {self.n_speakers:,} speakers"
        return f"{asked}; guessing is right in {self.guessing:.4f} of cases."

    def __str__(self) -> str:
        """A line per submission, for the terminal."""
        rows = [(f"{'rank':>4}  name", "accuracy", "95 % (Wilson)", "right", "")]
        for place in self.places:
            low, high = place.grade.interval
            numbers = f"{place.grade.accuracy:.4f}", f"{low:.3f} to {high:.3f}", f"{place.grade.n_right:,}"
            rows.append((f"{place.rank or '-':>4}  {escape_controls(place.name)}", *numbers, place.remark))
        return f"{text_table(rows)}\n{self.summary}\n{EXPLANATION}"


EXPLANATION = (
    "Not clearly behind the first: an exact sign test (McNemar) on the same utterances, with Holm's correction, finds no "
    "difference that is significant at 5 %."
)


def rank_folder(
    folder: str | os.PathLike[str], key_path: str | os.PathLike[str], reference: str | os.PathLike[str] | None = None
) -> Leaderboard:
    """Grades ``NAME.csv`` and ``NAME/submission.csv`` in a folder, and a ``reference`` that takes no rank.

    Raises SubmissionError if the key or the reference cannot be read, or if no submission can.
    """
    key, folder = Key.read(key_path), Path(folder)
    known = None if reference is None else Place(Path(reference).stem, grade(reference, key), None, None)
    graded = {}
    files, without = _submissions(folder, [Path(path) for path in (key_path, reference) if path is not None])
    refused = [f"{path} has no {SUBMISSION}: put it there." for path in without]
    for name, paths in sorted(files.items()):
        if len(paths) > 1:
            refused.append(f"{paths[0]} and {paths[1]} have one name: keep one of them.")
            continue
        try:
            graded[name] = grade(paths[0], key)
        except SubmissionError as problem:
            refused.append(str(problem))
    if not graded:
        reason = refused[0] if refused else f"put NAME.csv or NAME/{SUBMISSION} there."
        raise SubmissionError(f"{folder} has no submission that can be graded: {reason}")
    places = _ranked(graded)
    if known:
        places = sorted([*places, known], key=lambda place: -place.grade.n_right)
    # Without the folder's path, which is of no use to readers of the page.
    refused = [sentence.replace(f"{folder}{os.sep}", "") for sentence in sorted(refused)]
    return Leaderboard(tuple(places), tuple(refused), len(key.answers), len(key.speakers))


def _submissions(folder: Path, others: Sequence[Path]) -> tuple[dict[str, list[Path]], list[Path]]:
    """The files of each name, and the folders without one. ``others``, which may lie there or be linked to, are none."""
    found: dict[str, list[Path]] = {}
    without = []
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise SubmissionError(f"{folder} cannot be read ({error.strerror}): name a folder of submissions.") from None
    for path in entries:
        inside = path / SUBMISSION
        if path.is_dir() and not inside.is_file():
            without.append(path)
            continue
        file, name = (inside, path.name) if path.is_dir() else (path, path.stem)
        if file.suffix.lower() == ".csv" and file.is_file() and not any(file.samefile(other) for other in others):
            found.setdefault(name, []).append(file)
    return found, without


def _ranked(graded: dict[str, Grade]) -> list[Place]:
    names = sorted(graded, key=lambda name: (-graded[name].n_right, name))
    first, *rest = names
    significant = dict(zip(rest, holm([sign_test(graded[first], graded[name]) for name in rest]), strict=True))
    rights = [graded[name].n_right for name in names]
    ranks = [rights.index(n_right) + 1 for n_right in rights]
    return [
        Place(name, graded[name], rank, None if rank == 1 else significant[name]) for name, rank in zip(names, ranks, strict=True)
    ]
