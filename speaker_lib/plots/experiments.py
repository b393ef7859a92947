"""Figures of an ablation and of a ladder. A comparison is paired by seed: each seed is a dot, or a thin line from dot to dot."""

from __future__ import annotations

import numpy as np

from ..experiments.ablation import Ablation, Change, paths
from ..experiments.conclusions import Gain, ladder_gains, signed
from ..experiments.generalisation import Generalisation
from ..experiments.ladder import Ladder
from .style import BLACK, BLUE, GREEN, GREY, MODELS, ORANGE, Axes, Figure, change_colours, describe, finish, new_figure

_PROTOCOLS = (("random segments", "random"), ("whole utterances", "random"), ("whole utterances,\nunseen recordings", "session"))

_CLEAR = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}  # so that no line crosses a number


def ablation_figure(ablation: Ablation) -> Figure:
    """A waterfall of accuracy on whole utterances along the three paths, and the training time of each model.

    A bar reaches from the mean before a change to the mean after it.  Dots are seeds, thin lines join those of one seed.
    """
    seeds = len(ablation.of(()).full)
    figure = new_figure(2.4 + 0.42 * 3 * len(ablation.changes), ablation.source)
    panels = figure.subplots(3, 2, sharex="col", width_ratios=(3.6, 1))
    colours = dict(zip(ablation.changes, change_colours([change.name for change in ablation.changes]), strict=True))
    told = []
    for (path, stations), (accuracy, seconds) in zip(paths(ablation.changes).items(), panels, strict=True):
        alone = path.startswith("one")
        gains = _waterfall(accuracy, ablation, stations, alone, colours)
        told += [f"{path}: " + ", ".join(f"{label} {signed(gain, 2)}" for label, gain in gains)]
        _costs(seconds, ablation, stations, colours)
        names = [_name(station, alone) for station in stations]
        accuracy.set_yticks(range(len(names)), names, fontsize=8)
        finish(accuracy, path.capitalize(), "", "", legend=False)
        for axes in (accuracy, seconds):
            axes.grid(False, axis="y")
            axes.set_ylim(len(names) - 0.5, -0.5)
    panels[-1, 0].set_xlabel("accuracy, whole utterances")
    panels[-1, 1].set_xlabel("seconds of training")
    panels[0, 0].set_xlim(-0.03, 1.12)
    panels[0, 0].set_xticks(np.linspace(0, 1, 6))
    figure.suptitle(
        f"What each change adds, mean of {seeds} seeds; a dot is a seed, a line joins the runs of one seed", fontsize=11
    )
    return describe(figure, f"Gain in accuracy of each change along three paths. {'; '.join(told)}.")


def measuring_figure(ablation: Ablation) -> Figure:
    """The baseline and all changes by each protocol: the same runs (first two), and runs with sessions held out (third)."""
    figure = new_figure(3.5, ablation.source)
    axes = figure.subplots()
    shown = [(label, split) for label, split in _PROTOCOLS if ablation.of((), split) is not None]
    pair, told = (((), "the baseline", "baseline"), (ablation.changes, f"all {len(ablation.changes)} changes", "tuned")), []
    for i, (changes, name, model) in enumerate(pair):
        results = [ablation.of(changes, split) for _, split in shown]
        values = np.array([result.crop if n == 0 else result.full for n, result in enumerate(results)])  # (protocols, seeds)
        at = np.arange(len(shown)) + (i - 0.5) * 0.38
        style = {"color": MODELS[model], "hatch": ("", "//")[i], "edgecolor": "white", "alpha": 0.75}
        axes.bar(at, values.mean(axis=1), 0.36, label=f"{name}, mean of {values.shape[1]} seeds", **style)
        for of_seed in values.T:  # (protocols,)
            axes.plot(at[:2], of_seed[:2], color=BLACK, linewidth=0.6)  # the same runs; the third are others
            axes.plot(at, of_seed, color=BLACK, marker="o", markersize=3.5, linestyle="")
        told.append(f"{name} {', '.join(f'{mean:.2f}' for mean in values.mean(axis=1))}")
    axes.set_xticks(range(len(shown)), [label for label, _ in shown], fontsize=9)
    axes.set_ylim(0, 1.05)
    finish(axes, "The same settings by different protocols; a dot is a seed, a line the same run", "held-out data", "accuracy")
    labels = ", ".join(label.replace("\n", " ") for label, _ in shown)
    return describe(figure, f"Accuracy on {labels}: {'; '.join(told)}.")


