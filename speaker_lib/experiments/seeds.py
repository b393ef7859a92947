"""Trains several runs in parallel processes: the seeds of one experiment, the variants of an ablation, the steps of a ladder.

Finished runs are not trained again, interrupted ones are resumed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..config.schema import Preset, TrainConfig
from ..data.corpus import Corpus
from ..data.splits import split_utterances
from ..evaluation.identification import evaluate
from ..models.cost import Cost, cost_of
from ..training.loop import train
from ..training.run import Run, check_several_speakers, fit_to_data
from ..utils.device import get_device
from ..utils.errors import Interrupted, RunError, WriteError
from ..utils.files import BRING_BACK, make_folder
from ..utils.parallel import available_cores, parallel_map
from ..utils.progress import in_notebook, log, quietly

Named = TypeVar("Named")  # has a ``name``: a variant of an ablation, a step of a ladder


@dataclass(frozen=True)
class AblationPlan:
    """The training of each run of an ablation or a ladder: short, because there are dozens of them."""

    train: TrainConfig
    seeds: tuple[int, ...]
    speakers: int | None = None  # only the first ones of the data; None for all


@dataclass(frozen=True)
class Job:
    """A run to train and evaluate."""

    folder: Path
    preset: Preset
    corpus: Corpus
    backup: Path | None = None  # the folder of its copy
    diagnose: bool = True  # as of `train`

    @classmethod
    def of(cls, folder: Path, preset: Preset, corpus: Corpus, backup: Path | None = None) -> Job:
        """A job with the number of speakers and mel bands of the data."""
        return cls(folder, fit_to_data(preset, corpus), corpus, backup)

    @property
    def above(self) -> list[Path]:
        """The folders in which the run's folder and its copy are made."""
        return [folder.parent for folder in (self.folder, self.backup) if folder is not None]

    @property
    def finished(self) -> bool:
        """Whether it is trained and evaluated. Raises RunError if its folder holds a run with other settings or other data."""
        if not Run.exists(self.folder):
            return False
        run = Run.open(self.folder)
        run.check_same_data(self.corpus)
        run.check_same(self.preset, self.corpus.digest)
        return run.finished and run.evaluation() is not None


@dataclass(frozen=True)
class SeedResults:
    """Accuracies of the runs of one preset on held-out utterances, a value per seed."""

    crop: np.ndarray  # (seeds,) accuracy on random segments
    full: np.ndarray  # (seeds,) accuracy on whole utterances
    seconds: np.ndarray  # (seeds,) of training
    n_train: int  # utterances to train on
    steps: int  # of each run
    cost: Cost


def train_jobs(jobs: Sequence[Job], description: str = "Train", workers: int | None = None) -> list[Run]:
    """Trains and evaluates the jobs that are not finished, in ``workers`` processes (default: two on a GPU, else one per core).

    On a CPU, small kernels gain little from several cores, so one process per core is faster.  Raises RunError if a folder holds
    another run, CorpusError for data of one speaker; Interrupted, with what is finished, after Ctrl-C.
    """
    for job in jobs:
        check_several_speakers(job.corpus)  # before a folder is made
    waiting = [job for job in jobs if not job.finished]
    for folder in {folder for job in waiting for folder in job.above}:
        make_folder(folder)
    try:
        workers = n_workers() if workers is None else workers
        given = [replace(job, diagnose=not in_notebook()) for job in waiting]
        results = parallel_map(_train_one, given, description, "run", workers, ahead=0)
        for job, lines in zip(waiting, results, strict=True):
            for line in lines:
                log(f"{job.folder}: {line}")
    except (KeyboardInterrupt, _Stopped):
        done = len(jobs) - sum(not job.finished for job in waiting)
        again = "run this cell" if in_notebook() else "run the same command"
        kept = f"{done} of {len(jobs)} runs are finished and kept, those that were training are saved"
        raise Interrupted(f"{description} interrupted: {kept}; {again} again to go on.") from None
    return [Run.open(job.folder) for job in jobs]


def n_workers() -> int:
    """The number of runs that are trained at a time: on a GPU each process takes a part of its memory for itself."""
    return 2 if get_device().type == "cuda" else available_cores()


def train_presets(
    presets: Mapping[Named, Preset],
    seeds: Sequence[int],
    corpus: Corpus,
    folder: str | os.PathLike[str],
    description: str,
    workers: int | None = None,
) -> dict[Named, SeedResults]:
    """Trains and evaluates each preset for every seed as `train_jobs` does, in the folders ``<name>/seed<n>``."""
    jobs = {
        key: [Job.of(Path(folder) / key.name / f"seed{seed}", preset.override({"train.seed": seed}), corpus) for seed in seeds]
        for key, preset in presets.items()
    }
    train_jobs([job for of_preset in jobs.values() for job in of_preset], description, workers)
    return {key: results_of([Run.open(job.folder) for job in of_preset], corpus) for key, of_preset in jobs.items()}


def results_of(runs: Sequence[Run], corpus: Corpus) -> SeedResults:
    """The results of evaluated runs of one preset, which were trained on this corpus."""
    preset, evaluations = runs[0].preset, [run.evaluation() for run in runs]
    crop, full = (np.array([found[protocol]["accuracy"] for found in evaluations]) for protocol in ("crop", "full"))
    return SeedResults(
        crop,
        full,
        seconds=np.array([run.training_seconds() for run in runs]),
        n_train=len(split_utterances(corpus.labelled, preset.train)[0]),
        steps=preset.train.total_steps,
        cost=cost_of(preset.model, preset.train.batch_size, preset.train.segment_len),
    )


def spread(values: np.ndarray) -> float:
    """Standard deviation of values (seeds,); 0 for a single seed."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


class _Stopped(RunError):
    """A worker saw the interruption before its parent did."""


def _train_one(job: Job) -> list[str]:
    """Trains and evaluates a run without a progress bar; returns the lines that it would have logged."""
    for folder in job.above:
        if not folder.is_dir():  # it was there when the first job began: a run made here would lie on another disk
            raise WriteError(f"{folder} is gone", BRING_BACK)
    run = Run.open(job.folder) if Run.exists(job.folder) else Run.create(job.folder, job.preset, job.corpus)
    with quietly() as lines:
        train(run, job.corpus, backup=job.backup, diagnose=job.diagnose)
        if not run.finished:
            raise _Stopped(f"{run.folder} was stopped before its last step: run the same command again to resume it.")
        run.save_evaluation(evaluate(run, job.corpus, get_device())[0].to_dict())
    return lines
