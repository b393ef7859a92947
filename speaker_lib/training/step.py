"""What makes training fast, behind one name: a `TrainStep` is called with a batch, and one step of training is done.

On a GPU the small kernels of a step take less time than it takes Python to launch them.  So the step is captured once, as
a CUDA graph (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs), and from then on launched as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import repeat

import torch

from ..data.batches import Batch
from ..utils.errors import first_line
from ..utils.progress import log
from .state import TrainState

WARMUP = 3  # steps of a kind before one is captured: they create what a step finds already there, the optimizer's moments

Outcome = torch.Tensor  # (2,) float64 on the device: mean loss, share of right answers
Capture = Callable[[Callable[[], Outcome]], tuple[Callable[[], None], Outcome]]


class TrainStep:
    """One step of training: forward, backward, clipping, optimizer. ``prepare`` is called before each with its number.

    >>> step = TrainStep(state, lambda batch: model_fn(batch, model, criterion, device), device)    # doctest: +SKIP
    >>> outcome = step(batch)                                                                      # doctest: +SKIP
    """

    def __init__(
        self,
        state: TrainState,
        loss_and_accuracy: Callable[[Batch], tuple[torch.Tensor, torch.Tensor]],
        device: torch.device,
        capture: Capture | None = None,
        prepare: Callable[[int], None] = lambda step: None,
    ) -> None:
        self.state, self.loss_and_accuracy, self.device, self.capture = state, loss_and_accuracy, device, capture
        self.prepare = prepare
        self._graphs: dict[object, _Graph] = {}  # by shape of the batch, and whether it holds padding
        self._seen: Counter[object] = Counter()
        if capture is not None:
            for group in state.optimizer.param_groups:
                # A graph repeats the numbers it was captured with; from a tensor it reads anew what the schedule writes there.
                group["lr"] = torch.tensor(float(group["lr"]), device=device)
                group["capturable"] = True

    def __call__(self, batch: Batch) -> Outcome:
        """Trains on the batch. What is returned holds until the next call."""
        self.prepare(self.state.step)
        if self.capture is None:
            return self._eager(batch)
        kind = (batch.mels.shape, batch.padded)
        self._seen[kind] += 1
        if self._seen[kind] <= WARMUP:
            return _beside(self.device, lambda: self._eager(batch))
        if kind not in self._graphs:
            try:
                self._graphs[kind] = _Graph(self._eager, batch, self.device, self.capture)
            except RuntimeError as error:
                self.capture = None
                log(f"Each step is launched kernel by kernel: the GPU did not take it as one graph ({first_line(error)}).")
                return self._eager(batch)
        return self._graphs[kind](batch)

    def _eager(self, batch: Batch) -> Outcome:
        self.state.optimizer.zero_grad()
        outcomes = []
        for part in parts_of(batch, self.state.config.accumulate):
            loss, accuracy = self.loss_and_accuracy(part)
            share = len(part.labels) / len(batch.labels)
            self.state.backward(share * loss)
            outcomes.append(share * outcome_of(loss, accuracy))
        self.state.update()
        return sum(outcomes[1:], outcomes[0])


def parts_of(batch: Batch, count: int) -> list[Batch]:
    """The batch in ``count`` parts, as equal as can be; fewer where it has fewer utterances."""
    parts = (part.tensor_split(min(count, len(batch.labels))) if part is not None else repeat(None) for part in batch)
    return [Batch(*part) for part in zip(*parts, strict=False)]


def outcome_of(loss: torch.Tensor, accuracy: torch.Tensor) -> Outcome:
    """What `Meter.add` takes."""
    return torch.stack([loss.detach(), accuracy]).double()  # (2,)


def choose_capture(device: torch.device, graph: str, team_size: int = 1) -> Capture | None:
    """How steps are captured on this device; None where they run as they are written, with a line on a GPU that says why."""
    if device.type != "cuda":
        return None
    if graph == "auto" and team_size == 1:
        return cuda_graph
    reason = "train.graph is off" if graph == "off" else f"{team_size} processes average their gradients within it"
    log(f"Each step is launched kernel by kernel: {reason}.")
    return None


def cuda_graph(function: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
    """Captures what ``function`` launches, without running it: a function that runs it, and where its result will be."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # a notebook's other threads may use the GPU meanwhile
        outcome = function()
    return graph.replay, outcome


class _Graph:
    """A captured step, and the tensors that it reads its batch from."""

    def __init__(self, step: Callable[[Batch], Outcome], batch: Batch, device: torch.device, capture: Capture) -> None:
        mels, lengths, labels = (torch.empty_like(part, device=device) for part in batch)
        # On the device the lengths cannot be looked at while capturing: a batch without padding goes without them.
        self._inputs = Batch(mels, lengths if batch.padded else None, labels)
        self._replay, self._outcome = capture(lambda: step(self._inputs))

    def __call__(self, batch: Batch) -> Outcome:
        for own, new in zip(self._inputs, batch, strict=True):
            if own is not None:
                own.copy_(new, non_blocking=True)
        self._replay()
        return self._outcome


def _beside(device: torch.device, function: Callable[[], Outcome]) -> Outcome:
    """Runs it on a stream of its own, as a capture does, so that nothing in it is tied to the main stream."""
    if device.type != "cuda":
        return function()
    main, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    side.wait_stream(main)
    with torch.cuda.stream(side):
        outcome = function()
    main.wait_stream(side)
    return outcome
