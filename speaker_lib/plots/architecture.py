"""A drawing of the model from waveform to names, made from a preset: shapes at the arrows, parameters under the parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..config.schema import ModelConfig, Preset
from ..models.classifier import Classifier, count_parameters
from .style import BLACK, BLUE, CHANGES, GREY, ORANGE, Axes, Figure, describe, new_figure

# The settings that a part shows, and how: those of the report always, the others where they are not the default.
_SHOWN = {
    "prenet": ("input_norm", "subsampling", "d_model"),
    "encoder": ("encoder", "num_layers", "nhead", "dim_feedforward", "kernel_size", "norm"),
    "pooling": ("pooling", "pooling_norm"),
    "head": ("head", "activation", "d_embedding"),
}
_TITLES = {"prenet": "prenet", "encoder": "encoder", "pooling": "pooling over time", "head": "output head"}
_DOES = {
    "prenet": "widens each\nframe by itself",
    "encoder": "frames look at\neach other",
    "pooling": "all frames become\none vector",
    "head": "one number, a logit,\nper speaker",
}
_ALWAYS = {"d_model", "num_layers", "nhead", "dim_feedforward", "norm", "pooling", "activation"}
_COLOURS = {**CHANGES, "norm": CHANGES["num_layers"]}  # the layers bring the norm along


@dataclass(frozen=True)
class Part:
    """A part of the model: its settings, old and new, its parameters, and the shape of its output for one segment."""

    name: str
    settings: tuple[tuple[str, object, object], ...]  # name, old value, new value; equal where nothing changed
    parameters: tuple[int, int]  # old and new
    shape: tuple[int, ...]  # of one segment's output, without the batch
    old_shape: tuple[int, ...]


def model_parts(preset: Preset, changed_from: Preset | None = None) -> list[Part]:
    """The four parts of the preset's model; with ``changed_from`` also what they were in that preset."""
    old, new = changed_from or preset, preset
    shapes = [_shapes(each) for each in (old, new)]
    counts = [_parameters(each.model) for each in (old, new)]
    return [
        Part(
            name,
            tuple(
                (key, getattr(old.model, key), getattr(new.model, key)) for key in keys if _is_shown(key, old.model, new.model)
            ),
            (counts[0][name], counts[1][name]),
            shapes[1][name],
            shapes[0][name],
        )
        for name, keys in _SHOWN.items()
    ]


def architecture_figure(preset: Preset, changed_from: Preset | None = None) -> Figure:
    """The way of one utterance from waveform to names through the preset's model.

    With ``changed_from`` every setting, shape and count that differs from that preset is marked, old → new.
    """
    parts, segment_len, n_mels = model_parts(preset, changed_from), preset.train.segment_len, preset.model.n_mels
    figure = new_figure(4.5)
    axes = figure.subplots()
    axes.set_xlim(-0.05, 10)
    axes.set_ylim(0, 5)
    axes.axis("off")
    _data(axes, segment_len, n_mels)
    x, width, gap = 0.0, 1.68, 0.79
    arrows = [((segment_len, n_mels), (segment_len, n_mels)), *((part.old_shape, part.shape) for part in parts)]
    for part, (old, new) in zip(parts, arrows, strict=False):
        if x > 0:
            _arrow(axes, (x - gap, 1.5), (x, 1.5), str(new), old != new)
        _part(axes, x, width, part)
        x += width + gap
    _arrow(axes, (x - gap, 1.5), (x - 0.2, 1.5), str(parts[-1].shape), False)
    axes.text(x - 0.12, 1.5, "names", ha="left", va="center", fontsize=9, weight="bold", rotation=90)
    totals = [sum(part.parameters[i] for part in parts) for i in (0, 1)]
    title = f"From a waveform to one of {preset.model.n_speakers} names: {_change(*totals)} parameters"
    figure.suptitle(title, fontsize=11)
    chain = ", ".join(f"{part.name} {part.shape} with {part.parameters[1]:,} parameters" for part in parts)
    changed = [f"{key} from {old} to {new}" for part in parts for key, old, new in part.settings if old != new]
    marked = f" Changed: {', '.join(changed)}." if changed else ""
    return describe(figure, f"Waveform, log-mel frames, segment ({segment_len}, {n_mels}), {chain}, names.{marked}")