def ladder_figure(ladder: Ladder) -> Figure:
    """The gain of each step over the one that it builds on, a dot per seed, and beside it the time of a training step."""
    steps, results, gains = list(ladder.results), ladder.results, ladder_gains(ladder)
    figure = new_figure(1.5 + 0.36 * len(steps), f"{ladder.source}; evaluated on {ladder.evaluated_on}")
    accuracy, time = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    accuracy.axvline(0, color=BLACK, linewidth=1)
    for y, step in enumerate(steps[1:], 1):
        gain, significant = gains[step]
        colour = (GREEN if gain.mean > 0 else ORANGE) if significant else GREY
        _dots(accuracy, y, gain.differences, colour, hollow=not significant)
        accuracy.plot([gain.mean] * 2, [y - 0.3, y + 0.3], color=colour, linewidth=3)
    first = results[steps[0]].full
    accuracy.text(0, 0, f"  starts at {first.mean():.3f}", va="center", fontsize=8)
    kept = sum(step.kept for step in steps)
    if kept < len(steps):
        for axes in (accuracy, time):
            axes.axhline(kept - 0.5, color=GREY, linestyle=":", linewidth=1)
    accuracy.margins(x=0.08)
    milliseconds = [1e3 * result.seconds.mean() / result.steps for result in results.values()]
    bars = time.barh(range(len(steps)), milliseconds, color=GREY, height=0.6)
    time.bar_label(bars, [f"{value:.0f}" for value in milliseconds], padding=2, fontsize=7)
    time.margins(x=0.28)
    finish(accuracy, "", "gain in accuracy over the step it builds on", "", legend=False)
    finish(time, "", "milliseconds per step", "", legend=False)
    accuracy.set_yticks(range(len(steps)), [step.label for step in steps], fontsize=9)
    accuracy.set_ylim(len(steps) - 0.4, -0.6)  # the lowest step first, as in the table
    clear = f"green: a significant gain, orange: a significant loss, hollow grey: neither ({len(first)} seeds, Holm's correction)"
    figure.suptitle(f"A dot is a seed, the bar their mean; {clear}", fontsize=9)
    told = "; ".join(
        f"{step.label} {gain.mean:+.3f}{'' if found else ' (not significant)'}" for step, (gain, found) in gains.items()
    )
    return describe(figure, f"Gain in accuracy of each step over the one below it, from {first.mean():.3f}. {told}.")


def _waterfall(
    axes: Axes, ablation: Ablation, stations: list[tuple[Change, ...]], alone: bool, colours: dict[Change, str]
) -> list[tuple[str, float]]:
    """Draws a path, and returns the mean gain of each change by its name."""
    results, gains = [ablation.of(station).full for station in stations], []
    axes.axvline(results[0].mean(), color=GREY, linestyle=":", linewidth=1)
    for y, (station, full) in enumerate(zip(stations, results, strict=True)):
        before = results[0 if alone else max(y - 1, 0)]
        if station:
            gain = Gain(full - before)
            style = {"color": colours[station[-1]], "edgecolor": "white", "alpha": 0.8, "hatch": "//" if gain.mean < 0 else ""}
            axes.barh(y, gain.mean, 0.6, left=before.mean(), **style)
            end = max(full.max(), before.mean(), full.mean())
            axes.text(end + 0.015, y, signed(gain.mean, 2), va="center", fontsize=8, bbox=_CLEAR)
            gains.append((station[-1].name, gain.mean))
        else:
            axes.text(full.max() + 0.015, y, f"{full.mean():.2f}", va="center", fontsize=8, bbox=_CLEAR)
        _dots(axes, y, full, BLACK)
    if not alone:
        for seed, offset in enumerate(_offsets(len(results[0]))):
            axes.plot([full[seed] for full in results], np.arange(len(results)) + offset, color=BLACK, linewidth=0.5, alpha=0.6)
    return gains


def _costs(axes: Axes, ablation: Ablation, stations: list[tuple[Change, ...]], colours: dict[Change, str]) -> None:
    seconds = [ablation.of(station).seconds.mean() for station in stations]
    shades = [colours[station[-1]] if station else GREY for station in stations]
    bars = axes.barh(range(len(seconds)), seconds, 0.6, color=shades, alpha=0.8)
    axes.bar_label(bars, [f"{value:.0f}" for value in seconds], padding=3, fontsize=7)
    axes.margins(x=0.25)
    axes.set_yticks([])
    axes.grid(alpha=0.3, axis="x")


def _name(station: tuple[Change, ...], alone: bool) -> str:
    return f"{'' if alone else '+ '}{station[-1].label}" if station else "the baseline"


def _dots(axes: Axes, y: float, values: np.ndarray, colour: str, hollow: bool = False) -> None:
    """A dot for each of values (seeds,), one seed at the same height in every row."""
    face = "white" if hollow else colour
    axes.plot(values, y + _offsets(len(values)), "o", color=colour, markerfacecolor=face, markersize=4, zorder=3)


def _offsets(n: int) -> np.ndarray:
    return np.linspace(-0.18, 0.18, n) if n > 1 else np.zeros(n)


def generalisation_figure(found: Generalisation) -> Figure:
    """The equal error rate on unseen speakers against the number of training speakers: a dot per seed, a line of the means."""
    figure = new_figure(3.8, f"trained on the first speakers of {found.source}, {found.steps:,} steps each")
    axes = figure.subplots()
    counts, rates = found.speakers[1:], found.eer[1:]  # without the untrained runs
    for seed, line in enumerate(rates.T):
        axes.plot(counts, line, "o", color=BLUE, alpha=0.5, markersize=5, label="a seed" if seed == 0 else None)
    axes.plot(counts, rates.mean(axis=1), color=BLUE, label="mean of the seeds")
    untrained = found.eer[0].mean()
    axes.axhline(untrained, color=GREY, linestyle="--", label=f"untrained, {untrained:.3f}")
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_ylim(0, max(found.eer.max() * 1.1, 0.01))
    title = f"How many people does it take? Verification of {found.n_unseen} other speakers"
    finish(axes, title, "speakers in the training data", "equal error rate (EER)")
    said = ", ".join(f"{count}: {row.mean():.3f}" for count, row in zip(counts, rates, strict=True))
    return describe(
        figure, f"Equal error rate on unseen speakers by number of training speakers. {said}; untrained: {untrained:.3f}."
    )
