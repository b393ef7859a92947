"""Several seeds of one preset in one step: their weights lie side by side, and each kernel works on all of them.

A step of the baseline launches kernels that take less time than their launch, so eight seeds may cost little more than one.
`python -m benchmarks.gpu` measures how much; until then ``train --seeds`` trains them in processes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional as F

from speaker_lib import Preset
from speaker_lib.data.batches import Batch
from speaker_lib.training.cuda_graph import WARMUP_STEPS, Capture
from speaker_lib.training.schedule import get_cosine_schedule_with_warmup
from speaker_lib.training.state import TrainState


class StackedSteps:
    """Trains the models of several states, of one preset with other seeds, on a batch for each.

    Not for BatchNorm, whose running statistics a mapped model cannot write, nor for EMA, margins and augmentation.
    """

    def __init__(self, preset: Preset, states: Sequence[TrainState], capture: Capture | None = None) -> None:
        config, first = preset.train, states[0]
        self.config, self.device, self.dtype, self.capture = config, first.device, first.dtype, capture
        stacked, _ = stack_module_state([state.model for state in states])  # each (seeds, *shape of the weight)
        self.weights = {name: nn.Parameter(weight.detach().clone()) for name, weight in stacked.items()}
        self.model = copy.deepcopy(first.model).to("meta")  # computes with the weights that it is given
        self.optimizer = torch.optim.AdamW(
            self.weights.values(),
            lr=torch.tensor(config.learning_rate, device=self.device) if capture else config.learning_rate,
            weight_decay=config.weight_decay,
            fused=self.device.type != "mps",
            capturable=capture is not None,
        )
        self.scheduler = get_cosine_schedule_with_warmup(self.optimizer, config.warmup_steps, config.total_steps)
        self._seen, self._replay, self._inputs, self._outcome = 0, None, None, None

    def __call__(self, mels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """One step on mels (seeds, batch, frames, n_mels) and labels (seeds, batch): the loss of each seed, (seeds,)."""
        mels, labels = mels.to(self.device), labels.to(self.device)
        self._seen += 1
        if self.capture is None or self._seen <= WARMUP_STEPS:
            losses = self.compute(mels, labels)  # (seeds,)
        else:
            if self._replay is None:
                self._inputs = mels.clone(), labels.clone()
                self._replay, self._outcome = self.capture(lambda: self.compute(*self._inputs))
            for own, new in zip(self._inputs, (mels, labels), strict=True):
                own.copy_(new)
            self._replay()
            losses = self._outcome  # (seeds,)
        self.scheduler.step()
        return losses

    def compute(self, mels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The part of a step that runs on the device: the loss of each seed, (seeds,)."""
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = torch.vmap(self._logits, randomness="different")(self.weights, mels)  # (seeds, batch, n_speakers)
        each = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="none")  # (seeds * batch,)
        losses = each.view(labels.shape).mean(dim=1)  # (seeds,)
        losses.sum().backward()  # a seed's weights are in its own loss alone
        self._clip()
        self.optimizer.step()
        return losses.detach()

    def _logits(self, weights: dict[str, torch.Tensor], mels: torch.Tensor) -> torch.Tensor:
        return functional_call(self.model, weights, (mels,))  # (batch, n_speakers)

    def _clip(self) -> None:
        """Gradient clipping as `nn.utils.clip_grad_norm_` does it, for each seed by its own norm."""
        if self.config.clip_norm <= 0:
            return
        gradients = [weight.grad for weight in self.weights.values()]
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)  # (seeds,)
        factors = (self.config.clip_norm / (norms + 1e-6)).clamp(max=1.0)  # (seeds,)
        for gradient in gradients:
            gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))


def stack(batches: Sequence[Batch]) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of each seed, without padding: mels (seeds, batch, frames, n_mels) and labels (seeds, batch)."""
    return torch.stack([batch.mels for batch in batches]), torch.stack([batch.labels for batch in batches])
