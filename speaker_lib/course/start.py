"""The preflight of a lesson: the machine, the data, and the training times to expect."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from ..config.schema import Preset
from ..data.batches import Batch, get_dataloader
from ..data.corpus import Corpus
from ..experiments.ablation import planned_variants
from ..training.cuda_graph import WARMUP_STEPS, choose_capture
from ..training.run import fit_to_data
from ..training.state import TrainState
from ..training.step import TrainStep
from ..utils.device import get_autocast_dtype, has_apple_gpu
from ..utils.optional import optional
from ..utils.parallel import available_cores
from .lesson import FOUND, HERE, RUNS, Lesson, open_lesson

_TIMED_STEPS = 5


def preflight(data: str = FOUND, keep: str = HERE) -> Lesson:
    """Opens a lesson as `open_lesson` does; prints its profile, machine, data, and the training times to expect."""
    lesson = open_lesson(data, keep)
    for name, text in _facts(lesson):
        print(f"{name:<9} {text}", flush=True)
    return lesson


def seconds_per_step(preset: Preset, corpus: Corpus, device: torch.device) -> float:
    """The mean time of a training step on this machine, in seconds, measured with a model that is then discarded."""
    preset = fit_to_data(preset, corpus)
    dtype = get_autocast_dtype(preset.train.precision, device)
    capture = choose_capture(device, preset.train.graph)
    step = TrainStep(preset, TrainState(preset, device, dtype), capture=capture)
    mels, lengths, labels = next(iter(get_dataloader(corpus, preset.train)[0]))
    batch = Batch(mels.to(device), lengths, labels.to(device))
    for _ in range(1 if capture is None else WARMUP_STEPS + 2):  # warmup
        float(step(batch)[0])
    began = time.perf_counter()
    for _ in range(_TIMED_STEPS):
        float(step(batch)[0])  # waits for the device
    return (time.perf_counter() - began) / _TIMED_STEPS


def ablation_time(lesson: Lesson) -> str:
    """The number of runs of lesson 3's ablation, and about how long they take on this machine, as text."""
    profile, plan, corpus = lesson.profile, lesson.profile.ablation, lesson.ablation_corpus()
    variants = planned_variants(profile.baseline, profile.tuned, corpus)
    presets = [variant.preset(Preset(profile.baseline.model, plan.train)) for variant in variants]
    seconds = sum(plan.train.total_steps * seconds_per_step(preset, corpus, lesson.device) for preset in presets)
    n_runs, n_seeds = len(presets) * len(plan.seeds), len(plan.seeds)
    return f"{n_runs} runs of {plan.train.total_steps:,} steps, about {_duration(n_seeds * seconds)} here"


def _facts(lesson: Lesson) -> Iterator[tuple[str, str]]:
    profile, corpus = lesson.profile, lesson.corpus
    memory = optional("psutil", "the preflight").virtual_memory()
    yield "profile", f"{profile.name}: {profile.meaning}"
    yield "device", _device_name(lesson.device)
    yield "memory", f"{memory.available / 2**30:.0f} of {memory.total / 2**30:.0f} GiB free"
    place = next(folder for folder in (lesson.runs, *lesson.runs.parents) if folder.exists())  # data may be read-only
    yield "disk", f"{shutil.disk_usage(place).free / 2**30:.0f} GiB free for runs"
    yield "data", f"{corpus.source}: {len(corpus.labelled):,} labelled utterances of {corpus.n_speakers} speakers"
    yield "runs", f"kept in {_relative(lesson.runs)}"
    for name in RUNS:
        preset = getattr(profile, name)
        try:
            seconds = preset.train.total_steps * seconds_per_step(preset, corpus, lesson.device)
        except torch.OutOfMemoryError:
            yield name, "does not fit into the GPU's free memory: end what else uses it, such as another notebook"
            continue
        yield name, f"{preset.train.total_steps:,} steps, about {_duration(seconds)} here"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name()}, {torch.cuda.mem_get_info()[0] / 2**30:.0f} GiB free"
    if device.type == "mps":
        return "Apple's GPU, as SPEAKER_DEVICE asks; no test of the kit ran on one, so compare a short run with the CPU's"
    cores = available_cores()
    more = "on Colab, Runtime > Change runtime type gives a GPU"
    if has_apple_gpu():
        more = "Apple's GPU is not used, because no test of the kit ran on one: SPEAKER_DEVICE=mps tries it"
    return f"CPU, {cores} core{'s' * (cores > 1)}; {more}"


def _relative(folder: Path) -> str:
    try:
        return os.path.relpath(folder)
    except ValueError:  # on another drive of Windows
        return str(folder)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
