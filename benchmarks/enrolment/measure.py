"""Three ways to make a vector of an utterance, and how well each recognises people that it was not trained on."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from speaker_lib import PRESETS, Classifier, Corpus, Preset, Run, train
from speaker_lib.data.splits import split_utterances
from speaker_lib.evaluation.book import Reference, unit
from speaker_lib.evaluation.enrolment import calibrate, cohort_of, reference_utterances, score_people
from speaker_lib.evaluation.recordings import embed_recording
from speaker_lib.evaluation.verification import equal_error_rate, error_rates
from speaker_lib.experiments.classical import NAME, STATISTICS, utterance_statistics
from speaker_lib.sound.features import FRAMES_PER_SECOND
from speaker_lib.utils.device import get_device

from ..machine import device_name

TRAINED, UNTRAINED, LDA = MODELS = ("laptop_best", "laptop_best, untrained", NAME + STATISTICS[-1])
SECONDS = (None, 2)  # of each recording, None for all of it
RECORDINGS = (1, 3, 5)  # to enrol by
SCORES = ("cosine", "AS-norm")
ENROLLED = 5  # the others are strangers
DRAWS = 100
FALSE_ACCEPTS = 0.05
Embedder = Callable[[np.ndarray], np.ndarray]  # mels (frames, n_mels) to a unit vector (d,)


def measure(model: str, seed: int, training: Corpus, people: Corpus, work: Path, steps: int) -> Iterator[dict[str, object]]:
    """A row per kind of score, seconds of each recording and number of recordings to enrol by."""
    run = trained_run(training, work / f"run-{seed}", seed, steps)
    embed = embedder(model, run, training, seed)
    chosen, speakers, tests = reference_utterances(run, training)
    reference = Reference(np.stack([embed(training.labelled.mel(i)) for i in chosen]), speakers, tests, training.source)
    labels = people.labelled.labels
    for seconds in SECONDS:
        rng = np.random.default_rng(seed)
        vectors = np.stack([embed(_crop(people.labelled.mel(i), seconds, rng)) for i in range(len(labels))])  # (utterances, d)
        for kind in SCORES:
            cohort = cohort_of(reference) if kind == "AS-norm" else None
            for recordings in RECORDINGS:
                threshold = calibrate(reference, ENROLLED, recordings, FALSE_ACCEPTS, cohort is not None).score
                found = error_counts(vectors, labels, recordings, cohort, threshold, seed)
                row = {"model": model, "score": kind, "seconds": seconds, "recordings": recordings, "seed": seed}
                row |= {name: round(value, 4) for name, value in found.items()}
                yield row | {"device": device_name(torch.device("cpu")), "date": datetime.date.today().isoformat()}


def error_counts(
    vectors: np.ndarray, labels: np.ndarray, recordings: int, cohort: np.ndarray | None, threshold: float, seed: int
) -> dict[str, float]:
    """Closed-set accuracy with everybody enrolled, and open-set rates with `ENROLLED` people, over `DRAWS` random books."""
    rng, closed, best, known, right = np.random.default_rng(seed), [], [], [], []
    for _ in range(DRAWS):
        everybody = rng.permutation(labels.max() + 1)  # (people,)
        books = [rng.permutation(np.flatnonzero(labels == k))[:recordings] for k in everybody]
        tests = np.setdiff1d(np.arange(len(labels)), np.concatenate(books))  # (tests,)
        means = np.stack([unit(vectors[book].mean(axis=0)) for book in books])  # (people, d)
        scores = score_people(vectors[tests], means, cohort)  # (tests, people)
        closed.append(everybody[scores.argmax(axis=1)] == labels[tests])
        enrolled, of_book = everybody[:ENROLLED], scores[:, :ENROLLED]  # (ENROLLED,), (tests, ENROLLED)
        best.append(of_book.max(axis=1))
        known.append(np.isin(labels[tests], enrolled))
        right.append(enrolled[of_book.argmax(axis=1)] == labels[tests])
    closed, best, known, right = map(np.concatenate, (closed, best, known, right))
    at_rate = np.quantile(best[~known], 1 - FALSE_ACCEPTS)
    return {
        "closed": float(closed.mean()),
        "eer": equal_error_rate(error_rates(best, known))[0],
        "accepted": float((right & (best >= at_rate))[known].mean()),  # right and accepted, where 5 % of the strangers are, too
        "false_accepts": float((best >= threshold)[~known].mean()),  # at the threshold that `enrol` would have calibrated
        "false_rejects": float(1 - (right & (best >= threshold))[known].mean()),
    }


def trained_run(corpus: Corpus, folder: Path, seed: int, steps: int) -> Run:
    """Trains the network, or resumes its training."""
    preset = PRESETS[TRAINED]
    config = preset.train.with_total_steps(steps)
    config = replace(config, valid_steps=steps, save_steps=max(1, steps // 4), keep="last", seed=seed)
    run = Run.open(folder) if Run.exists(folder) else Run.create(folder, Preset(preset.model, config), corpus)
    if not run.finished:
        train(run, corpus)
    return run


def embedder(model: str, run: Run, corpus: Corpus, seed: int) -> Embedder:
    """What makes a unit vector (d,) of an utterance."""
    if model == LDA:
        return _lda(run, corpus, seed)
    device = get_device()
    if model == UNTRAINED:
        torch.manual_seed(seed)
        network = Classifier(run.preset.model).to(device).eval()
    else:
        network = run.load_model(device)
    return lambda mels: embed_recording(network, mels, device)


def _lda(run: Run, corpus: Corpus, seed: int) -> Embedder:
    """Statistics of an utterance in the directions of LDA, trained on the run's training utterances and a crop of each."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chosen, rng = split_utterances(corpus.labelled, run.preset.train)[0].tolist(), np.random.default_rng(seed)
    mels = [corpus.labelled.mel(i) for i in chosen]
    mels += [_crop(whole, run.preset.train.segment_len / FRAMES_PER_SECOND, rng) for whole in mels]
    rows = np.stack([utterance_statistics(one, STATISTICS[-1]) for one in mels])  # (2 * utterances, statistics)
    lda = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto"))
    lda.fit(rows, np.tile(corpus.labelled.labels[chosen], 2))
    return lambda one: unit(lda.transform(utterance_statistics(one, STATISTICS[-1])[None])[0])  # (speakers - 1,)


def _crop(mels: np.ndarray, seconds: float | None, rng: np.random.Generator) -> np.ndarray:
    """A random piece of mels (frames, n_mels)."""
    frames = len(mels) if seconds is None else min(len(mels), round(seconds * FRAMES_PER_SECOND))
    start = rng.integers(len(mels) - frames + 1)
    return mels[start : start + frames]  # (frames, n_mels)
