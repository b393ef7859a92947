"""The whole of the report's second experiment on data of HW4's size: how long until the first step, how long in all."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import torch

from speaker_lib import PRESETS, Corpus, Run, train
from speaker_lib.utils.device import get_autocast_dtype

from .growth import write_packed
from .hw4_standin.corpus import lengths_like_hw4
from .machine import Row, device_name


def bench_full(folder: Path, device: torch.device, name: str = "tuned") -> list[Row]:
    """Trains the preset to its last step, with its validations, on packed data."""
    write_packed(folder / "data", lengths_like_hw4(56_666))
    began = time.perf_counter()
    run = Run.create(folder / "run", PRESETS[name], Corpus.open(folder / "data"))
    first_step = FirstStep(device)
    train(run, Corpus.open(folder / "data"), device, stop=first_step)
    first, whole = first_step.at - began, time.perf_counter() - began
    config = run.preset.train
    validations = len(run.metrics())
    dtype = str(get_autocast_dtype(config.precision, device)).removeprefix("torch.")
    print(f"{name}: first step after {first:.1f} s; {config.total_steps:,} steps, {validations} validations in {whole:.0f} s.")

    def row(way: str, step_per_s: float) -> Row:
        return Row(name, way, device_name(device), dtype, step_per_s, step_per_s * config.batch_size)

    return [
        row("from the start to the first step, data packed", 1 / first),
        row(f"{config.total_steps:,} steps with {validations} validations, start included", config.total_steps / whole),
    ]


class FirstStep(threading.Event):
    """A stop signal that is never set. Training checks it after every step; the first check is the time of the first step."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.at = device, None

    def is_set(self) -> bool:
        """Always False; the first call sets ``at``."""
        if self.at is None:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.at = time.perf_counter()
        return False
