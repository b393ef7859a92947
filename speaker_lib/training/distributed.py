"""Data-parallel training in several processes, which ``torchrun`` starts; a single process is a team of one.

A closed box: each process works on its part of every batch, PyTorch's DistributedDataParallel averages the gradients, and only
the first process writes.  A team of one exchanges nothing.
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
    """The processes that train together, and the rank of this one. All must call a method that sums or waits."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, prints and draws bars."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model, with a backward pass that averages the gradients of all processes."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Copies the first process's running statistics of BatchNorm to all: each has those of its own part of the batches."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def total(self, values: list[float]) -> list[float]:
        """Each number summed over the processes."""
        if self.size == 1:
            return values
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)  # (values,)
        dist.all_reduce(sums)
        return sums.tolist()

    def sum_meter(self, meter: Meter) -> Meter:
        """The meter of all processes together."""
        if self.size == 1:
            return meter
        *sums, count = self.total([*(meter.sums.tolist() if meter.count else (0.0, 0.0)), meter.count])
        return Meter(torch.tensor(sums, dtype=torch.float64, device=self.device), int(count), meter.batches)  # sums (2,)

    def any_at(self, step: int, flag: bool) -> bool:
        """Whether the flag is true in some process. Several processes wait for each other, so only at every 20th step."""
        return (self.size == 1 or step % 20 == 0) and self.total([float(flag)])[0] > 0

    def wait(self) -> None:
        """Waits for all processes."""
        self.total([0.0])


ALONE = Team()


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Team]:
    """The team that ``torchrun`` started, else a team of one. Raises SpeakerError in the others if one process ends early."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # only torchrun sets it
        yield Team(device=device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    team = Team(dist.get_rank(), dist.get_world_size(), device)
    try:
        team.wait()  # else an early error in one process breaks the others' connection, and their errors hide it
        yield team
    except RuntimeError as error:
        broken = isinstance(error, dist.DistError) or "gloo" in str(error)  # gloo has no error class for a lost connection
        if team.first or not broken:
            raise
        raise SpeakerError(f"process {team.rank} lost the others ({first_line(error)}): read their errors.") from error
    finally:
        dist.destroy_process_group()
