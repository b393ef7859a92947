"""The exercises of lesson 2: the parameters of attention, the slope of a Sigmoid, a residual connection with pre-norm."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from ...models.classifier import count_parameters
from .exercise import Exercise
from .inputs import normal

attention_parameters = Exercise(
    "attention_parameters",
    lambda d_model, nhead: count_parameters(nn.MultiheadAttention(d_model, nhead, device="meta")),
    [(80, 2), (512, 2), (512, 16)],
    "PyTorch's layer has as many, 1,050,624 for d_model = 512, with 2 heads and with 16.",
    [
        (
            "the heads share the width: each has d_model / nhead numbers, so more heads do not add up to more parameters.",
            lambda d, heads: heads * (4 * d * d + 4 * d),
        ),
        (
            "that is one head: there are nhead of them, d_model wide together.",
            lambda d, heads: (4 * d * d + 4 * d) / heads,
        ),
        ("the biases are missing: d_model for each of the four matrices.", lambda d, heads: 4 * d * d),
        ("out_proj is missing: it is a fourth matrix, with its bias.", lambda d, heads: 3 * d * d + 3 * d),
        ("out_proj and all biases are missing.", lambda d, heads: 3 * d * d),
        ("that is one matrix with its bias: q, k, v and out_proj have one each.", lambda d, heads: d * d + d),
    ],
)

sigmoid_slope = Exercise(
    "sigmoid_slope",
    lambda x: torch.autograd.functional.jvp(torch.sigmoid, x, torch.ones_like(x))[1],
    [(torch.linspace(-6, 6, 13),), (torch.tensor([0.0]),)],
    "autograd finds the same slopes from −6 to 6; the largest is 1/4, at 0.",
    [
        ("that is the Sigmoid itself, not its slope.", torch.sigmoid),
        ("that is the slope of tanh, 1 − y²: a Sigmoid's is y (1 − y).", lambda x: 1 - torch.sigmoid(x) ** 2),
        ("the sign in the bracket is wrong: y (1 − y).", lambda x: torch.sigmoid(x) * (1 + torch.sigmoid(x))),
        ("the sign is wrong: a Sigmoid rises everywhere.", lambda x: -torch.sigmoid(x) * (1 - torch.sigmoid(x))),
        ("y is the Sigmoid's output: y (1 − y), not x (1 − x).", lambda x: x * (1 - x)),
        ("the slope is a product, y (1 − y), and one factor is missing.", lambda x: 1 - torch.sigmoid(x)),
        ("there is an x too many: the slope is y (1 − y).", lambda x: x * torch.sigmoid(x) * (1 - torch.sigmoid(x))),
    ],
)

_norm = partial(F.layer_norm, normalized_shape=(8,))


def _sublayer(x: torch.Tensor) -> torch.Tensor:
    return (x @ normal(8, 8, seed=7)).relu() + 0.5


residual = Exercise(
    "residual",
    lambda x, sublayer, norm: x + sublayer(norm(x)),
    [(3 * normal(2, 3, 8), _sublayer, _norm)],
    "x passes untouched, and the norm is applied to what the sublayer is given.",
    [
        ("that is post-norm: the norm comes after the sum, so x does not pass untouched.", lambda x, f, norm: norm(x + f(x))),
        ("the residual connection is missing: add x.", lambda x, f, norm: f(norm(x))),
        ("add x as it came, not its norm: only the sublayer gets norm(x).", lambda x, f, norm: norm(x) + f(norm(x))),
        ("the norm belongs before the sublayer: sublayer(norm(x)).", lambda x, f, norm: x + norm(f(x))),
        ("the norm is missing: the sublayer gets norm(x).", lambda x, f, norm: x + f(x)),
        ("one norm too many: the sum is not normalised.", lambda x, f, norm: norm(x + f(norm(x)))),
    ],
)
