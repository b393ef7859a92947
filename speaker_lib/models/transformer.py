"""The Transformer layer, with the weights of PyTorch's `nn.TransformerEncoderLayer` and a faster dropout on a CPU.

In and out: hidden (batch, frames, d_model).  On most CPUs `nn.Dropout` draws one random number per element and takes more than
a third of the baseline's training step; here one draw of 64 bits serves four elements.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from ..config.schema import ModelConfig

_VALUES = 2**16  # 16 random bits per element: p is rounded to a multiple of 1 / 65,536


class EncoderLayer(nn.Module):
    """One layer of the encoder (Vaswani et al. 2017, section 3.1), pre-norm or post-norm (Xiong et al. 2020, figure 1)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()  # names and order are PyTorch's: the same seed gives the sample code's initial weights
        self.self_attn = SelfAttention(config.d_model, config.nhead, config.attention_dropout)
        self.linear1 = nn.Linear(config.d_model, config.dim_feedforward)
        self.dropout = Dropout(config.dropout)
        self.linear2 = nn.Linear(config.dim_feedforward, config.d_model)
        self.norm1, self.norm2 = nn.LayerNorm(config.d_model), nn.LayerNorm(config.d_model)
        self.norm_first = config.norm == "pre"

    def forward(self, hidden: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, frames, d_model) to the same; ``padding`` (batch, frames) is true after an utterance's end."""
        if self.norm_first:
            hidden = hidden + self.dropout(self.self_attn(self.norm1(hidden), padding))
            return hidden + self.dropout(self.feed_forward(self.norm2(hidden)))
        hidden = self.norm1(hidden + self.dropout(self.self_attn(hidden, padding)))
        return self.norm2(hidden + self.dropout(self.feed_forward(hidden)))

    def feed_forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Two linear layers on every frame (section 3.3): (batch, frames, d_model) to the same."""
        return self.linear2(self.dropout(F.relu(self.linear1(hidden))))


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself (Vaswani et al. 2017, section 3.2), with `nn.MultiheadAttention`'s weights."""

    def __init__(self, d_model: int, nhead: int, dropout: float) -> None:
        super().__init__()
        initial = nn.MultiheadAttention(d_model, nhead)
        self.in_proj_weight, self.in_proj_bias, self.out_proj = initial.in_proj_weight, initial.in_proj_bias, initial.out_proj
        self.nhead, self.dropout = nhead, dropout

    def forward(self, hidden: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, frames, d_model) to the same; frames where ``padding`` (batch, frames) is true get no attention."""
        queries, keys, values = self._heads(hidden)  # each (batch, heads, frames, d_head)
        mask = None if padding is None else ~padding[:, None, None, :]  # (batch, 1, 1, frames)
        p = self.dropout if self.training else 0.0
        if p > 0 and hidden.device.type == "cpu":
            mixed = dropout(_weights(queries, keys, mask), p) @ values  # (batch, heads, frames, d_head)
        else:
            mixed = F.scaled_dot_product_attention(queries, keys, values, mask, p)  # (batch, heads, frames, d_head)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # (batch, frames, d_model)

    def weights(self, hidden: torch.Tensor) -> torch.Tensor:
        """How much each frame attends to each other, (batch, heads, frames, frames); the last dimension sums to 1."""
        return _weights(*self._heads(hidden)[:2])  # (batch, heads, frames, frames)

    def _heads(self, hidden: torch.Tensor) -> torch.Tensor:
        projected = F.linear(hidden, self.in_proj_weight, self.in_proj_bias)  # (batch, frames, 3 * d_model)
        return projected.unflatten(-1, (3, self.nhead, -1)).permute(2, 0, 3, 1, 4)  # (3, batch, heads, frames, d_head)


def _weights(queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Equation 1 without the values; the mask is true where a frame may be attended to."""
    scores = (queries / math.sqrt(queries.shape[-1])) @ keys.transpose(-2, -1)  # (batch, heads, frames, frames)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1)  # (batch, heads, frames, frames)


class Dropout(nn.Dropout):
    """Sets each number to zero with probability ``p`` and scales the others by 1 / (1 - p) (Srivastava et al. 2014)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape as ``x``."""
        return dropout(x, self.p) if self.training and self.p > 0 else x


def dropout(x: torch.Tensor, p: float) -> torch.Tensor:
    """`F.dropout` in training, from PyTorch's global random stream."""
    if x.device.type != "cpu":
        return F.dropout(x, p)
    threshold = min(round(p * _VALUES), _VALUES - 1)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)  # all 64 bits of each
    draws = draws.view(torch.int16)[: x.numel()].view(x.shape)  # x.shape, uniform from -32,768 to 32,767
    # A mask of floats: one of bools would be converted to floats in the forward and again in the backward pass.
    mask = torch.ge(draws, threshold - _VALUES // 2, out=torch.empty(x.shape, dtype=x.dtype))  # x.shape
    return x * mask.mul_(_VALUES / (_VALUES - threshold))
