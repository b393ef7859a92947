"""Which change did it? The steps from one preset to another, taken one at a time, in order and in reverse, over several seeds.

An ablation is a folder of runs, ``<variant>/seed<n>``.  What is finished is not trained again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from ..config.schema import Preset
from ..data.corpus import Corpus
from ..data.splits import can_hold_out_sessions
from ..utils.errors import ConfigError
from .seeds import AblationPlan, SeedResults, train_presets

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

    def preset(self, start: Preset) -> Preset:
        """``start`` with these changes and this split."""
        settings = dict(pair for change in self.changes for pair in change.settings)
        return start.override({"train.split": self.split, **settings})


@dataclass(frozen=True)
class Ablation:
    """The results of all variants, and the paths they lie on."""

    changes: tuple[Change, ...]  # in the report's order
    results: dict[Variant, SeedResults]
    source: str  # where the data come from

    def of(self, changes: Sequence[Change], split: str = "random") -> SeedResults | None:
        """What these changes reached, in whichever order they are named; None if they were not trained."""
        names = {change.name for change in changes}
        return self.results.get(Variant(tuple(change for change in self.changes if change.name in names), split))


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


def paths(changes: tuple[Change, ...]) -> dict[str, list[tuple[Change, ...]]]:
    """The three ways from the baseline through the changes; each lists the changes made at each of its stations."""
    backwards = changes[::-1]
    return {
        "one change alone": [(), *((change,) for change in changes)],
        "added in the report's order": [changes[:n] for n in range(len(changes) + 1)],
        "added in reverse order": [backwards[:n] for n in range(len(changes) + 1)],
    }


def variants_of(changes: tuple[Change, ...], sessions: bool) -> list[Variant]:
    """Every variant once; with ``sessions`` also both ends evaluated on sessions that were not in the training data."""
    on_paths = {frozenset(station) for path in paths(changes).values() for station in path}
    subsets = [subset for n in range(len(changes) + 1) for subset in combinations(changes, n)]
    variants = [Variant(subset) for subset in subsets if frozenset(subset) in on_paths]
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
    start = Preset(baseline.model, replace(plan.train, keep="last"))
    presets = {variant: variant.preset(start) for variant in planned_variants(baseline, tuned, corpus, steps)}
    results = train_presets(presets, plan.seeds, corpus, folder, "Ablation", workers)
    return Ablation(changes_between(baseline, tuned, steps), results, corpus.source)
