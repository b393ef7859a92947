"""The Transformer layer: PyTorch's own, with a faster dropout on a CPU.

In and out: hidden (frames, batch, d_model).  On most CPUs `nn.Dropout` draws one random number per element and takes more than
a third of the baseline's training step; here one draw of 64 bits serves four elements.  On a GPU, and in evaluation, the layer
is exactly PyTorch's.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from ..config.schema import ModelConfig

_VALUES = 2**16  # 16 random bits per element: p is rounded to a multiple of 1 / 65,536


class EncoderLayer(nn.TransformerEncoderLayer):
    """One layer of the encoder (Vaswani et al. 2017, section 3.1)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            d_model=config.d_model,
            nhead=config.nhead,
            dim_feedforward=config.dim_feedforward,
            dropout=config.dropout,
            norm_first=config.norm == "pre",
            # As in the sample code. In evaluation, batch-first layers are slow with a mask: 1.3 s against 0.4 s for
            # 32 utterances of 500 frames (width 128, 3 layers, 2 CPU cores, PyTorch 2.13).
            batch_first=False,
        )
        # Keeps the initial weights of PyTorch's attention, which the sample code's model has for the same seed. The fork keeps
        # the random numbers of later layers the same.
        attention = self.self_attn
        with torch.random.fork_rng(devices=[]):
            self.self_attn = SelfAttention(config.d_model, config.nhead, dropout=config.attention_dropout)
        self.self_attn.load_state_dict(attention.state_dict())
        self.dropout, self.dropout1, self.dropout2 = (Dropout(config.dropout) for _ in range(3))


class SelfAttention(nn.MultiheadAttention):
    """Attention of a sequence to itself (Vaswani et al. 2017, section 3.2), without a causal or any other attention mask."""

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As in `nn.MultiheadAttention`: (frames, batch, d_model), and the attention weights if ``need_weights``.

        Raises ValueError for an attention mask, and for keys or values that are not the query.
        """
        if attn_mask is not None or is_causal:
            raise ValueError("SelfAttention takes no attn_mask and is not causal: mask padding with key_padding_mask.")
        if key is not query or value is not query or query.dim() != 3:
            raise ValueError("SelfAttention attends from a sequence to itself: give it one (frames, batch, d_model) three times.")
        if self.training and self.dropout > 0 and query.device.type == "cpu" and not need_weights:
            return self._attend(query, key_padding_mask), None
        return super().forward(query, key, value, key_padding_mask, need_weights, average_attn_weights=average_attn_weights)

    def _attend(self, hidden: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
        """Attention with dropout, for training on a CPU; ``padding`` (batch, frames) is true or -inf after an utterance's end."""
        n_frames, n_utterances, d_model = hidden.shape
        projected = F.linear(hidden, self.in_proj_weight, self.in_proj_bias)  # (frames, batch, 3 * d_model)
        projected = projected.view(n_frames, n_utterances, 3, self.num_heads, -1)  # (frames, batch, 3, heads, d_head)
        queries, keys, values = projected.permute(2, 1, 3, 0, 4)  # each (batch, heads, frames, d_head)
        scores = (queries / math.sqrt(self.head_dim)) @ keys.transpose(-2, -1)  # (batch, heads, frames, frames)
        if padding is not None:
            if padding.dtype == torch.bool:
                padding = torch.zeros_like(padding, dtype=hidden.dtype).masked_fill_(padding, -torch.inf)  # (batch, frames)
            scores = scores + padding[:, None, None, :]  # (batch, heads, frames, frames)
        mixed = dropout(scores.softmax(dim=-1), self.dropout) @ values  # (batch, heads, frames, d_head)
        mixed = mixed.permute(2, 0, 1, 3).reshape(n_frames, n_utterances, d_model)  # (frames, batch, d_model)
        return self.out_proj(mixed)


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
