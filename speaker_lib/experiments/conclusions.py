"""What an ablation says, in sentences that are computed from its runs and never typed in.

A difference counts as clear where Student's t over the seeds is beyond its two-sided 5% point: with three seeds, a mean of more
than 4.3 standard errors (Student 1908).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .ablation import Ablation, Outcome
from .ladder import Ladder
from .seeds import spread

_T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # the 5% points of t by the number of seeds; from six seeds on it is at most 2.57
_T95_MORE = 2.57


@dataclass(frozen=True)
class Gain:
    """How much one outcome is ahead of another, seed by seed: runs of one seed see the same segments in the same order."""

    differences: np.ndarray  # (seeds,)

    @property
    def mean(self) -> float:
        """Of the accuracy, 0 to 1."""
        return float(self.differences.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean; 0 with a single seed."""
        return spread(self.differences) / len(self.differences) ** 0.5

    @property
    def clear(self) -> bool:
        """Whether it is more than the accident of a seed; never with a single one."""
        seeds = len(self.differences)
        return seeds > 1 and abs(self.mean) > _T95.get(seeds, _T95_MORE) * self.error

    def __str__(self) -> str:
        return f"{self.mean:+.3f}" + (f" ± {self.error:.3f}" if len(self.differences) > 1 else "")


def conclusions(ablation: Ablation) -> list[str]:
    """What the runs say about the question, sentence by sentence, with the numbers it rests on."""
    ends = ablation.of(()), ablation.of(ablation.changes)
    total = _gain(*ends)
    seeds = len(total.differences)
    first = (
        f"On {ablation.source}, mean over {seeds} seed{'s' * (seeds > 1)}: the baseline names {ends[0].full.mean():.3f} of the "
        f"whole utterances right, with all {len(ablation.changes)} changes {ends[1].full.mean():.3f} ({total})."
    )
    if not total.clear:
        return [first, "That is not clearly more than the accident of a seed, so these runs cannot say which change did it."]
    if total.mean < 0:
        return [first, "So all changes together do harm here.", _alone(ablation), *_in_order(ablation)]
    return [first, _alone(ablation), *_in_order(ablation), _which(ablation, total), _together(ablation, total)]


def measuring(ablation: Ablation) -> list[str]:
    """How much of a difference is only the way of measuring: crop or full, random split or unseen sessions."""
    rows = []
    for changes, name in (((), "The baseline"), (ablation.changes, "With all changes the model")):
        random, session = ablation.of(changes), ablation.of(changes, "session")
        sentence = f"{name} reaches {random.crop.mean():.3f} on random segments and {random.full.mean():.3f} on whole utterances"
        if session is not None:
            sentence += (
                f"; on whole utterances of recordings that training never heard, {session.full.mean():.3f} "
                f"(other runs, trained on {session.n_train:,} utterances instead of {random.n_train:,})"
            )
        rows.append(sentence + ".")
    if ablation.of((), "session") is None:
        return [*rows, "No speaker of these data has two known recordings, so unseen recordings cannot be tried."]
    gains = (
        _gain(ablation.of(()), ablation.of(ablation.changes)),
        _gain(ablation.of((), "session"), ablation.of(ablation.changes, "session")),
    )
    return [
        *rows,
        f"So the {len(ablation.changes)} changes are worth {gains[0]} by the random split and {gains[1]} on unseen recordings.",
    ]


def ladder_conclusions(ladder: Ladder) -> list[str]:
    """What the runs of a ladder say: how far it leads, and which rungs are clear steps."""
    lowest, highest = ladder.kept[0], ladder.kept[-1]
    total, n_seeds = Gain(highest.full - lowest.full), len(lowest.full)
    pairs = [*pairwise(ladder.kept), *((highest, tried) for tried in ladder.standings if not tried.rung.kept)]
    steps = [(after.rung, Gain(after.full - before.full)) for before, after in pairs]
    clear = [f"{rung.label} ({gain})" for rung, gain in steps if gain.clear]
    unclear = [f"{rung.label} ({gain})" for rung, gain in steps if not gain.clear]
    sentences = [
        f"On {ladder.source}, mean over {n_seeds} seed{'s' * (n_seeds > 1)}, by {ladder.judged_by}: from "
        f"{lowest.full.mean():.3f} of the whole utterances ({lowest.rung.label}) to {highest.full.mean():.3f} ({total})."
    ]
    if clear:
        sentences.append(f"Clear steps, up or down: {_listed(clear)}.")
    if unclear:
        sentences.append(f"Not to be told from the accident of a seed: {_listed(unclear)}.")
    return sentences


def marginal_gains(ablation: Ablation, way: str) -> dict[str, Gain]:
    """What each change adds where it comes in on that way (a key of `Ablation.paths`), by the change's name."""
    steps = ablation.paths()[way]
    return {after[-1].name: _gain(ablation.of(before), ablation.of(after)) for before, after in pairwise(steps)}


def _gain(before: Outcome, after: Outcome) -> Gain:
    return Gain(after.full - before.full)


def _alone(ablation: Ablation) -> str:
    gains = [(change, _gain(ablation.of(()), ablation.of((change,)))) for change in ablation.changes]
    gains.sort(key=lambda pair: -pair[1].mean)
    clear = [f"{change.label} ({gain})" for change, gain in gains if gain.clear]
    unclear = [f"{change.label} ({gain})" for change, gain in gains if not gain.clear]
    sentences = []
    if clear:
        sentences.append(f"Made alone, clearly different from the baseline: {_listed(clear)}.")
    if unclear:
        sentences.append(f"Not to be told from the accident of a seed: {_listed(unclear)}.")
    return " ".join(sentences)


def _in_order(ablation: Ablation) -> list[str]:
    _, forward, backward = ablation.paths()
    first, second = marginal_gains(ablation, forward), marginal_gains(ablation, backward)
    return [
        f"{change.label} adds {first[change.name]} where the report made it, {second[change.name]} in the reverse order."
        for change in ablation.changes
    ]


def _which(ablation: Ablation, total: Gain) -> str:
    _, *ways = ablation.paths()
    gains = {way: marginal_gains(ablation, way) for way in ways}
    means = [(c, Gain(np.mean([gains[way][c.name].differences for way in ways], axis=0))) for c in ablation.changes]
    means.sort(key=lambda pair: -pair[1].mean)
    parts = [f"{change.label} {gain}" for change, gain in means]
    return f"The whole gain of {total.mean:+.3f}, divided up as the mean of the two orders: {_listed(parts)}."


def _together(ablation: Ablation, total: Gain) -> str:
    alone = Gain(sum(_gain(ablation.of(()), ablation.of((change,))).differences for change in ablation.changes))
    surplus = Gain(total.differences - alone.differences)
    if not surplus.clear:
        verdict = "that they do not simply add up cannot be told from the accident of a seed"
    elif surplus.mean > 0:
        verdict = "the changes need each other: together they do more than one by one"
    elif ablation.of(()).full.mean() + alone.mean > 1:
        verdict = "together they do less than one by one; as no accuracy can pass 1, that need not mean that they overlap"
    else:
        verdict = "the changes overlap: each does part of what another does too"
    return f"One by one they would add up to {alone}, together they make {total}: {verdict}."


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts)
