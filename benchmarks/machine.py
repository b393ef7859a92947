"""What the benchmarks share: the device and its matmul rate, timers, corpora of noise in HW4's size, rows of results."""

from __future__ import annotations

import datetime
import json
import platform
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import torch

from speaker_lib import Corpus, CorpusWriter
from speaker_lib.data.corpus import Utterances
from speaker_lib.utils.files import make_folder, replacing
from speaker_lib.utils.parallel import available_cores
from speaker_lib.utils.progress import progress_bar

from .hw4_standin.corpus import SPEAKERS


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    """Results as JSON, in place of what the file held."""
    make_folder(path.parent)
    with replacing(path, "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=1)
        file.write("\n")


@dataclass(frozen=True)
class Row:
    """A row of ``benchmarks/results/<device>.json``; None is a number that a way does not have."""

    model: str
    way: str
    device: str
    precision: str
    step_per_s: float | None = None
    utterances_per_s: float | None = None
    ratio: float | None = None  # to the plain way, in the same run
    fraction_of_matmul: float | None = None  # of this device's rate for products of large matrices in this precision
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def device_name(device: torch.device) -> str:
    """Short and without special characters, since files are named after it."""
    if device.type == "cuda":
        return re.sub(r"[^A-Za-z0-9]+", "-", torch.cuda.get_device_name(device)).strip("-").lower()
    return f"{platform.machine()}-{available_cores()}-cores"


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(function: Callable[[], object], device: torch.device, times: int = 1) -> float:
    """Per call."""
    synchronize(device)
    began = time.perf_counter()
    for _ in range(times):
        function()
    synchronize(device)
    return (time.perf_counter() - began) / times


def interleaved(ways: dict[str, Callable[[], object]], device: torch.device, rounds: int, times: int = 1) -> dict[str, float]:
    """The median seconds of each way, measured in turns, so that load on the machine affects all alike."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, function in ways.items():
            taken[way].append(seconds(function, device, times))
    return {way: median(durations) for way, durations in taken.items()}


def matmul_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a product of two large square matrices, the best of five."""
    n = 8_192 if device.type == "cuda" else 2_048
    one, other = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    seconds(lambda: one @ other, device, 3)
    return 2 * n**3 / min(seconds(lambda: one @ other, device, 3) for _ in range(5))


def write_files(folder: Path, lengths: np.ndarray) -> None:
    """A corpus of noise in HW4's layout, a file per utterance."""
    noise = np.random.default_rng(0).normal(-2, 4, size=(int(lengths.max()), 40)).astype(np.float32)
    with CorpusWriter(folder, "random numbers") as writer, progress_bar(len(lengths), "Write", "uttr") as bar:
        for i, length in enumerate(lengths):
            writer.add(noise[:length], f"speaker{i % SPEAKERS:03d}")
            bar.update()


def corpus_in_memory(lengths: np.ndarray) -> Corpus:
    """A corpus of noise that is not on disk."""
    block = np.random.default_rng(0).normal(-2, 4, size=(1_000_000, 40)).astype(np.float16)
    total = int(lengths.sum())
    frames = np.resize(block, (total, 40))  # (total frames, 40), the block over and over
    offsets = np.concatenate([[0], np.cumsum(lengths)])  # (utterances + 1,)
    labels = np.arange(len(lengths)) % SPEAKERS
    utterances = Utterances(frames, offsets, labels, None, tuple(map(str, range(len(lengths)))))
    names = tuple(f"speaker{i:03d}" for i in range(SPEAKERS))
    return Corpus(Path(), names, utterances, None, 40, "random numbers", "noise")
