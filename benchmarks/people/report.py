"""The rows of ``results/people`` as the tables and figures of docs/accuracy.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speaker_lib.experiments.conclusions import Gain
from speaker_lib.experiments.ladder import LADDER
from speaker_lib.experiments.published import people_results
from speaker_lib.experiments.seeds import spread
from speaker_lib.plots import amount_figure, save_figure, time_figure

from ..tables import markdown
from .tasks import FURTHER, LABELS, LADDER_STEPS

Rows = Sequence[dict[str, object]]


def time_table(rows: Rows) -> str:
    """A line per model and number of steps: mean and standard deviation over seeds; of the seconds the median."""
    header = ["model", "steps", "parameters", "CPU seconds", "crop", "full"]
    lines = []
    for found in _groups(rows, "model", "steps"):
        first = found[0]
        counts = [f"{first[key]:,}" if first[key] else "" for key in ("steps", "parameters")]
        seconds = np.median([row["cpu_seconds"] for row in found])
        lines.append([_name(first), *counts, f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}", *_accuracies(found)])
    return markdown(header, lines)


def amount_table(rows: Rows) -> str:
    """A line per model, a column per amount of data: accuracy on whole utterances."""
    amounts = sorted({(row["people"], row["utterances"]) for row in rows}, key=lambda amount: (amount[0] * amount[1], amount))
    header = ["model", *(f"{people} people x {utterances}" for people, utterances in amounts)]
    lines = []
    for found in _groups(rows, "model"):
        cells = [_mean([r["full"] for r in found if (r["people"], r["utterances"]) == amount]) for amount in amounts]
        lines.append([_name(found[0]), *cells])
    return markdown(header, lines)


def gain_table(rows: Rows, first: str) -> str:
    """A line per variant: accuracy, and what it gains over the ``first``, paired by seed, with the standard error."""
    base = {row["seed"]: row["full"] for row in rows if row["model"] == first}
    lines = []
    for found in _groups(rows, "model"):
        gain = Gain(np.array([row["full"] - base[row["seed"]] for row in found]))
        seconds = f"{np.median([row['cpu_seconds'] for row in found]):.0f}"
        lines.append([_name(found[0]), seconds, *_accuracies(found), "" if found[0]["model"] == first else str(gain)])
    return markdown(["model", "CPU seconds", "crop", "full", "gain of full"], lines)


def ladder_table(rows: Rows, time_rows: Rows) -> str:
    """A line per step of the ladder, and what it gains over the kept step below it, paired by seed.

    What is no step of it is built on `laptop_best`, which has two layers, and compared with that.
    """
    rows = [*rows, *(row for row in time_rows if row["model"] == "laptop_best" and row["steps"] == LADDER_STEPS)]
    labels = {name: "tried: `laptop_best` with " + LABELS.get(name, _settings(settings)) for name, settings in FURTHER.items()}
    below, kept = dict.fromkeys(FURTHER, "laptop_best"), ""
    for step in LADDER:
        labels[step.name], below[step.name] = step.label, kept
        kept = step.name if step.kept else kept
    full = {(row["model"], row["seed"]): row["full"] for row in rows}
    lines = []
    for found in _groups(rows, "model"):
        name = str(found[0]["model"])
        compared = [(row["full"], full.get((below.get(name, ""), row["seed"]))) for row in found]
        gains = np.array([after - before for after, before in compared if before is not None])
        label = labels.get(name, _name(found[0]))
        lines.append([label, str(len(found)), *_accuracies(found), str(Gain(gains)) if len(gains) else ""])
    return markdown(["step", "seeds", "crop", "full", "gain of full over the step below"], lines)


def together_table(rows: Rows) -> str:
    """A line per way to answer: alone, and together."""
    lines = []
    for label, name, trainings in (
        ("LDA: + correlations of cepstra", "lda", ("lda",)),
        ("`laptop_best`, 1,800 steps", "network", ("network",)),
        ("the same and LDA", "network_and_lda", ("network", "lda")),
        ("two of `laptop_best`, averaged", "two_networks", ("two_networks",)),
        ("two of `laptop_best` and LDA", "two_networks_and_lda", ("two_networks", "lda")),
    ):
        seconds = np.median([sum(row[f"{training}_seconds"] for training in trainings) for row in rows])
        lines.append([label, f"{seconds:.0f}", _mean([row[name] for row in rows])])
    return markdown(["model", "CPU seconds", "full"], lines)


def draw(folder: Path) -> None:
    """The figures of docs and README."""
    save_figure(time_figure(*people_results("time")), folder / "people_time.png")
    save_figure(amount_figure(*people_results("amount")), folder / "people_amount.png")


def _settings(settings: dict[str, object]) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in settings.items())


def _groups(rows: Rows, *keys: str) -> list[list[dict[str, object]]]:
    """Rows that agree in ``keys``, in the order in which each was first seen."""
    order = dict.fromkeys(tuple(row[key] for key in keys) for row in rows)
    return [[row for row in rows if tuple(row[key] for key in keys) == group] for group in order]


def _accuracies(found: Rows) -> list[str]:
    return [_mean([row[key] for row in found]) for key in ("crop", "full")]


def _mean(values: Sequence[float]) -> str:
    """With the standard deviation where there are several."""
    several = f" ± {spread(np.array(values)):.3f}" * (len(values) > 1)
    return f"{np.mean(values):.3f}{several}" if values else ""


def _name(row: dict[str, object]) -> str:
    name = str(row["model"])
    return name if " " in name else f"`{name}`"  # a preset, or words
