"""Transformer and Conformer encoders: a stack of layers, and the subsampling before it.

In: a vector per frame, hidden (batch, frames, d_model).  Out: hidden (batch, frames, width), where each frame depends on all
others; width is d_model, or num_layers * d_model with multi-scale feature aggregation (MFA).
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from ..config.schema import ModelConfig
from .conformer import ConformerLayer
from .transformer import EncoderLayer


class Encoder(nn.Module):
    """A stack of layers.

    ``transformer``: Vaswani et al. (2017), section 3.1, post-norm as published, or pre-norm (Xiong et al. 2020, figure 1b)
    with the final LayerNorm that pre-norm needs.  ``conformer``: Gulati et al. (2020).  ``mfa_transformer`` and ``mfa_conformer``
    concatenate the outputs of all layers and normalise them (Zhang et al. 2022, arXiv 2203.15249, section 2.2).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.aggregates = config.encoder.startswith("mfa_")
        if config.encoder.endswith("transformer"):  # all layers start with the same weights, as in nn.TransformerEncoder
            layer = EncoderLayer(config)
            layers = [layer, *(copy.deepcopy(layer) for _ in range(config.num_layers - 1))]
        else:
            layers = [ConformerLayer(config) for _ in range(config.num_layers)]
        normed = self.aggregates or (config.encoder == "transformer" and config.norm == "pre")
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(config.frame_width) if normed else None

    def forward(self, hidden: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, frames, d_model) to the same, or (batch, frames, num_layers * d_model) with MFA.

        ``padding`` (batch, frames) is true after an utterance's end; the output is undefined there.
        """
        outputs = []
        for layer in self.layers:
            hidden = layer(hidden, padding)  # (batch, frames, d_model)
            outputs.append(hidden)
        if self.aggregates:
            hidden = torch.cat(outputs, dim=-1)  # (batch, frames, num_layers * d_model)
        return hidden if self.norm is None else self.norm(hidden)  # (batch, frames, width)


class Subsampling(nn.Module):
    """A strided convolution: one vector for every ``stride`` frames."""

    def __init__(self, n_mels: int, d_model: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(n_mels, d_model, 2 * stride + 1, stride=stride, padding=stride)

    def forward(self, mels: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, frames, n_mels) to (batch, frames / stride, d_model), rounded up."""
        if padding is not None:  # zeros, like the convolution's own padding
            mels = mels.masked_fill(padding[:, :, None], 0.0)
        return self.convolution(mels.transpose(1, 2)).transpose(1, 2)  # (batch, frames / stride, d_model)
