"""One model trained and asked: people enrolled by three clean recordings, recognised in every condition."""

from __future__ import annotations

import datetime
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from speaker_lib import PRESETS, Classifier, Corpus, Run, split_utterances, train
from speaker_lib.data.batches import SpeakerDataset
from speaker_lib.evaluation.embeddings import unit_vectors
from speaker_lib.evaluation.identification import full_outputs
from speaker_lib.experiments.classical import NAME, STATISTICS, TRAIN_CROPS, utterance_statistics
from speaker_lib.training.run import fit_to_data
from speaker_lib.utils.progress import quietly

from ..machine import device_name
from ..people.tasks import shortened
from .conditions import ENROLMENT

CPU = torch.device("cpu")
STEPS = 800
ENROLLED, DRAWS = 3, 30  # recordings of each person, and random choices of them
KEY = ("model", "normalised", "trained_on", "seed")
NETWORK, STATISTICS_ALONE = "laptop_best", "statistics, standardised"
NOTHING, CLEAN, AUGMENTED = "nothing", "clean", "clean + augmented"


@dataclass(frozen=True)
class Task:
    model: str
    normalised: bool  # whether the mean of each band is removed, utterance by utterance (CMN)
    trained_on: str
    seed: int

    @property
    def key(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in KEY)

    @property
    def seconds(self) -> int:
        """About what it takes, so that what is fast comes first."""
        return 150 if self.model == NETWORK and self.trained_on != NOTHING else 1


def tasks_of(seed: int) -> list[Task]:
    classical = [NAME + name for name in STATISTICS[1:]]
    tasks = [Task(STATISTICS_ALONE, normalised, NOTHING, seed) for normalised in (False, True)]
    trained = [(normalised, data) for normalised in (False, True) for data in (CLEAN, AUGMENTED)]
    tasks += [Task(name, normalised, data, seed) for name in classical for normalised, data in trained]
    tasks += [Task(NETWORK, normalised, NOTHING, seed) for normalised in (False, True)]
    return tasks + [Task(NETWORK, normalised, data, seed) for normalised, data in trained]


def run_task(task: Task, clean: Corpus, augmented: Corpus, test: Corpus, fraction: float = 1.0) -> dict[str, object]:
    """The row of a task: accuracy by condition, and the CPU seconds of training."""
    corpus = augmented if task.trained_on == AUGMENTED else clean
    began = time.process_time()
    embed = _network(task, corpus, fraction) if task.model == NETWORK else _classical(task, corpus)
    seconds = round(time.process_time() - began, 1)
    row = dict(zip(KEY, task.key, strict=True)) | {"accuracy": recognise(embed(test), test), "cpu_seconds": seconds}
    return row | {"device": device_name(CPU), "date": datetime.date.today().isoformat()}


def recognise(vectors: np.ndarray, test: Corpus) -> dict[str, float]:
    """Closed-set accuracy of embeddings (utterances, d) by condition, the mean over draws of the enrolment recordings.

    A recording that is enrolled is not recognised in that draw.
    """
    vectors, sessions, labels = unit_vectors(vectors), np.array(test.labelled.sessions), test.labelled.labels
    at = {name: np.flatnonzero(sessions == name) for name in dict.fromkeys(sessions)}  # (recordings,) each, in one order
    people = labels[at[ENROLMENT]]  # (recordings,)
    right = {name: [] for name in at if name != ENROLMENT}
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        drawn = [rng.choice(np.flatnonzero(people == who), ENROLLED, replace=False) for who in range(test.n_speakers)]
        means = unit_vectors(np.stack([vectors[at[ENROLMENT][which]].mean(axis=0) for which in drawn]))  # (speakers, d)
        asked = np.setdiff1d(np.arange(len(people)), np.concatenate(drawn))  # (recordings to recognise,)
        for name, found in right.items():
            named = (vectors[at[name][asked]] @ means.T).argmax(axis=1)  # (recordings to recognise,)
            found.append(float((named == people[asked]).mean()))
    return {name: round(float(np.mean(found)), 4) for name, found in right.items()}


def _network(task: Task, corpus: Corpus, fraction: float):
    preset = shortened(PRESETS[NETWORK], STEPS, fraction, task.seed)
    preset = fit_to_data(preset.override({"model.input_norm": "mean"} if task.normalised else {}), corpus)
    if task.trained_on == NOTHING:
        torch.manual_seed(task.seed)
        model = Classifier(preset.model).eval()
    else:
        with tempfile.TemporaryDirectory() as scratch, quietly():
            train(run := Run.create(Path(scratch) / "run", preset, corpus), corpus)
            if not run.finished:
                raise SystemExit("interrupted: start again, what is done is not done again.")
            model = run.load_model(CPU)

    def embed(test: Corpus) -> np.ndarray:
        with quietly():
            every = torch.arange(len(test.labelled))
            return full_outputs(model.embed, SpeakerDataset(test.labelled), every, CPU).numpy()  # (utterances, d)

    return embed


def _classical(task: Task, corpus: Corpus):
    """The statistics as they are but standardised, or their LDA directions."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    statistics = STATISTICS[-1] if task.trained_on == NOTHING else task.model.removeprefix(NAME)
    preset, rng = PRESETS[NETWORK], np.random.default_rng(task.seed)
    chosen, width = split_utterances(corpus.labelled, preset.train)[0].tolist(), preset.train.segment_len

    def vector(mel: np.ndarray) -> np.ndarray:
        return utterance_statistics(mel - mel.mean(axis=0) if task.normalised else mel, statistics)  # (d,)

    rows, labels = [], []
    for i in chosen:
        mel = corpus.labelled.mel(i)  # (frames, 40)
        starts = rng.integers(0, max(1, len(mel) - width + 1), TRAIN_CROPS)
        rows += [vector(mel), *(vector(mel[start : start + width]) for start in starts)]
        labels += [corpus.labelled.labels[i]] * (TRAIN_CROPS + 1)
    model = StandardScaler()
    if task.trained_on != NOTHING:
        model = make_pipeline(model, LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto"))
    model.fit(np.stack(rows), labels)
    return lambda test: model.transform(np.stack([vector(test.labelled.mel(i)) for i in range(len(test.labelled))]))
