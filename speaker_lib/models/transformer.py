"""What encoders are made of: PyTorch's own layer, attention that may know distances, and a dropout that costs a CPU less.

`nn.Dropout` draws a mask number by number on most CPUs: more than a third of a training step of the baseline went there.
Here one draw of 64 bits decides over four numbers.  On a GPU, and in evaluation, the layers are PyTorch's to the letter.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from ..config.schema import ModelConfig

_VALUES = 2**16  # of the 16 random bits that decide over one number: p is rounded to a multiple of 1 / 65,536


class EncoderLayer(nn.TransformerEncoderLayer):
    """One layer of the encoder (Vaswani et al. 2017, section 3.1) for hidden (frames, batch, d_model)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            d_model=config.d_model,
            nhead=config.nhead,
            dim_feedforward=config.dim_feedforward,
            dropout=config.dropout,
            norm_first=config.norm == "pre",
            # As in the sample code. Batch-first layers take another path in evaluation, a slow one where there is a mask:
            # 1.3 s against 0.4 s for 32 utterances of 500 frames (width 128, 3 layers, 2 CPU cores, PyTorch 2.13).
            batch_first=False,
        )
        attention = self.self_attn
        with torch.random.fork_rng(devices=[]):  # the weights of a seed are those that the sample code's model gets from it
            self.self_attn = SelfAttention(config.d_model, config.nhead, config.attention_dropout, config.positions == "rotary")
        self.self_attn.load_state_dict(attention.state_dict())
        self.dropout, self.dropout1, self.dropout2 = (Dropout(config.dropout) for _ in range(3))


class Dropout(nn.Dropout):
    """Sets each number to zero with probability ``p`` and lets the others grow by 1 / (1 - p) (Srivastava et al. 2014)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape as ``x``."""
        return dropout(x, self.p) if self.training and self.p > 0 else x


class SelfAttention(nn.MultiheadAttention):
    """Attention of a sequence to itself (Vaswani et al. 2017, section 3.2), frames first; with ``rotary`` it hears distances."""

    def __init__(self, d_model: int, nhead: int, dropout: float, rotary: bool = False) -> None:
        super().__init__(d_model, nhead, dropout=dropout)
        self.rotary = rotary

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        average_attn_weights: bool = True,
        **options: object,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What `nn.MultiheadAttention` returns: (frames, batch, d_model), and the weights where they are asked for."""
        drops_on_cpu = self.training and self.dropout > 0 and query.device.type == "cpu" and not need_weights
        if not (self.rotary or drops_on_cpu):
            return super().forward(
                query, key, value, key_padding_mask, need_weights, average_attn_weights=average_attn_weights, **options
            )
        mixed, weights = self._attend(query, key_padding_mask, need_weights)
        return mixed, weights.mean(dim=1) if need_weights and average_attn_weights else weights

    def _attend(
        self, hidden: torch.Tensor, padding: torch.Tensor | None, need_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        n_frames, n_utterances, d_model = hidden.shape
        projected = F.linear(hidden, self.in_proj_weight, self.in_proj_bias)  # (frames, batch, 3 * d_model)
        projected = projected.view(n_frames, n_utterances, 3, self.num_heads, -1)  # (frames, batch, 3, heads, d_head)
        queries, keys, values = projected.permute(2, 1, 3, 0, 4)  # each (batch, heads, frames, d_head)
        if self.rotary:
            queries, keys = rotate(queries), rotate(keys)
        mask = None if padding is None else padding[:, None, None, :]  # (batch, 1, 1, frames), minus infinity where it is over
        p, weights = self.dropout if self.training else 0.0, None
        if need_weights or (p > 0 and hidden.device.type == "cpu"):
            scores = (queries / math.sqrt(self.head_dim)) @ keys.transpose(-2, -1)  # (batch, heads, frames, frames)
            weights = (scores if mask is None else scores + mask).softmax(dim=-1)  # (batch, heads, frames, frames)
            mixed = (dropout(weights, p) if p > 0 else weights) @ values  # (batch, heads, frames, d_head)
        else:
            mask = None if mask is None else mask.to(queries.dtype)
            mixed = F.scaled_dot_product_attention(queries, keys, values, mask, dropout_p=p)  # (batch, heads, frames, d_head)
        mixed = mixed.permute(2, 0, 1, 3).reshape(n_frames, n_utterances, d_model)  # (frames, batch, d_model)
        return self.out_proj(mixed), weights


def rotate(x: torch.Tensor) -> torch.Tensor:
    """Turns pairs of numbers by angles that grow with the frame, so that a product of two frames depends on their distance.

    ``x`` is (batch, heads, frames, d_head), d_head even (Su et al. 2021, arXiv 2104.09864, equation 34).
    """
    n_frames, d_head = x.shape[-2:]
    speeds = 10_000 ** (-torch.arange(0, d_head, 2, device=x.device) / d_head)  # (d_head / 2,) radians per frame
    angles = torch.arange(n_frames, device=x.device)[:, None] * speeds  # (frames, d_head / 2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)  # each (frames, d_head / 2)
    first, second = x.chunk(2, dim=-1)  # each (batch, heads, frames, d_head / 2)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)  # (batch, heads, frames, d_head)


def attention_mask(padding: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """What attention adds to its scores, (batch, frames): minus infinity where ``padding`` is true, else 0."""
    return None if padding is None else torch.zeros_like(padding, dtype=dtype).masked_fill_(padding, -torch.inf)


def dropout(x: torch.Tensor, p: float) -> torch.Tensor:
    """`F.dropout` in training, from PyTorch's global random stream."""
    if x.device.type != "cpu":
        return F.dropout(x, p)
    threshold = min(round(p * _VALUES), _VALUES - 1)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)  # all 64 bits of each
    draws = draws.view(torch.int16)[: x.numel()].view(x.shape)  # x.shape, even from -32,768 to 32,767
    # Straight into floats: a product with a mask of bools would first turn the bools into floats, forward and backward.
    mask = torch.ge(draws, threshold - _VALUES // 2, out=torch.empty(x.shape, dtype=x.dtype))  # x.shape
    return x * mask.mul_(_VALUES / (_VALUES - threshold))
