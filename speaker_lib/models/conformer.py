"""The Conformer block: self-attention and a convolution between two half-step feed-forward modules."""

from __future__ import annotations

import torch
from torch import nn

from ..config.schema import ModelConfig
from .transformer import Dropout, SelfAttention


class ConformerLayer(nn.Module):
    """One block (Gulati et al. 2020, arXiv 2005.08100, section 2.4), without the paper's relative positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d_model = config.d_model
        self.feedforward1, self.feedforward2 = feedforward(config), feedforward(config)
        self.attention_norm = nn.LayerNorm(d_model)
        self.self_attn = SelfAttention(d_model, config.nhead, config.attention_dropout)
        self.dropout = Dropout(config.dropout)
        self.convolution = Convolution(d_model, config.kernel_size, config.dropout)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, hidden: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        """Equation 1: (batch, frames, d_model) to the same; ``padding`` (batch, frames) is true after an utterance's end."""
        hidden = hidden + 0.5 * self.feedforward1(hidden)
        hidden = hidden + self.dropout(self.self_attn(self.attention_norm(hidden), padding))
        hidden = hidden + self.convolution(hidden, padding)
        hidden = hidden + 0.5 * self.feedforward2(hidden)
        return self.norm(hidden)


class Convolution(nn.Module):
    """The convolution module (section 2.2, figure 2). As published, BatchNorm's statistics include padded frames."""

    def __init__(self, d_model: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.gated = nn.Linear(d_model, 2 * d_model)  # a pointwise convolution is a linear layer on every frame
        self.depthwise = nn.Conv1d(d_model, d_model, kernel_size, padding=kernel_size // 2, groups=d_model)
        self.batch_norm = nn.BatchNorm1d(d_model)
        self.activation = nn.SiLU()
        self.pointwise = nn.Linear(d_model, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, hidden: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
        """(batch, frames, d_model) to the same; ``padding`` (batch, frames) is true after an utterance's end."""
        x = nn.functional.glu(self.gated(self.norm(hidden)))  # (batch, frames, d_model)
        x = x.transpose(1, 2)  # (batch, d_model, frames)
        if padding is not None:  # zeros, like the convolution's own padding
            x = x.masked_fill(padding[:, None, :], 0.0)
        x = self.activation(self.batch_norm(self.depthwise(x)))  # (batch, d_model, frames)
        return self.dropout(self.pointwise(x.transpose(1, 2)))  # (batch, frames, d_model)


def feedforward(config: ModelConfig) -> nn.Sequential:
    """The feed-forward module (section 2.3)."""
    return nn.Sequential(
        nn.LayerNorm(config.d_model),
        nn.Linear(config.d_model, config.dim_feedforward),
        nn.SiLU(),
        Dropout(config.dropout),
        nn.Linear(config.dim_feedforward, config.d_model),
        Dropout(config.dropout),
    )
