"""Which change did it? An ablation: the changes between two presets, made alone, in order and in reverse, over several seeds.

An ablation is a folder of runs, ``<variant>/seed<n>``.  Finished runs are not trained again.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from ..config.schema import Preset
from ..data.corpus import Corpus
from ..data.splits import can_hold_out_sessions
from ..utils.errors import ConfigError
from .seeds import AblationPlan, SeedResults, train_presets

# One tuple per step, in the report's order: a setting, then those that only change along with it.
# Six layers do not train without pre-norm, so it belongs to the layers.
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
    settings: tuple[tuple[str, object], ...]  # for `Preset.override`, as pairs


@dataclass(frozen=True)
class Variant:
    """The baseline with some of the changes, and the split of its validation set."""

    changes: tuple[Change, ...]
    split: str = "random"

    @property
    def name(self) -> str:
        """The folder of its runs: ``d_model+nhead``, or ``baseline`` without a change."""
        names = "+".join(change.name for change in self.changes) or "baseline"
        return names if self.split == "random" else f"{names}-{self.split}"

    def preset(self, start: Preset) -> Preset:
        """``start`` with these changes and this split."""
        settings = dict(pair for change in self.changes for pair in change.settings)
        return start.override({"train.split": self.split, **settings})


@dataclass(frozen=True)
class Ablation:
    """The results of all variants."""

    changes: tuple[Change, ...]  # in the report's order
    results: dict[Variant, SeedResults]
    source: str  # of the data

    def of(self, changes: Sequence[Change], split: str = "random") -> SeedResults | None:
        """The results with these changes, in any order; None if that variant was not trained."""
        names = {change.name for change in changes}
        return self.results.get(Variant(tuple(change for change in self.changes if change.name in names), split))


def changes_between(baseline: Preset, tuned: Preset, steps: Sequence[Sequence[str]] = STEPS) -> tuple[Change, ...]:
    """The steps in which two presets differ, with both values; by default of the report's four.

    A fifth is added by ``steps=(*STEPS, ("model.dim_feedforward",))``.  Raises ConfigError if the models differ in a setting that
    is in no step.
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
            norms = "".join(f", {settings[name]}-norm" for name in names[1:] if name in settings)
            short = names[0].removeprefix("model.")
            changes.append(Change(short, f"{short} {old} → {new}{norms}", tuple(settings.items())))
    return tuple(changes)


def paths(changes: tuple[Change, ...]) -> dict[str, list[tuple[Change, ...]]]:
    """Three paths from the baseline, by name: the changes that are made at each station of a path."""
    backwards = changes[::-1]
    return {
        "one change alone": [(), *((change,) for change in changes)],
        "added in the report's order": [changes[:n] for n in range(len(changes) + 1)],
        "added in reverse order": [backwards[:n] for n in range(len(changes) + 1)],
    }


def variants_of(changes: tuple[Change, ...], sessions: bool) -> list[Variant]:
    """Every variant on the `paths` once; with ``sessions`` also the first and the last with whole sessions held out."""
    on_paths = {frozenset(station) for path in paths(changes).values() for station in path}
    subsets = [subset for n in range(len(changes) + 1) for subset in combinations(changes, n)]
    variants = [Variant(subset) for subset in subsets if frozenset(subset) in on_paths]
    return variants + ([Variant((), "session"), Variant(changes, "session")] if sessions else [])


def planned_variants(baseline: Preset, tuned: Preset, corpus: Corpus, steps: Sequence[Sequence[str]] = STEPS) -> list[Variant]:
    """The variants that `run_ablation` trains: with held-out sessions, too, if some speaker has two."""
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

    An interrupted ablation is resumed.  Raises ConfigError as `changes_between` does, RunError if a run of the folder has other
    settings or other data.
    """
    start = Preset(baseline.model, replace(plan.train, keep="last"))
    presets = {variant: variant.preset(start) for variant in planned_variants(baseline, tuned, corpus, steps)}
    results = train_presets(presets, plan.seeds, corpus, folder, "Ablation", workers)
    return Ablation(changes_between(baseline, tuned, steps), results, corpus.source)
