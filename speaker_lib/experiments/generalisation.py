"""How many people must training hear before a model tells apart people whom it has not heard?

In: data sets of more and more speakers, and one of other speakers.  Out: the equal error rate (EER) on pairs of the others'
utterances, for each number of training speakers and each seed.

Results are a folder of runs, ``<speakers>/seed<n>``.  Finished runs are not trained again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ..config.schema import Preset
from ..data.corpus import Corpus
from ..evaluation.trials import Trials, draw_trials
from ..evaluation.verification import verify
from ..training.run import Run
from ..utils.device import get_device
from ..utils.language import translate
from ..utils.parallel import parallel_map
from ..utils.progress import quietly
from ..utils.text import right_aligned
from .seeds import AblationPlan, Job, n_workers, spread, train_jobs

UNTRAINED = 0  # stands in place of the number of speakers for initial weights


@dataclass(frozen=True)
class Generalisation:
    """Equal error rates on speakers who are in no run's training data."""

    speakers: tuple[int, ...]  # in the training data, ascending; the first is `UNTRAINED`
    eer: np.ndarray  # (counts, seeds)
    n_unseen: int  # speakers whose utterances are compared
    source: str  # of the training data
    steps: int  # of each run

    def __str__(self) -> str:
        """A line per number of training speakers."""
        said = "training speakers   EER (SD over {n} seeds), {m} other speakers"
        lines = [translate(said, n=self.eer.shape[1], m=self.n_unseen)]
        for count, rates in zip(self.speakers, self.eer, strict=True):
            name = str(count) if count else translate("untrained")
            lines.append(f"{right_aligned(name, 17)}   {rates.mean():.3f} ({spread(rates):.3f})")
        return "\n".join(lines)


def run_generalisation(
    preset: Preset,
    plan: AblationPlan,
    corpora: Sequence[Corpus],
    unseen: Corpus,
    folder: str | os.PathLike[str],
    workers: int | None = None,
) -> Generalisation:
    """Trains the preset on each corpus for every seed of the plan, and verifies the ``unseen`` speakers with each run.

    All runs have the same number of steps.  Raises RunError if a run of the folder has other settings or other data.
    """
    corpora = sorted(corpora, key=lambda corpus: corpus.n_speakers)
    trained = Preset(preset.model, replace(plan.train, keep="last"))
    initial = Preset(preset.model, replace(plan.train.with_total_steps(1), learning_rate=0.0))
    starts = [("untrained", initial, corpora[0]), *((str(corpus.n_speakers), trained, corpus) for corpus in corpora)]
    jobs = [
        Job.of(Path(folder) / name / f"seed{seed}", start.override({"train.seed": seed}), corpus)
        for name, start, corpus in starts
        for seed in plan.seeds
    ]
    runs = train_jobs(jobs, "Training speakers", workers)
    waiting = [run for run in runs if unseen.digest not in _rates(run)]
    trials = draw_trials(unseen, torch.arange(len(unseen.labelled)))
    measure = partial(_verify, unseen=unseen, trials=trials)
    for _ in parallel_map(measure, waiting, "Verify", "run", workers or n_workers(), ahead=0):
        pass
    rates = np.array([_rates(run)[unseen.digest] for run in runs]).reshape(len(starts), -1)  # (counts, seeds)
    counts = (UNTRAINED, *(corpus.n_speakers for corpus in corpora))
    return Generalisation(counts, rates, unseen.n_speakers, corpora[-1].source, plan.train.total_steps)


def _rates(run: Run) -> dict[str, float]:
    """The EERs that are kept with the run's evaluation, by the digest of the data."""
    return run.evaluation().get("eer", {})


def _verify(run: Run, unseen: Corpus, trials: Trials) -> None:
    with quietly():
        eer = verify(run, unseen, trials, get_device())[0].eer
    run.save_evaluation({**run.evaluation(), "eer": {**_rates(run), unseen.digest: eer}})
