"""Runs a training step as a CUDA graph: captured once per shape of batch, then launched as a whole.

A closed box: `TrainStep` passes its `compute` and gets a callable that does the same, or the eager one where no graph can be
captured.  On a GPU the small kernels of a step take less time than Python needs to launch them
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch

from ..data.batches import Batch, lengths_of_padded
from ..utils.errors import first_line
from ..utils.progress import log

WARMUP_STEPS = 3  # eager steps before a capture: they create tensors that a captured step needs, such as Adam's moments

Compute = Callable[[Batch], torch.Tensor]
Capture = Callable[[Callable[[], torch.Tensor]], tuple[Callable[[], None], torch.Tensor]]


class GraphedStep:
    """Calls ``compute`` eagerly for the first few batches of a shape, and replays a graph of it from then on."""

    def __init__(self, compute: Compute, optimizer: torch.optim.Optimizer, device: torch.device, capture: Capture) -> None:
        self.compute, self.device, self.capture = compute, device, capture
        self._graphs: dict[object, _Graph] = {}  # by shape of the batch, and whether it holds padding
        self._seen: Counter[object] = Counter()
        for group in optimizer.param_groups:
            # A graph keeps the numbers it was captured with, but reads a tensor anew: the schedule writes the rate there.
            group["lr"] = torch.tensor(float(group["lr"]), device=device)
            group["capturable"] = True

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The outcome of ``compute``, valid until the next call."""
        padded = lengths_of_padded(batch.mels, batch.lengths) is not None
        kind = (batch.mels.shape, padded)
        self._seen[kind] += 1
        if self.capture is None:
            return self.compute(batch)
        if self._seen[kind] <= WARMUP_STEPS:
            return _on_side_stream(self.device, lambda: self.compute(batch))
        if kind not in self._graphs:
            try:
                self._graphs[kind] = _Graph(self.compute, batch, padded, self.device, self.capture)
            except RuntimeError as error:
                self.capture = None
                log(f"Training steps run without a CUDA graph: the GPU could not capture one ({first_line(error)}).")
                return self.compute(batch)
        return self._graphs[kind](batch)


def choose_capture(device: torch.device, graph: str, world_size: int = 1) -> Capture | None:
    """How to capture a step on this device; None to run it eagerly, with a line on a GPU that says why."""
    if device.type != "cuda":
        return None
    if graph == "auto" and world_size == 1:
        return cuda_graph
    reason = "train.graph is off" if graph == "off" else f"{world_size} processes average their gradients within a step"
    log(f"Training steps run without a CUDA graph: {reason}.")
    return None


def cuda_graph(function: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
    """Captures the kernels of ``function`` without running them: returns how to replay them, and the tensor of their result."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # a notebook's other threads may use the GPU meanwhile
        outcome = function()
    return graph.replay, outcome


class _Graph:
    """A captured step, and the tensors from which it reads its batch."""

    def __init__(self, compute: Compute, batch: Batch, padded: bool, device: torch.device, capture: Capture) -> None:
        mels, lengths, labels = (torch.empty_like(part, device=device) for part in batch)
        # A capture cannot read lengths on the device, so a batch without padding gets none.
        self._inputs = Batch(mels, lengths if padded else None, labels)
        self._replay, self._outcome = capture(lambda: compute(self._inputs))

    def __call__(self, batch: Batch) -> torch.Tensor:
        for own, new in zip(self._inputs, batch, strict=True):
            if own is not None:
                own.copy_(new, non_blocking=True)
        self._replay()
        return self._outcome


def _on_side_stream(device: torch.device, function: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Runs the function on a stream of its own, as PyTorch's notes ask for before a capture."""
    if device.type != "cuda":
        return function()
    main, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    side.wait_stream(main)
    with torch.cuda.stream(side):
        outcome = function()
    main.wait_stream(side)
    return outcome
