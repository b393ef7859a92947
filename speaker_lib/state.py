"""What changes from step to step in training, and therefore all that a resumed run needs."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR


class Meter:
    """Loss and accuracy averaged over utterances; the sums stay on the device until somebody reads them."""

    def __init__(self) -> None:
        self.sums: torch.Tensor | None = None  # (2,) loss and accuracy, each times utterances
        self.count = 0  # utterances
        self.batches = 0

    def add(self, loss: torch.Tensor, accuracy: torch.Tensor, count: int) -> None:
        """Adds a batch's means over ``count`` utterances, both scalars."""
        sums = torch.stack([loss.detach(), accuracy]).double() * count  # (2,)
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += count
        self.batches += 1

    @property
    def loss(self) -> float:
        """Mean cross-entropy, nats."""
        return float(self.sums[0]) / self.count

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.sums[1]) / self.count

    def postfix(self, **more: object) -> dict[str, object]:
        """What stands behind a progress bar, in the report's form."""
        return {"accuracy": f"{self.accuracy:.2f}", "loss": f"{self.loss:.2f}", **more}


class TrainState:
    """The model with its optimizer, schedule and scaler, the step they have reached, and how well that went."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: LambdaLR, scaler: torch.amp.GradScaler
    ) -> None:
        self.model, self.optimizer, self.scheduler, self.scaler = model, optimizer, scheduler, scaler
        self.meter = Meter()  # over the interval since the last validation
        self.seconds = 0.0  # of training in that interval
        self.step = 0
        self.best_accuracy = -1.0

    def update(self, loss: torch.Tensor) -> None:
        """One step of the optimizer and of the schedule."""
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        self.step += 1

    def state_dict(self) -> dict[str, object]:
        """Tensors and plain values only, so that it can be read back with ``weights_only=True``."""
        name, keys, *rest = np.random.get_state()
        return {
            **{part: getattr(self, part).state_dict() for part in _PARTS},
            **{number: getattr(self, number) for number in _NUMBERS},
            "meter": (self.meter.sums, self.meter.count, self.meter.batches),
            "random": {
                "python": random.getstate(),
                "numpy": (name, keys.tolist(), *rest),
                "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all(),
            },
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Goes back to what `state_dict` gave. Raises KeyError, ValueError, TypeError or RuntimeError if it does not fit."""
        for part in _PARTS:
            getattr(self, part).load_state_dict(state[part])
        for number in _NUMBERS:
            setattr(self, number, state[number])
        sums, self.meter.count, self.meter.batches = state["meter"]
        self.meter.sums = None if sums is None else sums.to(next(self.model.parameters()).device)
        random.setstate(state["random"]["python"])
        np.random.set_state(state["random"]["numpy"])
        torch.set_rng_state(state["random"]["torch"])
        if len(state["random"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["random"]["cuda"])


_PARTS = ("model", "optimizer", "scheduler", "scaler")
_NUMBERS = ("seconds", "step", "best_accuracy")
