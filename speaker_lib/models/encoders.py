"""From a vector per frame to a vector per frame that knows the others: layers one after the other.

(batch, frames, n_mels) -> prenet -> (batch, frames, d_model) -> encoder -> (batch, frames, width)
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from ..config.schema import ModelConfig
from .conformer import ConformerLayer
from .transformer import EncoderLayer


class Encoder(nn.Module):
    """The layers that ``config`` asks for.

    ``transformer``: Vaswani et al. (2017), section 3.1, post-norm as published, or pre-norm (Xiong et al. 2020, figure 1b)
    with the final LayerNorm that pre-norm needs.  ``conformer``: Gulati et al. (2020).  ``mfa_conformer``: the outputs of all
    blocks side by side, normalised (Zhang et al. 2022, arXiv 2203.15249, section 2.2).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.aggregates = config.encoder == "mfa_conformer"
        if config.encoder == "transformer":  # as in PyTorch's nn.TransformerEncoder, all layers begin with the same weights
            layer = EncoderLayer(config)
            layers = [layer, *(copy.deepcopy(layer) for _ in range(config.num_layers - 1))]
            norm = nn.LayerNorm(config.d_model) if config.norm == "pre" else None
        else:
            layers = [ConformerLayer(config) for _ in range(config.num_layers)]
            norm = nn.LayerNorm(config.num_layers * config.d_model) if self.aggregates else None
        self.layers, self.norm = nn.ModuleList(layers), norm
        # Deeper layers are left out more often, in proportion (Huang et al. 2016, equation 4).
        self.left_out = [config.stochastic_depth * (i + 1) / config.num_layers for i in range(config.num_layers)]

    def forward(self, hidden: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, frames, d_model) to the same, or (batch, frames, num_layers * d_model) for ``mfa_conformer``.

        ``padding`` (batch, frames) is true where an utterance is over; what comes out there means nothing.
        """
        hidden, outputs = hidden.transpose(0, 1), []  # (frames, batch, d_model)
        for layer, p in zip(self.layers, self.left_out, strict=True):
            after = layer(hidden, src_key_padding_mask=padding)  # (frames, batch, d_model)
            hidden = hidden + kept(after - hidden, p) if self.training and p > 0 else after
            outputs.append(hidden)
        if self.aggregates:
            hidden = torch.cat(outputs, dim=-1)  # (frames, batch, num_layers * d_model)
        if self.norm is not None:
            hidden = self.norm(hidden)
        return hidden.transpose(0, 1)  # (batch, frames, width)


def kept(change: torch.Tensor, p: float) -> torch.Tensor:
    """What a layer adds to (frames, batch, d_model): for each utterance nothing, with probability ``p``, or 1 / (1 - p) of it."""
    stays = torch.rand(1, change.shape[1], 1, device=change.device) >= p  # (1, batch, 1)
    return change * (stays / (1 - p)).to(change.dtype)


class Subsampling(nn.Module):
    """One vector for every ``stride`` frames, by a convolution over the frames around them."""

    def __init__(self, n_mels: int, d_model: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(n_mels, d_model, 2 * stride + 1, stride=stride, padding=stride)

    def forward(self, mels: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, frames, n_mels) to (batch, frames / stride, d_model), rounded up."""
        if padding is not None:  # what lies beyond the end counts as zero, as it does without padding
            mels = mels.masked_fill(padding[:, :, None], 0.0)
        return self.convolution(mels.transpose(1, 2)).transpose(1, 2)  # (batch, frames / stride, d_model)
