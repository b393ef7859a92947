"""Figures of an ablation and of a ladder."""

import numpy as np

from ..experiments.ablation import Ablation, paths
from ..experiments.ladder import Ladder
from ..experiments.seeds import spread
from .style import COLOURS, GREY, Axes, Figure, finish, plain

_PROTOCOLS = (("random segments", "random"), ("whole utterances", "random"), ("whole utterances,\nunseen recordings", "session"))


def ablation_figure(ablation: Ablation) -> Figure:
    """Accuracy on whole utterances (above) and training time (below) along the three paths: mean and SD over seeds."""
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(12, 6.2), layout="constrained")
    panels = figure.subplots(2, 3, sharey="row", height_ratios=(3, 1.3))
    for (path, stations), (above, below) in zip(paths(ablation.changes).items(), panels.T, strict=True):
        results = [ablation.of(station) for station in stations]
        at = np.arange(len(results))
        colours = [GREY, *(COLOURS[ablation.changes.index(station[-1])] for station in stations[1:])]
        _bars(above, at, [result.full for result in results], 0.7, colours)
        for x, result in enumerate(results):
            height = result.full.mean() + spread(result.full) + 0.02
            above.text(x, height, EngFormatter(places=1)(result.cost.parameters), ha="center", fontsize=8)
        above.set_title(path.capitalize(), fontsize=10)
        above.set_ylim(0, 1.08)
        above.set_xticks([])
        _bars(below, at, [result.seconds for result in results], 0.7, colours)
        names = [station[-1].label.replace(" ", "\n", 2) if station else "baseline" for station in stations]  # narrow: five a row
        below.set_xticks(at, names, fontsize=8)
        for axes in (above, below):
            axes.grid(alpha=0.3, axis="y")
    panels[0, 0].set_ylabel("accuracy, whole utterances")
    panels[1, 0].set_ylabel("seconds of training")
    title = f"Which change did it? Mean and SD over {len(ablation.of(()).full)} seeds; the number of parameters above each bar"
    figure.suptitle(f"{title}\n{plain(ablation.source)}", fontsize=10)
    return figure


def measuring_figure(ablation: Ablation) -> Figure:
    """The baseline and all changes by each protocol: the same runs (first two), and runs with sessions held out (third)."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    shown = [(label, split) for label, split in _PROTOCOLS if ablation.of((), split) is not None]
    for i, (changes, name) in enumerate((((), "baseline"), (ablation.changes, f"all {len(ablation.changes)} changes"))):
        results = [ablation.of(changes, split) for _, split in shown]
        values = [result.crop if n == 0 else result.full for n, result in enumerate(results)]
        _bars(axes, np.arange(len(shown)) + (i - 0.5) * 0.38, values, 0.36, [COLOURS[i]] * len(shown), name, ("", "//")[i])
    axes.set_xticks(range(len(shown)), [label for label, _ in shown], fontsize=9)
    axes.set_ylim(0, 1)
    finish(axes, f"The same settings by different protocols\n{plain(ablation.source)}", "held-out data", "accuracy")
    return figure


def ladder_figure(ladder: Ladder) -> Figure:
    """Accuracy on whole utterances for each step, mean and SD over seeds, and beside it the time of a training step."""
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
    accuracy.invert_yaxis()  # the lowest step first, as in the table
    accuracy.set_xlim(0, 1)
    accuracy.set_xlabel("accuracy, whole utterances")
    time.set_xlabel("milliseconds per step")
    for axes in (accuracy, time):
        axes.grid(alpha=0.3, axis="x")
    title = (
        f"Blue: added to all blue ones above; grey: tried on top of the last blue one. Mean and SD over {len(values[0])} seeds"
    )
    figure.suptitle(plain(f"{title}\n{ladder.source}; evaluated on {ladder.evaluated_on}"), fontsize=10)
    return figure


def _bars(
    axes: Axes, at: np.ndarray, values: list[np.ndarray], width: float, colours: list[str], label: str = "", hatch: str = ""
) -> None:
    means, spreads = [v.mean() for v in values], [spread(v) for v in values]
    style = {"color": colours, "hatch": hatch, "edgecolor": "white", "capsize": 3, "ecolor": "black"}
    axes.bar(at, means, width, yerr=spreads, label=label, **style)
