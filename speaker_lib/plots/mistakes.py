"""The figure of one mistake: what the model had, where it attended, and whom it found likely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from ..evaluation.mistakes import Mistake
from ..sound.features import FRAMES_PER_SECOND
from .speech import add_hertz, show_mel
from .style import BLACK, BLUE, GREEN, GREY, ORANGE, Axes, Figure, describe, finish, label_names, new_figure

MOST_HEADS = 4  # maps beside the spectrogram
_CELLS = 100  # of a map in each direction: a panel has few more pixels, and a picture of finer maps is twice as large


def mistake_figure(
    mistake: Mistake, speakers: Sequence[str], mel: np.ndarray, maps: torch.Tensor, weights: torch.Tensor, source: str = ""
) -> Figure:
    """The utterance ``mel`` (frames, n_mels), the weight of each frame, attention, and the likeliest speakers.

    ``maps`` (heads, queries, keys) are the attention weights of one layer, ``weights`` (frames,) those of pooling.  The true
    speaker is blue and the one named orange, as the two voices of lesson 1.
    """
    names = [speakers[mistake.true], speakers[mistake.named]]
    true, named = label_names(names)
    figure = new_figure(4.6, source)
    grid = figure.add_gridspec(2, 2, width_ratios=(2, 1), height_ratios=(1.3, 1))
    above = figure.add_subplot(grid[0, 0])
    show_mel(above, mel)
    finish(above, "log-mel spectrogram", "", "mel band", legend=False)
    above.grid(False)
    above.tick_params(labelbottom=False)
    add_hertz(above, mel.shape[1])
    received = maps.mean(dim=0).sum(dim=0).numpy()  # (keys,), mean 1
    _weights(figure.add_subplot(grid[1, 0], sharex=above), weights.numpy() * len(weights), received, len(mel))
    size = min(_CELLS, maps.shape[-1])
    shown = F.adaptive_avg_pool2d(maps[:MOST_HEADS], size)  # (heads, cells, cells)
    columns = min(len(shown), 2)
    rows = -(-len(shown) // columns)
    small = grid[0, 1].subgridspec(rows, columns)
    for i, head in enumerate(shown):
        panel = figure.add_subplot(small[divmod(i, columns)])
        _attention(panel, head, float(torch.quantile(shown.flatten(), 0.995)), len(mel) / FRAMES_PER_SECOND)
        panel.set_title(f"attention, head 1 of {len(maps)}" if i == 0 else f"head {i + 1}", fontsize=8)
        panel.tick_params(labelleft=i % columns == 0, labelbottom=i + columns >= len(shown))
        panel.set_ylabel("query, s" if i % columns == 0 else "", fontsize=7)
        panel.set_xlabel("key, s" if i + columns >= len(shown) else "", fontsize=7)
    _likeliest(figure.add_subplot(grid[1, 1]), mistake, speakers)
    figure.suptitle(f"{true} taken for {named} with probability {mistake.probability:.2f}", fontsize=11)
    likely = ", ".join(f"{speakers[speaker]} {probability:.2f}" for speaker, probability in mistake.top)
    text = f"Spectrogram of an utterance, the weight of each of its frames, and the attention of {len(shown)} heads"
    whom = f"{names[0]} was taken for {names[1]}: {likely}; the true speaker has rank {mistake.rank}"
    return describe(figure, f"{text}. {whom}.")


def _weights(axes: Axes, pooling: np.ndarray, received: np.ndarray, n_frames: int) -> None:
    """Pooling weights (frames,) and the attention that each key received, (keys,), both with mean 1, over seconds."""
    end = n_frames / FRAMES_PER_SECOND
    style = {"baseline": None, "linewidth": 1.2}  # steps, because a weight belongs to a frame
    axes.stairs(received, np.linspace(0, end, len(received) + 1), color=GREEN, label="attention received, mean of heads", **style)
    axes.stairs(pooling, np.linspace(0, end, len(pooling) + 1), color=BLACK, linestyle="--", label="weight in pooling", **style)
    axes.set_ylim(0, 1.35 * max(received.max(), pooling.max()))  # with room for the legend
    finish(axes, "", "seconds", "weight of a frame,\nmean 1", legend=False)
    axes.legend(fontsize=7, ncols=2, loc="upper right")


def _attention(axes: Axes, weights: torch.Tensor, brightest: float, seconds: float) -> None:
    """The attention weights (queries, keys) of one head."""
    extent = (0, seconds, seconds, 0)
    axes.imshow(weights.numpy(), cmap="cividis", vmin=0.0, vmax=brightest, aspect="auto", extent=extent)
    axes.tick_params(labelsize=7)


def _likeliest(axes: Axes, mistake: Mistake, speakers: Sequence[str]) -> None:
    """A bar per speaker of the five likeliest, and one for the true speaker where it is none of them."""
    bars = list(mistake.top)
    if mistake.rank > len(bars):
        bars.append((mistake.true, mistake.true_probability))
    colours = {mistake.true: BLUE, mistake.named: ORANGE}
    hatches = {mistake.true: "//"}  # for print without colours
    drawn = axes.barh(range(len(bars)), [value for _, value in bars], color=[colours.get(who, GREY) for who, _ in bars])
    for bar, (who, _) in zip(drawn, bars, strict=True):
        bar.set(hatch=hatches.get(who, ""), edgecolor="white")
    axes.bar_label(drawn, [f"{value:.2f}" for _, value in bars], padding=2, fontsize=7)
    names = label_names([speakers[who] for who, _ in bars])
    notes = {mistake.true: f"\n(true, rank {mistake.rank})", mistake.named: "\n(named)"}
    axes.set_yticks(range(len(bars)), [name + notes.get(who, "") for name, (who, _) in zip(names, bars, strict=True)], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2 * mistake.probability)
    finish(axes, "", "probability", "", legend=False)
    axes.grid(False, axis="y")
