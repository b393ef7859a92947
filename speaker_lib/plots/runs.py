"""Figures of runs: validation curves of several, all curves of one, and a confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ..evaluation.identification import confusion_counts
from ..experiments.published import REPORT_BASELINE, REPORT_TUNED
from ..training.run import Run
from ..utils.errors import RunError
from .style import GREY, MARKERS, Axes, Figure, describe, finish, label_names, model_colour, new_figure

REPORT_SPEAKERS = 600  # the report's curves belong beside runs on as many


def comparison_figure(runs: Sequence[Run], report: bool | None = None) -> Figure:
    """Validation accuracy and loss of each run by step; RunError if a run has none yet.

    ``report`` adds the report's two curves; by default where a run names as many speakers as the report's models.
    """
    if report is None:
        report = any(run.preset.model.n_speakers == REPORT_SPEAKERS for run in runs)
    note = "grey: the report, on 600 VoxCeleb2 speakers after 70,000 steps; " * report
    figure = new_figure(3.9, note + "; ".join(dict.fromkeys(run.data.source for run in runs)))
    accuracy, loss = figure.subplots(1, 2)
    labels = label_names([run.name for run in runs])
    for i, (run, label) in enumerate(zip(runs, labels, strict=True)):
        rows = run.metrics()
        if not rows:
            raise RunError(f"{run.folder} has no validation yet: resume it with `train --resume` until the first one.")
        steps = [row["step"] for row in rows]
        style = {
            "color": model_colour(run.name, i),
            "marker": MARKERS[i % len(MARKERS)],
            "markersize": 4,
            "label": label,
        }
        accuracy.plot(steps, [row["valid_accuracy"] for row in rows], **style)
        loss.plot(steps, [row["valid_loss"] for row in rows], **style)
    classes = {run.preset.model.n_speakers for run in runs}
    if len(classes) == 1 and not report:  # the report's curves are grey, too
        _guessing(accuracy, loss, min(classes))
    last = max(run.metrics()[-1]["step"] for run in runs)
    for curve, dashes in ((REPORT_BASELINE, ":"), (REPORT_TUNED, "--")) if report else ():
        for axes, values, outcome in ((accuracy, curve.accuracy, curve.best_accuracy), (loss, curve.loss, curve.loss[-1])):
            style = {"color": GREY, "linestyle": dashes, "label": f"{curve.name} ({outcome})"}
            if last >= curve.steps[0]:
                axes.plot(curve.steps, values, **style)
            else:  # the runs end before the report's log begins
                axes.axhline(outcome, **style)
    _finish_curves(accuracy, loss, "Validation accuracy", "Validation loss", max(classes))
    best = [max(row["valid_accuracy"] for row in run.metrics()) for run in runs]
    reached = ", ".join(f"{label} {accuracy:.2f}" for label, accuracy in zip(labels, best, strict=True))
    figure.suptitle(f"Best validation accuracy on segments: {reached}", fontsize=11)
    return describe(figure, f"Validation accuracy and loss against training steps. Best accuracy: {reached}.")


def curves_figure(run: Run, rows: Sequence[Mapping[str, float]] | None = None) -> Figure:
    """Accuracy and loss of one run so far (or in these ``rows`` of validations), in training and in validation."""
    figure = new_figure(3.5, f"{run.name} on {run.data.source}")
    accuracy, loss = figure.subplots(1, 2)
    rows, colour = run.metrics() if rows is None else rows, model_colour(run.name, 0)
    steps, n_speakers = [row["step"] for row in rows], run.preset.model.n_speakers
    hollow = {"linestyle": "--", "linewidth": 1, "marker": "s", "markerfacecolor": "white"}
    for part, label, look in (("train", "training", hollow), ("valid", "validation", {"marker": "o"})):
        style = {"color": colour, "markersize": 4, "label": label} | look
        accuracy.plot(steps, [row[f"{part}_accuracy"] for row in rows], **style)
        loss.plot(steps, [row[f"{part}_loss"] for row in rows], **style)
    _guessing(accuracy, loss, n_speakers)
    for axes in (accuracy, loss):
        axes.set_xlim(0, run.preset.train.total_steps * 1.02)
    _finish_curves(accuracy, loss, "Accuracy", "Loss", n_speakers)
    now = f"At step {rows[-1]['step']:,}: validation accuracy {rows[-1]['valid_accuracy']:.2f}" if rows else "No validation yet"
    return describe(figure, f"Accuracy and loss of {run.name} in training and validation against training steps. {now}.")


def confusion_figure(logits: torch.Tensor, labels: torch.Tensor, speakers: Sequence[str], most: int = 12) -> Figure:
    """The confusion matrix of the ``most`` confused speakers: logits (n, n_speakers), labels (n,).

    Right answers, on the diagonal, are numbers on grey: only the mistakes have a colour.
    """
    n_speakers, counts = logits.shape[1], confusion_counts(logits, labels)
    mistakes = counts.clone().fill_diagonal_(0)  # (n_speakers, n_speakers)
    pairs = torch.argsort(mistakes.flatten(), descending=True, stable=True).tolist()
    in_pairs = dict.fromkeys(speaker for pair in pairs for speaker in divmod(pair, n_speakers))  # most confused first
    worst = sorted(list(in_pairs)[:most])
    shown = counts[worst][:, worst].numpy()  # (most, most)
    figure = new_figure(4.6)
    axes = figure.subplots()
    wrong = np.ma.masked_where(np.eye(len(worst), dtype=bool), shown)
    top = max(int(wrong.max()), 1) if len(worst) > 1 else 1
    axes.set_facecolor("#d9d9d9")
    image = axes.imshow(wrong, cmap="cividis", aspect="auto", vmin=0, vmax=top)
    for (i, j), count in np.ndenumerate(shown):
        if count:
            dark = i == j or count > top / 2
            axes.text(j, i, count, ha="center", va="center", fontsize=8, color="black" if dark else "white")
    names = label_names([speakers[i] for i in worst])
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("predicted speaker")
    axes.set_ylabel("true speaker")
    right, n = int(counts.diagonal().sum()), len(labels)
    axes.set_title(f"The {len(names)} most confused speakers; of all {n:,} utterances {n - right:,} are mistaken", fontsize=10)
    figure.colorbar(image, label="utterances mistaken", ticks=range(0, top + 1, max(1, top // 5)))
    i, j = divmod(pairs[0], n_speakers)
    worst_pair = f"Most often {speakers[i]} is taken for {speakers[j]}: {int(mistakes[i, j])} times." * (n > right)
    text = f"Confusion matrix, true by predicted speaker. {right} of {n} utterances are right. {worst_pair}"
    return describe(figure, text.strip())


def _guessing(accuracy: Axes, loss: Axes, n_speakers: int) -> None:
    """The accuracy and the loss of a model that finds all speakers equally likely."""
    for axes, chance in ((accuracy, 1 / n_speakers), (loss, math.log(n_speakers))):
        axes.axhline(chance, color=GREY, linestyle=":", label="guessing")


def _finish_curves(accuracy: Axes, loss: Axes, accuracy_title: str, loss_title: str, n_speakers: int) -> None:
    """Axes from the first point on as at the end: accuracy to 1, loss to that of guessing, and no point on the frame."""
    finish(accuracy, accuracy_title, "training steps", "accuracy, fraction of segments")
    accuracy.set_ylim(-0.03, 1.08)
    finish(loss, loss_title, "training steps", "cross-entropy, nats")
    from matplotlib.ticker import MaxNLocator

    for axes in (accuracy, loss):
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    drawn = [float(np.nanmax(line.get_ydata())) for line in loss.lines if len(line.get_ydata())]
    loss.set_ylim(0.0, 1.1 * max([math.log(max(n_speakers, 2)), *drawn]))
