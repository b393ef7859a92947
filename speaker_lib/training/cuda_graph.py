"""Runs a training step as a CUDA graph: captured once per shape of batch, then launched as a whole.

A closed box: `TrainStep` passes its `compute` and gets a callable that does the same.  On a GPU the small kernels of a step take
less time than Python needs to launch them (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch

from ..data.batches import Batch
from ..models.pooling import lengths_of_padded
from ..utils.errors import first_line
from ..utils.progress import log

WARMUP_STEPS = 3  # eager steps before a capture create tensors that it needs, such as Adam's moments

Compute = Callable[[Batch], torch.Tensor]
Capture = Callable[[Callable[[], torch.Tensor]], tuple[Callable[[], None], torch.Tensor]]


class GraphedStep:
    """Calls ``compute`` eagerly for the first few batches of a shape, then replays a graph of it if the GPU can capture one."""

    def __init__(self, compute: Compute, optimizer: torch.optim.Optimizer, device: torch.device, capture: Capture) -> None:
        self.compute, self.device, self.capture = compute, device, capture
        self._graphs: dict[object, Compute] = {}  # by shape of the batch, and whether it holds padding
        self._seen: Counter[object] = Counter()
        for group in optimizer.param_groups:
            # A graph keeps the numbers of its capture, but reads tensors at each replay: the schedule writes the rate there.
            group["lr"] = torch.tensor(float(group["lr"]), device=device)
            group["capturable"] = True

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The outcome of ``compute``, valid until the next call."""
        if self.capture is None:
            return self.compute(batch)
        padded = lengths_of_padded(batch.mels, batch.lengths) is not None
        kind = batch.mels.shape, padded
        self._seen[kind] += 1
        if self._seen[kind] <= WARMUP_STEPS:
            return _on_side_stream(self.device, lambda: self.compute(batch))
        if kind not in self._graphs:
            try:
                self._graphs[kind] = self._captured(batch, padded)
            except RuntimeError as error:
                self.capture = None
                log(f"Training steps run without a CUDA graph: the GPU could not capture one ({first_line(error)}).")
                return self.compute(batch)
        return self._graphs[kind](batch)

    def _captured(self, batch: Batch, padded: bool) -> Compute:
        """The captured step for batches like this one. It reads from its own tensors, so each batch is copied there first."""
        mels, lengths, labels = (torch.empty_like(part, device=self.device) for part in batch)
        # A capture cannot read lengths on the device, so a batch without padding gets none.
        inputs = Batch(mels, lengths if padded else None, labels)
        replay, outcome = self.capture(lambda: self.compute(inputs))

        def step(batch: Batch) -> torch.Tensor:
            for own, new in zip(inputs, batch, strict=True):
                if own is not None:
                    own.copy_(new, non_blocking=True)
            replay()
            return outcome

        return step


def choose_capture(device: torch.device, graph: str, world_size: int = 1) -> Capture | None:
    """The function that captures a step on this device; None to run it eagerly (on a GPU a logged line says why)."""
    if device.type != "cuda":
        return None
    if graph == "auto" and world_size == 1:
        return cuda_graph
    reason = "train.graph is off" if graph == "off" else f"{world_size} processes average their gradients within a step"
    log(f"Training steps run without a CUDA graph, which takes several times as long for small models: {reason}.")
    return None


def cuda_graph(function: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
    """Captures the kernels of ``function`` without running them: returns a function that replays them, and their result."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # a notebook's other threads may use the GPU meanwhile
        outcome = function()
    return graph.replay, outcome


def _on_side_stream(device: torch.device, function: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Runs the function on another stream, as PyTorch's notes require before a capture."""
    if device.type != "cuda":
        return function()
    main, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    side.wait_stream(main)
    with torch.cuda.stream(side):
        outcome = function()
    main.wait_stream(side)
    return outcome
