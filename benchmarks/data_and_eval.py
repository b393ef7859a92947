"""Everything around the training step: cutting batches, evaluating whole utterances, packing, seeds side by side."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from speaker_lib import PRESETS, Corpus, SpeakerDataset, TrainConfig
from speaker_lib.data.batches import TrainBatches
from speaker_lib.evaluation.identification import full_outputs
from speaker_lib.experiments.seeds import Job, train_jobs
from speaker_lib.models.classifier import Classifier
from speaker_lib.training.run import fit_to_data

from .hw4_standin.corpus import lengths_like_hw4
from .machine import Row, device_name, interleaved, write_files
from .reference import PlainDataset, collate, plain_predictions


def compared(
    model: str, what: str, device: torch.device, n: int, ways: dict[str, Callable[[], object]], rounds: int = 7
) -> list[Row]:
    """A row per way of doing something to ``n`` utterances; the first is the plain one."""
    taken = interleaved(ways, device, rounds)
    plain = next(iter(taken.values()))
    return [
        Row(model, f"{what}: {way}", device_name(device), "float32", None, n / duration, plain / duration)
        for way, duration in taken.items()
    ]


def bench_cutting(folder: Path, device: torch.device) -> list[Row]:
    """Batches of 32 segments of 128 frames; the plain way opens 32 files for each."""
    dataset = SpeakerDataset(Corpus.open(folder).labelled, device=device)
    batches = iter(TrainBatches(dataset, torch.arange(len(dataset)), TrainConfig()))
    plain, generator = PlainDataset(folder, 128), np.random.default_rng(0)
    for _ in range(50):
        next(batches)  # an epoch is drawn, pages are mapped
    ways = {
        "plain": lambda: [collate([plain[int(i)] for i in generator.integers(len(plain), size=32)]) for _ in range(10)],
        "kit": lambda: [next(batches) for _ in range(10)],
    }
    return compared("", "cutting batches", device, 320, ways)


def bench_validation(folder: Path, device: torch.device, name: str, n: int) -> list[Row]:
    """Whole utterances."""
    corpus = Corpus.open(folder)
    model = Classifier(fit_to_data(PRESETS[name], corpus).model).to(device).eval()
    dataset, chosen = SpeakerDataset(corpus.labelled, device=device), torch.arange(n)
    ways = {
        "plain": lambda: plain_predictions(folder, list(corpus.labelled.paths[:n]), model, device),
        "kit": lambda: quietly(lambda: full_outputs(model, dataset, chosen, device)),
    }
    return compared(name, "whole utterances", device, n, ways)


def bench_packing(folder: Path, count: int) -> list[Row]:
    """Reads every file of a data set once; the plain way keeps nothing, the kit checks, packs and opens the pack."""
    write_files(folder, lengths_like_hw4(count))
    cpu, n = torch.device("cpu"), len(Corpus.open(folder).labelled)
    paths = [folder / name for name in Corpus.open(folder).labelled.paths]

    def pack() -> None:
        shutil.rmtree(folder / "packed")
        quietly(lambda: Corpus.open(folder))

    ways = {
        "plain": lambda: [torch.load(path, weights_only=True) for path in paths],
        "kit": pack,
        "kit, opened again": lambda: Corpus.open(folder),
    }
    return compared("", "packing", cpu, n, ways, rounds=3)


def bench_seeds(folder: Path, out: Path, device: torch.device, name: str, steps: int) -> list[Row]:
    """Four seeds, one after the other with all cores against side by side; in utterances trained on per second."""
    corpus = Corpus.open(folder)
    preset = fit_to_data(PRESETS[name], corpus).override({"train.total_steps": steps, "train.warmup_steps": 1})
    seeds = range(4)

    def jobs(where: str) -> list[Job]:
        return [Job.of(out / where / f"seed{s}", preset.override({"train.seed": s}), corpus) for s in seeds]

    ways = {
        way: partial(quietly, partial(train_jobs, jobs(way), corpus, workers=workers))
        for way, workers in (("one after the other", 1), ("side by side", None))
    }
    n = len(seeds) * steps * preset.train.batch_size
    return compared(name, f"{len(seeds)} seeds of {steps:,} steps, evaluated", device, n, ways, rounds=1)


def quietly(function: Callable[[], object]) -> object:
    """Without progress bars."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return function()
