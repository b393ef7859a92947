"""The ladder: improvements from the literature, added to the report's second model one after the other.

A ladder is a folder of runs, ``<step>/seed<n>``.  Finished runs are not trained again.
"""

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
    source: str  # the paper or runs that it comes from
    settings: tuple[tuple[str, object], ...] = ()  # for `Preset.override`, as pairs
    kept: bool = True  # whether later steps include it; otherwise it is only tried on top of the kept steps so far


_BATCH_HEAD = (("model.head", "linear"), ("model.pooling_norm", "batch"))
_MFA_CONFORMER = (("model.encoder", "mfa_conformer"), ("model.kernel_size", 7))
_AM_SOFTMAX = (("model.head", "cosine"), ("train.margin", 0.2), ("train.margin_ramp_steps", 200))

LADDER = (  # from the lowest step up; no setting depends on a model's size
    LadderStep("tuned", "the report's second model", "NTU machine learning, HW4"),
    LadderStep("head", "+ linear head, BatchNorm before it", "public runs on HW4", _BATCH_HEAD),
    LadderStep("pooling", "+ attentive statistics pooling", "Okabe et al. 2018", (("model.pooling", "attentive_statistics"),)),
    LadderStep("half", "+ subsampling by 2", "Gulati et al. 2020", (("model.subsampling", 2),)),
    LadderStep("conformer", "+ Conformer with MFA", "Zhang et al. 2022", _MFA_CONFORMER),
    LadderStep("average", "+ EMA of the weights", "Polyak & Juditsky 1992", (("train.ema", 0.99),)),
    LadderStep("embedding", "tried: embedding of 128 dimensions", "Snyder et al. 2018", (("model.d_embedding", 128),), False),
    LadderStep("mean", "tried: mean normalisation (CMN)", "Furui 1981", (("model.input_norm", "mean"),), False),
    LadderStep(
        "masks",
        "tried: SpecAugment, 4 bands, 10 frames",
        "Park et al. 2019",
        (("train.freq_mask", 4), ("train.time_mask", 10)),
        False,
    ),
    LadderStep("speed", "tried: speed perturbation, 0.9 to 1.1", "Ko et al. 2015", (("train.speed", 0.1),), False),
    LadderStep("margin", "tried: AM-softmax, margin 0.2", "Wang et al. 2018", _AM_SOFTMAX, False),
)
# The lesson leaves out two that gain nothing on people either (docs/accuracy.md), for a minute of its time.
TAUGHT = tuple(step for step in LADDER if step.name not in ("embedding", "speed"))


@dataclass(frozen=True)
class Ladder:
    """The results of all steps on the same data and seeds, from the lowest step up."""

    results: dict[LadderStep, SeedResults]
    source: str  # of the data
    split: str = "random"  # by utterances, or "session" for whole recordings

    @property
    def kept(self) -> tuple[LadderStep, ...]:
        """The steps that build on each other; the others were tried on top of the last of them."""
        return tuple(step for step in self.results if step.kept)

    @property
    def evaluated_on(self) -> str:
        """The held-out data in words."""
        return f"{'recordings' if self.split == 'session' else 'utterances'} that were not in the training data"


def cumulative_presets(start: Preset, steps: Sequence[LadderStep] = LADDER) -> Iterator[tuple[LadderStep, Preset]]:
    """Each step with its preset: that of the kept step below, with the step's own settings."""
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
    steps: Sequence[LadderStep] = TAUGHT,
) -> Ladder:
    """Trains and evaluates every step for every seed, in ``workers`` processes as `train_jobs` does.

    By default whole recordings are held out if the corpus names sessions: that is harder, so there is more left to gain.  An
    interrupted ladder is resumed.  Raises RunError if a run of the folder has other settings or other data.
    """
    split = split or ("session" if can_hold_out_sessions(corpus.labelled) else "random")
    start = Preset(start.model, replace(plan.train, split=split, keep="last"))
    presets = dict(cumulative_presets(start, steps))
    return Ladder(train_presets(presets, plan.seeds, corpus, folder, "Ladder", workers), corpus.source, split)
