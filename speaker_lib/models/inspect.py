"""Looking inside a classifier: shapes layer by layer, attention weights, and what the head's activation lets through."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional as F

from .classifier import Classifier, count_parameters
from .heads import ACTIVATIONS
from .pooling import frame_weights


def layer_shapes(model: Classifier, mels: torch.Tensor) -> list[tuple[str, tuple[int, ...], int]]:
    """Each part of the model: its name, the shape that comes out for ``mels`` (batch, frames, n_mels), its parameters."""
    parts = {"prenet": model.prenet}
    parts |= {f"encoder layer {i}": layer for i, layer in enumerate(model.encoder.layers, 1)}
    if model.encoder.norm is not None:
        parts["encoder norm"] = model.encoder.norm
    pools = {"pooling": model.pooling, "pooling norm": model.pooling_norm}
    parts |= {name: part for name, part in pools.items() if count_parameters(part)}
    parts |= {f"pred_layer[{i}] {type(layer).__name__}": layer for i, layer in enumerate(model.pred_layer)}
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def remember(part: nn.Module, _: object, out: torch.Tensor) -> None:
        shapes[part] = tuple(out.shape)

    with contextlib.ExitStack() as stack, torch.no_grad():
        for part in parts.values():
            stack.callback(part.register_forward_hook(remember).remove)
        model(mels)
    return [(name, shapes[part], count_parameters(part)) for name, part in parts.items()]


@torch.no_grad()
def attention_maps(model: Classifier, mel: torch.Tensor) -> torch.Tensor:
    """How much each frame of one utterance ``mel`` (frames, n_mels) looks at each other one.

    (layers, heads, frames, frames); the last dimension sums to 1 (Vaswani et al. 2017, equation 1).  Leaves the model in
    evaluation mode.
    """
    model.eval()
    inputs: list[torch.Tensor] = []
    with contextlib.ExitStack() as stack:
        for layer in model.encoder.layers:
            stack.callback(layer.self_attn.register_forward_pre_hook(lambda _, args: inputs.append(args[0])).remove)
        model(mel[None])
    return torch.stack(  # the model asks its layers for no weights, because that is faster: ask each again, for them
        [
            layer.self_attn(x, x, x, need_weights=True, average_attn_weights=False)[1][0]  # (heads, frames, frames)
            for layer, x in zip(model.encoder.layers, inputs, strict=True)
        ]
    )


@torch.no_grad()
def pooling_weights(model: Classifier, mel: torch.Tensor) -> torch.Tensor:
    """The weight that each frame of one utterance ``mel`` (frames, n_mels) has in its vector: (frames,), together 1.

    All the same where pooling is the mean.  Leaves the model in evaluation mode.
    """
    model.eval()
    inputs: list[torch.Tensor] = []
    with contextlib.ExitStack() as stack:
        stack.callback(model.pooling.register_forward_pre_hook(lambda _, args: inputs.append(args[0])).remove)
        model(mel[None])
    (hidden,) = inputs  # (1, frames / subsampling, width)
    scores = model.pooling.score(hidden) if hasattr(model.pooling, "score") else torch.zeros_like(hidden[..., :1])
    weights = frame_weights(scores, None)[0]  # (frames / subsampling,)
    spread_out = weights.repeat_interleave(model.config.subsampling)[: len(mel)]  # (frames,)
    return spread_out / spread_out.sum()


@dataclass(frozen=True)
class HeadSignals:
    """What goes into the head's activation, and what comes back through it."""

    activation: str
    inputs: torch.Tensor  # (batch * d_model,) of the activation
    slopes: torch.Tensor  # (batch * d_model,) its derivative there
    output_spread: float  # how much its output differs from utterance to utterance: deviation, mean over d_model
    gradients: dict[str, float]  # part of the model: norm of the loss's gradient by its weights


def head_signals(model: Classifier, mels: torch.Tensor, labels: torch.Tensor) -> list[HeadSignals]:
    """Sigmoid and ReLU in one and the same model: the same weights, the same batch (batch, frames, n_mels), one word changed."""
    return [_signals(model, activation, mels, labels) for activation in ACTIVATIONS]


def _signals(model: Classifier, activation: str, mels: torch.Tensor, labels: torch.Tensor) -> HeadSignals:
    twin = Classifier(replace(model.config, activation=activation))
    twin.load_state_dict(model.state_dict())
    twin.eval()  # without dropout, so that both get the same inputs
    caught: list[torch.Tensor] = []
    handle = twin.pred_layer[0].register_forward_hook(lambda *call: caught.append(call[-1]))
    F.cross_entropy(twin(mels), labels).backward()
    handle.remove()
    inputs = caught[0].detach().flatten().requires_grad_()  # (batch * d_model,)
    outputs = twin.pred_layer[1](inputs)  # (batch * d_model,)
    (slopes,) = torch.autograd.grad(outputs.sum(), inputs)  # (batch * d_model,)
    parts = {
        "prenet": twin.prenet,
        **{f"encoder {i}": layer for i, layer in enumerate(twin.encoder.layers, 1)},
        "head, first": twin.pred_layer[0],
        "head, last": twin.pred_layer[2],
    }
    spread = float(outputs.detach().view(len(mels), -1).std(dim=0).mean())  # over (batch, d_model)
    norms = {name: torch.stack([p.grad.norm() for p in part.parameters()]).norm() for name, part in parts.items()}
    return HeadSignals(activation, inputs.detach(), slopes, spread, {name: float(norm) for name, norm in norms.items()})
