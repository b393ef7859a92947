"""Which change did it? The steps from one preset to another, taken one at a time, in order and in reverse, over several seeds.

An ablation is a folder of runs, ``<variant>/seed<n>``.  What is finished is not trained again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..config.schema import Preset
from ..data.corpus import Corpus
from ..data.splits import can_hold_out_sessions, split_utterances
from ..models.cost import Cost, cost_of
from ..training.run import Run
from ..utils.errors import ConfigError
from .seeds import AblationPlan, Job, results_of, train_jobs

# What is changed at a time, in the report's order: one setting, and after it those that only change along with it.
# A LayerNorm before the sublayers belongs to the layers: six of them do not train without.
STEPS: tuple[tuple[str, ...], ...] = (
    ("model.d_model",),
    ("model.nhead",),
    ("model.num_layers", "model.norm"),
    ("model.activation",),
)


@dataclass(frozen=True)
class Change:
    """One step from the baseline to the tuned model."""

    name: str  # the setting: "d_model"
    label: str  # the setting with both values: "d_model 80 → 512"
    settings: tuple[tuple[str, object], ...]  # what `Preset.override` takes, as pairs


@dataclass(frozen=True)
class Variant:
    """The baseline with some changes made, and how its validation set is split off."""

    changes: tuple[Change, ...]
    split: str = "random"

    @property
    def name(self) -> str:
        """Its folder: ``d_model+nhead``, or ``baseline`` without any change."""
        names = "+".join(change.name for change in self.changes) or "baseline"
        return names if self.split == "random" else f"{names}-{self.split}"

    def preset(self, baseline: Preset, plan: AblationPlan, seed: int) -> Preset:
        """What one of its runs trains."""
        settings = dict(pair for change in self.changes for pair in change.settings)
        return Preset(baseline.model, replace(plan.train, seed=seed, split=self.split, keep="last")).override(settings)


@dataclass(frozen=True)
class Outcome:
    """What the runs of a variant reached, a number per seed, on the utterances held out."""

    variant: Variant
    crop: np.ndarray  # (seeds,) accuracy on random segments
    full: np.ndarray  # (seeds,) accuracy on whole utterances
    seconds: np.ndarray  # (seeds,) of training
    n_train: int  # utterances to train on
    cost: Cost


@dataclass(frozen=True)
class Ablation:
    """All outcomes of a question, and the paths they lie on."""

    changes: tuple[Change, ...]  # in the report's order
    outcomes: tuple[Outcome, ...]
    source: str  # where the data come from

    def of(self, changes: Sequence[Change], split: str = "random") -> Outcome | None:
        """The outcome of these changes, in whichever order they are named, or None if it was not asked for."""
        wanted = {change.name for change in changes}
        found = (o for o in self.outcomes if o.variant.split == split and {c.name for c in o.variant.changes} == wanted)
        return next(found, None)

    def paths(self) -> dict[str, list[tuple[Change, ...]]]:
        """The three ways through the changes, each from the baseline on, as the figure's panels show them."""
        return _paths(self.changes)


def changes_between(baseline: Preset, tuned: Preset, steps: Sequence[Sequence[str]] = STEPS) -> tuple[Change, ...]:
    """The steps with these two presets' values, without those in which the presets do not differ.

    By default the report's four; another one is added as ``steps=(*STEPS, ("model.dim_feedforward",))``.
    Raises ConfigError if the models differ in a setting that is in no step.
    """
    differences = baseline.differences(tuned)
    named = {name for names in steps for name in names}
    if more := [name for name in differences if name.startswith("model.") and name not in named]:
        extra = "".join(f', ("{name}",)' for name in more)
        raise ConfigError(f"{', '.join(more)} would change outside the ablation: give `steps=(*STEPS{extra})`.")
    changes = []
    for names in steps:
        settings = {name: differences[name][1] for name in names if name in differences}
        if names[0] in settings:
            old, new = differences[names[0]]
            more = "".join(f", {settings[name]}-norm" for name in names[1:] if name in settings)
            short = names[0].removeprefix("model.")
            changes.append(Change(short, f"{short} {old} → {new}{more}", tuple(settings.items())))
    return tuple(changes)


def variants_of(changes: tuple[Change, ...], sessions: bool) -> list[Variant]:
    """Every variant once; with ``sessions`` also both ends evaluated on sessions that were not in the training data."""
    sets = {frozenset(path) for way in _paths(changes).values() for path in way}
    in_order = [tuple(change for change in changes if change in chosen) for chosen in sets]
    variants = [Variant(made) for made in sorted(in_order, key=lambda made: (len(made), [changes.index(c) for c in made]))]
    return variants + ([Variant((), "session"), Variant(changes, "session")] if sessions else [])


def planned_variants(baseline: Preset, tuned: Preset, corpus: Corpus, steps: Sequence[Sequence[str]] = STEPS) -> list[Variant]:
    """What `run_ablation` trains on these data: with held-out recordings, too, where some speaker has two."""
    return variants_of(changes_between(baseline, tuned, steps), sessions=can_hold_out_sessions(corpus.labelled))


def run_ablation(
    baseline: Preset,
    tuned: Preset,
    plan: AblationPlan,
    corpus: Corpus,
    folder: str | os.PathLike[str],
    workers: int | None = None,
    steps: Sequence[Sequence[str]] = STEPS,
) -> Ablation:
    """Trains and evaluates every variant for every seed, in ``workers`` processes as `train_jobs` does.

    ``steps`` are those of `changes_between`.  Interrupted, it goes on where it was.
    Raises RunError if a run of the folder has other settings or other data.
    """
    jobs = {
        variant: [
            Job.of(Path(folder) / variant.name / f"seed{seed}", variant.preset(baseline, plan, seed), corpus)
            for seed in plan.seeds
        ]
        for variant in planned_variants(baseline, tuned, corpus, steps)
    }
    train_jobs([job for of_variant in jobs.values() for job in of_variant], corpus, "Ablation", workers)
    outcomes = [_outcome(variant, [Run.open(job.folder) for job in of_variant], corpus) for variant, of_variant in jobs.items()]
    return Ablation(changes_between(baseline, tuned, steps), tuple(outcomes), corpus.source)


def _outcome(variant: Variant, runs: list[Run], corpus: Corpus) -> Outcome:
    model, train_config = runs[0].preset.model, runs[0].preset.train
    return Outcome(
        variant,
        **results_of(runs),
        n_train=len(split_utterances(corpus.labelled, train_config)[0]),
        cost=cost_of(model, train_config.batch_size, train_config.segment_len),
    )


def _paths(changes: tuple[Change, ...]) -> dict[str, list[tuple[Change, ...]]]:
    backwards = changes[::-1]
    return {
        "one change alone": [(), *((change,) for change in changes)],
        "added in the report's order": [changes[:n] for n in range(len(changes) + 1)],
        "added in reverse order": [backwards[:n] for n in range(len(changes) + 1)],
    }
