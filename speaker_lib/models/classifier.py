"""The model of the assignment: an encoder over frames, pooling over time, and an output head.

    mels (batch, frames, n_mels) -> prenet -> encoder -> pooling -> pred_layer -> logits (batch, n_speakers)

In: mels, and the number of frames of each that are not padding.  Out: a logit per speaker.  As in the sample code there is no
positional encoding: a Transformer gives the same logits for any order of the frames.
"""

from __future__ import annotations

import torch
from torch import nn

from ..config.schema import ModelConfig
from .encoders import Encoder, Subsampling
from .heads import make_head
from .pooling import make_pooling, mean_pooling, padding_mask


class Classifier(nn.Module):
    """Identifies the speaker of an utterance. The default settings are the sample code's model."""

    def __init__(self, config: ModelConfig = ModelConfig()) -> None:
        super().__init__()
        self.config = config
        n_mels, d_model, stride = config.n_mels, config.d_model, config.subsampling
        self.prenet = nn.Linear(n_mels, d_model) if stride == 1 else Subsampling(n_mels, d_model, stride)
        if config.input_norm == "global":
            self.register_buffer("input_mean", torch.zeros(config.n_mels))  # (n_mels,)
            self.register_buffer("input_std", torch.ones(config.n_mels))  # (n_mels,)
        self.encoder = Encoder(config)
        self.pooling = make_pooling(config)
        self.pooling_norm = nn.BatchNorm1d(config.pooled_width) if config.pooling_norm == "batch" else nn.Identity()
        self.pred_layer = make_head(config)

    def forward(self, mels: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (batch, n_speakers) of mels (batch, frames, n_mels); frames after ``lengths`` (batch,) are padding."""
        return self.pred_layer[-1](self.embed(mels, lengths))  # (batch, n_speakers)

    def embed(self, mels: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """The utterance embedding, (batch, width): the input of the head's last layer."""
        padding = None if lengths is None else padding_mask(lengths, mels.shape[1])  # (batch, frames)
        if self.config.input_norm == "mean":  # CMN (Furui 1981, section III), on log-mels instead of cepstra
            mels = mels - mean_pooling(mels, padding)[:, None]  # (batch, frames, n_mels)
        elif self.config.input_norm == "global":
            mels = (mels - self.input_mean) / self.input_std  # (batch, frames, n_mels)
        stride = self.config.subsampling
        hidden = self.prenet(mels) if stride == 1 else self.prenet(mels, padding)  # (batch, frames / stride, d_model)
        padding = None if padding is None else padding[:, ::stride]  # (batch, frames / stride)
        hidden = self.encoder(hidden, padding)  # (batch, frames / stride, width)
        pooled = self.pooling_norm(self.pooling(hidden, padding))  # (batch, pooled width)
        return self.pred_layer[:-1](pooled)  # (batch, embedding width)


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
