"""Conclusions of an ablation or a ladder: sentences that are computed from the runs.

Two presets are compared seed by seed with a two-sided paired t-test (Student 1908).  Where several comparisons are stated
together, Holm's correction (Holm 1979) keeps the probability of even one false claim among them at 5 %.  A gain is followed by
the standard error (SE) of its mean over the seeds; ± stands for a standard deviation (SD), and in no sentence here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..utils.language import translate, translate_finished
from ..utils.optional import optional
from ..utils.text import Sentences
from .ablation import Ablation, Change, paths
from .ladder import Ladder, LadderStep
from .seeds import SeedResults, spread

ALPHA = 0.05  # probability of a false claim


@dataclass(frozen=True)
class Gain:
    """The gain in accuracy of one preset over another, per seed: runs of one seed see the same segments in the same order."""

    differences: np.ndarray  # (seeds,)

    @property
    def mean(self) -> float:
        """Mean gain in accuracy, -1 to 1."""
        return float(self.differences.mean())

    @property
    def p(self) -> float:
        """Two-sided p-value of the paired t-test, 0 to 1. Raises SpeakerError if scipy is missing.

        It is 1 with a single seed and where all seeds gain the same: without a spread there is nothing to test against.
        """
        if np.ptp(self.differences) < 1e-9:  # equal but for rounding
            return 1.0
        stats = optional("scipy.stats", "the t-test over the seeds")
        return float(stats.ttest_1samp(self.differences, popmean=0.0).pvalue)  # one sample of differences is a paired test

    @property
    def standard_error(self) -> float:
        """Of the mean gain; 0 for a single seed."""
        return spread(self.differences) / len(self.differences) ** 0.5

    def __str__(self) -> str:
        """The mean, with its standard error if there are several seeds."""
        error = translate(" (SE {error:.3f})", error=self.standard_error)
        return signed(self.mean) + error * (len(self.differences) > 1)


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign; what is rounded to 0 is +0, never -0."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def holm(p_values: Sequence[float], alpha: float = ALPHA) -> list[bool]:
    """Which of several tests are significant; the probability of any false claim among them is at most ``alpha``.

    The smallest of n p-values is compared with alpha / n, the next with alpha / (n - 1), and so on up to the first that is
    larger.  The tests may depend on each other (Holm 1979, A simple sequentially rejective multiple test procedure).
    """
    significant = [False] * len(p_values)
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        significant[i] = True
    return significant


def ablation_conclusions(ablation: Ablation) -> Sentences:
    """Which changes explain the difference between the two presets, in sentences with their numbers."""
    changes, baseline, tuned = ablation.changes, ablation.of(()), ablation.of(ablation.changes)
    total = _gain(baseline, tuned)
    first = translate(
        "On {data}, mean over {seeds}: the baseline reaches {before:.3f} on whole utterances, with all {n} changes {after:.3f}, "
        "a gain of {gain}.",
        data=translate_finished(ablation.source), seeds=_seeds(total), n=len(changes), gain=total,
        before=baseline.full.mean(), after=tuned.full.mean(),
    )  # fmt: skip
    if total.p > ALPHA:
        verdict = translate("That is not significant with this many seeds, so these runs cannot say which change did it.")
        return Sentences([first, verdict])
    alone = _largest_first([(change.label, gain) for change, gain in gains_alone(ablation).items()])
    added = Gain(sum(gain.differences for _, gain in alone))
    interaction = Gain(total.differences - added.differences)
    *significant, interacting = holm([*(gain.p for _, gain in alone), interaction.p])  # stated together, so corrected together
    made_alone = translate(" ").join([translate("Each change made alone."), *_verdicts(alone, significant)])
    _, *orders = paths(changes)
    forward, backward = (marginal_gains(ablation, order) for order in orders)
    in_order = [
        translate(
            "{change} adds {forward} in the report's order and {backward} in the reverse order.",
            change=change.label,
            forward=forward[change.name],
            backward=backward[change.name],
        )
        for change in changes
    ]
    if total.mean < 0:
        return Sentences([first, translate("So all changes together lower the accuracy here."), made_alone, *in_order])
    both = [(c.label, Gain((forward[c.name].differences + backward[c.name].differences) / 2)) for c in changes]
    divided = translate(
        "The whole gain of {gain:+.3f}, divided up as the mean of the two orders: {parts}.",
        gain=total.mean, parts=_listed(_largest_first(both)),
    )  # fmt: skip
    return Sentences([first, made_alone, *in_order, divided, _together(baseline, added, total, interaction, interacting)])


def measuring(ablation: Ablation) -> Sentences:
    """How much the protocol changes the result: random segments or whole utterances, random split or unseen recordings."""
    rows = []
    for changes, name in (((), "The baseline"), (ablation.changes, "With all changes the model")):
        random, session = ablation.of(changes), ablation.of(changes, "session")
        reached = translate(
            "{model} reaches {crop:.3f} on random segments and {full:.3f} on whole utterances.",
            model=translate(name), crop=random.crop.mean(), full=random.full.mean(),
        )  # fmt: skip
        if session is not None:
            reached += translate(" ") + translate(
                "On whole utterances of recordings that were not in the training data it reaches {full:.3f} (other runs, "
                "trained on {n:,} utterances instead of {n_random:,}).",
                full=session.full.mean(), n=session.n_train, n_random=random.n_train,
            )  # fmt: skip
        rows.append(reached)
    if ablation.of((), "session") is None:
        untried = translate("No speaker of these data has two known recordings, so unseen recordings cannot be tried.")
        return Sentences([*rows, untried])
    by_split = {split: _gain(ablation.of((), split), ablation.of(ablation.changes, split)) for split in ("random", "session")}
    worth = "So the {n} changes gain {random} by the random split, and {session} on unseen recordings."
    return Sentences([*rows, translate(worth, n=len(ablation.changes), **by_split)])


def ladder_gains(ladder: Ladder) -> dict[LadderStep, tuple[Gain, bool]]:
    """The gain of each step over the kept step below it, and whether it is significant among all of them.

    A step that was only tried is compared with the last one that is kept.
    """
    pairs = [*pairwise(ladder.kept), *((ladder.kept[-1], tried) for tried in ladder.results if not tried.kept)]
    gains = {step: _gain(ladder.results[below], ladder.results[step]) for below, step in pairs}
    significant = holm([gain.p for gain in gains.values()])
    return {step: (gain, found) for (step, gain), found in zip(gains.items(), significant, strict=True)}


def ladder_conclusions(ladder: Ladder) -> Sentences:
    """The gain of the whole ladder, and which of its steps are significant."""
    lowest, highest, gains = ladder.kept[0], ladder.kept[-1], ladder_gains(ladder)
    first, last = ladder.results[lowest], ladder.results[highest]
    total = _gain(first, last)
    sentence = translate(
        "On {data}, mean over {seeds}, evaluated on {heldout}: from {before:.3f} on whole utterances ({step}) to {after:.3f}, "
        "a gain of {gain}.",
        data=translate_finished(ladder.source), seeds=_seeds(total),
        heldout=translate(ladder.evaluated_on), step=translate(lowest.label),
        before=first.full.mean(), after=last.full.mean(), gain=total,
    )  # fmt: skip
    told = [(translate(step.label), gain) for step, (gain, _) in gains.items()]
    return Sentences([sentence, *_verdicts(told, [found for _, found in gains.values()])])


def guess_and_outcome(ablation: Ablation, guessed: str | None) -> str:
    """What somebody guessed (the name of a change, or None) beside what the runs say about each change made alone."""
    gains = {change.name: gain for change, gain in gains_alone(ablation).items()}
    (best, largest), *_ = _largest_first(list(gains.items()))
    if guessed not in gains:
        return translate("No guess is stored here. The runs: alone, {best} gains most, {most}.", best=best, most=largest)
    told = {"guessed": guessed, "gain": gains[guessed]}
    if guessed == best:
        return translate("You said {guessed}. The runs: alone it gains {gain}, the most of all.", **told)
    said = "You said {guessed}. The runs: alone it gains {gain}; {best} gains most, {most}."
    return translate(said, best=best, most=largest, **told)


def gains_alone(ablation: Ablation) -> dict[Change, Gain]:
    """The gain of each change made alone, over the baseline."""
    return {change: _gain(ablation.of(()), ablation.of((change,))) for change in ablation.changes}


def marginal_gains(ablation: Ablation, path: str) -> dict[str, Gain]:
    """The gain of each change where it is added on a path (a key of `paths`), by the change's name."""
    steps = paths(ablation.changes)[path]
    return {after[-1].name: _gain(ablation.of(before), ablation.of(after)) for before, after in pairwise(steps)}


