"""Training state: model, EMA, optimizer, schedule, gradient scaler, counters and random states.

In: a preset.  Out: a `TrainState`, which `TrainStep` updates and which is saved and restored bit for bit.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..config.schema import Preset
from ..models.classifier import Classifier
from ..utils.device import sum_dtype
from .schedule import get_cosine_schedule_with_warmup

_COUNTERS = ("seconds", "step", "best_accuracy")


@dataclass
class Meter:
    """Loss and accuracy averaged over utterances. The sums stay on the device until they are read."""

    sums: torch.Tensor | None = None  # (2,) loss and accuracy, summed over the utterances
    count: int = 0  # utterances
    batches: int = 0

    def add(self, outcome: torch.Tensor, count: int) -> None:
        """Adds a batch's mean loss and accuracy, ``outcome`` (2,), over ``count`` utterances."""
        if self.sums is None:
            self.sums = torch.zeros(2, dtype=sum_dtype(outcome.device), device=outcome.device)  # (2,)
        self.sums.add_(outcome, alpha=count)
        self.count += count
        self.batches += 1

    @property
    def loss(self) -> float:
        """Mean cross-entropy, nats."""
        return float(self.sums[0]) / self.count

    @property
    def accuracy(self) -> float:
        """Fraction of correct predictions."""
        return float(self.sums[1]) / self.count

    def postfix(self, **more: object) -> dict[str, object]:
        """The text after a progress bar, as in the report."""
        return {"accuracy": f"{self.accuracy:.2f}", "loss": f"{self.loss:.2f}", **more}


class TrainState:
    """Everything that training changes, at step 0; ``train.seed`` decides the initial weights."""

    def __init__(self, preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        config, self.device, self.dtype = preset.train, device, dtype
        set_seed(config.seed)
        self.model = Classifier(preset.model).to(device)
        self.ema = make_ema(self.model, config.ema) if config.ema > 0 else None
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=device.type != "mps"
        )
        self.scheduler = get_cosine_schedule_with_warmup(self.optimizer, config.warmup_steps, config.total_steps)
        # In float16 small gradients underflow unless the loss is scaled up; in other types the scaler does nothing.
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.meter = Meter()  # since the last validation
        self.seconds = 0.0  # of training since the last validation
        self.step = 0
        self.best_accuracy = -1.0

    def __repr__(self) -> str:
        return f"TrainState at step {self.step:,}"

    @property
    def eval_model(self) -> nn.Module:
        """The model that is validated and saved: the EMA if there is one, else the trained model."""
        return self.model if self.ema is None else self.ema.module

    def normalise_input(self, mean: np.ndarray, std: np.ndarray) -> None:
        """Sets each mel band's mean and standard deviation, (n_mels,) each, of ``model.input_norm=global``."""
        for model in (self.model, self.eval_model):
            model.input_mean.copy_(torch.from_numpy(mean))  # (n_mels,)
            model.input_std.copy_(torch.from_numpy(std))  # (n_mels,)

    def finish(self, weights: dict[str, torch.Tensor], step: int) -> None:
        """Takes the ``weights`` that a finished run has kept, at its last ``step``: there is nothing to resume."""
        for model in (self.model, self.eval_model):
            model.load_state_dict(weights)
        self.step = step

    def state_dict(self) -> dict[str, object]:
        """Only tensors and plain values: ``torch.load(weights_only=True)`` can read them."""
        generator, keys, *rest = np.random.get_state()
        return {
            "model": self.model.state_dict(),
            **({} if self.ema is None else {"average": self.ema.module.state_dict()}),
            "optimizer": {"state": self.optimizer.state_dict()["state"]},
            # With a CUDA graph the learning rate is a tensor.
            "scheduler": self.scheduler.state_dict() | {"_last_lr": [float(rate) for rate in self.scheduler.get_last_lr()]},
            "scaler": self.scaler.state_dict(),
            **{name: getattr(self, name) for name in _COUNTERS},
            "meter": (None if self.meter.sums is None else self.meter.sums.cpu().double(), self.meter.count, self.meter.batches),
            "random": {
                "python": random.getstate(),
                "numpy": (generator, keys.tolist(), *rest),
                "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all(),
            },
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """The inverse of `state_dict`. Raises KeyError, ValueError, TypeError or RuntimeError if ``state`` does not fit."""
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["average"])
            self.ema.n_averaged.fill_(state["step"] + 1)
        # Only the moments: options such as ``fused`` depend on the machine.
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["optimizer"]["state"], "param_groups": groups})
        # Only the position: PyTorch would set any attribute that it finds in the file.
        reached = {name: state["scheduler"][name] for name in ("last_epoch", "_step_count", "_last_lr")}
        self.scheduler.load_state_dict(self.scheduler.state_dict() | reached)
        for group, rate in zip(self.optimizer.param_groups, self.scheduler.get_last_lr(), strict=True):
            group["lr"] = rate
        if state["scaler"]:  # empty if it was saved in another precision
            self.scaler.load_state_dict(state["scaler"])
        for name in _COUNTERS:
            setattr(self, name, state[name])
        sums, count, batches = state["meter"]
        sums = None if sums is None else sums.to(sum_dtype(self.device)).to(self.device)  # (2,)
        self.meter = Meter(sums, count, batches)
        random.setstate(state["random"]["python"])
        np.random.set_state(state["random"]["numpy"])
        torch.set_rng_state(state["random"]["torch"])
        if len(state["random"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["random"]["cuda"])


def set_seed(seed: int) -> None:
    """Seeds every random generator that initial weights or dropout may use."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # the CPU's and every GPU's


def make_ema(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model whose weights are the exponential moving average (EMA) of the trained ones.

    At step n the decay is at most (1 + n) / (10 + n), so the initial weights soon lose their influence.
    """

    def average(averaged: list[torch.Tensor], current: list[torch.Tensor], n: int) -> None:
        get_ema_multi_avg_fn(min(decay, (1 + int(n)) / (10 + int(n))))(averaged, current, n)

    ema = AveragedModel(model, multi_avg_fn=average, use_buffers=True).requires_grad_(False)
    ema.n_averaged.fill_(1)  # counts the initial weights; at 0 the first step would replace them
    return ema
