"""The preflight of a lesson: the machine, the data, and the training times to expect."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from ..config.schema import Preset
from ..data.batches import Batch, get_dataloader
from ..data.corpus import Corpus
from ..data.splits import split_utterances
from ..evaluation.identification import CROP_SEEDS
from ..experiments.ablation import planned_variants
from ..experiments.seeds import n_workers
from ..training.cuda_graph import WARMUP_STEPS, choose_capture
from ..training.run import fit_to_data
from ..training.state import TrainState
from ..training.step import TrainStep
from ..utils.device import get_autocast_dtype, has_apple_gpu
from ..utils.language import translate
from ..utils.optional import optional
from ..utils.parallel import available_cores
from ..utils.text import padded
from .lesson import FOUND, HERE, RUNS, Lesson, open_lesson

_TIMED_STEPS = 5
_PER_RUN = 0.5  # seconds: a model, an optimizer and the files of a run


def preflight(data: str = FOUND, keep: str = HERE) -> Lesson:
    """Opens a lesson as `open_lesson` does; prints its profile, machine, data, and the training times to expect."""
    lesson = open_lesson(data, keep)
    for name, text in _facts(lesson):
        print(f"{padded(translate(name), 9)} {text}", flush=True)
    return lesson


def seconds_per_step(preset: Preset, corpus: Corpus, device: torch.device) -> float:
    """The time of a training step on this machine, in seconds: the fastest of a few, of a model that is then discarded."""
    preset = fit_to_data(preset, corpus)
    dtype = get_autocast_dtype(preset.train.precision, device)
    capture = choose_capture(device, preset.train.graph)
    step = TrainStep(preset, TrainState(preset, device, dtype), capture=capture)
    mels, lengths, labels = next(iter(get_dataloader(corpus, preset.train)[0]))
    batch = Batch(mels.to(device), lengths, labels.to(device))
    for _ in range(1 if capture is None else WARMUP_STEPS + 2):  # warmup
        float(step(batch)[0])
    times = []
    for _ in range(_TIMED_STEPS):
        began = time.perf_counter()
        float(step(batch)[0])  # waits for the device
        times.append(time.perf_counter() - began)
    return min(times)


def ablation_time(lesson: Lesson) -> str:
    """The number of runs of lesson 3's ablation, and about how long they take on this machine, as text.

    With the start of the worker processes, validations and the evaluation of each run.
    """
    profile, plan, corpus = lesson.profile, lesson.profile.ablation, lesson.ablation_corpus()
    variants = planned_variants(profile.baseline, profile.tuned, corpus)
    presets = [variant.preset(Preset(profile.baseline.model, plan.train)) for variant in variants]
    workers, threads = n_workers(), torch.get_num_threads()
    torch.set_num_threads(1 if lesson.device.type == "cpu" else threads)  # as in a worker
    try:
        seconds = sum(_run_seconds(preset, corpus, lesson.device) for preset in presets)
    finally:
        torch.set_num_threads(threads)
    n_runs, n_seeds = len(presets) * len(plan.seeds), len(plan.seeds)
    total = _start_seconds() + n_seeds * seconds / min(workers, n_runs)
    return translate(
        "{n} runs of {steps:,} steps, {workers} at a time, about {time} here",
        n=n_runs, steps=plan.train.total_steps, workers=workers, time=_duration(total),
    )  # fmt: skip


def _run_seconds(preset: Preset, corpus: Corpus, device: torch.device) -> float:
    """Training, validations and evaluation of one run."""
    train, step = preset.train, seconds_per_step(preset, corpus, device)
    held_out = corpus.labelled.lengths[split_utterances(corpus.labelled, train)[1].numpy()]  # (n,) frames
    n_validations = -(-train.total_steps // train.valid_steps)
    frames = (n_validations + CROP_SEEDS) * len(held_out) * train.segment_len + int(held_out.sum())
    forward = step / 3 / (train.batch_size * train.segment_len)  # of one frame; backward takes twice that
    return _PER_RUN + train.total_steps * step + frames * forward


def _start_seconds() -> float:
    """The time that a new process takes to import what a worker needs."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import speaker_lib.experiments.seeds"], capture_output=True)
    return time.perf_counter() - began


def _facts(lesson: Lesson) -> Iterator[tuple[str, str]]:
    profile, corpus = lesson.profile, lesson.corpus
    memory = optional("psutil", "the preflight").virtual_memory()
    yield "profile", translate("{name}: {meaning}", name=profile.name, meaning=translate(profile.meaning))
    yield "device", _device_name(lesson.device)
    gib = {"free": memory.available / 2**30, "total": memory.total / 2**30}
    yield "memory", translate("{free:.0f} of {total:.0f} GiB free", **gib)
    place = next(folder for folder in (lesson.runs, *lesson.runs.parents) if folder.exists())  # data may be read-only
    yield "disk", translate("{free:.0f} GiB free for runs", free=shutil.disk_usage(place).free / 2**30)
    counts = {"n": len(corpus.labelled), "speakers": corpus.n_speakers}
    yield "data", translate("{source}: {n:,} labelled utterances of {speakers} speakers", source=corpus.title, **counts)
    yield "runs", translate("kept in {folder}", folder=_relative(lesson.runs))
    for name in RUNS:
        preset = getattr(profile, name)
        try:
            seconds = preset.train.total_steps * seconds_per_step(preset, corpus, lesson.device)
        except torch.OutOfMemoryError:
            yield name, translate("does not fit into the GPU's free memory: end what else uses it, such as another notebook")
            continue
        yield name, translate("{steps:,} steps, about {time} here", steps=preset.train.total_steps, time=_duration(seconds))


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        free = torch.cuda.mem_get_info()[0] / 2**30
        return translate("{name}, {free:.0f} GiB free", name=torch.cuda.get_device_name(), free=free)
    if device.type == "mps":
        said = "Apple's GPU, as SPEAKER_DEVICE asks; no test of the kit ran on one, so compare a short run with the CPU's"
        return translate(said)
    cores = available_cores()
    more = "on Colab, Runtime > Change runtime type gives a GPU"
    if has_apple_gpu():
        more = "Apple's GPU is not used, because no test of the kit ran on one: SPEAKER_DEVICE=mps tries it"
    return translate("CPU, 1 core; {more}" if cores == 1 else "CPU, {cores} cores; {more}", cores=cores, more=translate(more))


def _relative(folder: Path) -> str:
    try:
        return os.path.relpath(folder)
    except ValueError:  # on another drive of Windows
        return str(folder)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return translate("{n:.0f} s", n=seconds)
    return translate("{n:.0f} min", n=seconds / 60) if seconds < 5400 else translate("{n:.1f} h", n=seconds / 3600)
