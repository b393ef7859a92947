"""The geometry of a margin: in two dimensions, with two speakers' directions on the unit circle.

Each point of the circle is the embedding of an utterance.  The logits come from `with_margin`, as in training.
"""

import math

import numpy as np
import torch

from ..training.losses import with_margin
from .style import COLOURS, Axes, Figure, finish

SPEAKERS = (math.radians(55), math.radians(125))  # the directions of speakers A and B
KINDS = {"cosine": "subtracted from the cosine", "angle": "added to the angle"}
_SCALE = 30.0  # of the cosine head
_POINTS = 3_601  # around the circle, a tenth of a degree apart


def margin_figure(margin: float) -> Figure:
    """Two speakers on the unit circle with each kind of margin, and the right speaker's logit over its angle."""
    figure = Figure(figsize=(12, 4.3), layout="constrained")
    polar = {tuple(KINDS): {"projection": "polar"}}
    panels = figure.subplot_mosaic([[*KINDS, "logits"]], width_ratios=(1, 1, 1.25), per_subplot_kw=polar)
    for kind in KINDS:
        _circle(panels[kind], kind, margin)
    _logits(panels["logits"], margin)
    figure.get_layout_engine().set(h_pad=0.08)  # else the upper line of a title touches the edge
    return figure


def territories(kind: str, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Angles around the circle, (points,) radians, and the speaker that wins at each: 0, 1, or -1 for neither.

    A speaker wins at an angle if its logit there is the larger one even after its margin.
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
        colour = COLOURS[speaker]
        axes.fill_between(places, 1.0, where=owner == speaker, color=colour, alpha=0.25, linewidth=0)
        axes.plot(places, np.where(owner == speaker, 1.0, np.nan), color=colour, linewidth=4)
        axes.annotate("", (direction, 1.0), (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour})
        axes.text(direction, 1.12, "AB"[speaker], color=colour, ha="center", va="center")
    strip = int((owner == -1)[places > 0].sum()) * 360 / (_POINTS - 1)  # degrees, on the side of the two directions
    axes.plot([sum(SPEAKERS) / 2] * 2, [0, 1.05], color="black", linestyle=":", linewidth=1.5)
    axes.set_title(f"{margin:.2f} {KINDS[kind]}\nstrip between A and B: {strip:.0f}°", fontsize=10)
    axes.set_ylim(0, 1.2)
    axes.axis("off")


def _logits(axes: Axes, margin: float) -> None:
    degrees = np.linspace(0, 180, 361)
    logits = (_SCALE * torch.from_numpy(degrees).deg2rad().cos())[:, None]  # (points, 1), of the right speaker alone
    labels = torch.zeros(len(degrees), dtype=torch.int64)  # (points,)
    axes.plot(degrees, logits, color="black", linestyle=":", label="no margin")
    for i, (kind, words) in enumerate(KINDS.items()):
        lowered = with_margin(logits, labels, torch.tensor(margin, dtype=torch.float64), kind, _SCALE)  # (points, 1)
        axes.plot(degrees, lowered, color=COLOURS[2 + i], linestyle=("-", "--")[i], label=words)
    finish(axes, f"Logit after a margin of {margin:.2f}", "angle to the right speaker, degrees", "logit of the right speaker")
    axes.set_ylim(-_SCALE * 1.65, _SCALE * 1.05)
    axes.set_xticks(range(0, 181, 30))
