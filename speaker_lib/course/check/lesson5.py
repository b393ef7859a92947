"""The exercises of lesson 5: the equal error rate, and enrolment by a few recordings."""

from __future__ import annotations

import torch

from ...evaluation.book import unit
from ...evaluation.verification import equal_error_rate as library_eer
from ...evaluation.verification import error_rates
from .exercise import Exercise
from .inputs import normal


def _scores(n_same: int, n_different: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines of pairs of one speaker and of two; both errors are equal at one of them."""
    same, different = normal(n_same, seed=seed), normal(n_different, seed=seed + 1)
    return (0.55 + 0.2 * same).clamp(-1, 1), (0.1 + 0.25 * different).clamp(-1, 1)


def _rates(same: torch.Tensor, different: torch.Tensor):
    scores = torch.cat([same, different])
    return error_rates(scores.numpy(), torch.arange(len(scores)).numpy() < len(same))


equal_error_rate = Exercise(
    "equal_error_rate",
    lambda same, different: library_eer(_rates(same, different))[0],
    [_scores(40, 40, 1), _scores(25, 50, 9)],
    "the library finds the same rate for two sets of pairs.",
    [
        (
            "the threshold is not fixed at 0.5: move it until both errors are equally frequent.",
            lambda same, different: ((same < 0.5).float().mean() + (different >= 0.5).float().mean()) / 2,
        ),
        (
            "that is 1 − EER: an error is a pair of one speaker *below* the threshold, or a pair of two above.",
            lambda same, different: 1 - library_eer(_rates(same, different))[0],
        ),
        (
            "that is the threshold: the question was for the rate of errors there.",
            lambda same, different: library_eer(_rates(same, different))[1],
        ),
        (
            "that is the smallest sum of both errors: look for the threshold where they are equal.",
            lambda same, different: (_rates(same, different).false_accepts + _rates(same, different).false_rejects).min(),
        ),
        (
            "that is the smallest mean of both errors: look for the threshold where they are equal.",
            lambda same, different: (_rates(same, different).false_accepts + _rates(same, different).false_rejects).min() / 2,
        ),
        (
            "at the equal error rate both errors have that rate: do not add them.",
            lambda same, different: 2 * library_eer(_rates(same, different))[0],
        ),
    ],
)


def _enrol(vectors: torch.Tensor) -> torch.Tensor:
    """As `evaluation.book.Book.means` does it."""
    return torch.from_numpy(unit(unit(vectors.numpy()).mean(axis=0)))  # (d,)


def _unit(vectors: torch.Tensor, dim: int = -1) -> torch.Tensor:
    return vectors / vectors.norm(dim=dim, keepdim=True)


_LOUD = normal(3, 8, seed=4) * torch.tensor([[1.0], [5.0], [0.3]])  # (recordings, d) of very different lengths

enrol = Exercise(
    "enrol",
    _enrol,
    [(_LOUD,), (normal(5, 16, seed=6),)],
    "the library makes the same vector of these recordings.",
    [
        (
            "the recordings count by the length of their vectors: divide each by its length before the mean.",
            lambda vectors: _unit(vectors.mean(dim=0)),
        ),
        ("the mean of unit vectors is shorter than 1: divide it by its length, too.", lambda vectors: _unit(vectors).mean(dim=0)),
        (
            "neither the recordings nor their mean have length 1: a cosine compares directions only.",
            lambda vectors: vectors.mean(dim=0),
        ),
        (
            "the length is taken over the wrong dimension: a recording is a row.",
            lambda vectors: _unit(_unit(vectors, 0).mean(dim=0)),
        ),
        ("one vector per person, not one per recording: take the mean over dimension 0.", _unit),
        ("the mean is over the recordings, dimension 0, not over the width.", lambda vectors: _unit(_unit(vectors).mean(dim=1))),
    ],
)
