"""Figures of a model: learning rate, attention, pooling weights, activation in the head, and cost."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ..config.schema import ModelConfig, TrainConfig
from ..models.cost import cost_of
from ..models.heads import ACTIVATIONS
from ..models.inspect import HeadSignals
from ..training.schedule import get_cosine_schedule_with_warmup
from .style import COLOURS, GREY, Figure, finish


def schedule_figure(config: TrainConfig) -> Figure:
    """The learning rate over all steps, from the scheduler of training."""
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=config.learning_rate)
    factor = get_cosine_schedule_with_warmup(optimizer, config.warmup_steps, config.total_steps).lr_lambdas[0]
    steps = np.linspace(0, config.total_steps, 500)
    figure = Figure(figsize=(7.5, 3.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, [config.learning_rate * factor(step) for step in steps], color=COLOURS[0])
    axes.axvspan(0, config.warmup_steps, color=COLOURS[4], alpha=0.25, label=f"warmup, {config.warmup_steps:,} steps")
    finish(axes, "Learning rate: linear warmup, then half a cosine", "training steps", "learning rate")
    return figure


def attention_figure(maps: torch.Tensor, title: str, most: int = 16) -> Figure:
    """Attention weights of the first ``most`` heads, (heads, frames, frames): queries in the rows, keys in the columns."""
    maps = maps[:most]
    columns = min(len(maps), 4)
    rows = -(-len(maps) // columns)
    figure = Figure(figsize=(max(6.0, 2.0 * columns), 1.9 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    brightest = float(torch.quantile(maps.flatten(), 0.995))
    for i, panel in enumerate(panels.flat):
        panel.set_visible(i < len(maps))
        if i < len(maps):
            image = panel.imshow(maps[i].numpy(), cmap="cividis", vmin=0.0, vmax=brightest)
            panel.set_title(f"head {i + 1}", fontsize=8)
            panel.tick_params(labelsize=7)
    figure.colorbar(image, ax=panels, label="attention weight", shrink=0.8)
    figure.supxlabel("key: the frame attended to, 10 ms each", fontsize=9)
    figure.supylabel("query: the frame that attends", fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def pooling_figure(mel: torch.Tensor, weights: torch.Tensor, title: str) -> Figure:
    """An utterance (frames, n_mels), and below it the pooling weight (frames,) of each frame."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.4, 1))
    above.imshow(mel.T.numpy(), origin="lower", aspect="auto", cmap="cividis")
    above.set_ylabel("mel band")
    below.plot(weights.numpy() * len(weights), color=COLOURS[0], linewidth=1)
    below.axhline(1.0, color=COLOURS[1], linestyle="--", label="mean pooling")
    below.set_ylim(bottom=0.0)
    finish(below, "", "frame, 10 ms each", "weight, mean 1")
    figure.suptitle(title, fontsize=10)
    return figure


def activation_figure(signals: Sequence[HeadSignals], title: str) -> Figure:
    """Sigmoid and ReLU in the head of the same model: their inputs, their slopes, and the gradients of the parts before them."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    inputs, slopes, gradients = figure.subplots(1, 3)
    values = signals[0].inputs
    inputs.hist(values.numpy(), bins=60, color=COLOURS[5], edgecolor="white")
    finish(inputs, "Input of the activation", "input of the activation", "count", legend=False)
    x = torch.linspace(float(values.min()), float(values.max()), 400)
    for i, signal in enumerate(signals):
        slope = torch.func.vmap(torch.func.grad(ACTIVATIONS[signal.activation]()))(x)  # (points,)
        label = f"{signal.activation}: mean slope {float(signal.slopes.mean()):.2f}"
        slopes.plot(x, slope, color=COLOURS[i], linestyle=("-", "--")[i], label=label)
        parts = list(signal.gradients)
        at = np.arange(len(parts)) + (i - 0.5) * 0.38
        style = {"color": COLOURS[i], "hatch": ("", "//")[i], "edgecolor": "white", "label": signal.activation}
        gradients.bar(at, list(signal.gradients.values()), 0.36, **style)
    finish(slopes, "Slope: the factor on the gradient", "input of the activation", "slope")
    gradients.set_xticks(range(len(parts)), parts, fontsize=8)
    finish(gradients, "Gradient of each part", "part of the model", "norm of the gradient")
    figure.suptitle(title, fontsize=10)
    return figure


def cost_figure(configs: Mapping[str, ModelConfig]) -> Figure:
    """The cost of each model by name: parameters, and work per training step of 32 segments of 128 frames."""
    costs = [cost_of(config) for config in configs.values()]
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    colours = [GREY, *COLOURS][: len(costs)]
    for axes, values, title, unit in (
        (left, [cost.parameters / 1e6 for cost in costs], "Parameters", "million parameters"),
        (right, [cost.flops / 1e9 for cost in costs], "Work per training step", "GFLOP"),
    ):
        bars = axes.barh(range(len(costs)), values, color=colours)
        axes.bar_label(bars, [f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in values], padding=3, fontsize=8)
        axes.margins(x=0.12)
        finish(axes, title, unit, "", legend=False)
    left.set_yticks(range(len(costs)), list(configs))
    left.invert_yaxis()
    return figure
