"""How time and memory grow with the data, with the length of an utterance, and with the number of processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from speaker_lib import PRESETS, Corpus, SpeakerDataset, TrainConfig
from speaker_lib.data.batches import Batch, TrainBatches
from speaker_lib.data.corpus import PARTS
from speaker_lib.data.hw4_format import read_mapping, read_metadata
from speaker_lib.data.packing import pack_name
from speaker_lib.training.cuda_graph import WARMUP_STEPS, choose_capture
from speaker_lib.training.state import TrainState
from speaker_lib.training.step import TrainStep
from speaker_lib.utils.device import get_autocast_dtype

from .hw4_standin.corpus import SPEAKERS, lengths_like_hw4
from .machine import seconds

UTTERANCES = (5_667, 56_666, 566_660)
FRAMES = (128, 512, 2_048, 4_096)


def growth_with_utterances(scratch: Path) -> list[dict[str, object]]:
    """Opening and cutting, each size in its own process; the packed frames are a sparse file of zeros."""
    rows = []
    for count in UTTERANCES:
        folder = scratch / f"{count}-utterances"
        write_packed(folder, lengths_like_hw4(count))
        script = f"from benchmarks.growth import measure_data; measure_data({str(folder)!r})"
        found = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
        rows.append({"what": "utterances", "size": count, **found})
    return rows


def write_packed(folder: Path, lengths: np.ndarray) -> None:
    """The index files and the pack of a corpus, a sparse file that takes no room."""
    folder.mkdir(parents=True)
    speakers = [f"speaker{i:03d}" for i in range(SPEAKERS)]
    index: dict[str, list] = {name: [] for name in speakers}
    for i, length in enumerate(lengths.tolist()):
        index[speakers[i % SPEAKERS]].append({"feature_path": f"uttr-{i:032x}.pt", "mel_len": length})
    (folder / "metadata.json").write_text(json.dumps({"n_mels": 40, "speakers": index}))
    ids = {name: i for i, name in enumerate(speakers)}
    mapping = {"speaker2id": ids, "id2speaker": {str(i): name for name, i in ids.items()}}
    (folder / "mapping.json").write_text(json.dumps(mapping))
    listing = read_metadata(folder, read_mapping(folder))
    (folder / "packed").mkdir()
    path = folder / "packed" / pack_name(listing, PARTS[0])
    np.lib.format.open_memmap(path, "w+", np.float16, listing.shape).flush()


def measure_data(folder: str) -> None:
    """Prints seconds to open a packed corpus, milliseconds to cut a batch and to draw an epoch, and peak memory as JSON."""
    before = memory_mb()
    began = time.perf_counter()
    corpus = Corpus.open(folder)
    opened = time.perf_counter() - began
    peak = memory_mb(peak=True)
    dataset, cpu = SpeakerDataset(corpus.labelled), torch.device("cpu")
    batches = iter(TrainBatches(dataset, torch.arange(len(dataset)), TrainConfig(total_steps=2_000)))
    began = time.perf_counter()
    next(batches)
    drawn = time.perf_counter() - began
    for _ in range(100):
        next(batches)
    cut = min(seconds(lambda: next(batches), cpu, 50) for _ in range(5))
    found = {"open_s": opened, "epoch_ms": drawn * 1e3, "batch_ms": cut * 1e3, "memory_mb": peak - before}
    print(json.dumps(found))


def memory_mb(peak: bool = False) -> float:
    """Megabytes of this process's memory, now or at the peak; 0 on a system without /proc."""
    status = Path("/proc/self/status")
    name = "VmHWM:" if peak else "VmRSS:"
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)


def growth_with_frames(device: torch.device, name: str) -> list[dict[str, object]]:
    """A training step on 4,096 frames, cut into fewer and longer segments."""
    preset, rows = PRESETS[name], []
    dtype = get_autocast_dtype("auto", device)
    for n_frames in FRAMES:
        count = FRAMES[-1] // n_frames
        step = TrainStep(preset, TrainState(preset, device, dtype), capture=choose_capture(device, preset.train.graph))
        mels = torch.randn(count, n_frames, 40, device=device)
        batch = Batch(mels, torch.full((count,), n_frames), torch.zeros(count, dtype=torch.long, device=device))
        for _ in range(WARMUP_STEPS + 2):
            step(batch)
        taken = min(seconds(lambda b=batch, s=step: s(b), device, 5) for _ in range(3))
        rows.append({"what": "frames per segment", "size": n_frames, "model": name, "batch": count, "step_per_s": 1 / taken})
    return rows


def growth_with_processes(data: Path, scratch: Path, name: str, steps: int, most: int) -> list[dict[str, object]]:
    """The same training under torchrun with one process, then two, …: steps per second, after the first interval."""
    rows = []
    for n in (n for n in (1, 2, 4, 8) if n <= most):
        run = scratch / f"{n}-processes"
        settings = {"train.total_steps": 2 * steps, "train.valid_steps": steps, "train.warmup_steps": 1}
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n}", "-m", "--"]
        command += ["speaker_lib", "train", "--data", str(data), "--preset", name, "--run", str(run)]
        command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"error: {n} processes did not train:\n{done.stderr[-2_000:]}")
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        rows.append({"what": "processes", "size": n, "model": name, "step_per_s": last["steps_per_second"]})
    return rows
