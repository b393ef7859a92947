"""The cost of a model: parameters, and operations per training step, counted on meta tensors, which take no memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..config.schema import ModelConfig
from .classifier import Classifier, count_parameters


@dataclass(frozen=True)
class Cost:
    """The cost of a model and of one training step."""

    parameters: int
    flops: int  # floating-point operations, forward and backward; a multiply-add counts as two


def parameters_of(config: ModelConfig) -> int:
    """The number of trainable parameters of a model with these settings."""
    with torch.device("meta"):
        return count_parameters(Classifier(config))


def cost_of(config: ModelConfig, batch_size: int = 32, n_frames: int = 128) -> Cost:
    """The cost of a model and of a training step on (batch_size, n_frames, n_mels).

    PyTorch's FlopCounterMode counts matrix products only; the rest (softmax, norms) is little work.
    """
    with torch.device("meta"):
        model = Classifier(config)
        mels = torch.empty(batch_size, n_frames, config.n_mels)
        with FlopCounterMode(display=False) as counter:
            model(mels).sum().backward()
    return Cost(count_parameters(model), counter.get_total_flops())
