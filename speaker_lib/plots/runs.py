"""Figures of runs: validation curves of several, all curves of one, and a confusion matrix.

The colours are those of Okabe & Ito, which colour-blind readers can tell apart; markers and hatches do the same in print.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.identification import confusion_counts
from ..experiments.published import REPORT_BASELINE, REPORT_TUNED
from ..training.run import Run
from ..utils.errors import RunError
from ..utils.files import make_folder, replacing

GREY = "#777777"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"


def comparison_figure(runs: Sequence[Run], report: bool = True) -> Figure:
    """Validation accuracy and loss of each run by step, with the ``report``'s two curves; RunError if a run has none yet."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    for i, run in enumerate(runs):
        rows = run.metrics()
        if not rows:
            raise RunError(f"{run.folder} has no validation yet: resume it with `train --resume` until the first one.")
        steps = [row["step"] for row in rows]
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        style = {"color": colour, "marker": marker, "markersize": 4, "label": plain(run.name)}
        accuracy.plot(steps, [row["valid_accuracy"] for row in rows], **style)
        loss.plot(steps, [row["valid_loss"] for row in rows], **style)
    last = max(run.metrics()[-1]["step"] for run in runs)
    for curve, dashes in ((REPORT_BASELINE, ":"), (REPORT_TUNED, "--")) if report else ():
        for axes, values, outcome in ((accuracy, curve.accuracy, curve.best_accuracy), (loss, curve.loss, curve.loss[-1])):
            style = {"color": GREY, "linestyle": dashes, "label": f"{curve.name} ({outcome})"}
            if last >= curve.steps[0]:
                axes.plot(curve.steps, values, **style)
            else:  # the runs end before the report's log begins
                axes.axhline(outcome, **style)
    _finish_curves(accuracy, loss, "Validation accuracy", "Validation loss")
    sources = "; ".join(dict.fromkeys(run.data.source for run in runs))
    note = "\ndashed: the report, on 600 VoxCeleb2 speakers after 70,000 steps" if report else ""
    figure.suptitle(plain(sources) + note, fontsize=9)
    return figure


def curves_figure(run: Run) -> Figure:
    """Accuracy and loss of one run so far, in training and in validation."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    rows = run.metrics()
    steps = [row["step"] for row in rows]
    for i, (part, label) in enumerate((("train", "training"), ("valid", "validation"))):
        style = {"color": COLOURS[i], "marker": MARKERS[i], "markersize": 4, "label": label}
        accuracy.plot(steps, [row[f"{part}_accuracy"] for row in rows], **style)
        loss.plot(steps, [row[f"{part}_loss"] for row in rows], **style)
    accuracy.axhline(1 / run.preset.model.n_speakers, color=GREY, linestyle=":", label="guessing")
    _finish_curves(accuracy, loss, "Accuracy", "Loss")
    for axes in (accuracy, loss):
        axes.set_xlim(0, run.preset.train.total_steps * 1.02)
    figure.suptitle(plain(f"{run.name} on {run.data.source}"), fontsize=9)
    return figure


def confusion_figure(logits: torch.Tensor, labels: torch.Tensor, speakers: Sequence[str], most: int = 12) -> Figure:
    """The confusion matrix of the ``most`` confused speakers: logits (n, n_speakers), labels (n,)."""
    n_speakers, counts = logits.shape[1], confusion_counts(logits, labels)
    pairs = torch.argsort(counts.clone().fill_diagonal_(0).flatten(), descending=True, stable=True).tolist()
    in_pairs = dict.fromkeys(speaker for pair in pairs for speaker in divmod(pair, n_speakers))  # most confused first
    worst = sorted(list(in_pairs)[:most])
    shown = counts[worst][:, worst].numpy()  # (most, most)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shown, cmap="cividis")
    for (i, j), count in np.ndenumerate(shown):
        if count:
            axes.text(j, i, count, ha="center", va="center", fontsize=8, color="black" if count > shown.max() / 2 else "white")
    names = [plain(speakers[i]) for i in worst]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("predicted speaker")
    axes.set_ylabel("true speaker")
    axes.set_title(f"The {len(names)} most confused speakers", fontsize=10)
    figure.colorbar(image, label="utterances")
    return figure


def plain(name: str) -> str:
    """A name for Matplotlib to show as it is: text between two dollar signs would become a formula."""
    return name.replace("$", r"\$")


def save_figure(figure: Figure, out: str | os.PathLike[str]) -> None:
    """Writes a figure in the format of its file name. Raises RunError as `figure_format` does, and WriteError."""
    suffix = figure_format(out)
    make_folder(Path(out).parent)
    with replacing(out) as file:
        figure.savefig(file, format=suffix, dpi=150)


def figure_format(out: str | os.PathLike[str]) -> str:
    """The format of a file name's ending, such as ``png``. Raises RunError if figures have no such format."""
    formats = Figure().canvas.get_supported_filetypes()
    suffix = Path(out).suffix.removeprefix(".").lower()
    if suffix not in formats:
        raise RunError(f"{out} does not end in a format for figures: choose one of {', '.join(sorted(formats))}.")
    return suffix


def finish(axes: Axes, title: str, x: str, y: str, legend: bool = True) -> None:
    """Adds the title, the labels of both axes with their units, a faint grid and the legend."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    if legend:
        axes.legend(fontsize=8)


def _finish_curves(accuracy: Axes, loss: Axes, accuracy_title: str, loss_title: str) -> None:
    finish(accuracy, accuracy_title, "training steps", "accuracy, fraction of segments")
    accuracy.set_ylim(0.0, 1.0)
    finish(loss, loss_title, "training steps", "cross-entropy, nats")
    loss.set_ylim(bottom=0.0)
