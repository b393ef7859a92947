"""What is trained: a task per model, number of people, number of utterances, steps and seed; and one task done."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from speaker_lib import PRESETS, Corpus, Preset, evaluate
from speaker_lib.experiments.ablation import changes_between, variants_of
from speaker_lib.experiments.classical import NAME, STATISTICS, classical_baseline
from speaker_lib.experiments.ladder import cumulative_presets
from speaker_lib.models.cost import parameters_of
from speaker_lib.utils.device import get_device

from ..machine import device_name
from .convolutional import NETWORKS, fit_and_evaluate
from .runs import trained_run
from .together import networks_and_lda

SEEDS = (0, 1, 2)
MODELS = {name: PRESETS[name] for name in ("baseline", "baseline_relu", "laptop_tuned", "laptop_best")} | {
    # `strong` in the size of the laptop presets: it has the ladder's settings up to this step.
    "laptop_strong": next(preset for step, preset in cumulative_presets(PRESETS["laptop_tuned"]) if step.name == "half")
}
# 600 steps of each, and steps that take about the same time: some 30 and some 250 s of one core.
STEPS = {
    "baseline": (600, 2_000, 6_000),
    "baseline_relu": (600, 2_000, 6_000),
    "laptop_tuned": (150, 600, 1_500),
    "laptop_strong": (300, 600, 2_400),
    "laptop_best": (200, 600, 1_800),
}
# People, and utterances of each; the last of both is in part `time`.
AMOUNTS = ((120, 5), (120, 10), (120, 25), (120, 50), (20, 100), (60, 100))
AMOUNT_STEPS = {"baseline_relu": 2_000, "laptop_best": 600}
_ARCFACE = {"model.head": "cosine", "train.margin": 0.2, "train.margin_kind": "angle", "train.margin_ramp_steps": 200}
FURTHER = {  # tried on top of the ladder, beside its own steps
    "mfa_transformer": {"model.encoder": "mfa_transformer", "model.num_layers": 3},
    "global": {"model.input_norm": "global"},
    "segments_200": {"train.segment_len": 200},
    "decay": {"train.weight_decay": 0.1},
    "smoothing": {"train.label_smoothing": 0.1},
    "rate": {"train.learning_rate": 3e-3},
    "arcface": _ARCFACE,
    "large_margin": _ARCFACE | {"train.final_steps": 100, "train.final_segment_len": 200, "train.final_margin": 0.4},
}
LABELS = {"arcface": "ArcFace, margin 0.2", "large_margin": "ArcFace, then large-margin fine-tuning (0.4, 200 frames)"}
KEY = ("model", "people", "utterances", "steps", "seed")
ABLATION_PEOPLE, ABLATION_STEPS, LADDER_STEPS = 60, 600, 600
# Steps that take about as long as 1,800 of `laptop_best`.
EQUAL_TIME = {"laptop_best, rate 3e-3": 1_800, **dict(zip(NETWORKS, (2_100, 950, 1_050), strict=True))}
EQUAL_TIME_RATE = 3e-3  # the best of the two that were tried
TOGETHER, TOGETHER_STEPS = "two of laptop_best, and LDA", 1_800


@dataclass(frozen=True)
class Task:
    """A model to train and evaluate on the first so many people and utterances of each."""

    part: str
    model: str
    people: int
    utterances: int
    seed: int
    preset: Preset | None = None  # None: LDA with the statistics that `model` names

    @property
    def steps(self) -> int:
        return self.preset.train.total_steps if self.preset else 0

    @property
    def key(self) -> tuple[object, ...]:
        """What tells its row from all others of its part."""
        return tuple(getattr(self, name) for name in KEY)


def run_task(job: tuple[Task, Path]) -> dict[str, object]:
    """Trains and evaluates; the seconds are those that the processor worked in training, not those on the wall."""
    task, folder = job
    corpus = Corpus.open(folder)
    row = dict(zip(KEY, task.key, strict=True))
    if task.preset is None:
        config = replace(PRESETS["baseline"].train, seed=task.seed)
        found = classical_baseline(corpus, config, task.model.removeprefix(NAME))
        row |= {"crop": found.crop, "full": found.full, "cpu_seconds": found.cpu_seconds, "parameters": None}
    elif task.model == TOGETHER:
        row |= networks_and_lda(task.preset, corpus)
    elif task.model in NETWORKS:
        row |= fit_and_evaluate(task.model, task.preset, corpus)
    else:
        with trained_run(task.preset, corpus) as (run, seconds):
            result = evaluate(run, corpus, get_device())[0]
        row |= {"crop": result.crop.accuracy, "full": result.full.accuracy, "cpu_seconds": seconds}
        row |= {"parameters": parameters_of(run.preset.model)}
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
    return rounded | {"device": device_name(get_device()), "date": datetime.date.today().isoformat()}


def time_tasks(corpus: Corpus, seed: int, fraction: float) -> Iterator[Task]:
    """Each model for several times, with all people."""
    everyone = corpus.n_speakers, most_utterances(corpus)
    for name in STATISTICS:
        yield Task("time", NAME + name, *everyone, seed)
    for name, preset in MODELS.items():
        for steps in STEPS[name]:
            yield Task("time", name, *everyone, seed, shortened(preset, steps, fraction, seed))


def amount_tasks(corpus: Corpus, seed: int, fraction: float) -> Iterator[Task]:
    """LDA and two networks with fewer people, and with fewer utterances of each."""
    for people, utterances in AMOUNTS:
        for name in STATISTICS:
            yield Task("amount", NAME + name, people, utterances, seed)
        for name, steps in AMOUNT_STEPS.items():
            yield Task("amount", name, people, utterances, seed, shortened(MODELS[name], steps, fraction, seed))


def ablation_tasks(corpus: Corpus, seed: int, fraction: float) -> Iterator[Task]:
    """The report's four changes, alone and added in both orders."""
    baseline, tuned = PRESETS["laptop_baseline"], PRESETS["laptop_tuned"]
    for variant in variants_of(changes_between(baseline, tuned), sessions=False):
        preset = shortened(variant.preset(baseline), ABLATION_STEPS, fraction, seed)
        yield Task("ablation", variant.name, ABLATION_PEOPLE, most_utterances(corpus), seed, preset)


