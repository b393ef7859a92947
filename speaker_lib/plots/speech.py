"""Figures of the data: waveforms, log-mel spectrograms, and the lengths of utterances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..sound.features import FRAMES_PER_SECOND, N_MELS, SAMPLE_RATE, mel_edges
from .style import BLUE, COLOURS, GREY, ORANGE, SKY, Axes, Figure, describe, finish, label_names, new_figure

_LOUD, _FLOOR = 6.0, -12.0  # natural log of mel power: the range in which speech shows its structure
_HERTZ = (250, 500, 1_000, 2_000, 4_000, 7_000)  # marks beside the bands


def voices_figure(waveforms: Sequence[np.ndarray], mels: Sequence[np.ndarray], names: Sequence[str]) -> Figure:
    """One voice per column: its waveform (samples,) at 16 kHz, and below it, on the same time axis, its mels (frames, n_mels)."""
    figure = new_figure(4.4)
    panels = figure.subplots(2, len(names), squeeze=False, sharey="row", sharex="col")
    for column, (waveform, mel, name) in enumerate(zip(waveforms, mels, label_names(names), strict=True)):
        above, below = panels[:, column]
        above.plot(np.arange(len(waveform)) / SAMPLE_RATE, waveform, color=COLOURS[column], linewidth=0.4)
        finish(above, f"{name}: waveform", "", "amplitude" if column == 0 else "", legend=False)
        image = show_mel(below, mel)
        finish(below, "log-mel spectrogram", "seconds", "mel band" if column == 0 else "", legend=False)
        below.grid(False)
        below.set_xlim(0, len(waveform) / SAMPLE_RATE)
    add_hertz(panels[1, -1], mels[-1].shape[1])
    figure.colorbar(image, ax=panels, label="log mel power")  # beside both rows, so that both stay equally wide
    return describe(figure, f"Waveform and, below it, log-mel spectrogram of {' and '.join(names)}.")


def utterance_figure(mel: np.ndarray, start: int, segment_len: int = 128, other: np.ndarray | None = None) -> Figure:
    """One utterance (frames, n_mels), the segment from frame ``start`` on, and their mean spectra.

    ``other`` is an utterance of another speaker, (frames, n_mels): its mean spectrum is drawn, too.
    """
    from matplotlib.patches import Rectangle

    figure = new_figure(3.2)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1), sharey=True)
    image = show_mel(left, mel)
    seconds = start / FRAMES_PER_SECOND, segment_len / FRAMES_PER_SECOND
    left.add_patch(Rectangle((seconds[0], -0.5), seconds[1], mel.shape[1], fill=False, edgecolor="white", linewidth=2.5))
    finish(left, f"One utterance; in the box: frames {start} to {start + segment_len - 1}", "seconds", "mel band", legend=False)
    left.grid(False)
    figure.colorbar(image, ax=left, label="log mel power", location="left")
    bands = np.arange(mel.shape[1])
    right.plot(mel.mean(axis=0), bands, color=BLUE, linestyle="--", linewidth=1, label="whole utterance")
    if other is not None:
        right.plot(other.mean(axis=0), bands, color=ORANGE, linestyle=":", label="the other speaker")
    right.plot(mel[start : start + segment_len].mean(axis=0), bands, color=BLUE, label="this segment")
    right.set_xlim(_FLOOR - 3, _LOUD - 1)  # with room for the legend
    finish(right, "Mean over time", "log mel power", "", legend=False)
    right.legend(fontsize=7, loc="lower left", bbox_to_anchor=(0, 0.14))  # where no curve is
    add_hertz(right, mel.shape[1])
    end = (start + segment_len) / FRAMES_PER_SECOND
    text = f"Log-mel spectrogram with a box from {seconds[0]:.2f} to {end:.2f} s, and the mean spectrum of the box, of the whole"
    return describe(figure, text + (" utterance and of the other speaker." if other is not None else " utterance."))


def lengths_figure(lengths: np.ndarray, segment_len: int, source: str) -> Figure:
    """A histogram of the lengths of utterances, (n,) in frames, with the length of a segment."""
    figure = new_figure(3.0, source)
    axes = figure.subplots()
    axes.hist(lengths / FRAMES_PER_SECOND, bins=40, color=SKY, edgecolor="white")
    seconds = segment_len / FRAMES_PER_SECOND
    axes.axvline(seconds, color=ORANGE, linewidth=2, label=f"a segment: {segment_len} frames, {seconds:.2f} s")
    axes.set_xlim(left=0)
    longer = f"{(lengths > segment_len).mean():.0%} of {len(lengths):,} utterances are longer than a segment"
    finish(axes, longer, "seconds", "utterances")
    shortest, longest = lengths.min() / FRAMES_PER_SECOND, lengths.max() / FRAMES_PER_SECOND
    return describe(figure, f"Histogram of utterance lengths, {shortest:.1f} to {longest:.1f} s; {longer} of {seconds:.2f} s.")


def show_mel(axes: Axes, mel: np.ndarray, frames: bool = False) -> object:
    """Draws mels (frames, n_mels) over seconds, or over ``frames``; returns the image."""
    end = len(mel) if frames else len(mel) / FRAMES_PER_SECOND
    first = -0.5 if frames else 0.0
    extent = (first, end + first, -0.5, mel.shape[1] - 0.5)
    return axes.imshow(mel.T, origin="lower", aspect="auto", cmap="cividis", extent=extent, vmin=_FLOOR, vmax=_LOUD)


def add_hertz(axes: Axes, n_mels: int) -> None:
    """Marks the bands' frequencies on the right, where the bands are those of `sound.features`."""
    if n_mels != N_MELS:
        return
    centres = mel_edges()[1:-1]  # (n_mels,) Hz
    right = axes.secondary_yaxis("right")
    right.set_yticks(np.interp(_HERTZ, centres, np.arange(n_mels)), [f"{hertz:,}" for hertz in _HERTZ], fontsize=7)
    right.set_ylabel("Hz", fontsize=8, color=GREY)
