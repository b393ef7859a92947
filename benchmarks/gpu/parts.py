"""What a GPU measures, part by part: a task is one line of the results."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch

from speaker_lib import PRESETS, Corpus, Preset, Run, SpeakerDataset, evaluate, train
from speaker_lib.data.batches import get_dataloader
from speaker_lib.evaluation.identification import full_outputs
from speaker_lib.experiments.ablation import planned_variants
from speaker_lib.training.cuda_graph import WARMUP_STEPS, choose_capture
from speaker_lib.training.run import fit_to_data
from speaker_lib.training.state import TrainState
from speaker_lib.utils.device import get_autocast_dtype, get_device
from speaker_lib.utils.errors import first_line
from speaker_lib.utils.progress import quietly

from .. import check_cuda
from ..full import time_of_run
from ..hw4_standin.corpus import StandIn, lengths_like_hw4, make_standin
from ..machine import corpus_in_memory, seconds
from .seeds import StackedSteps, stack
from .steps import CANDIDATES

ROOT = Path(__file__).parents[2]
LEANEST = "flat weights, bfloat16 copy, layers compiled"


@dataclass(frozen=True)
class Size:
    """Full size, or a few steps of small models to see that all of it runs."""

    quick: bool

    def preset(self, name: str) -> Preset:
        """The preset of that name, in the size of the laptop presets if quick."""
        return PRESETS[f"laptop_{name}" if self.quick else name]

    def steps(self, full: int) -> int:
        return min(full, 6) if self.quick else full


@dataclass(frozen=True)
class Task:
    """One line of the results, and how long it takes on a GPU at most."""

    part: str
    what: str
    seconds: float
    measure: Callable[[], dict[str, object]]


def equality(size: Size, device: torch.device) -> Iterator[Task]:
    """`benchmarks.check_cuda`: a replayed graph against steps that Python launches."""
    if device.type == "cuda":
        yield Task("equality", "replayed graphs and launched steps", 60, lambda: {"differences": check_cuda.main()})


def steps(size: Size, device: torch.device) -> Iterator[Task]:
    """Training steps of three presets: as shipped, and with fewer kernels."""
    for name in ("baseline", "tuned", "best"):
        for way in CANDIDATES:
            measure = partial(_steps, size, size.preset(name), way, device)
            yield Task("steps", f"{name}, {way}", 90 if "compiled" in way else 20, measure)


def batches(size: Size, device: torch.device) -> Iterator[Task]:
    """The tuned model in batches of more and more segments."""
    for n in (8, 16) if size.quick else (32, 64, 128, 256):
        for way in ("as shipped", LEANEST):
            preset = size.preset("tuned").override({"train.batch_size": n})
            yield Task("batches", f"tuned, {n}, {way}", 90 if way == LEANEST else 20, partial(_steps, size, preset, way, device))


def whole(size: Size, device: torch.device) -> Iterator[Task]:
    """Whole utterances, as `evaluate` takes them: in float32 as shipped, and under autocast in bfloat16."""
    for name in ("baseline", "tuned", "best"):
        for dtype in (torch.float32, torch.bfloat16):
            what = f"{name}, {str(dtype).removeprefix('torch.')}"
            yield Task("whole", what, 20, partial(_whole_utterances, size, size.preset(name), dtype, device))


def seeds(size: Size, device: torch.device) -> Iterator[Task]:
    """The baseline: several seeds in one step."""
    for count in (1, 2) if size.quick else (1, 2, 4, 8, 16):
        yield Task("seeds", f"baseline, {count} in one step", 20, partial(_stacked, size, count, device))


def full(size: Size, device: torch.device) -> Iterator[Task]:
    """All steps of the tuned model with their validations, on data of HW4's size."""
    yield Task("full", "tuned, 70,000 steps and 35 validations", 330, partial(_whole_run, size, device))


def ablation(size: Size, device: torch.device) -> Iterator[Task]:
    """The report's four changes at full size on the stand-in for HW4, one seed."""
    baseline, tuned = size.preset("baseline"), size.preset("tuned")
    for variant in planned_variants(baseline, tuned, _noise()):
        yield Task("ablation", variant.name, 45, partial(_trained, size, variant.preset(baseline), 3_000))


def lesson(size: Size, device: torch.device) -> Iterator[Task]:
    """The first lesson from its first cell to its last, in the profile for a GPU."""
    yield Task("lesson", "01_baseline, profile full", 240, partial(_lesson, "01_baseline", "smoke" if size.quick else "full"))


PARTS: dict[str, Callable[[Size, torch.device], Iterator[Task]]] = {
    part.__name__: part for part in (equality, steps, batches, whole, seeds, full, ablation, lesson)
}


