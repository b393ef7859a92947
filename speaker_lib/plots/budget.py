"""Figures of what accuracy costs: seconds of training, utterances of each speaker, and speakers.

Rows are those of ``benchmarks/results/people``: a dictionary per run, with model, people, utterances, steps, seed, full (accuracy
on whole utterances) and cpu_seconds (of training).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..experiments.classical import NAME, STATISTICS
from .style import COLOURS, GREY, MARKERS, Axes, Figure, describe, finish, new_figure

Rows = Sequence[Mapping[str, object]]
NETWORKS = ("baseline", "laptop_tuned", "baseline_relu", "laptop_best", "laptop_strong")  # in the order of the colours


def time_figure(rows: Rows, source: str) -> Figure:
    """Accuracy against seconds of training, a line per model through the mean over seeds, and a thin line per seed.

    All seeds of a model stand at their median time: what else ran on the machine must not spread them.
    """
    seconds = {key: np.median([row["cpu_seconds"] for row in rows if _training(row) == key]) for key in set(map(_training, rows))}
    rows = [{**row, "cpu_seconds": seconds[_training(row)]} for row in rows]
    figure = new_figure(4.8, source)
    axes = figure.subplots()
    for model in _models(rows):
        _lines(axes, [row for row in rows if row["model"] == model], "cpu_seconds", "steps", model)
    axes.set_xscale("log")
    axes.xaxis.get_major_locator().set_params(subs=(1, 3))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    finish(axes, "What does a second of training give?", "CPU seconds of training", "accuracy, whole utterances")
    best = ", ".join(f"{name} {max(float(row['full']) for row in rows if row['model'] == name):.2f}" for name in _models(rows))
    return describe(figure, f"Accuracy on whole utterances against CPU seconds of training. Best run of each model: {best}.")


def amount_figure(rows: Rows, source: str) -> Figure:
    """Accuracy against the utterances of each speaker (left) and against the number of speakers (right)."""
    figure = new_figure(4.4, source)
    panels = figure.subplots(1, 2, sharey=True)
    most = {key: max(int(row[key]) for row in rows) for key in ("people", "utterances")}
    for axes, x, fixed, label in zip(
        panels,
        ("utterances", "people"),
        ("people", "utterances"),
        (f"utterances of each of {most['people']} speakers", f"speakers with {most['utterances']} utterances each"),
        strict=True,
    ):
        chosen = [row for row in rows if row[fixed] == most[fixed]]
        for model in _models(rows):
            _lines(axes, [row for row in chosen if row["model"] == model], x, x, model)
        axes.set_xscale("log")
        ticks = sorted({int(row[x]) for row in chosen})
        axes.set_xticks(ticks, list(map(str, ticks)))
        axes.minorticks_off()
        finish(axes, "", label, "accuracy, whole utterances" if x == "utterances" else "", legend=x == "people")
    figure.suptitle("Where does a network begin to pay?", fontsize=11)
    text = "Accuracy on whole utterances against utterances per speaker, left, and against the number of speakers, right; lines: "
    return describe(figure, f"{text}{', '.join(_models(rows))}.")


def _training(row: Mapping[str, object]) -> tuple[object, ...]:
    return row["model"], row["steps"]


def _models(rows: Rows) -> list[str]:
    """The models in the order in which each was first seen."""
    return list(dict.fromkeys(str(row["model"]) for row in rows))


def _style(model: str) -> dict[str, object]:
    """Grey and dotted without a network; a network keeps its colour in every figure."""
    if model.startswith(NAME):
        return {"color": GREY, "linestyle": ":", "marker": MARKERS[STATISTICS.index(model.removeprefix(NAME))]}
    at = NETWORKS.index(model)
    return {"color": COLOURS[at], "linestyle": "-", "marker": MARKERS[at]}


def _lines(axes: Axes, rows: Rows, x: str, group: str, model: str) -> None:
    """The mean over seeds of each group of a model's rows, and a thin line per seed."""
    style = _style(model)
    groups = sorted({row[group] for row in rows})
    for seed in {row["seed"] for row in rows}:
        of_seed = sorted((row for row in rows if row["seed"] == seed), key=lambda row: row[group])
        axes.plot([row[x] for row in of_seed], [row["full"] for row in of_seed], color=style["color"], linewidth=0.6, alpha=0.5)
    means = np.array([np.mean([(row[x], row["full"]) for row in rows if row[group] == key], axis=0) for key in groups])
    axes.plot(*means.T, label=model, markersize=6, **style)
