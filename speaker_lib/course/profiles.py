"""Profiles: the sizes of a lesson's models, runs and data.

The same cells run in seconds as a test (smoke), in minutes on a laptop, and at full size on a GPU.
"""

import os
from dataclasses import dataclass, replace

from ..config.presets import PRESETS
from ..config.schema import ModelConfig, Preset, TrainConfig
from ..experiments.seeds import AblationPlan
from ..simulation.corpus import Simulation
from ..utils.errors import ConfigError

VARIABLE = "SPEAKER_PROFILE"


@dataclass(frozen=True)
class Profile:
    """The models and runs of the lessons, and the voices that they simulate."""

    name: str
    meaning: str
    baseline: Preset
    tuned: Preset
    collapse: Preset  # six post-norm layers, with a learning rate that is too high for them
    ablation: AblationPlan
    ladder: AblationPlan
    generalisation: AblationPlan
    training_speakers: tuple[int, ...] = (10, 20, 50, 100)  # of the runs of `generalisation`
    simulation: Simulation = Simulation()
    unseen_speakers: Simulation = Simulation(speakers=50, utterances=8, test_utterances=0, sessions=4, seed=1)


def get_profile(has_gpu: bool) -> Profile:
    """The profile in ``SPEAKER_PROFILE``, else ``full`` with a GPU and ``laptop`` without. Raises ConfigError."""
    name = os.environ.get(VARIABLE) or ("full" if has_gpu else "laptop")
    if name not in PROFILES:
        raise ConfigError(f"{VARIABLE} is {name!r}: choose one of {', '.join(PROFILES)}.")
    return PROFILES[name]


def _deep(model: ModelConfig, train: TrainConfig) -> Preset:
    return Preset(replace(model, num_layers=6, norm="post"), train)


_BASELINE, _TUNED = PRESETS["laptop_baseline"], PRESETS["laptop_tuned"]
_SMOKE_BASELINE, _SMOKE_TUNED = replace(_BASELINE.model, d_model=16), replace(_TUNED.model, d_model=32, nhead=4, num_layers=2)
_SMOKE_TRAIN = TrainConfig(batch_size=8, segment_len=64, warmup_steps=4, total_steps=20, valid_steps=5, save_steps=10)
_LAPTOP_ABLATION = replace(_BASELINE.train, batch_size=16, segment_len=64, warmup_steps=30, total_steps=300, valid_steps=100)
_FULL_COLLAPSE = replace(PRESETS["tuned"].train, total_steps=3_000, valid_steps=300, save_steps=1_000)

PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            meaning="a few steps with a few simulated voices: a test that every cell runs; the accuracies mean nothing",
            baseline=Preset(_SMOKE_BASELINE, _SMOKE_TRAIN),
            tuned=Preset(_SMOKE_TUNED, _SMOKE_TRAIN),
            collapse=_deep(_SMOKE_TUNED, replace(_SMOKE_TRAIN, learning_rate=3e-3)),
            ablation=AblationPlan(replace(_SMOKE_TRAIN, total_steps=4, valid_steps=2, warmup_steps=1), seeds=(0, 1)),
            ladder=AblationPlan(replace(_SMOKE_TRAIN, total_steps=2, valid_steps=2, warmup_steps=1), seeds=(0, 1)),
            generalisation=AblationPlan(replace(_SMOKE_TRAIN, total_steps=2, valid_steps=2, warmup_steps=1), seeds=(0, 1)),
            training_speakers=(3, 6),
            simulation=Simulation(speakers=6, utterances=12, test_utterances=1, sessions=2),
            unseen_speakers=Simulation(speakers=5, utterances=4, test_utterances=0, sessions=2, seed=1),
        ),
        Profile(
            name="laptop",
            meaning="scaled-down models, minutes on a CPU; the full-sized models reach other accuracies",
            baseline=_BASELINE,
            tuned=_TUNED,
            # A narrow model tolerates a high learning rate: at this width 0.001 still works.
            collapse=_deep(_TUNED.model, replace(_LAPTOP_ABLATION, learning_rate=3e-3)),
            ablation=AblationPlan(_LAPTOP_ABLATION, seeds=(0, 1, 2), speakers=20),
            ladder=AblationPlan(_LAPTOP_ABLATION, seeds=(0, 1, 2), speakers=20),
            generalisation=AblationPlan(_LAPTOP_ABLATION, seeds=(0, 1, 2)),
        ),
        Profile(
            name="full",
            meaning="exactly the assignment's sizes, for a GPU",
            baseline=PRESETS["baseline"],
            tuned=PRESETS["tuned"],
            collapse=_deep(PRESETS["tuned"].model, _FULL_COLLAPSE),
            ablation=AblationPlan(PRESETS["baseline"].train.with_total_steps(10_000), seeds=(0, 1, 2)),
            ladder=AblationPlan(PRESETS["baseline"].train.with_total_steps(10_000), seeds=(0, 1, 2)),
            generalisation=AblationPlan(PRESETS["baseline"].train.with_total_steps(10_000), seeds=(0, 1, 2)),
            training_speakers=(10, 30, 100, 300, 600),
        ),
    )
}
