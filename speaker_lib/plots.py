"""Every figure of the kit. Colours are those of Okabe & Ito, which colour-blind readers tell apart; markers do so in print."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .checkpoint import Run
from .errors import RunError
from .files import replacing
from .report import REPORT_BASELINE, REPORT_TUNED, PublishedCurve

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
_REPORT_COLOURS = ((REPORT_BASELINE, "#777777", ":"), (REPORT_TUNED, "#777777", "--"))


def comparison_figure(runs: Sequence[Run]) -> Figure:
    """Validation accuracy and loss of each run against steps, the report's two curves dashed.

    Raises RunError if a run has no validation yet.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    for i, run in enumerate(runs):
        rows = run.metrics()
        if not rows:
            raise RunError(f"{run.folder} has no validation yet: let `train` reach its first (go on with --resume).")
        steps = [row["step"] for row in rows]
        style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "markersize": 4, "label": run.name}
        accuracy.plot(steps, [row["valid_accuracy"] for row in rows], **style)
        loss.plot(steps, [row["valid_loss"] for row in rows], **style)
    last = max(run.metrics()[-1]["step"] for run in runs)
    for curve, colour, dashes in _REPORT_COLOURS:
        style = {"color": colour, "linestyle": dashes}
        _reference(accuracy, curve, curve.accuracy, curve.best_accuracy, last, style)
        _reference(loss, curve, curve.loss, curve.loss[-1], last, style)
    _finish(accuracy, "Validation accuracy", "accuracy, share of segments")
    accuracy.set_ylim(0.0, 1.0)
    _finish(loss, "Validation loss", "cross-entropy, nats")
    loss.set_ylim(bottom=0.0)
    sources = "; ".join(dict.fromkeys(run.data.source for run in runs))
    figure.suptitle(f"{sources}\ndashed: the report, on 600 VoxCeleb2 speakers after 70,000 steps", fontsize=9)
    return figure


def save_figure(figure: Figure, out: str | os.PathLike[str]) -> None:
    """Writes a figure in the format of its name (PNG, PDF, SVG). Raises RunError for a name with another ending."""
    formats = figure.canvas.get_supported_filetypes()
    suffix = Path(out).suffix.removeprefix(".").lower()
    if suffix not in formats:
        raise RunError(f"{out} does not end in a format for figures: choose one of {', '.join(sorted(formats))}.")
    with replacing(out) as file:
        figure.savefig(file, format=suffix, dpi=150)


def _reference(
    axes: Axes, curve: PublishedCurve, values: Sequence[float], outcome: float, last: float, style: dict[str, str]
) -> None:
    """The report's values where the runs are as long as its log, else their outcome as a line to hold against."""
    label = f"{curve.name} ({outcome})"
    if last >= curve.steps[0]:
        axes.plot(curve.steps, values, label=label, **style)
    else:
        axes.axhline(outcome, label=label, **style)


def _finish(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("training steps")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