def _data(axes: Axes, segment_len: int, n_mels: int) -> None:
    """The upper row: waveform, spectrogram, and the segment that is cut from it. The pictures are sketches, not a recording."""
    from matplotlib.patches import Rectangle

    t = np.linspace(0, 1, 600)
    loud = 0.15 + np.abs(np.sin(2 * np.pi * 2.3 * t)) * (0.5 + 0.5 * np.sin(2 * np.pi * 0.9 * t + 1))
    axes.plot(2.0 * t, 4.2 + 0.42 * loud * np.sin(2 * np.pi * 55 * t), color=BLUE, linewidth=0.6)
    frames, bands = np.meshgrid(np.arange(90), np.arange(40))
    formants = [6 + 3 * np.sin(frames / 9 + i) * (1 + i / 3) + 10 * i for i in range(3)]
    picture = sum(np.exp(-(((bands - formant) / 2.2) ** 2)) for formant in formants) * (0.5 + 0.5 * np.sin(frames / 6) ** 2)
    axes.imshow(picture, extent=(3.5, 6.1, 3.72, 4.68), origin="lower", aspect="auto", cmap="cividis", zorder=1)
    axes.add_patch(Rectangle((4.3, 3.7), 0.9, 1.0, fill=False, edgecolor="white", linewidth=2, zorder=2))
    axes.imshow(picture[:, 28:59], extent=(8.0, 8.9, 3.72, 4.68), origin="lower", aspect="auto", cmap="cividis", zorder=1)
    axes.set_xlim(-0.05, 10)
    axes.set_ylim(0, 5)
    for x, text in ((1.0, "waveform, 16 kHz"), (4.8, "log-mel spectrogram"), (8.45, "segment")):
        axes.text(x, 4.8, text, ha="center", va="bottom", fontsize=9, weight="bold")
    _arrow(axes, (2.1, 4.2), (3.4, 4.2), "(samples,)", False)
    _arrow(axes, (6.2, 4.2), (7.9, 4.2), f"(frames, {n_mels})", False)
    # Down to the second row, along the gap between the rows.
    axes.plot([8.45, 8.45, 0.84, 0.84], [3.66, 3.2, 3.2, 2.9], color=BLACK, linewidth=1.2)
    axes.annotate("", (0.84, 2.62), (0.84, 3.0), arrowprops={"arrowstyle": "-|>", "color": BLACK, "shrinkA": 0, "shrinkB": 0})
    cut = f"({segment_len}, {n_mels}): {segment_len} frames, one every 10 ms"
    axes.text(4.8, 3.26, cut, ha="center", va="bottom", fontsize=8)


def _part(axes: Axes, x: float, width: float, part: Part) -> None:
    from matplotlib.patches import FancyBboxPatch, Rectangle

    box = FancyBboxPatch(
        (x, 0.45), width, 2.1, boxstyle="round,pad=0,rounding_size=0.08", facecolor="#f4f4f4", edgecolor="#333333"
    )
    axes.add_patch(box)
    axes.text(x + width / 2, 2.37, _TITLES[part.name], ha="center", va="center", fontsize=9, weight="bold")
    lines = [(_line(key, old, new), old != new, _COLOURS.get(key, ORANGE)) for key, old, new in part.settings]
    step = min(0.31, 1.72 / max(len(lines), 1))
    for i, (text, changed, colour) in enumerate(lines):
        y = 2.05 - i * step
        if changed:
            axes.add_patch(Rectangle((x + 0.04, y - 0.13), width - 0.08, 0.26, facecolor=colour, alpha=0.35, linewidth=0))
        weight = "bold" if changed else "normal"
        size = min(7.5, 7.5 * 23 / len(text))  # the box is 23 bold characters wide
        axes.text(x + width / 2, y, text, ha="center", va="center", fontsize=size, weight=weight)
    if len(lines) < 5:
        axes.text(x + width / 2, 0.52, _DOES[part.name], ha="center", va="bottom", fontsize=7, color=GREY)
    old, new = part.parameters
    weight = "bold" if old != new else "normal"
    axes.text(x + width / 2, 0.3, _change(old, new), ha="center", va="top", fontsize=8, weight=weight)
    axes.text(x + width / 2, 0.08, "parameters", ha="center", va="top", fontsize=7, color=GREY)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str, changed: bool) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": BLACK, "shrinkA": 0, "shrinkB": 0})
    middle = (start[0] + end[0]) / 2
    axes.text(middle, start[1] + 0.1, text, ha="center", va="bottom", fontsize=7.5, weight="bold" if changed else "normal")


def _line(key: str, old: object, new: object) -> str:
    """A setting in a box: the words of the value alone where they say what they are of."""
    values = [f"{value}".replace("_", " ") for value in (old, new)]
    name = {"norm": "norm", "pooling": "", "encoder": "", "head": "", "activation": ""}.get(key, key)
    return f"{name} {_change(*values)}".strip()


def _change(old: object, new: object) -> str:
    old, new = (f"{value:,}" if isinstance(value, int) else str(value) for value in (old, new))
    return new if old == new else f"{old} → {new}"


def _is_shown(key: str, old: ModelConfig, new: ModelConfig) -> bool:
    if key == "activation" and {old.head, new.head} != {"two_layer"}:
        return False  # only that head has one
    default = getattr(ModelConfig(), key)
    if key == "kernel_size" and not (old.encoder + new.encoder).count("conformer"):
        return False
    return key in _ALWAYS or not getattr(old, key) == getattr(new, key) == default


def _shapes(preset: Preset) -> dict[str, tuple[int, ...]]:
    config = preset.model
    frames = -(-preset.train.segment_len // config.subsampling)
    return {
        "prenet": (frames, config.d_model),
        "encoder": (frames, config.frame_width),
        "pooling": (config.pooled_width,),
        "head": (config.n_speakers,),
    }


def _parameters(config: ModelConfig) -> dict[str, int]:
    with torch.device("meta"):
        model = Classifier(config)
    pooling = count_parameters(model.pooling) + count_parameters(model.pooling_norm)
    parts = {"prenet": model.prenet, "encoder": model.encoder, "head": model.pred_layer}
    return {name: count_parameters(part) for name, part in parts.items()} | {"pooling": pooling}
