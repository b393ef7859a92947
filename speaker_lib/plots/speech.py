"""Figures of the data: waveforms, log-mel spectrograms, and the lengths of utterances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..data.features import FRAMES_PER_SECOND, SAMPLE_RATE
from .style import COLOURS, GREY, Axes, Figure, finish, label_names, plain

if TYPE_CHECKING:
    from matplotlib.image import AxesImage

_LOUD, _FLOOR = 6.0, -12.0  # natural log of mel power: the range in which speech shows its structure


def voices_figure(waveforms: Sequence[np.ndarray], mels: Sequence[np.ndarray], names: Sequence[str]) -> Figure:
    """One voice per column: its waveform (samples,) at 16 kHz, and below it its log-mel spectrogram (frames, n_mels)."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    panels = figure.subplots(2, len(names), squeeze=False, sharey="row")
    for column, (waveform, mel, name) in enumerate(zip(waveforms, mels, label_names(names), strict=True)):
        above, below = panels[:, column]
        above.plot(np.arange(len(waveform)) / SAMPLE_RATE, waveform, color=COLOURS[column], linewidth=0.4)
        finish(above, f"{name}: waveform", "seconds", "amplitude" if column == 0 else "", legend=False)
        image = _show_mel(below, mel)
        finish(below, f"{name}: log-mel spectrogram", "seconds", "mel band" if column == 0 else "", legend=False)
        below.grid(False)
    figure.colorbar(image, ax=panels[1, :], label="log mel power")
    return figure


def utterance_figure(mel: np.ndarray, start: int, segment_len: int = 128, other: np.ndarray | None = None) -> Figure:
    """One utterance (frames, n_mels), the segment from frame ``start`` on, and their mean spectra.

    ``other`` is an utterance of another speaker, (frames, n_mels): its mean spectrum is drawn, too.
    """
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 1))
    image = _show_mel(left, mel)
    seconds = start / FRAMES_PER_SECOND, segment_len / FRAMES_PER_SECOND
    left.add_patch(Rectangle((seconds[0], -0.5), seconds[1], mel.shape[1], fill=False, edgecolor="white", linewidth=2.5))
    finish(left, f"One utterance; in the box: frames {start} to {start + segment_len - 1}", "seconds", "mel band", legend=False)
    left.grid(False)
    figure.colorbar(image, ax=left, label="log mel power")
    bands = np.arange(mel.shape[1])
    right.plot(mel.mean(axis=0), bands, color=GREY, linestyle="--", label="whole utterance")
    if other is not None:
        right.plot(other.mean(axis=0), bands, color=COLOURS[0], linestyle=":", label="the other speaker")
    right.plot(mel[start : start + segment_len].mean(axis=0), bands, color=COLOURS[1], label="this segment")
    right.set_xlim(_FLOOR, _LOUD)
    finish(right, "Mean over time", "log mel power", "mel band")
    return figure


def lengths_figure(lengths: np.ndarray, segment_len: int, source: str) -> Figure:
    """A histogram of the lengths of utterances, (n,) in frames, with the length of a segment."""
    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.hist(lengths / FRAMES_PER_SECOND, bins=40, color=COLOURS[5], edgecolor="white")
    seconds = segment_len / FRAMES_PER_SECOND
    axes.axvline(seconds, color=COLOURS[1], linewidth=2, label=f"a segment: {segment_len} frames, {seconds:.2f} s")
    axes.set_xlim(left=0)
    finish(axes, f"Lengths of {len(lengths):,} utterances\n{plain(source)}", "seconds", "utterances")
    return figure


def _show_mel(axes: Axes, mel: np.ndarray) -> AxesImage:
    seconds = len(mel) / FRAMES_PER_SECOND
    extent = (0, seconds, -0.5, mel.shape[1] - 0.5)
    return axes.imshow(mel.T, origin="lower", aspect="auto", cmap="cividis", extent=extent, vmin=_FLOOR, vmax=_LOUD)
