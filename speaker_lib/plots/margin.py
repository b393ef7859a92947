"""A figure about a margin: on which part of the circle an utterance has to lie, and how much the right logit is lowered.

Everything is computed by `with_margin` itself, in two dimensions: two speakers' directions, and utterances all around.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Wedge

from ..training.losses import with_margin
from .runs import COLOURS, finish

SPEAKERS = (math.radians(55), math.radians(125))  # where on the circle the two speakers' directions point
KINDS = {"cosine": "taken off the cosine", "angle": "added to the angle"}
_SCALE = 30.0  # of the cosine head; with it the logits are drawn, too
_POINTS = 3_601  # around the circle, a tenth of a degree apart


def margin_figure(margin: float) -> Figure:
    """Two speakers on the unit circle with each kind of margin, and the right speaker's logit over its angle."""
    figure = Figure(figsize=(12, 4.3), layout="constrained")
    *circles, logit = figure.subplots(1, 3, width_ratios=(1, 1, 1.25))
    for axes, kind in zip(circles, KINDS, strict=True):
        _circle(axes, kind, margin)
    _logits(logit, margin)
    figure.get_layout_engine().set(h_pad=0.08)  # else the upper line of a title touches the edge
    return figure


def territories(kind: str, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Angles around the circle, (points,) radians, and whose territory each is: speaker 0 or 1, or -1 for neither.

    An angle is in a speaker's territory if that speaker's utterance there has the larger logit even after the margin.
    """
    places = torch.linspace(-math.pi, math.pi, _POINTS, dtype=torch.float64)  # (points,)
    logits = _SCALE * torch.cos(places[:, None] - torch.tensor(SPEAKERS, dtype=torch.float64))  # (points, 2)
    owner = torch.full((_POINTS,), -1)  # (points,)
    for speaker in range(2):
        labels = torch.full((_POINTS,), speaker)  # (points,)
        lowered = with_margin(logits, labels, torch.tensor(margin, dtype=torch.float64), kind, _SCALE)  # (points, 2)
        owner[lowered[:, speaker] > lowered[:, 1 - speaker]] = speaker
    return places.numpy(), owner.numpy()


def _circle(axes: Axes, kind: str, margin: float) -> None:
    places, owner = territories(kind, margin)
    for speaker, direction in enumerate(SPEAKERS):
        colour, name = COLOURS[speaker], "AB"[speaker]
        for first, last in _arcs(owner == speaker):
            wedge = np.degrees(places[[first, last]])
            axes.add_patch(Wedge((0, 0), 1.0, *wedge, color=colour, alpha=0.25, linewidth=0))
            axes.plot(np.cos(places[first : last + 1]), np.sin(places[first : last + 1]), color=colour, linewidth=4)
        axes.annotate("", (math.cos(direction), math.sin(direction)), (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour})
        axes.text(1.12 * math.cos(direction), 1.12 * math.sin(direction), name, color=colour, ha="center", va="center")
    strip = int((owner == -1)[places > 0].sum()) * 360 / (_POINTS - 1)  # degrees, on the side of the two directions
    between = sum(SPEAKERS) / 2
    axes.plot([0, 1.05 * math.cos(between)], [0, 1.05 * math.sin(between)], color="black", linestyle=":", linewidth=1.5)
    axes.set_title(f"{margin:.2f} {KINDS[kind]}\nstrip between A and B: {strip:.0f}°", fontsize=10)
    axes.set_xlim(-1.2, 1.2)
    axes.set_ylim(-1.2, 1.2)
    axes.set_aspect("equal")
    axes.axis("off")


def _logits(axes: Axes, margin: float) -> None:
    degrees = np.linspace(0, 180, 361)
    logits = (_SCALE * torch.from_numpy(degrees).deg2rad().cos())[:, None]  # (points, 1): the right speaker alone
    labels = torch.zeros(len(degrees), dtype=torch.int64)  # (points,)
    axes.plot(degrees, logits, color="black", linestyle=":", label="no margin")
    for i, (kind, words) in enumerate(KINDS.items()):
        lowered = with_margin(logits, labels, torch.tensor(margin, dtype=torch.float64), kind, _SCALE)  # (points, 1)
        axes.plot(degrees, lowered, color=COLOURS[2 + i], linestyle=("-", "--")[i], label=words)
    title = f"What the loss is shown, margin {margin:.2f}"
    finish(axes, title, "angle to the right speaker, degrees", "logit of the right speaker")
    axes.set_ylim(-_SCALE * 1.65, _SCALE * 1.05)
    axes.set_xticks(range(0, 181, 30))


def _arcs(inside: np.ndarray) -> list[tuple[int, int]]:
    """The first and last index of each stretch of true values, (n,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    return [(int(first), int(last) - 1) for first, last in edges.reshape(-1, 2)]
