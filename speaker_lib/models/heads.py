"""Output heads.

In: a pooled vector per utterance, (batch, pooled width).  Out: logits (batch, n_speakers).  The input of the last layer is the
utterance embedding.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import nn
from torch.nn import functional as F

from ..config.schema import ModelConfig

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}


class CosineLayer(nn.Module):
    """``scale`` times the cosine between an embedding and a learned vector per speaker.

    Wang et al. (2018), arXiv 1801.05599, section 3.1; the margin is in the loss (`training.losses`).
    """

    def __init__(self, width: int, n_speakers: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(n_speakers, width)))
        self.scale = scale

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """(batch, width) to (batch, n_speakers), float32: bfloat16 would round a cosine of 0.9 to three digits."""
        # Meta tensors, on which FLOPs are counted, have no autocast.
        with nullcontext() if embedding.is_meta else torch.autocast(embedding.device.type, enabled=False):
            return self.scale * F.linear(F.normalize(embedding.float()), F.normalize(self.weight.float()))  # (batch, n_speakers)


def make_head(config: ModelConfig) -> nn.Sequential:
    """The layers from a pooled vector to logits; only the last one depends on the speakers."""
    pooled = config.pooled_width
    if config.head == "two_layer":
        activation = ACTIVATIONS[config.activation]()
        return nn.Sequential(nn.Linear(pooled, config.d_model), activation, nn.Linear(config.d_model, config.n_speakers))
    first = [nn.Linear(pooled, config.d_embedding)] if config.d_embedding else []
    width, n = config.d_embedding or pooled, config.n_speakers
    last = nn.Linear(width, n) if config.head == "linear" else CosineLayer(width, n, config.scale)
    return nn.Sequential(*first, last)
