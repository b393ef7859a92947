"""The cost of a model: parameters, and operations per training step, counted on tensors without memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..config.schema import ModelConfig
from .classifier import Classifier, count_parameters


@dataclass(frozen=True)
class Cost:
    """Of one model, and of one training step with it."""

    parameters: int
    flops: int  # floating-point operations, forward and backward; a multiply-add counts as two


def parameters_of(config: ModelConfig) -> int:
    """How many parameters a model of these settings learns, counted without memory for them."""
    with torch.device("meta"):
        return count_parameters(Classifier(config))


def cost_of(config: ModelConfig, batch_size: int = 32, n_frames: int = 128) -> Cost:
    """The cost of a model and of a training step on (batch_size, n_frames, n_mels).

    Counts matrix products only, as PyTorch's FlopCounterMode does; what is left out (softmax, norms) is little work. The
    tensors have shapes but no memory, so the largest model is counted as quickly as the smallest.
    """
    with torch.device("meta"):
        model = Classifier(config)
        mels = torch.empty(batch_size, n_frames, config.n_mels)
        with FlopCounterMode(display=False) as counter:
            model(mels).sum().backward()
    return Cost(count_parameters(model), counter.get_total_flops())
