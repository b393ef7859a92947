"""The ladder: improvements known in the field, added to the report's second model one after the other and measured alike.

A ladder is a folder of runs, ``<step>/seed<n>``, each step with the settings of all kept ones below it.  What is finished is
not trained again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..config.schema import Preset
from ..data.corpus import Corpus
from ..data.splits import can_hold_out_sessions
from .seeds import AblationPlan, SeedResults, train_presets


@dataclass(frozen=True)
class LadderStep:
    """One improvement: settings that are added to those of the kept steps below."""

    name: str  # of the folder of its runs
    label: str  # in tables and figures
    source: str  # who found it
    settings: tuple[tuple[str, object], ...] = ()  # what `Preset.override` takes, as pairs
    kept: bool = True  # whether the steps above include it; otherwise it is tried on top of all that are kept


# From the tuned model on, from the lowest step up. None of it depends on a model's size.
LADDER = (
    LadderStep("tuned", "the report's second model", "NTU machine learning, HW4"),
    LadderStep(
        "head",
        "+ linear head, BatchNorm before it",
        "public runs on HW4",
        (("model.head", "linear"), ("model.pooling_norm", "batch")),
    ),
    LadderStep("pooling", "+ attentive statistics pooling", "Okabe et al. 2018", (("model.pooling", "attentive_statistics"),)),
    LadderStep("half", "+ one vector for two frames", "Gulati et al. 2020", (("model.subsampling", 2),)),
    LadderStep(
        "conformer",
        "+ Conformer, all its blocks heard",
        "Zhang et al. 2022",
        (("model.encoder", "mfa_conformer"), ("model.kernel_size", 7)),
    ),
    LadderStep("average", "+ average of the weights", "Polyak & Juditsky 1992", (("train.ema", 0.99),)),
    LadderStep("embedding", "tried: a narrow embedding, 128 wide", "Snyder et al. 2018", (("model.d_embedding", 128),), False),
    LadderStep("mean", "tried: each band's mean taken off", "Furui 1981", (("model.input_norm", "mean"),), False),
    LadderStep(
        "masks",
        "tried: masks of 4 bands, 10 frames",
        "Park et al. 2019",
        (("train.freq_mask", 4), ("train.time_mask", 10)),
        False,
    ),
    LadderStep("speed", "tried: speed from 0.9 to 1.1", "Ko et al. 2015", (("train.speed", 0.1),), False),
    LadderStep(
        "margin",
        "tried: cosine head, margin 0.2 that grows",
        "Wang et al. 2018",
        (("model.head", "cosine"), ("train.margin", 0.2), ("train.margin_ramp_steps", 200)),
        False,
    ),
)


@dataclass(frozen=True)
class Ladder:
    """The results of all steps from the lowest up, on the same data and seeds."""

    results: dict[LadderStep, SeedResults]
    source: str  # where the data come from
    split: str = "random"  # what was held out: utterances, or whole recordings ("session")

    @property
    def kept(self) -> tuple[LadderStep, ...]:
        """The steps that stand on each other; the others were tried on top of the last of them."""
        return tuple(step for step in self.results if step.kept)

    @property
    def evaluated_on(self) -> str:
        """What the accuracies are measured on."""
        return f"{'recordings' if self.split == 'session' else 'utterances'} that were not in the training data"


def cumulative_presets(start: Preset, steps: Sequence[LadderStep] = LADDER) -> Iterator[tuple[LadderStep, Preset]]:
    """Each step with its preset: that of the kept step below it, with the step's own settings."""
    for step in steps:
        preset = start.override(dict(step.settings))
        yield step, preset
        start = preset if step.kept else start


def run_ladder(
    start: Preset,
    plan: AblationPlan,
    corpus: Corpus,
    folder: str | os.PathLike[str],
    workers: int | None = None,
    split: str | None = None,
    steps: Sequence[LadderStep] = LADDER,
) -> Ladder:
    """Trains and evaluates every step for every seed, in ``workers`` processes as `train_jobs` does.

    Without a ``split`` whole recordings are held out, if the data know them: there is more left to gain.  Interrupted, it
    goes on where it was. Raises RunError if a run of the folder has other settings or other data.
    """
    split = split or ("session" if can_hold_out_sessions(corpus.labelled) else "random")
    start = Preset(start.model, replace(plan.train, split=split, keep="last"))
    presets = dict(cumulative_presets(start, steps))
    return Ladder(train_presets(presets, plan.seeds, corpus, folder, "Ladder", workers), corpus.source, split)
