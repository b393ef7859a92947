"""The exercises of lesson 4: people mixed in a batch, weighted pooling, a margin."""

from __future__ import annotations

import torch

from ...config.schema import ModelConfig
from ...models.classifier import Classifier
from ...models.inspect import utterances_reached
from ...models.pooling import weighted_sum
from ...training.losses import with_margin
from .exercise import Exercise
from .inputs import normal


def _conformer() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Classifier(ModelConfig(encoder="conformer", d_model=32)).eval().encoder.layers[0]


def _gradient(layer: torch.nn.Module, hidden: torch.Tensor, first_only: bool = True) -> torch.Tensor:
    hidden = hidden.clone().requires_grad_()
    output = layer(hidden)
    return torch.autograd.grad(output[0, :, 0].sum() if first_only else output.sum(), hidden)[0].abs()


_LAYER = _conformer()

people_reached = Exercise(
    "people_reached",
    utterances_reached,
    [
        (_LAYER, normal(3, 20, 32)),
        (lambda hidden: _LAYER(hidden.transpose(0, 1)).transpose(0, 1), normal(3, 20, 32)),
        (lambda hidden: hidden + hidden.roll(1, dims=0), normal(5, 6, 4)),
    ],
    "you find all 3 people that a wrongly fed Conformer mixes, 1 where it is fed rightly, and 2 of 5 in a half-mixed batch.",
    [
        (
            "every input reaches some output: take the gradient of the first person's output only, output[0].",
            lambda layer, hidden: len(hidden),
        ),
        ("the first person counts, too.", lambda layer, hidden: utterances_reached(layer, hidden) - 1),
        (
            "you count numbers: take the maximum over frames and width first, .amax(dim=(1, 2)).",
            lambda layer, hidden: (_gradient(layer, hidden) > 0).sum(),
        ),
        (
            "you count frames: people are dimension 0, so take the maximum over dimensions 1 and 2.",
            lambda layer, hidden: (_gradient(layer, hidden).amax(dim=(0, 2)) > 0).sum(),
        ),
        (
            "count the people whose gradient is not zero, do not return the gradients.",
            lambda layer, hidden: _gradient(layer, hidden).amax(dim=(1, 2)),
        ),
    ],
)

_WEIGHTS = normal(2, 5, seed=1).softmax(1)

pool = Exercise(
    "pool",
    lambda frames, weights: weighted_sum(frames, weights, None),
    [(normal(2, 5, 3), _WEIGHTS), (normal(1, 4, 4, seed=2), normal(1, 4, seed=3).softmax(1))],
    "these are the library's weighted_sum, one vector per utterance.",
    [
        (
            "the weights sum to 1 already: sum over the frames, do not average once more.",
            lambda frames, weights: (frames * weights[..., None]).mean(1),
        ),
        ("that is the plain mean: the weights are not used.", lambda frames, weights: frames.mean(1)),
        ("that is the plain sum: the weights are not used.", lambda frames, weights: frames.sum(1)),
        ("sum over the frames, dimension 1.", lambda frames, weights: frames * weights[..., None]),
        ("sum over the frames, dimension 1, not over the width.", lambda frames, weights: (frames * weights[..., None]).sum(2)),
        ("sum over the frames, dimension 1, not over the batch.", lambda frames, weights: (frames * weights[..., None]).sum(0)),
        (
            "one dimension too many: (batch, 1, width) should be (batch, width), `.squeeze(1)`.",
            lambda frames, weights: weights[:, None] @ frames,
        ),
        (
            "weights (batch, frames) do not fit frames (batch, frames, width): take weights[:, :, None].",
            lambda frames, weights: (frames * weights).sum(1),
        ),
    ],
)


def _one_hot(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, logits.shape[1]).float()  # (batch, n_speakers)


lower_logit = Exercise(
    "lower_logit",
    lambda logits, labels, margin, scale: with_margin(logits, labels, torch.tensor(margin), "cosine", scale),
    [
        (30 * normal(3, 4).tanh(), torch.tensor([2, 0, 3]), 0.2, 30.0),
        (15 * normal(2, 6, seed=1).tanh(), torch.tensor([5, 1]), 0.35, 15.0),
    ],
    "the library's with_margin gives the same logits, with margins of 0.2 and 0.35.",
    [
        (
            "the margin belongs to the cosine, and a logit is the scale times a cosine: lower it by scale * margin.",
            lambda logits, labels, margin, scale: logits - margin * _one_hot(logits, labels),
        ),
        (
            "divide nothing by the scale: a margin of m on the cosine is scale * m on the logit.",
            lambda logits, labels, margin, scale: logits - margin / scale * _one_hot(logits, labels),
        ),
        (
            "all logits are lowered, which changes no softmax: lower the right speaker's only.",
            lambda logits, labels, margin, scale: logits - scale * margin,
        ),
        (
            "the wrong speakers are lowered, which makes it easier: lower the right one.",
            lambda logits, labels, margin, scale: logits - scale * margin * (1 - _one_hot(logits, labels)),
        ),
        (
            "the right speaker is raised, which makes it easier: subtract.",
            lambda logits, labels, margin, scale: logits + scale * margin * _one_hot(logits, labels),
        ),
        (
            "return all logits, not only those of the right speakers.",
            lambda logits, labels, margin, scale: logits.gather(1, labels[:, None])[:, 0] - scale * margin,
        ),
        ("nothing was lowered.", lambda logits, labels, margin, scale: logits),
        (
            "logits[:, labels] takes those columns in every row: write logits[torch.arange(len(labels)), labels].",
            lambda logits, labels, margin, scale: logits - scale * margin * torch.zeros_like(logits).index_fill(1, labels, 1.0),
        ),
    ],
)