def ladder_tasks(corpus: Corpus, seed: int, fraction: float) -> Iterator[Task]:
    """The steps of the ladder, each on top of all those below it that are kept."""
    for step, preset in cumulative_presets(PRESETS["laptop_tuned"]):
        shorter = shortened(preset, LADDER_STEPS, fraction, seed)
        yield Task("ladder", step.name, corpus.n_speakers, most_utterances(corpus), seed, shorter)
    for name, settings in FURTHER.items():
        shorter = shortened(PRESETS["laptop_best"].override(settings), LADDER_STEPS, fraction, seed)
        yield Task("ladder", name, corpus.n_speakers, most_utterances(corpus), seed, shorter)


def equal_time_tasks(corpus: Corpus, seed: int, fraction: float) -> Iterator[Task]:
    """A higher learning rate, and what the field builds: in the time of `laptop_best` and with its recipe."""
    for name, steps in EQUAL_TIME.items():
        preset = shortened(PRESETS["laptop_best"].override({"train.learning_rate": EQUAL_TIME_RATE}), steps, fraction, seed)
        yield Task("equal_time", name, corpus.n_speakers, most_utterances(corpus), seed, preset)


def together_tasks(corpus: Corpus, seed: int, fraction: float) -> Iterator[Task]:
    """The best network, a second one of it, and LDA: alone and together."""
    preset = shortened(PRESETS["laptop_best"], TOGETHER_STEPS, fraction, seed)
    yield Task("together", TOGETHER, corpus.n_speakers, most_utterances(corpus), seed, preset)


PARTS = {
    "time": time_tasks,
    "ablation": ablation_tasks,
    "amount": amount_tasks,
    "ladder": ladder_tasks,
    "equal_time": equal_time_tasks,
    "together": together_tasks,
}


def shortened(preset: Preset, steps: int, fraction: float, seed: int) -> Preset:
    """The preset for so many steps, validated at the end only, so that its time is that of training."""
    steps = max(2, round(steps * fraction))
    train = replace(preset.train.with_total_steps(steps), valid_steps=steps, save_steps=steps, keep="last", seed=seed)
    return Preset(preset.model, train)


def most_utterances(corpus: Corpus) -> int:
    """Of the speaker who has the most."""
    return int(np.bincount(corpus.labelled.labels).max())
