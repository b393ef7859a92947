"""Figures of a model: learning rate, attention, pooling weights, activation in the head, and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ..config.schema import ModelConfig, TrainConfig
from ..models.cost import cost_of
from ..models.heads import ACTIVATIONS
from ..models.inspect import HeadSignals
from ..training.schedule import get_cosine_schedule_with_warmup
from .speech import add_hertz, show_mel
from .style import BLACK, BLUE, COLOURS, ORANGE, SKY, YELLOW, Figure, describe, finish, new_figure

ALIKE = 0.9  # correlation from which two heads attend to the same frames


def schedule_figure(config: TrainConfig) -> Figure:
    """The learning rate over all steps, from the scheduler of training."""
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=config.learning_rate)
    factor = get_cosine_schedule_with_warmup(optimizer, config.warmup_steps, config.total_steps).lr_lambdas[0]
    steps = np.linspace(0, config.total_steps, 500)
    figure = new_figure(2.8)
    axes = figure.subplots()
    axes.plot(steps, [config.learning_rate * factor(step) for step in steps], color=BLUE)
    axes.axvspan(0, config.warmup_steps, color=YELLOW, alpha=0.25, label=f"warmup, {config.warmup_steps:,} steps")
    finish(axes, "Linear warmup, then half a cosine", "training steps", "learning rate")
    peak = f"rises to {config.learning_rate:g} in {config.warmup_steps:,} steps and falls to 0 at step {config.total_steps:,}"
    return describe(figure, f"The learning rate {peak}.")


def attention_figure(maps: torch.Tensor, mel: torch.Tensor, title: str, most: int = 16) -> Figure:
    """Attention weights of the first ``most`` heads, (heads, frames, frames): queries in the rows, keys in the columns.

    Above each column of maps stands the utterance itself, ``mel`` (frames, n_mels), on the same axis as the keys.
    """
    maps = maps[:most]
    columns = min(len(maps), 4)
    rows = -(-len(maps) // columns)
    figure = new_figure(1.0 + (9.0 / columns - 0.5) * 0.8 * rows + 0.9 if columns > 1 else 8.0)
    panels = figure.subplots(rows + 1, columns, squeeze=False, sharex=True, height_ratios=(0.45, *[1] * rows))
    brightest = float(torch.quantile(maps.flatten(), 0.995))
    for column, panel in enumerate(panels[0]):
        show_mel(panel, mel.numpy(), frames=True)
        panel.set_ylabel("mel band" if column == 0 else "", fontsize=8)
        panel.tick_params(labelsize=7)
        if column:
            panel.set_yticklabels([])
    for i, panel in enumerate(panels[1:].flat):
        panel.set_visible(i < len(maps))
        if i < len(maps):
            image = panel.imshow(maps[i].numpy(), cmap="cividis", vmin=0.0, vmax=brightest, aspect="auto")
            panel.set_title(f"head {i + 1}", fontsize=8)
            panel.tick_params(labelsize=7, labelleft=i % columns == 0)
            if i % columns == 0:
                panel.set_ylabel("query frame", fontsize=8)
            if i + columns >= len(maps):
                panel.set_xlabel("key frame", fontsize=8)
    figure.colorbar(image, ax=panels[1:], label="attention weight", shrink=0.8)
    alike = _alike(maps)
    figure.suptitle(f"{title}; a row: the frame that attends, a column: the frame attended to\n{alike}", fontsize=10)
    return describe(figure, f"{title}: the utterance's spectrogram above a map of {len(maps)} heads, queries by keys. {alike}")


def pooling_figure(mel: torch.Tensor, weights: torch.Tensor, title: str) -> Figure:
    """An utterance (frames, n_mels), and below it the pooling weight (frames,) of each frame."""
    figure = new_figure(4.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.4, 1))
    show_mel(above, mel.numpy(), frames=True)
    above.set_ylabel("mel band")
    add_hertz(above, mel.shape[1])
    below.plot(weights.numpy() * len(weights), color=BLUE, linewidth=1)
    below.axhline(1.0, color=ORANGE, linestyle="--", label="mean pooling")
    below.set_ylim(bottom=0.0)
    below.set_xlim(-0.5, len(mel) - 0.5)
    finish(below, "", "frame, one every 10 ms", "weight, mean 1")
    figure.suptitle(title, fontsize=10)
    most = weights.max() * len(weights)
    return describe(figure, f"A spectrogram, and below it the pooling weight of each frame, at most {most:.1f} times the mean.")


def activation_figure(signals: Sequence[HeadSignals], title: str) -> Figure:
    """Sigmoid and ReLU in the head of the same model: their inputs, their slopes, and the gradients of the parts before them."""
    figure = new_figure(3.4)
    inputs, slopes, gradients = figure.subplots(1, 3)
    values = signals[0].inputs
    inputs.hist(values.numpy(), bins=60, color=SKY, edgecolor="white", linewidth=0.3)
    finish(inputs, "Input of the activation", "input of the activation", "count", legend=False)
    x = torch.linspace(float(values.min()), float(values.max()), 400)
    for i, signal in enumerate(signals):
        slope = torch.func.vmap(torch.func.grad(ACTIVATIONS[signal.activation]()))(x)  # (points,)
        label = f"{signal.activation}: mean {float(signal.slopes.mean()):.2f}"
        slopes.plot(x, slope, color=COLOURS[i], linestyle=("-", "--")[i], label=label)
        parts = list(signal.gradients)
        at = np.arange(len(parts)) + (i - 0.5) * 0.38
        style = {"color": COLOURS[i], "hatch": ("", "//")[i], "edgecolor": "white", "label": signal.activation}
        gradients.bar(at, list(signal.gradients.values()), 0.36, **style)
    finish(slopes, "Slope: the factor on the gradient", "input of the activation", "slope")
    gradients.set_xticks(range(len(parts)), [part.replace(" ", "\n") for part in parts], fontsize=8)
    finish(gradients, "Gradient of each part", "part of the model", "norm of the gradient")
    figure.suptitle(title, fontsize=10)
    means = " and ".join(f"{float(signal.slopes.mean()):.2f} for {signal.activation}" for signal in signals)
    return describe(figure, f"Inputs of the activation, its slope, and the gradient of each part. Mean slope: {means}.")


def cost_figure(configs: Mapping[str, ModelConfig]) -> Figure:
    """The cost of each model by name: parameters, and work per training step of 32 segments of 128 frames."""
    costs = [cost_of(config) for config in configs.values()]
    figure = new_figure(0.9 + 0.45 * len(costs))
    left, right = figure.subplots(1, 2, sharey=True)
    shades = 0.25 + 0.75 * np.arange(1, len(costs) + 1) / len(costs)  # one quantity in one colour, darker with the size
    for axes, values, title, unit in (
        (left, [cost.parameters / 1e6 for cost in costs], "Parameters", "million parameters"),
        (right, [cost.flops / 1e9 for cost in costs], "Work per training step", "GFLOP"),
    ):
        bars = axes.barh(range(len(costs)), values, color=[(*_rgb(BLUE, shade),) for shade in shades])
        axes.bar_label(bars, [f"{value:#.3g}".rstrip(".") for value in values], padding=3, fontsize=8)
        axes.margins(x=0.14)
        finish(axes, title, unit, "", legend=False)
        axes.grid(False, axis="y")
    left.set_yticks(range(len(costs)), list(configs))
    left.invert_yaxis()
    listed = "; ".join(
        f"{name}: {c.parameters:,} parameters, {c.flops / 1e9:.1f} GFLOP" for name, c in zip(configs, costs, strict=True)
    )
    return describe(figure, f"Parameters and work per training step. {listed}.")


def speed_figure(configs: Mapping[str, ModelConfig], steps_per_second: float, peak: float, peak_name: str) -> Figure:
    """The arithmetic per second of each model at one speed, beside the ``peak`` of a GPU, in operations per second.

    For training steps of 32 segments of 128 frames.
    """
    rates = [cost_of(config).flops * steps_per_second / 1e9 for config in configs.values()]
    figure = new_figure(0.9 + 0.45 * len(rates))
    axes = figure.subplots()
    bars = axes.barh(range(len(rates)), rates, color=BLUE)
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3, fontsize=8)
    axes.axvline(peak / 1e9, color=BLACK, linestyle="--", label=f"{peak_name}: {peak / 1e9:,.0f}")
    axes.margins(x=0.1)
    axes.set_yticks(range(len(rates)), list(configs))
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter("{x:,.0f}")
    finish(axes, f"The work of {steps_per_second:g} training steps per second", "GFLOP per second", "")
    axes.grid(False, axis="y")
    listed = "; ".join(f"{name}: {rate:,.0f} GFLOP per second" for name, rate in zip(configs, rates, strict=True))
    return describe(figure, f"Work at {steps_per_second:g} steps per second. {listed}. {peak_name}: {peak / 1e9:,.0f}.")


def _rgb(colour: str, shade: float) -> np.ndarray:
    """The colour mixed with white: (3,), 0 to 1; the whole colour at shade 1."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255  # (3,)
    return 1 - shade * (1 - rgb)


def _alike(maps: torch.Tensor) -> str:
    """Which of the heads (heads, frames, frames) attend to the same frames, in words."""
    if len(maps) < 2:
        return ""
    correlations = torch.corrcoef(maps.flatten(1)).nan_to_num()  # (heads, heads)
    pairs = torch.triu_indices(len(maps), len(maps), 1)  # (2, pairs)
    found = correlations[pairs[0], pairs[1]]  # (pairs,)
    first, second = (int(i) + 1 for i in pairs[:, found.argmax()])
    if float(found.max()) >= ALIKE:
        more = f"; {int((found >= ALIKE).sum())} pairs correlate above {ALIKE}" if int((found >= ALIKE).sum()) > 1 else ""
        return f"heads {first} and {second} attend to nearly the same frames (correlation {float(found.max()):.2f}){more}"
    return f"the most similar heads, {first} and {second}, correlate by {float(found.max()):.2f}"
