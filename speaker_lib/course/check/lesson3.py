"""The exercises of lesson 3: a paired t-test, and whether changes add up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...experiments.conclusions import Gain
from .exercise import Exercise
from .inputs import normal


def _pair(seeds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies of two models (seeds,) that rise and fall together, as those of one seed do."""
    common, own = normal(seeds, seed=seed).numpy(), normal(seeds, seed=seed + 1).numpy()
    return 0.42 + 0.08 * common, 0.60 + 0.07 * common + 0.02 * own


def _paired(of_differences: Callable[[np.ndarray], float]) -> Callable[[np.ndarray, np.ndarray], float]:
    return lambda before, after: of_differences(after - before)


def _scipy_t(before: np.ndarray, after: np.ndarray) -> float:
    from scipy.stats import ttest_rel

    return ttest_rel(after, before).statistic


def _unpaired(ddof: int) -> Callable[[np.ndarray, np.ndarray], float]:
    return lambda before, after: (
        (after.mean() - before.mean()) / ((before.var(ddof=ddof) + after.var(ddof=ddof)) / len(before)) ** 0.5
    )


_UNPAIRED = "that is the unpaired t: subtract seed by seed first, then work with the differences alone."

paired_t = Exercise(
    "paired_t",
    _scipy_t,
    [_pair(3, 0), _pair(5, 2)],
    "scipy's ttest_rel finds the same t for 3 and for 5 seeds.",
    [
        (_UNPAIRED, _unpaired(1)),
        (_UNPAIRED + " (And np.std needs ddof=1.)", _unpaired(0)),
        (
            "np.std divides by n unless told otherwise: a sample's standard deviation needs ddof=1.",
            _paired(lambda d: d.mean() / (d.std() / len(d) ** 0.5)),
        ),
        (
            "you divide by the standard deviation: the standard error is smaller, by √n.",
            _paired(lambda d: d.mean() / d.std(ddof=1)),
        ),
        (
            "you divide by the standard deviation with ddof=0: take ddof=1, and divide it by √n.",
            _paired(lambda d: d.mean() / d.std()),
        ),
        (
            "the standard error is the standard deviation divided by √n, not by n.",
            _paired(lambda d: d.mean() / (d.std(ddof=1) / len(d))),
        ),
        (
            "the sign is wrong: the difference is `after - before`, so that a gain is positive.",
            _paired(lambda d: -d.mean() / (d.std(ddof=1) / len(d) ** 0.5)),
        ),
        ("that is the p-value: the question was for t.", lambda before, after: Gain(after - before).p),
        ("that is the mean difference: divide it by its standard error.", _paired(np.mean)),
    ],
)


def _runs(seeds: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accuracies: of the baseline (seeds,), with each of four changes alone (changes, seeds), with all of them (seeds,)."""
    noise = 0.03 * normal(6, seeds, seed=seed).numpy()
    return 0.30 + noise[0], np.array([[0.45], [0.31], [0.38], [0.60]]) + noise[1:5], 0.78 + noise[5]


surplus = Exercise(
    "surplus",
    lambda baseline, alone, together: (
        Gain(together - baseline).differences - sum(Gain(one - baseline).differences for one in alone)
    ),
    [_runs(3, 0), _runs(4, 1)],
    "one number per seed: below 0, the changes gain less together than one by one.",
    [
        (
            "the sign is wrong: it is the gain of all together minus the sum of the single gains.",
            lambda baseline, alone, together: (alone - baseline).sum(axis=0) - (together - baseline),
        ),
        (
            "you add accuracies, but gains are what should add up: subtract the baseline from each.",
            lambda baseline, alone, together: together - alone.sum(axis=0),
        ),
        (
            "the single gains are to be summed, not averaged.",
            lambda baseline, alone, together: (together - baseline) - (alone - baseline).mean(axis=0),
        ),
        (
            "this compares with the best single change: compare with the sum of all of them.",
            lambda baseline, alone, together: together - alone.max(axis=0),
        ),
        (
            "keep the seeds apart, (seeds,): without them nothing can be said about chance.",
            lambda baseline, alone, together: ((together - baseline) - (alone - baseline).sum(axis=0)).mean(),
        ),
        (
            "sum over the changes, axis=0, and not over everything.",
            lambda baseline, alone, together: (together - baseline) - (alone - baseline).sum(),
        ),
    ],
)
