"""Trains several runs in parallel processes: the seeds of one experiment, or the variants of an ablation.

What is finished is not trained again, and what was interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config.schema import Preset, TrainConfig
from ..data.corpus import Corpus
from ..evaluation.identification import evaluate
from ..training.loop import train
from ..training.run import Run, fit_to_data
from ..utils.device import get_device
from ..utils.errors import RunError
from ..utils.parallel import available_cores, parallel_map
from ..utils.progress import log, quietly


@dataclass(frozen=True)
class AblationPlan:
    """How the models of an ablation are trained: shorter than the lessons' own, because there are dozens of them."""

    train: TrainConfig
    seeds: tuple[int, ...]
    speakers: int | None = None  # only the first so many of the data's speakers


@dataclass(frozen=True)
class Job:
    """A run to be trained and evaluated: where it lies, what it trains, on which data, and where it is mirrored."""

    folder: Path
    preset: Preset
    corpus: Path
    backup: Path | None = None

    @classmethod
    def of(cls, folder: Path, preset: Preset, corpus: Corpus, backup: Path | None = None) -> Job:
        """With as many classes and mel bands as the data have."""
        return cls(folder, fit_to_data(preset, corpus), corpus.folder, backup)

    def finished(self, corpus: Corpus) -> bool:
        """Whether there is nothing left to do. Raises RunError if its folder holds a run of other settings or other data."""
        if not Run.exists(self.folder):
            return False
        run = Run.open(self.folder)
        run.check_same_data(corpus)
        run.check_same(self.preset, corpus.digest)
        return run.finished and run.evaluation() is not None


def train_jobs(jobs: Sequence[Job], corpus: Corpus, description: str = "Train", workers: int | None = None) -> list[Run]:
    """Trains and evaluates what is not finished, in ``workers`` processes (default: two on a GPU, else one per core).

    On a CPU, processes of one core each do more than one after the other with all cores: small kernels do not share well.
    Raises RunError if a folder holds another run, or if one was stopped.
    """
    waiting = [job for job in jobs if not job.finished(corpus)]
    if workers is None:  # on a GPU each process needs some of its memory for itself
        workers = 2 if get_device().type == "cuda" else available_cores()
    for job, lines in zip(waiting, parallel_map(_train_one, waiting, description, "run", workers, ahead=0), strict=True):
        for line in lines:
            log(f"{job.folder}: {line}")
    return [Run.open(job.folder) for job in jobs]


def results_of(runs: Sequence[Run]) -> dict[str, np.ndarray]:
    """What evaluated runs came to, each (runs,): accuracy ``crop`` and ``full``, and ``seconds`` of training."""
    evaluations = [run.evaluation() for run in runs]
    accuracies = {kind: np.array([found[kind]["accuracy"] for found in evaluations]) for kind in ("crop", "full")}
    return accuracies | {"seconds": np.array([run.training_seconds() for run in runs])}


def spread(values: np.ndarray) -> float:
    """Standard deviation over seeds (seeds,); 0 with a single one."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _train_one(job: Job) -> list[str]:
    """Trains and evaluates a run without a bar of its own; returns the lines that it would have logged."""
    corpus = Corpus.open(job.corpus)
    run = Run.open(job.folder) if Run.exists(job.folder) else Run.create(job.folder, job.preset, corpus)
    with quietly() as lines:
        train(run, corpus, backup=job.backup)
        if not run.finished:
            raise RunError(f"{run.folder} was stopped before its last step: run the same command again to resume it.")
        run.save_evaluation(evaluate(run, corpus, get_device())[0].to_dict())
    return lines
