"""Data-parallel training in several processes, as ``torchrun`` starts them; a single process is a team of one.

Each works on its share of every batch, PyTorch's DistributedDataParallel averages the gradients, and the first one writes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..utils.errors import SpeakerError, first_line
from .state import Meter


@dataclass(frozen=True)
class Team:
    """This process's place among those that train together."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes, prints and draws bars."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose backward pass averages the gradients of all processes."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)

    def agree(self, model: nn.Module) -> None:
        """Gives every process the first one's running statistics of BatchNorm, which each takes from its share alone."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def total(self, values: list[float]) -> list[float]:
        """Each number summed over the processes; all of them must call this together."""
        if self.size == 1:
            return values
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)  # (values,)
        dist.all_reduce(sums)
        return sums.tolist()

    def sum_meter(self, meter: Meter) -> Meter:
        """The meter of all processes together; all of them must call this together."""
        if self.size == 1:
            return meter
        loss, accuracy, count = self.total([*(meter.sums.tolist() if meter.count else (0.0, 0.0)), meter.count])
        summed = Meter()
        summed.sums = torch.tensor([loss, accuracy], dtype=torch.float64, device=self.device)  # (2,)
        summed.count, summed.batches = int(count), meter.batches
        return summed

    def any(self, flag: bool) -> bool:
        """Whether the flag is true in some process; all of them must call this together."""
        return self.total([float(flag)])[0] > 0

    def any_now_and_then(self, flag: bool, step: int) -> bool:
        """`any`, but a team of several asks each other at every 20th step only, for each time they wait."""
        return (self.size == 1 or step % _ASKS_EVERY == 0) and self.any(flag)

    def wait(self) -> None:
        """Until every process has come here."""
        self.any(False)


_ASKS_EVERY = 20  # steps
ALONE = Team()


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Team]:
    """The team that ``torchrun`` put this process into, else a team of one.

    Raises SpeakerError in the others when one process ends before its time.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # set by torchrun, and by nothing else
        yield Team(device=device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    team = Team(dist.get_rank(), dist.get_world_size(), device)
    try:
        team.wait()  # one that left before the others had joined would fail them, in words that hide its own
        yield team
    except RuntimeError as error:
        broken = isinstance(error, dist.DistError) or "gloo" in str(error)  # gloo has no class of its own for a lost connection
        if team.first or not broken:
            raise
        raise SpeakerError(f"process {team.rank} lost the others ({first_line(error)}): see what they say.") from error
    finally:
        dist.destroy_process_group()
