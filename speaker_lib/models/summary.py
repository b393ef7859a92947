"""Text tables of models: layers, cost, and the effect of the activation in the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..config.schema import ModelConfig
from ..utils.language import translate_finished
from ..utils.text import text_table
from .classifier import Classifier, count_parameters
from .cost import cost_of
from .inspect import HeadSignals, layer_shapes


def layer_table(model: Classifier, mels: torch.Tensor) -> str:
    """A line per part of the model: its output shape for ``mels`` (batch, frames, n_mels), and its number of parameters."""
    rows = [(translate_finished(name), str(shape), f"{count:,}") for name, shape, count in layer_shapes(model, mels)]
    rows.append((translate_finished("all"), "", f"{count_parameters(model):,}"))
    return text_table([("part", "output shape", "parameters"), *rows])


def cost_table(configs: Mapping[str, ModelConfig]) -> str:
    """A line per model, by its name: parameters, and GFLOP per training step of 32 segments of 128 frames."""
    costs = {name: cost_of(config) for name, config in configs.items()}
    rows = [(translate_finished(name), f"{cost.parameters:,}", f"{cost.flops / 1e9:.1f}") for name, cost in costs.items()]
    return text_table([("model", "parameters", "GFLOP/step"), *rows])


def head_table(heads: Mapping[str, Sequence[HeadSignals]]) -> str:
    """Sigmoid and ReLU in each head, by its name: inputs and slopes of the activation, its outputs, and a gradient before it."""
    header = ("head", "activation", "inputs", "mean slope", "slopes < 0.05", "spread", "gradient at prenet")
    rows = [
        (
            translate_finished(name),
            signal.activation,
            translate_finished(f"{signal.inputs.mean():.2f} (SD {signal.inputs.std():.2f})"),
            f"{signal.slopes.mean():.2f}",
            f"{(signal.slopes < 0.05).float().mean():.0%}",
            f"{signal.output_spread:.3f}",
            f"{signal.gradients['prenet']:.3f}",
        )
        for name, signals in heads.items()
        for signal in signals
    ]
    return text_table([header, *rows])
