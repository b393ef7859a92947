"""One step of training: forward, backward, gradient clipping, optimizer, schedule, EMA.

In: a `Batch`.  Out: its mean loss and accuracy, (2,) on the device.  `TrainStep.compute` is the step as in a textbook.  On a GPU
it is captured once as a CUDA graph and replayed, which is faster (`cuda_graph`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..config.schema import Preset
from ..data.batches import Batch
from ..models.pooling import lengths_of_padded
from .augment import augment
from .cuda_graph import Capture, GraphedStep
from .losses import TrainingLoss
from .state import TrainState


class TrainStep:
    """Trains the state's model on each batch that it is called with.

    ``model`` is the same model wrapped for several processes.  ``capture`` makes a CUDA graph of the step; None runs it eagerly.
    """

    def __init__(self, preset: Preset, state: TrainState, model: nn.Module | None = None, capture: Capture | None = None) -> None:
        self.config, self.state, self.criterion = preset.train, state, TrainingLoss(preset).to(state.device)
        self.augments = bool(self.config.speed or self.config.freq_mask or self.config.time_mask)
        self.model = state.model if model is None else model
        self._run = self.compute if capture is None else GraphedStep(self.compute, state.optimizer, state.device, capture)

    def __call__(self, batch: Batch) -> torch.Tensor:
        """One step: returns the batch's mean loss and accuracy, (2,) on the device, valid until the next call."""
        state = self.state
        self.criterion.set_margin(state.step)
        outcome = self._run(batch)  # (2,)
        state.scheduler.step()
        state.meter.add(outcome, len(batch.labels))
        state.step += 1
        if state.ema is not None:
            state.ema.update_parameters(state.model)
        return outcome

    def compute(self, batch: Batch) -> torch.Tensor:
        """The part of a step that runs on the device: mean loss and accuracy, (2,)."""
        state = self.state
        if self.augments:
            batch = augment(batch, self.config.segment_len_at(state.step), self.config)
        state.optimizer.zero_grad()
        loss, accuracy = model_fn(batch, self.model, self.criterion, state.device, state.dtype)
        state.scaler.scale(loss).backward()
        if self.config.clip_norm > 0:
            state.scaler.unscale_(state.optimizer)
            nn.utils.clip_grad_norm_(state.model.parameters(), self.config.clip_norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        return torch.stack([loss.detach(), accuracy])  # (2,)


def model_fn(
    batch: Sequence[torch.Tensor],
    model: nn.Module,
    criterion: nn.Module,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs a batch through the model: mean loss (nats) and accuracy, scalars on the device.

    ``batch`` is a `Batch`, or mels (batch, frames, n_mels), optional lengths (batch,), and labels (batch,) from a DataLoader.
    """
    mels, *lengths, labels = batch
    lengths = lengths_of_padded(mels, lengths[0] if lengths else None)
    mels, labels = mels.to(device, non_blocking=True), labels.to(device, non_blocking=True)
    lengths = None if lengths is None else lengths.to(device, non_blocking=True)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = model(mels, lengths)  # (batch, n_speakers)
    loss = criterion(logits.float(), labels)
    accuracy = (logits.argmax(dim=1) == labels).float().mean()
    return loss, accuracy
