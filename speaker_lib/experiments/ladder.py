"""The ladder: improvements known in the field, added to the report's second model one after the other and measured alike.

A ladder is a folder of runs, ``<rung>/seed<n>``, each rung with the settings of all below it.  What is finished is not trained
again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..config.presets import LADDER, LadderStep
from ..config.schema import Preset
from ..data.corpus import Corpus
from ..data.splits import can_hold_out_sessions
from ..models.cost import Cost, cost_of
from ..training.run import Run
from .seeds import AblationPlan, Job, results_of, train_jobs


@dataclass(frozen=True)
class StepResult:
    """Where a rung stands: what its runs reached, a number per seed, on the utterances held out."""

    rung: LadderStep
    crop: np.ndarray  # (seeds,) accuracy on random segments
    full: np.ndarray  # (seeds,) accuracy on whole utterances
    seconds: np.ndarray  # (seeds,) of training
    steps: int  # of each run
    cost: Cost


@dataclass(frozen=True)
class Ladder:
    """All rungs from the lowest up, on the same data and seeds."""

    standings: tuple[StepResult, ...]
    source: str  # where the data come from
    split: str = "random"  # what was held out: utterances, or whole recordings ("session")

    @property
    def kept(self) -> tuple[StepResult, ...]:
        """The rungs that stand on each other; the others were tried on top of the last of them."""
        return tuple(standing for standing in self.standings if standing.rung.kept)

    @property
    def judged_by(self) -> str:
        """What the accuracies are measured on."""
        return "recordings that training never heard" if self.split == "session" else "utterances that training never heard"


def cumulative_presets(start: Preset, rungs: Sequence[LadderStep] = LADDER) -> Iterator[tuple[LadderStep, Preset]]:
    """Each rung with its preset: that of the rung below which is kept, with the rung's own settings."""
    for rung in rungs:
        preset = start.override(dict(rung.settings))
        yield rung, preset
        start = preset if rung.kept else start


def ladder_presets(
    start: Preset, plan: AblationPlan, split: str = "random", rungs: Sequence[LadderStep] = LADDER
) -> list[tuple[LadderStep, list[Preset]]]:
    """Each rung with a preset per seed, trained as the plan says."""
    start = Preset(start.model, replace(plan.train, split=split, keep="last"))
    return [
        (rung, [preset.override({"train.seed": seed}) for seed in plan.seeds])
        for rung, preset in cumulative_presets(start, rungs)
    ]


def run_ladder(
    start: Preset,
    plan: AblationPlan,
    corpus: Corpus,
    folder: str | os.PathLike[str],
    workers: int | None = None,
    split: str | None = None,
    rungs: Sequence[LadderStep] = LADDER,
) -> Ladder:
    """Trains and evaluates every rung for every seed, in ``workers`` processes as `train_jobs` does.

    Without a ``split`` whole recordings are held out, if the data know them: there is more left to gain.  Interrupted, it
    goes on where it was. Raises RunError if a run of the folder has other settings or other data.
    """
    split = split or ("session" if can_hold_out_sessions(corpus.labelled) else "random")
    jobs = {
        rung: [Job.of(Path(folder) / rung.name / f"seed{preset.train.seed}", preset, corpus) for preset in presets]
        for rung, presets in ladder_presets(start, plan, split, rungs)
    }
    train_jobs([job for of_rung in jobs.values() for job in of_rung], corpus, "Ladder", workers)
    standings = [_standing(rung, [Run.open(job.folder) for job in of_rung]) for rung, of_rung in jobs.items()]
    return Ladder(tuple(standings), corpus.source, split)


def _standing(rung: LadderStep, runs: list[Run]) -> StepResult:
    model, train_config = runs[0].preset.model, runs[0].preset.train
    return StepResult(
        rung,
        **results_of(runs),
        steps=train_config.total_steps,
        cost=cost_of(model, train_config.batch_size, train_config.segment_len),
    )
