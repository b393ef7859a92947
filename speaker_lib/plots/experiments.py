"""Figures about an ablation: which change did it, and how much is only the way of measuring."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..experiments.ablation import Ablation, Change, paths
from ..experiments.ladder import Ladder
from ..experiments.seeds import spread
from .runs import COLOURS, GREY, finish

_PROTOCOLS = (("random segments", "random"), ("whole utterances", "random"), ("whole utterances,\nunseen recordings", "session"))


def ablation_figure(ablation: Ablation) -> Figure:
    """Accuracy on whole utterances (above) and training time (below) along the three paths, mean and deviation over seeds."""
    figure = Figure(figsize=(12, 6.2), layout="constrained")
    panels = figure.subplots(2, 3, sharey="row", height_ratios=(3, 1.3))
    for (way, stations), (above, below) in zip(paths(ablation.changes).items(), panels.T, strict=True):
        results = [ablation.of(station) for station in stations]
        at = np.arange(len(results))
        colours = [GREY, *(COLOURS[ablation.changes.index(station[-1])] for station in stations[1:])]
        _bars(above, at, [result.full for result in results], 0.7, colours)
        for x, result in enumerate(results):
            height = result.full.mean() + spread(result.full) + 0.02
            above.text(x, height, _short(result.cost.parameters), ha="center", fontsize=8)
        above.set_title(way.capitalize(), fontsize=10)
        above.set_ylim(0, 1.08)
        above.set_xticks([])
        _bars(below, at, [result.seconds for result in results], 0.7, colours)
        below.set_xticks(at, [_station_name(station) for station in stations], fontsize=8)
        for axes in (above, below):
            axes.grid(alpha=0.3, axis="y")
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
        results = [ablation.of(changes, split) for _, split in shown]
        values = [result.crop if n == 0 else result.full for n, result in enumerate(results)]
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
    colours = [COLOURS[0] if step.kept else GREY for step in steps]
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


def _bars(
    axes: Axes, at: np.ndarray, values: list[np.ndarray], width: float, colours: list[str], label: str = "", hatch: str = ""
) -> None:
    means, spreads = [v.mean() for v in values], [spread(v) for v in values]
    style = {"color": colours, "hatch": hatch, "edgecolor": "white", "capsize": 3, "ecolor": "black"}
    axes.bar(at, means, width, yerr=spreads, label=label, **style)


def _short(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.0f} k"


def _station_name(changes: tuple[Change, ...]) -> str:
    """The last change, its setting, old and new value below each other, so that five names fit side by side."""
    return changes[-1].label.replace(" ", "\n", 2) if changes else "baseline"
