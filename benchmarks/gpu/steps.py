"""Training steps with fewer kernels than the one that is shipped: candidates, until a GPU has measured them.

A step of `tuned` launches some 440 small kernels, of which a quarter only change the type of a weight or an activation
(docs/performance.md).  `python -m benchmarks.gpu` holds each candidate beside the shipped step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from speaker_lib import Preset
from speaker_lib.data.batches import Batch
from speaker_lib.training.cuda_graph import Capture
from speaker_lib.training.schedule import get_cosine_schedule_with_warmup
from speaker_lib.training.state import TrainState
from speaker_lib.training.step import TrainStep, model_fn


class FlatStep(TrainStep):
    """All weights lie in one tensor, which is clipped and updated by a few kernels.

    With ``dtype`` the model computes with a copy of the weights in that precision, written once per step, where autocast casts
    each weight and each gradient by itself (Micikevicius et al. 2018, arXiv 1710.03740, section 3.1).  BatchNorm, pooling and the
    head stay float32.
    """

    def __init__(
        self,
        preset: Preset,
        state: TrainState,
        capture: Capture | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        config, weights = preset.train, list(state.model.parameters())
        self.flat = nn.Parameter(torch.cat([weight.detach().flatten() for weight in weights]))  # (parameters,)
        _lay_out(weights, self.flat.detach())
        state.optimizer = torch.optim.AdamW(
            [self.flat], lr=config.learning_rate, weight_decay=config.weight_decay, fused=state.device.type != "mps"
        )
        state.scheduler = get_cosine_schedule_with_warmup(state.optimizer, config.warmup_steps, config.total_steps)
        self.dtype, self.copy, model = dtype, None, state.model
        if dtype is not None:
            self.copy, model = self.flat.detach().to(dtype), copy.deepcopy(state.model)  # (parameters,)
            _lay_out(list(model.parameters()), self.copy)
            model.encoder.register_forward_hook(lambda encoder, inputs, hidden: hidden.float())
            model.pooling, model.pooling_norm, model.pred_layer = (
                state.model.pooling,
                state.model.pooling_norm,
                state.model.pred_layer,
            )
            for own, other in zip(state.model.encoder.modules(), model.encoder.modules(), strict=True):
                if isinstance(own, nn.BatchNorm1d):
                    other._parameters, other._buffers = own._parameters, own._buffers
        self.weights = list(model.parameters())  # those that get gradients
        super().__init__(preset, state, model, capture)

    def compute(self, batch: Batch) -> torch.Tensor:
        """As `TrainStep.compute`: mean loss and accuracy, (2,)."""
        for weight in self.weights:
            weight.grad = None  # a backward pass then keeps its own tensors instead of adding to these
        mels = batch.mels if self.dtype is None else batch.mels.to(self.state.device, self.dtype)  # (batch, frames, n_mels)
        autocast = self.state.dtype if self.dtype is None else torch.float32
        loss, accuracy = model_fn(batch._replace(mels=mels), self.model, self.criterion, self.state.device, autocast)
        loss.backward()
        self.flat.grad = torch.cat([weight.grad.flatten() for weight in self.weights]).float()  # (parameters,)
        if self.config.clip_norm > 0:
            nn.utils.clip_grad_norm_([self.flat], self.config.clip_norm)
        self.state.optimizer.step()
        if self.copy is not None:
            self.copy.copy_(self.flat)
        return torch.stack([loss.detach(), accuracy])  # (2,)


def with_compiled_layers(step: TrainStep) -> TrainStep:
    """Each layer is compiled when it first runs, and its kernels are then captured with the rest of the step.

    Random numbers stay PyTorch's own: from 2.13 on, Inductor's can give wrong dropout masks on a GPU (PyTorch issue 198333).
    """
    import torch._inductor.config as inductor

    inductor.fallback_random = True
    for layer in step.model.encoder.layers:
        layer.compile(fullgraph=True, dynamic=False)
    return step


def _lay_out(weights: list[nn.Parameter], flat: torch.Tensor) -> None:
    """Makes the weights views of ``flat`` (parameters,), one after the other."""
    for weight, part in zip(weights, flat.split([weight.numel() for weight in weights]), strict=True):
        weight.data = part.view_as(weight)


CANDIDATES: dict[str, Callable[[Preset, TrainState, Capture | None], TrainStep]] = {
    "as shipped": lambda preset, state, capture: TrainStep(preset, state, capture=capture),
    "flat weights": FlatStep,
    "flat weights, bfloat16 copy": lambda *given: FlatStep(*given, torch.bfloat16),
    "layers compiled": lambda preset, state, capture: with_compiled_layers(TrainStep(preset, state, capture=capture)),
    "flat weights, bfloat16 copy, layers compiled": lambda *given: with_compiled_layers(FlatStep(*given, torch.bfloat16)),
}