def _gain(before: SeedResults, after: SeedResults) -> Gain:
    return Gain(after.full - before.full)


def _seeds(gain: Gain) -> str:
    n = len(gain.differences)
    return translate("1 seed" if n == 1 else "{n} seeds", n=n)


def _largest_first(gains: list[tuple[str, Gain]]) -> list[tuple[str, Gain]]:
    return sorted(gains, key=lambda pair: -pair[1].mean)


def _listed(gains: Sequence[tuple[str, Gain]]) -> str:
    return translate("; ").join(f"{label} {gain}" for label, gain in gains)


def _verdicts(gains: Sequence[tuple[str, Gain]], significant: Sequence[bool]) -> list[str]:
    """A sentence with the significant gains, and one with the others."""
    sentences = []
    for verdict, text in (
        (True, "Significant at 5 % over the seeds (paired t-test, Holm's correction): {gains}."),
        (False, "Not significant with this many seeds (paired t-test, Holm's correction): {gains}."),
    ):
        listed = [pair for pair, found in zip(gains, significant, strict=True) if found == verdict]
        sentences += [translate(text, gains=_listed(listed))] * bool(listed)
    return sentences


def _together(baseline: SeedResults, added: Gain, total: Gain, surplus: Gain, interacting: bool) -> str:
    """Whether all changes gain what they gain one by one; ``surplus`` is the paired difference that decides it."""
    if not interacting:
        verdict = "that difference is not significant with this many seeds"
    elif total.mean > added.mean:
        verdict = "the changes need each other: together they gain more than one by one"
    elif baseline.full.mean() + added.mean > 1:
        verdict = "together they gain less than one by one; that need not be an overlap, as no accuracy exceeds 1"
    else:
        verdict = "the changes overlap: each does part of what another does too"
    return translate(
        "One by one they would add up to {added:+.3f}, together they make {total:+.3f}, a difference of {surplus}, seed by seed: "
        "{verdict}.",
        added=added.mean, total=total.mean, surplus=surplus, verdict=translate(verdict),
    )  # fmt: skip
