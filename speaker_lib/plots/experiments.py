"""Figures about an ablation: which change did it, and how much is only the way of measuring."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..experiments.ablation import Ablation, Change, paths
from ..experiments.ladder import Ladder
from ..experiments.seeds import SeedResults, spread
from .runs import COLOURS, finish

_PROTOCOLS = (("random segments", "random"), ("whole utterances", "random"), ("whole utterances,\nunseen recordings", "session"))


def ablation_figure(ablation: Ablation) -> Figure:
    """Accuracy on whole utterances (above) and training time (below) along the three paths, mean and deviation over seeds."""
    figure = Figure(figsize=(12, 6.2), layout="constrained")
    panels = figure.subplots(2, 3, sharey="row", height_ratios=(3, 1.3))
    for column, (way, steps) in enumerate(paths(ablation.changes).items()):
        outcomes = [ablation.of(step) for step in steps]
        names = [_step_name(step) for step in steps]
        colours = ["#777777", *(COLOURS[ablation.changes.index(step[-1])] for step in steps[1:])]
        _accuracy_bars(panels[0, column], outcomes, colours)
        _time_bars(panels[1, column], outcomes, colours, names)
        panels[0, column].set_title(way.capitalize(), fontsize=10)
    panels[0, 0].set_ylabel("accuracy, whole utterances")
    panels[1, 0].set_ylabel("seconds of training")
    n_seeds = len(ablation.of(()).full)
    figure.suptitle(
        f"Which change did it? Mean and standard deviation over {n_seeds} seeds, above each bar its parameters\n"
        f"{ablation.source}",
        fontsize=10,
    )
    return figure


def measuring_figure(ablation: Ablation) -> Figure:
    """The two ends of the ablation by each protocol: the same weights (first two), or other held-out data (third)."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    shown = [(label, split) for label, split in _PROTOCOLS if ablation.of((), split) is not None]
    for i, (changes, name) in enumerate((((), "baseline"), (ablation.changes, f"all {len(ablation.changes)} changes"))):
        outcomes = [ablation.of(changes, split) for _, split in shown]
        values = [o.crop if n == 0 else o.full for n, o in enumerate(outcomes)]
        _bars(axes, np.arange(len(shown)) + (i - 0.5) * 0.38, values, 0.36, [COLOURS[i]] * len(shown), name, ("", "//")[i])
    axes.set_xticks(range(len(shown)), [label for label, _ in shown], fontsize=9)
    axes.set_ylim(0, 1)
    finish(axes, f"The same settings, measured in different ways\n{ablation.source}", "held-out data", "accuracy")
    return figure


def ladder_figure(ladder: Ladder) -> Figure:
    """Accuracy on whole utterances step by step, mean and deviation over seeds, and beside it the time of a training step."""
    steps, results = list(ladder.results), ladder.results.values()
    figure = Figure(figsize=(10, 1.2 + 0.42 * len(steps)), layout="constrained")
    accuracy, time = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    at = np.arange(len(steps))
    style = {"edgecolor": "white", "capsize": 3, "ecolor": "black", "height": 0.7}
    values = [result.full for result in results]
    colours = [COLOURS[0] if step.kept else "#777777" for step in steps]
    accuracy.barh(at, [v.mean() for v in values], xerr=[spread(v) for v in values], color=colours, **style)
    for y, v in zip(at, values, strict=True):
        accuracy.text(0.01, y, f"{v.mean():.3f}", va="center", fontsize=8, color="white", weight="bold")
    time.barh(at, [1e3 * result.seconds.mean() / result.steps for result in results], color=COLOURS[1], **style)
    accuracy.set_yticks(at, [step.label for step in steps], fontsize=9)
    accuracy.invert_yaxis()  # one begins to read at the top
    accuracy.set_xlim(0, 1)
    accuracy.set_xlabel("accuracy, whole utterances")
    time.set_xlabel("milliseconds per step")
    for axes in (accuracy, time):
        axes.grid(alpha=0.3, axis="x")
    figure.suptitle(
        "Rung by rung, each blue one with all above it; grey: tried on top of the last blue one. "
        f"Mean and standard deviation over {len(values[0])} seeds\n{ladder.source}; evaluated on {ladder.evaluated_on}",
        fontsize=10,
    )
    return figure


def _accuracy_bars(axes: Axes, outcomes: list[SeedResults], colours: list[str]) -> None:
    _bars(axes, np.arange(len(outcomes)), [o.full for o in outcomes], 0.7, colours)
    for x, outcome in enumerate(outcomes):
        height = outcome.full.mean() + spread(outcome.full) + 0.02
        axes.text(x, height, _short(outcome.cost.parameters), ha="center", fontsize=8)
    axes.set_ylim(0, 1.08)
    axes.set_xticks([])
    axes.grid(alpha=0.3, axis="y")


def _time_bars(axes: Axes, outcomes: list[SeedResults], colours: list[str], names: list[str]) -> None:
    _bars(axes, np.arange(len(outcomes)), [o.seconds for o in outcomes], 0.7, colours)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.grid(alpha=0.3, axis="y")


def _bars(
    axes: Axes, at: np.ndarray, values: list[np.ndarray], width: float, colours: list[str], label: str = "", hatch: str = ""
) -> None:
    means, spreads = [v.mean() for v in values], [spread(v) for v in values]
    style = {"color": colours, "hatch": hatch, "edgecolor": "white", "capsize": 3, "ecolor": "black"}
    axes.bar(at, means, width, yerr=spreads, label=label, **style)


def _short(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.0f} k"


def _step_name(step: tuple[Change, ...]) -> str:
    """The last change of a step, its setting, old and new value below each other, so that five names fit side by side."""
    if not step:
        return "baseline"
    setting, old, new = step[-1].label.split(" ", 2)
    return f"{setting}\n{old}\n{new}"
