"""The model of the assignment: a Transformer encoder over frames, averaged over time, and a small head.

    mels (batch, frames, 40) -> prenet -> encoder -> mean over frames -> pred_layer -> logits (batch, n_speakers)

As in the sample code there is no positional encoding: the model hears *how* someone sounds, not in which order.
"""

from __future__ import annotations

import torch
from torch import nn

from .config import ModelConfig
from .layers import EncoderLayer

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}


class Classifier(nn.Module):
    """Names the speaker of an utterance.

    The encoder is that of Vaswani et al. (2017), section 3.1, post-norm as published, or pre-norm (Xiong et al. 2020,
    figure 1b) with the final LayerNorm that pre-norm needs.
    """

    def __init__(self, config: ModelConfig = ModelConfig()) -> None:
        super().__init__()
        self.config = config
        self.prenet = nn.Linear(config.n_mels, config.d_model)
        self.encoder = nn.TransformerEncoder(
            EncoderLayer(config),
            num_layers=config.num_layers,
            norm=nn.LayerNorm(config.d_model) if config.norm == "pre" else None,
            enable_nested_tensor=False,  # padding stays in place, masked
        )
        self.pred_layer = nn.Sequential(
            nn.Linear(config.d_model, config.d_model),
            ACTIVATIONS[config.activation](),
            nn.Linear(config.d_model, config.n_speakers),
        )

    def forward(self, mels: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (batch, n_speakers) of mels (batch, frames, n_mels).

        ``lengths`` (batch,) says how many frames of each are not padding; without it all are taken as real.
        """
        padding = None if lengths is None else padding_mask(lengths, mels.shape[1])  # (batch, frames)
        hidden = self.prenet(mels)  # (batch, frames, d_model)
        hidden = hidden.transpose(0, 1)  # (frames, batch, d_model)
        hidden = self.encoder(hidden, src_key_padding_mask=padding)  # (frames, batch, d_model)
        hidden = hidden.transpose(0, 1)  # (batch, frames, d_model)
        pooled = mean_pooling(hidden, padding)  # (batch, d_model)
        return self.pred_layer(pooled)  # (batch, n_speakers)


def padding_mask(lengths: torch.Tensor, n_frames: int) -> torch.Tensor:
    """(batch, n_frames) bool, true where an utterance of ``lengths`` (batch,) frames is over."""
    return torch.arange(n_frames, device=lengths.device) >= lengths[:, None]


def mean_pooling(hidden: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
    """The mean over real frames: (batch, frames, d_model) to (batch, d_model)."""
    if padding is None:
        return hidden.mean(dim=1)  # (batch, d_model)
    real = (~padding)[:, :, None]  # (batch, frames, 1)
    # masked_fill, not a product: a padded frame may hold NaN, and NaN times zero is NaN.
    return hidden.masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1)  # (batch, d_model)


def count_parameters(model: nn.Module) -> int:
    """How many numbers the model learns."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
