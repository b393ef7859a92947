"""Looking inside a classifier: shapes layer by layer, attention weights, and the gradient through the head's activation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional as F

from .classifier import Classifier, count_parameters
from .heads import ACTIVATIONS
from .pooling import frame_weights


def layer_shapes(model: Classifier, mels: torch.Tensor) -> list[tuple[str, tuple[int, ...], int]]:
    """Each part of the model: its name, its output shape for ``mels`` (batch, frames, n_mels), its number of parameters."""
    parts = {"prenet": model.prenet}
    parts |= {f"encoder layer {i}": layer for i, layer in enumerate(model.encoder.layers, 1)}
    if model.encoder.norm is not None:
        parts["encoder norm"] = model.encoder.norm
    pools = {"pooling": model.pooling, "pooling norm": model.pooling_norm}
    parts |= {name: part for name, part in pools.items() if count_parameters(part)}
    parts |= {f"pred_layer[{i}] {type(layer).__name__}": layer for i, layer in enumerate(model.pred_layer)}
    with torch.no_grad():
        calls = _calls(model, parts.values(), mels)
    return [(name, tuple(output.shape), count_parameters(parts[name])) for name, (_, output) in zip(parts, calls, strict=True)]


@torch.no_grad()
def attention_maps(model: Classifier, mel: torch.Tensor) -> torch.Tensor:
    """The attention weights of every layer and head for one utterance ``mel`` (frames, n_mels).

    (layers, heads, frames, frames); the last dimension sums to 1 (Vaswani et al. 2017, equation 1).  Leaves the model in
    evaluation mode.
    """
    attentions = [layer.self_attn for layer in model.encoder.layers]
    inputs = [hidden for hidden, _ in _calls(model.eval(), attentions, mel[None])]  # each (1, frames, d_model)
    maps = [attention.weights(hidden) for attention, hidden in zip(attentions, inputs, strict=True)]
    return torch.cat(maps)  # (layers, heads, frames, frames)


@torch.no_grad()
def pooling_weights(model: Classifier, mel: torch.Tensor) -> torch.Tensor:
    """The weight of each frame of one utterance ``mel`` (frames, n_mels) in pooling: (frames,), sums to 1.

    Mean pooling gives all frames the same weight.  Leaves the model in evaluation mode.
    """
    ((hidden, _),) = _calls(model.eval(), [model.pooling], mel[None])  # (1, frames / subsampling, width)
    scores = model.pooling.score(hidden) if hasattr(model.pooling, "score") else torch.zeros_like(hidden[..., :1])
    weights = frame_weights(scores, None)[0]  # (frames / subsampling,)
    spread_out = weights.repeat_interleave(model.config.subsampling)[: len(mel)]  # (frames,)
    return spread_out / spread_out.sum()


def loudness_correlation(mel: torch.Tensor, weights: torch.Tensor) -> float:
    """Spearman's rank correlation of the weight of each frame, (frames,), and its energy in ``mel`` (frames, n_mels), -1 to 1.

    Positive: the loud frames weigh more.  0 where all weights are equal.
    """
    ranks = torch.stack([_ranks(weights), _ranks(mel.exp().sum(dim=1))])  # (2, frames)
    return float(torch.corrcoef(ranks)[0, 1].nan_to_num())


def utterances_reached(layer: Callable[[torch.Tensor], torch.Tensor], hidden: torch.Tensor) -> int:
    """How many utterances of hidden (batch, frames, width) can change the first one's output.

    More than 1 means that ``layer`` mixes the batch; the layer must be in evaluation mode.
    """
    hidden = hidden.detach().clone().requires_grad_()
    # One number per frame: summed over its width, a normalised output has no gradient at all.
    (reach,) = torch.autograd.grad(layer(hidden)[0, :, 0].sum(), hidden)  # (batch, frames, width)
    return int((reach.abs().amax(dim=(1, 2)) > 0).sum())


@dataclass(frozen=True)
class HeadSignals:
    """The inputs and slopes of a head's activation, its outputs, and the gradients of the loss."""

    activation: str
    inputs: torch.Tensor  # (batch * d_model,) of the activation
    slopes: torch.Tensor  # (batch * d_model,) its derivative there
    output_spread: float  # standard deviation of its output over the utterances, mean over d_model
    gradients: dict[str, float]  # part of the model: norm of the loss's gradient by its weights


def head_signals(model: Classifier, mels: torch.Tensor, labels: torch.Tensor) -> list[HeadSignals]:
    """Sigmoid and ReLU in copies of one model, with the same weights and the same ``mels`` (batch, frames, n_mels)."""
    return [_signals(model, activation, mels, labels) for activation in ACTIVATIONS]


def _signals(model: Classifier, activation: str, mels: torch.Tensor, labels: torch.Tensor) -> HeadSignals:
    copied = Classifier(replace(model.config, activation=activation))
    copied.load_state_dict(model.state_dict())
    first, activate, last = copied.pred_layer
    (inputs, _), (_, logits) = _calls(copied.eval(), [activate, last], mels)  # (batch, d_model), (batch, n_speakers)
    F.cross_entropy(logits, labels).backward()
    inputs = inputs.detach().flatten().requires_grad_()  # (batch * d_model,)
    outputs = activate(inputs)  # (batch * d_model,)
    (slopes,) = torch.autograd.grad(outputs.sum(), inputs)  # (batch * d_model,)
    spread = float(outputs.detach().view(len(mels), -1).std(dim=0).mean())  # over (batch, d_model)
    parts = {"prenet": copied.prenet, **{f"encoder {i}": layer for i, layer in enumerate(copied.encoder.layers, 1)}}
    parts |= {"head, first": first, "head, last": last}
    norms = {name: float(torch.cat([p.grad.flatten() for p in part.parameters()]).norm()) for name, part in parts.items()}
    return HeadSignals(activation, inputs.detach(), slopes, spread, norms)


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """The rank of each of values (n,), equal ones share their mean rank; float64."""
    _, group, counts = values.unique(return_inverse=True, return_counts=True)  # (n,), (groups,)
    counts = counts.double()
    return (counts.cumsum(0) - (counts - 1) / 2)[group]  # (n,)


def _calls(model: Classifier, parts: Iterable[nn.Module], mels: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The input and the output of each part while the model runs on ``mels`` (batch, frames, n_mels)."""
    calls: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}
    with contextlib.ExitStack() as stack:
        for part in parts:
            hook = part.register_forward_hook(lambda part, inputs, output: calls.update({part: (inputs[0], output)}))
            stack.callback(hook.remove)
        model(mels)
    return [calls[part] for part in parts]
