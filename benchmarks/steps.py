"""Training steps side by side: the plain way, the kit kernel by kernel, under torch.compile in two modes, and as shipped."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from speaker_lib import PRESETS, Corpus, Preset
from speaker_lib.data.batches import get_dataloader
from speaker_lib.models.cost import cost_of
from speaker_lib.training.cuda_graph import WARMUP_STEPS, choose_capture
from speaker_lib.training.run import fit_to_data
from speaker_lib.training.state import TrainState
from speaker_lib.training.step import TrainStep
from speaker_lib.utils.device import get_autocast_dtype
from speaker_lib.utils.errors import first_line
from speaker_lib.utils.parallel import available_cores

from .machine import Row, device_name, interleaved, matmul_flops, seconds, synchronize
from .reference import plain_steps

ROUNDS = 7
SLOW = 1.0  # seconds per step; above it, fewer rounds are measured


def bench_steps(name: str, folder: Path, device: torch.device, compiled: bool) -> list[Row]:
    """The rows of one preset. Every way has the same model, batch size, precision and number of steps; they take turns."""
    corpus = Corpus.open(folder)
    preset = fit_to_data(PRESETS[name], corpus)
    dtype = get_autocast_dtype(preset.train.precision, device)
    plain = plain_steps(folder, preset, device, dtype, workers=min(8, available_cores()))
    ways: dict[str, Callable[[], object]] = {"plain": lambda: next(plain)}
    ways["kit, eager"] = kit_steps(corpus, replace_graph(preset, "off"), device, dtype)
    for way, compiler in compilers(device).items() if compiled else ():
        ways[way] = kit_steps(corpus, replace_graph(preset, "off"), device, dtype, compiler)
    ways["kit, as shipped"] = kit_steps(corpus, preset, device, dtype)

    first = {}
    for way, step in list(ways.items()):
        try:
            first[way] = time_to_steady(step, device)
        except RuntimeError as error:
            if way not in compilers(device):
                raise
            print(f"{name}: {way} is left out, it cannot run here ({first_line(error)}).")
            del ways[way]
    per_plain_step = seconds(ways["plain"], device, 2)
    count = max(1, round(0.7 / per_plain_step))  # about as many as the plain way does in 0.7 s
    per_step = interleaved(ways, device, 3 if per_plain_step > SLOW else ROUNDS, count)
    plain.close()  # ends its workers

    total = preset.train.total_steps
    flops = cost_of(preset.model, preset.train.batch_size, preset.train.segment_len).flops
    peak = matmul_flops(device, dtype)
    rows = []
    for way, duration in per_step.items():
        variants = {way: 1 / duration}
        if way in compilers(device) or (way == "kit, as shipped" and device.type == "cuda"):
            start = max(0.0, first[way] - warm_steps(device) * duration)
            print(f"{name}: {way} took {start:.1f} s to start.")
            variants[f"{way}, start included over {total:,} steps"] = total / (start + total * duration)
        for label, rate in variants.items():
            rows.append(
                Row(
                    model=name,
                    way=label,
                    device=device_name(device),
                    precision=str(dtype).removeprefix("torch."),
                    step_per_s=rate,
                    utterances_per_s=rate * preset.train.batch_size,
                    ratio=rate * per_step["plain"],
                    fraction_of_matmul=flops * rate / peak,
                )
            )
    return rows


def compilers(device: torch.device) -> dict[str, Callable[[nn.Module], nn.Module]]:
    """The ways to compile the model: in the default mode, and where there is a GPU also with CUDA graphs made by the compiler."""
    modes = {"kit, torch.compile": torch.compile}
    if device.type == "cuda":  # on a CPU this mode is the default one
        modes["kit, torch.compile, reduce-overhead"] = functools.partial(torch.compile, mode="reduce-overhead")
    return modes


def replace_graph(preset: Preset, graph: str) -> Preset:
    return Preset(preset.model, replace(preset.train, graph=graph))


def kit_steps(
    corpus: Corpus,
    preset: Preset,
    device: torch.device,
    dtype: torch.dtype,
    compiler: Callable[[nn.Module], nn.Module] = lambda model: model,
) -> Callable[[], object]:
    """A function that trains one step, as `train` does it."""
    state = TrainState(preset, device, dtype)
    capture = choose_capture(device, preset.train.graph)
    step = TrainStep(preset, state, compiler(state.model), capture)
    batches = itertools.chain.from_iterable(itertools.repeat(get_dataloader(corpus, preset.train, device=device)[0]))

    return lambda: step(next(batches))


def time_to_steady(step: Callable[[], object], device: torch.device) -> float:
    """Seconds for the first steps, in which a graph is captured or a model compiled."""
    began = time.perf_counter()
    for _ in range(warm_steps(device)):
        step()
    synchronize(device)
    return time.perf_counter() - began


def warm_steps(device: torch.device) -> int:
    """Steps until the speed is steady."""
    return WARMUP_STEPS + 2 if device.type == "cuda" else 1
