"""What changes from step to step in training, and therefore all that a resumed run needs."""

from __future__ import annotations

import copy
import math
import random

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..config.schema import TrainConfig
from .distributed import Team


class Meter:
    """Loss and accuracy averaged over utterances; the sums stay on the device until somebody reads them."""

    def __init__(self) -> None:
        self.sums: torch.Tensor | None = None  # (2,) float64, loss and accuracy, each times utterances
        self.count = 0  # utterances
        self.batches = 0

    def add(self, outcome: torch.Tensor, count: int) -> None:
        """Adds a batch's mean loss and accuracy, ``outcome`` (2,) float64, over ``count`` utterances."""
        if self.sums is None:
            self.sums = torch.zeros_like(outcome)
        self.sums.add_(outcome, alpha=count)
        self.count += count
        self.batches += 1

    def shared(self, team: Team) -> Meter:
        """The meter of all processes together."""
        if team.size == 1:
            return self
        loss, accuracy, count = team.total([*(self.sums.tolist() if self.count else (0.0, 0.0)), self.count])
        meter = Meter()
        meter.sums = torch.tensor([loss, accuracy], dtype=torch.float64, device=team.device)  # (2,)
        meter.count, meter.batches = int(count), self.batches
        return meter

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


class Average:
    """A model beside the one that is trained, whose weights are the exponential moving average of that one's.

    Over few steps it averages fewer: at step n the decay is at most (1 + n) / (10 + n), so that the first weights are
    soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = copy.deepcopy(model).requires_grad_(False), decay
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        self._averaged = [(own, theirs) for own, theirs in pairs if own.is_floating_point()]
        self._copied = [(own, theirs) for own, theirs in pairs if not own.is_floating_point()]  # BatchNorm's counters

    def follow(self, step: int) -> None:
        """Takes the trained model's weights after step number ``step`` into the average."""
        average = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))
        average(*map(list, zip(*self._averaged, strict=True)), None)
        for own, theirs in self._copied:
            own.copy_(theirs)


class TrainState:
    """The model with its optimizer, schedule and scaler, the step they have reached, and how well that went."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: LambdaLR,
        scaler: torch.amp.GradScaler,
        config: TrainConfig,
    ) -> None:
        self.model, self.optimizer, self.scheduler, self.scaler, self.config = model, optimizer, scheduler, scaler, config
        self.average = Average(model, config.ema) if config.ema > 0 else None
        self.meter = Meter()  # over the interval since the last validation
        self.seconds = 0.0  # of training in that interval
        self.step = 0
        self.best_accuracy = -1.0

    @property
    def judged(self) -> nn.Module:
        """What validation judges and the run keeps: the model, or the running average of its weights."""
        return self.model if self.average is None else self.average.model

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the gradients of a loss to those that are there."""
        self.scaler.scale(loss).backward()

    def update(self) -> None:
        """Clipping and optimizer: the last part of a step that a device does without the host."""
        if self.config.clip_norm > 0:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def advance(self, outcome: torch.Tensor, count: int) -> None:
        """The rest of a step: schedule and average move on, the batch's ``outcome`` (2,) over ``count`` utterances is noted."""
        self.scheduler.step()
        self.meter.add(outcome, count)
        self.step += 1
        if self.average is not None:
            self.average.follow(self.step)

    def state_dict(self) -> dict[str, object]:
        """Tensors and plain values only, so that it can be read back with ``weights_only=True``."""
        name, keys, *rest = np.random.get_state()
        return {
            "model": self.model.state_dict(),
            **({} if self.average is None else {"average": self.average.model.state_dict()}),
            "optimizer": {"state": self.optimizer.state_dict()["state"]},
            # On a GPU the learning rate is a tensor, for the graph to read.
            "scheduler": self.scheduler.state_dict() | {"_last_lr": [float(rate) for rate in self.scheduler.get_last_lr()]},
            "scaler": self.scaler.state_dict(),
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
        _check_numbers(state)
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.model.load_state_dict(state["average"])
        # The moments are the run's; how they are computed is this machine's business, which may be another than the last.
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["optimizer"]["state"], "param_groups": groups})
        _check_moments(self.optimizer)
        # PyTorch would take any attribute of the schedule from the file; only where it stands is not the run's already.
        reached = {name: state["scheduler"][name] for name in ("last_epoch", "_step_count", "_last_lr")}
        self.scheduler.load_state_dict(self.scheduler.state_dict() | reached)
        for group, rate in zip(self.optimizer.param_groups, self.scheduler.get_last_lr(), strict=True):
            group["lr"] = rate
        if state["scaler"]:  # empty where it was saved in another precision, and this machine's scaler then begins anew
            self.scaler.load_state_dict(state["scaler"])
        for number in _NUMBERS:
            setattr(self, number, state[number])
        sums, self.meter.count, self.meter.batches = state["meter"]
        self.meter.sums = None if sums is None else sums.to(next(self.model.parameters()).device)
        _set_python_random(state["random"]["python"])
        np.random.set_state(state["random"]["numpy"])
        torch.set_rng_state(state["random"]["torch"])
        if len(state["random"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["random"]["cuda"])


_NUMBERS = ("seconds", "step", "best_accuracy")


def _check_numbers(state: dict[str, object]) -> None:
    """Raises ValueError or TypeError unless the plain values of a saved state are numbers that a run can have reached."""
    if not all(isinstance(state[part], dict) for part in ("model", "optimizer", "scheduler", "random")):
        raise TypeError("a part of the state is no dictionary")
    if not all(isinstance(moments, dict) for moments in state["optimizer"]["state"].values()):
        raise TypeError("the optimizer's state is no dictionary")
    if any(bool(tensor.isnan().any()) for part in ("model", "average") for tensor in state.get(part, {}).values()):
        raise ValueError("a weight is none")
    (sums, count, batches), rates = state["meter"], state["scheduler"]["_last_lr"]
    whole = (state["step"], state["scheduler"]["last_epoch"], state["scheduler"]["_step_count"], count, batches)
    real = (state["seconds"], state["best_accuracy"], *rates)
    if not all(type(n) is int and 0 <= n < 2**63 for n in whole) or not all(type(x) is float and math.isfinite(x) for x in real):
        raise ValueError("a number of the state is none")
    if state["scheduler"]["last_epoch"] != state["step"]:
        raise ValueError("the schedule is at another step than the run")
    if sums is not None and (sums.shape != (2,) or sums.dtype != torch.float64):
        raise ValueError("the sums of loss and accuracy are none")


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raises ValueError unless each moment fits its parameter: PyTorch would only notice in the next step, or never."""
    for parameter, state in optimizer.state.items():
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        if shapes != {"step": (), "exp_avg": tuple(parameter.shape), "exp_avg_sq": tuple(parameter.shape)}:
            raise ValueError("the optimizer's state is of another model")
        if any(bool(value.isnan().any()) for value in state.values()) or bool((state["exp_avg_sq"] < 0).any()):
            raise ValueError("a moment is none")


def _set_python_random(state: object) -> None:
    try:
        random.setstate(state)
    except OverflowError as error:
        raise ValueError("the random state is none") from error
