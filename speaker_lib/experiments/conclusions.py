"""What an ablation or a ladder says, in sentences that are computed from its runs and never typed in.

Two presets are compared seed by seed with a paired t-test (Student 1908), two-sided. Where several comparisons are stated
together, Holm's correction (Holm 1979) keeps the probability of even one false claim among them at 5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..utils.errors import SpeakerError
from .ablation import Ablation, paths
from .ladder import Ladder
from .seeds import SeedResults, spread

ALPHA = 0.05  # how often a claim may be made where there is no difference


@dataclass(frozen=True)
class Gain:
    """How much one preset is ahead of another, seed by seed: runs of one seed see the same segments in the same order."""

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
    def p(self) -> float:
        """Two-sided p-value of the paired t-test, 0 to 1.

        It is 1 where nothing can be tested: with a single seed, or where all seeds differ by exactly the same amount, so that
        there is no spread to compare the mean with. Raises SpeakerError if scipy is missing.
        """
        if np.ptp(self.differences) < 1e-9:  # equal but for rounding
            return 1.0
        try:
            from scipy.stats import ttest_1samp
        except ImportError:
            raise SpeakerError("the t-test over the seeds needs scipy: run `pip install scipy`.") from None
        return float(ttest_1samp(self.differences, popmean=0.0).pvalue)  # of the differences: that makes the test a paired one

    def __str__(self) -> str:
        return f"{self.mean:+.3f}" + (f" ± {self.error:.3f}" if len(self.differences) > 1 else "")


def holm(p_values: Sequence[float], alpha: float = ALPHA) -> list[bool]:
    """Which of several tests are significant; the probability of any false claim among them is at most ``alpha``.

    The smallest of n p-values is compared with alpha / n, the next with alpha / (n - 1), and so on up to the first that is
    larger. The tests may depend on each other (Holm 1979, A simple sequentially rejective multiple test procedure).
    """
    significant = [False] * len(p_values)
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        significant[i] = True
    return significant


def ablation_conclusions(ablation: Ablation) -> list[str]:
    """What the runs say about the question, sentence by sentence, with the numbers it rests on."""
    ends = ablation.of(()), ablation.of(ablation.changes)
    total = _gain(*ends)
    seeds = len(total.differences)
    first = (
        f"On {ablation.source}, mean over {seeds} seed{'s' * (seeds > 1)}: the baseline names {ends[0].full.mean():.3f} of the "
        f"whole utterances right, with all {len(ablation.changes)} changes {ends[1].full.mean():.3f} ({total})."
    )
    if total.p > ALPHA:
        return [first, "That is not significant with this many seeds, so these runs cannot say which change did it."]
    alone = [(change.label, _gain(ends[0], ablation.of((change,)))) for change in ablation.changes]
    alone.sort(key=lambda pair: -pair[1].mean)
    added = Gain(sum(gain.differences for _, gain in alone))
    surplus = Gain(total.differences - added.differences)
    *significant, interacting = holm([gain.p for _, gain in alone] + [surplus.p])  # stated together, so corrected together
    made_alone = " ".join(["Each change made alone.", *_verdicts(alone, significant)])
    _, *orders = paths(ablation.changes)
    forward, backward = (marginal_gains(ablation, order) for order in orders)
    in_order = [
        f"{change.label} adds {forward[change.name]} where the report made it, {backward[change.name]} in the reverse order."
        for change in ablation.changes
    ]
    if total.mean < 0:
        return [first, "So all changes together do harm here.", made_alone, *in_order]
    means = [
        (change.label, Gain((forward[change.name].differences + backward[change.name].differences) / 2))
        for change in ablation.changes
    ]
    means.sort(key=lambda pair: -pair[1].mean)
    divided = ", ".join(f"{label} {gain}" for label, gain in means)
    return [
        first,
        made_alone,
        *in_order,
        f"The whole gain of {total.mean:+.3f}, divided up as the mean of the two orders: {divided}.",
        _together(ends[0], added, total, interacting),
    ]


def measuring(ablation: Ablation) -> list[str]:
    """How much of a difference is only the way of measuring: crop or full, random split or unseen sessions."""
    rows = []
    for changes, name in (((), "The baseline"), (ablation.changes, "With all changes the model")):
        random, session = ablation.of(changes), ablation.of(changes, "session")
        sentence = f"{name} reaches {random.crop.mean():.3f} on random segments and {random.full.mean():.3f} on whole utterances"
        if session is not None:
            sentence += (
                f"; on whole utterances of recordings that were not in the training data, {session.full.mean():.3f} "
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
    """What the runs of a ladder say: how far it leads, and which steps of it are significant."""
    lowest, highest = ladder.kept[0], ladder.kept[-1]
    pairs = [*pairwise(ladder.kept), *((highest, tried) for tried in ladder.results if not tried.kept)]
    gains = [(step.label, _gain(ladder.results[below], ladder.results[step])) for below, step in pairs]
    first, last = ladder.results[lowest], ladder.results[highest]
    seeds = len(first.full)
    sentence = (
        f"On {ladder.source}, mean over {seeds} seed{'s' * (seeds > 1)}, evaluated on {ladder.evaluated_on}: from "
        f"{first.full.mean():.3f} of the whole utterances ({lowest.label}) to {last.full.mean():.3f} ({_gain(first, last)})."
    )
    return [sentence, *_verdicts(gains, holm([gain.p for _, gain in gains]))]


def marginal_gains(ablation: Ablation, way: str) -> dict[str, Gain]:
    """What each change adds where it comes in on that way (a key of `paths`), by the change's name."""
    steps = paths(ablation.changes)[way]
    return {after[-1].name: _gain(ablation.of(before), ablation.of(after)) for before, after in pairwise(steps)}


def _gain(before: SeedResults, after: SeedResults) -> Gain:
    return Gain(after.full - before.full)


def _verdicts(gains: Sequence[tuple[str, Gain]], significant: Sequence[bool]) -> list[str]:
    """A sentence with the gains that are significant, by their labels, and one with those that are not."""
    found = [f"{label} ({gain})" for (label, gain), yes in zip(gains, significant, strict=True) if yes]
    unclear = [f"{label} ({gain})" for (label, gain), yes in zip(gains, significant, strict=True) if not yes]
    sentences = []
    if found:
        sentences.append(f"Significant at 5 % over the seeds (paired t-test, Holm's correction): {', '.join(found)}.")
    if unclear:
        sentences.append(f"Not significant with this many seeds: {', '.join(unclear)}.")
    return sentences


def _together(baseline: SeedResults, added: Gain, total: Gain, interacting: bool) -> str:
    if not interacting:
        verdict = "the difference between the two is not significant with this many seeds"
    elif total.mean > added.mean:
        verdict = "the changes need each other: together they do more than one by one"
    elif baseline.full.mean() + added.mean > 1:
        verdict = "together they do less than one by one; as no accuracy can pass 1, that need not mean that they overlap"
    else:
        verdict = "the changes overlap: each does part of what another does too"
    return f"One by one they would add up to {added}, together they make {total}: {verdict}."