def _steps(size: Size, preset: Preset, way: str, device: torch.device) -> dict[str, object]:
    """The rate of a candidate's steps, and the seconds until it is steady: its graph captured, its layers compiled."""
    corpus = _noise()
    preset = fit_to_data(preset, corpus)
    state = TrainState(preset, device, get_autocast_dtype(preset.train.precision, device))
    step = CANDIDATES[way](preset, state, choose_capture(device, preset.train.graph))
    stream = iter(get_dataloader(corpus, preset.train, device=device)[0])
    with quietly():
        start = seconds(lambda: step(next(stream)), device, WARMUP_STEPS + 2) * (WARMUP_STEPS + 2)
        per_step = min(seconds(lambda: step(next(stream)), device, size.steps(300)) for _ in range(3))
    rate = 1 / per_step
    return {"step/s": rate, "utterances/s": rate * preset.train.batch_size, "start, s": start - (WARMUP_STEPS + 2) * per_step}


def _whole_utterances(size: Size, preset: Preset, dtype: torch.dtype, device: torch.device) -> dict[str, object]:
    """The rate, and how far the probabilities are from those in float32."""
    corpus = _noise()
    utterances = torch.arange(size.steps(2_000))  # (n,)
    model = TrainState(fit_to_data(preset, corpus), device).model.eval()
    dataset = SpeakerDataset(corpus.labelled, device=device)

    def outputs() -> torch.Tensor:
        with quietly(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return full_outputs(model, dataset, utterances, device)  # (n, n_speakers)

    probabilities = outputs().float().softmax(dim=1)  # (n, n_speakers)
    per_pass = min(seconds(outputs, device, 1) for _ in range(3))
    exact = full_outputs(model, dataset, utterances, device).softmax(dim=1)  # (n, n_speakers)
    difference = float((probabilities - exact).abs().max())
    return {"utterances/s": len(utterances) / per_pass, "largest difference of a probability": difference}


def _stacked(size: Size, count: int, device: torch.device) -> dict[str, object]:
    corpus = _noise()
    presets = [fit_to_data(size.preset("baseline"), corpus).override({"train.seed": seed}) for seed in range(count)]
    if device.type != "cuda":  # the dropout for a CPU cannot be mapped over seeds
        presets = [preset.override({"model.dropout": 0.0, "model.attention_dropout": 0.0}) for preset in presets]
    dtype = get_autocast_dtype(presets[0].train.precision, device)
    steps = StackedSteps(
        presets[0], [TrainState(preset, device, dtype) for preset in presets], choose_capture(device, presets[0].train.graph)
    )
    streams = [iter(get_dataloader(corpus, preset.train, device=device)[0]) for preset in presets]

    def one() -> None:
        steps(*stack([next(stream) for stream in streams]))

    seconds(one, device, WARMUP_STEPS + 2)
    per_step = min(seconds(one, device, size.steps(300)) for _ in range(3))
    return {"step/s": 1 / per_step, "steps of one seed/s": count / per_step}


def _trained(size: Size, preset: Preset, steps: int) -> dict[str, object]:
    """Trained and evaluated on the stand-in for HW4."""
    corpus = _standin(size)
    preset = Preset(preset.model, preset.train.with_total_steps(size.steps(steps)))
    with tempfile.TemporaryDirectory() as folder, quietly():
        run = Run.create(Path(folder) / "run", preset, corpus)
        train(run, corpus)
        found = evaluate(run, corpus, get_device())[0]
        return {"training, s": run.training_seconds(), "crop": found.crop.accuracy, "full": found.full.accuracy}


def _whole_run(size: Size, device: torch.device) -> dict[str, object]:
    preset = size.preset("tuned")
    preset = Preset(preset.model, preset.train.with_total_steps(size.steps(preset.train.total_steps)))
    with tempfile.TemporaryDirectory() as folder:
        first, whole = time_of_run(Path(folder), device, preset, 200 if size.quick else 56_666)
    return {"to the first step, s": first, "in all, s": whole}


def _lesson(name: str, profile: str) -> dict[str, object]:
    """Runs the lesson's text as a script, with runs of its own."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"SPEAKER_PROFILE": profile, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
        began = time.perf_counter()
        script = [sys.executable, str(ROOT / "notebooks" / f"{name}.py")]
        done = subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True)
        taken = time.perf_counter() - began
    return {"seconds": taken, "error": first_line(done.stderr.strip().splitlines()[-1]) if done.returncode else "none"}


@cache
def _noise() -> Corpus:
    return corpus_in_memory(lengths_like_hw4(2_000))


@cache
def _standin(size: Size) -> Corpus:
    return make_standin(StandIn(speakers=6, utterances=20.0, test_utterances=1.0) if size.quick else StandIn())
