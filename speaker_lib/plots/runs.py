"""Figures of runs: validation curves of several, all curves of one, and a confusion matrix."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ..evaluation.identification import confusion_counts
from ..experiments.published import REPORT_BASELINE, REPORT_TUNED
from ..training.run import Run
from ..utils.errors import RunError
from .style import COLOURS, GREY, MARKERS, Axes, Figure, finish, label_names, plain


def comparison_figure(runs: Sequence[Run], report: bool = True) -> Figure:
    """Validation accuracy and loss of each run by step, with the ``report``'s two curves; RunError if a run has none yet."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    for i, (run, label) in enumerate(zip(runs, label_names([run.name for run in runs]), strict=True)):
        rows = run.metrics()
        if not rows:
            raise RunError(f"{run.folder} has no validation yet: resume it with `train --resume` until the first one.")
        steps = [row["step"] for row in rows]
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        style = {"color": colour, "marker": marker, "markersize": 4, "label": label}
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


def curves_figure(run: Run, rows: Sequence[Mapping[str, float]] | None = None) -> Figure:
    """Accuracy and loss of one run so far (or in these ``rows`` of validations), in training and in validation."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    rows = run.metrics() if rows is None else rows
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
    names = label_names([speakers[i] for i in worst])
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("predicted speaker")
    axes.set_ylabel("true speaker")
    axes.set_title(f"The {len(names)} most confused speakers", fontsize=10)
    figure.colorbar(image, label="utterances")
    return figure


def _finish_curves(accuracy: Axes, loss: Axes, accuracy_title: str, loss_title: str) -> None:
    finish(accuracy, accuracy_title, "training steps", "accuracy, fraction of segments")
    accuracy.set_ylim(0.0, 1.0)
    finish(loss, loss_title, "training steps", "cross-entropy, nats")
    loss.set_ylim(bottom=0.0)
