"""The exercises of lesson 1: self-attention, the loss of guessing, a mean without padding."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from ...models.pooling import mean_pooling, padding_mask
from .exercise import Exercise
from .inputs import normal


def _scores(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return q @ k.transpose(1, 2)  # (batch, frames, frames)


def _root(q: torch.Tensor) -> float:
    return q.shape[-1] ** 0.5


attention = Exercise(
    "attention",
    F.scaled_dot_product_attention,
    [tuple(normal(1, 4, 4, seed=s) for s in range(3)), tuple(normal(2, 3, 8, seed=s) for s in range(3, 6))],
    "your numbers are those of PyTorch's scaled_dot_product_attention, for 4 frames of 4 numbers and for two times 3 of 8.",
    [
        ("divide the scores by √d before the softmax.", lambda q, k, v: _scores(q, k).softmax(-1) @ v),
        (
            "divide the scores by the square root of d, not by d.",
            lambda q, k, v: (_scores(q, k) / q.shape[-1]).softmax(-1) @ v,
        ),
        (
            "d is the length of a query, q.shape[-1], not the number of frames.",
            lambda q, k, v: (_scores(q, k) / q.shape[1] ** 0.5).softmax(-1) @ v,
        ),
        (
            "√d belongs inside the softmax: divide the scores, not the weights.",
            lambda q, k, v: _scores(q, k).softmax(-1) / _root(q) @ v,
        ),
        (
            "softmax runs over the queries: each query's weights must sum to 1 over the keys, so use dim=-1.",
            lambda q, k, v: (_scores(q, k) / _root(q)).softmax(1) @ v,
        ),
        (
            "softmax runs over the batch, which mixes utterances: use dim=-1.",
            lambda q, k, v: (_scores(q, k) / _root(q)).softmax(0) @ v,
        ),
        ("the softmax is missing: scores are not weights yet.", lambda q, k, v: _scores(q, k) / _root(q) @ v),
        ("these are the weights: multiply them by v.", lambda q, k, v: (_scores(q, k) / _root(q)).softmax(-1)),
        (
            "q and k are the wrong way round: row i of the scores belongs to query i, so q comes first.",
            lambda q, k, v: (_scores(k, q) / _root(q)).softmax(-1) @ v,
        ),
        (
            "k is not transposed: k.transpose(1, 2) makes it (batch, d, frames).",
            lambda q, k, v: (q @ k / _root(q)).softmax(-1) @ v,
        ),
    ],
)

loss_of_guessing = Exercise(
    "loss_of_guessing",
    lambda n: F.cross_entropy(torch.zeros(1, n), torch.zeros(1, dtype=torch.long)),
    [(2,), (10,), (600,)],
    "it is the cross-entropy of equal logits for 2, 10 and 600 speakers.",
    [
        ("cross-entropy uses the natural logarithm, math.log, not the one to base 2.", math.log2),
        ("cross-entropy uses the natural logarithm, math.log, not the one to base 10.", math.log10),
        ("the sign is wrong: the loss is minus the logarithm of the probability.", lambda n: -math.log(n)),
        ("1/n is the probability of the right speaker: the loss is minus its logarithm.", lambda n: 1 / n),
        ("1 − 1/n is the error rate: the loss is minus the logarithm of 1/n.", lambda n: 1 - 1 / n),
    ],
)


def _real(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return ~padding_mask(lengths, frames.shape[1])[:, :, None]  # (batch, frames, 1)


def _one_too_many(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    real = _real(frames, lengths + 1)  # (batch, frames, 1)
    return (frames * real).sum(1) / real.sum(1)  # (batch, width)


mean_over_frames = Exercise(
    "mean_over_frames",
    lambda frames, lengths: mean_pooling(frames, padding_mask(lengths, frames.shape[1])),
    [(normal(3, 6, 4), torch.tensor([6, 4, 1])), (normal(2, 5, 3, seed=1), torch.tensor([2, 3]))],
    "your means are those of the library's mean_pooling with its padding_mask, for two padded batches.",
    [
        ("padded frames are in your mean: sum only the first `lengths` frames.", lambda frames, lengths: frames.mean(1)),
        (
            "the sum leaves the padding out, but it is divided by all frames: divide by `lengths`.",
            lambda frames, lengths: (frames * _real(frames, lengths)).mean(1),
        ),
        (
            "you divide by `lengths`, but padded frames are still in the sum.",
            lambda frames, lengths: frames.sum(1) / lengths[:, None],
        ),
        (
            "the mask is the wrong way round: this is the mean of the padding.",
            lambda frames, lengths: (frames * ~_real(frames, lengths)).sum(1) / (~_real(frames, lengths)).sum(1),
        ),
        ("one frame too many: frame number `length` is padding already, as counting starts at 0.", _one_too_many),
        (
            "each utterance must be divided by its own length, not by the sum of all lengths.",
            lambda frames, lengths: (frames * _real(frames, lengths)).sum(1) / lengths.sum(),
        ),
    ],
)
