"""The figure of one mistake: what the model was given, where it attended, and whom it found likely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..evaluation.mistakes import Mistake
from ..sound.features import FRAMES_PER_SECOND
from .speech import add_hertz, show_mel
from .style import BLACK, BLUE, GREEN, GREY, ORANGE, Axes, Figure, describe, finish, label_names, new_figure

MOST_HEADS = 4  # maps beside the spectrogram


def mistake_figure(
    mistake: Mistake, speakers: Sequence[str], mel: np.ndarray, maps: torch.Tensor, weights: torch.Tensor, source: str = ""
) -> Figure:
    """The utterance ``mel`` (frames, n_mels), the weight of each frame, attention, and the likeliest speakers.

    ``maps`` (heads, queries, keys) are the attention weights of one layer, ``weights`` (frames,) those of pooling.  The true
    speaker is blue and the one named orange, as the two voices of lesson 1.
    """
    figure = new_figure(4.6, source)
    grid = figure.add_gridspec(2, 2, width_ratios=(2, 1), height_ratios=(1.3, 1))
    above = figure.add_subplot(grid[0, 0])
    show_mel(above, mel)
    finish(above, "log-mel spectrogram", "", "mel band", legend=False)
    above.grid(False)
    above.tick_params(labelbottom=False)
    add_hertz(above, mel.shape[1])
    seconds = len(mel) / FRAMES_PER_SECOND
    _weights(figure.add_subplot(grid[1, 0], sharex=above), weights, maps, seconds)
    _heads(figure, grid[0, 1], maps, seconds)

    likely = list(mistake.top) + [(mistake.true, mistake.true_probability)] * (mistake.rank > len(mistake.top))
    names = dict(zip((who for who, _ in likely), label_names([speakers[who] for who, _ in likely]), strict=True))
    _likeliest(figure.add_subplot(grid[1, 1]), mistake, likely, names)
    title = f"{names[mistake.true]} taken for {names[mistake.named]} with probability {mistake.probability:.2f}"
    figure.suptitle(title, fontsize=11)
    listed = ", ".join(f"{names[who]} {probability:.2f}" for who, probability in likely)
    text = f"{title}: the utterance's spectrogram, the weight of each frame, and the attention of the first heads"
    return describe(figure, f"{text}. Probabilities: {listed}; the true speaker has rank {mistake.rank}.")


def _weights(axes: Axes, pooling: torch.Tensor, maps: torch.Tensor, seconds: float) -> None:
    """Pooling weights (frames,) and the attention that each key of maps (heads, queries, keys) received, both with mean 1."""
    received = maps.mean(dim=0).sum(dim=0).numpy()  # (keys,)
    pooled = pooling.numpy() * len(pooling)  # (frames,)
    for values, colour, dashes, label in (
        (received, GREEN, "-", "attention received, mean of heads"),
        (pooled, BLACK, "--", "weight in pooling"),
    ):
        edges = np.linspace(0, seconds, len(values) + 1)  # a key is several frames in a model with subsampling
        axes.stairs(values, edges, baseline=None, color=colour, linestyle=dashes, linewidth=1.2, label=label)
    axes.set_yscale("symlog", linthresh=1.0)  # some frames receive a hundred times the mean, most of them nearly nothing
    axes.set_ylim(0, 6 * max(received.max(), pooled.max()))  # with room for the legend
    axes.yaxis.set_major_formatter("{x:g}")
    finish(axes, "", "seconds", "weight of a frame,\nmean 1", legend=False)
    axes.legend(fontsize=7, ncols=2, loc="upper right")


def _heads(figure: Figure, place: object, maps: torch.Tensor, seconds: float) -> None:
    """Small maps of the first of maps (heads, queries, keys) in a cell of the figure's grid."""
    shown = maps[:MOST_HEADS]  # (shown heads, queries, keys)
    columns = min(len(shown), 2)
    small = place.subgridspec(-(-len(shown) // columns), columns)
    brightest = float(torch.quantile(shown.flatten(), 0.995))
    for i, head in enumerate(shown):
        axes, left, last = figure.add_subplot(small[divmod(i, columns)]), i % columns == 0, i + columns >= len(shown)
        extent = (0, seconds, seconds, 0)
        axes.imshow(head.numpy(), cmap="cividis", vmin=0.0, vmax=brightest, aspect="auto", extent=extent)
        axes.set_title(f"attention, head 1 of {len(maps)}" if i == 0 else f"head {i + 1}", fontsize=8)
        axes.tick_params(labelsize=7, labelleft=left, labelbottom=last)
        axes.set_ylabel("query, s" if left else "", fontsize=7)
        axes.set_xlabel("key, s" if last else "", fontsize=7)


def _likeliest(axes: Axes, mistake: Mistake, likely: Sequence[tuple[int, float]], names: dict[int, str]) -> None:
    """A bar for each of the likely speakers, class ids and probabilities."""
    colours = {mistake.true: BLUE, mistake.named: ORANGE}
    notes = {mistake.true: f"\n(true, rank {mistake.rank})", mistake.named: "\n(named)"}
    values = [probability for _, probability in likely]
    bars = axes.barh(range(len(likely)), values, color=[colours.get(who, GREY) for who, _ in likely], edgecolor="white")
    for bar, (who, _) in zip(bars, likely, strict=True):
        bar.set_hatch("//" if who == mistake.true else "")  # for print without colours
    axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=2, fontsize=7)
    axes.set_yticks(range(len(likely)), [names[who] + notes.get(who, "") for who, _ in likely], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2 * mistake.probability)
    axes.locator_params(axis="x", nbins=4)
    finish(axes, "", "probability", "", legend=False)
    axes.grid(False, axis="y")
