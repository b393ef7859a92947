"""Pooling over time, without padded frames.

In: hidden (batch, frames, width), and padding (batch, frames), true after an utterance's end.  Out: one vector per utterance,
(batch, width), or (batch, 2 * width) with the standard deviation beside the mean.
"""

from __future__ import annotations

import torch
from torch import nn

from ..config.schema import ModelConfig

SCORE_WIDTH = 128  # hidden width of the network that scores frames in attentive statistics pooling
MIN_VARIANCE = 1e-5  # below it the gradient of a square root is steep


def lengths_of_padded(mels: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor | None:
    """``lengths`` (batch,), or None if no frame of mels (batch, frames, n_mels) is padding: a model is faster without a mask.

    Lengths on a GPU are returned as they are: reading them would wait for it.
    """
    full = lengths is not None and lengths.device.type == "cpu" and bool((lengths == mels.shape[1]).all())
    return None if full else lengths


def padding_mask(lengths: torch.Tensor, n_frames: int) -> torch.Tensor:
    """(batch, n_frames) bool, true after the first ``lengths`` (batch,) frames of each utterance."""
    return torch.arange(n_frames, device=lengths.device) >= lengths[:, None]


def mean_pooling(hidden: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
    """The mean over real frames: (batch, frames, width) to (batch, width)."""
    if padding is None:
        return hidden.mean(dim=1)  # (batch, width)
    real = (~padding)[:, :, None]  # (batch, frames, 1)
    # masked_fill, not a product: a padded frame may hold NaN, and NaN times zero is NaN.
    return hidden.masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1)  # (batch, width)


class MeanPooling(nn.Module):
    """The mean over frames."""

    def forward(self, hidden: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
        """(batch, frames, width) to (batch, width)."""
        return mean_pooling(hidden, padding)


class SelfAttentionPooling(nn.Module):
    """A weighted mean; a learned vector scores the frames (Safari et al. 2020, arXiv 2008.01077, equation 5)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, hidden: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
        """(batch, frames, width) to (batch, width)."""
        return weighted_sum(hidden, frame_weights(self.score(hidden), padding), padding)  # (batch, width)


class AttentiveStatisticsPooling(nn.Module):
    """The weighted mean and the weighted standard deviation (Okabe et al. 2018, arXiv 1803.10963, section 3.3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, SCORE_WIDTH), nn.Tanh(), nn.Linear(SCORE_WIDTH, 1))

    def forward(self, hidden: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
        """(batch, frames, width) to (batch, 2 * width)."""
        weights, hidden = frame_weights(self.score(hidden), padding), hidden.float()
        mean = weighted_sum(hidden, weights, padding)  # (batch, width)
        variance = weighted_sum((hidden - mean[:, None]) ** 2, weights, padding)  # (batch, width)
        return torch.cat([mean, variance.clamp(min=MIN_VARIANCE).sqrt()], dim=1)  # (batch, 2 * width)


def frame_weights(scores: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
    """Softmax of scores (batch, frames, 1) over an utterance's real frames: weights (batch, frames) that sum to 1."""
    scores = scores.squeeze(-1).float()  # (batch, frames)
    return (scores if padding is None else scores.masked_fill(padding, -torch.inf)).softmax(dim=1)  # (batch, frames)


def weighted_sum(hidden: torch.Tensor, weights: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
    """The weighted sum over frames: (batch, frames, width) by weights (batch, frames) to (batch, width), in float32."""
    if padding is not None:
        hidden = hidden.masked_fill(padding[:, :, None], 0.0)
    # Not a matrix product: autocast would round its factors to 16 bits again.
    return (weights[:, :, None] * hidden.float()).sum(dim=1)  # (batch, width)


def make_pooling(config: ModelConfig) -> nn.Module:
    """The pooling layer named by ``config.pooling``."""
    if config.pooling == "self_attention":
        return SelfAttentionPooling(config.frame_width)
    return AttentiveStatisticsPooling(config.frame_width) if config.pooling == "attentive_statistics" else MeanPooling()
