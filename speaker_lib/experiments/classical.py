"""A baseline without a network: statistics of each utterance's log-mels, then linear discriminant analysis (LDA).

In: a `Corpus` and a `TrainConfig`.  Out: accuracy on the utterances and crops that the networks are evaluated on.

LDA (Fisher 1936) finds the directions in which speakers lie far apart compared with the spread within one speaker.  Its estimate
of that spread is shrunk (Ledoit & Wolf 2004), since there are few utterances for so many numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from ..config.schema import TrainConfig
from ..data.batches import EVALUATION_CROPS, SpeakerDataset, ValidBatches
from ..data.corpus import Corpus, Utterances
from ..data.splits import split_utterances
from ..evaluation.identification import CROP_SEEDS
from ..training.run import Run, check_several_speakers
from ..utils.errors import RunError
from ..utils.language import translate, translate_finished
from ..utils.optional import optional

STATISTICS = ("mean and deviation", "+ deviation of deltas", "+ correlations of cepstra")  # each with all those before it
NAME = "LDA: "  # what the name of a model without a network begins with
CEPSTRA = 20
TRAIN_CROPS = 3  # random segments of each training utterance, besides the whole of it
_BATCH = 256
_PURPOSE = "the classical baseline"


@dataclass(frozen=True)
class ClassicalResult:
    """What LDA reaches with one set of statistics; what it is compared with stands in `Evaluation`."""

    statistics: str  # one of `STATISTICS`
    crop: float  # accuracy on random segments, mean over the draws
    crop_std: float  # standard deviation over the draws
    full: float  # accuracy on whole utterances
    cpu_seconds: float  # of training, statistics included

    @property
    def name(self) -> str:
        """The name in results and figures."""
        return NAME + self.statistics

    @property
    def title(self) -> str:
        """The name in the reader's language, for a table."""
        return translate_finished(self.name)


def classical_baselines(corpus: Corpus, config: TrainConfig) -> list[ClassicalResult]:
    """`classical_baseline` with each of the `STATISTICS`: none of them is chosen by what it reaches."""
    return [classical_baseline(corpus, config, statistics) for statistics in STATISTICS]


def utterance_statistics(mels: np.ndarray, statistics: str) -> np.ndarray:
    """An utterance, mels (frames, n_mels), as one vector: of 40 mel bands 80, 120 or 310 numbers."""
    parts = [mels.mean(axis=0), mels.std(axis=0)]  # (n_mels,) each
    if statistics != STATISTICS[0]:
        parts.append(np.diff(mels, axis=0, prepend=mels[:1]).std(axis=0))  # (n_mels,)
    if statistics == STATISTICS[2]:
        dct = optional("scipy.fft", _PURPOSE).dct
        cepstra = dct(mels, norm="ortho")[:, 1 : CEPSTRA + 1]  # (frames, CEPSTRA); the first is the loudness
        cepstra -= cepstra.mean(axis=0)
        cepstra /= np.maximum(np.linalg.norm(cepstra, axis=0), 1e-6)  # one that never changes has no correlation
        correlations = cepstra.T @ cepstra  # (CEPSTRA, CEPSTRA)
        parts.append(correlations[np.triu_indices(len(correlations), k=1)])  # (CEPSTRA * (CEPSTRA - 1) / 2,)
    return np.concatenate(parts)


def classical_baseline(corpus: Corpus, config: TrainConfig, statistics: str = STATISTICS[-1]) -> ClassicalResult:
    """LDA trained on the training utterances of ``config``'s split, evaluated on those held out.

    Raises CorpusError if the corpus has one speaker or cannot be split, SpeakerError without scikit-learn.
    """
    check_several_speakers(corpus)
    utterances, labels = corpus.labelled, corpus.labelled.labels
    began = time.process_time()
    model = fit_lda(corpus, config, statistics)
    seconds = time.process_time() - began
    heldout = split_utterances(utterances, config)[1]
    dataset, truth = SpeakerDataset(utterances, config.segment_len), labels[heldout]
    draws = (_crops(dataset, heldout, statistics, draw, EVALUATION_CROPS) for draw in range(CROP_SEEDS))
    by_crop = [(model.predict(rows) == truth).mean() for rows in draws]
    full = (model.predict(whole_statistics(utterances, heldout, statistics)) == truth).mean()
    return ClassicalResult(statistics, float(np.mean(by_crop)), float(np.std(by_crop)), float(full), seconds)


def fit_lda(corpus: Corpus, config: TrainConfig, statistics: str = STATISTICS[-1]) -> Any:
    """LDA trained on whole utterances and segments of ``config``'s training part: a pipeline of scikit-learn.

    Its ``predict_log_proba`` takes `whole_statistics`.  Raises CorpusError as `split_utterances`, SpeakerError without
    scikit-learn.
    """
    analysis, pipeline, scaling = (
        optional(f"sklearn.{name}", _PURPOSE) for name in ("discriminant_analysis", "pipeline", "preprocessing")
    )
    utterances, training = corpus.labelled, split_utterances(corpus.labelled, config)[0]
    dataset = SpeakerDataset(utterances, config.segment_len)
    model = pipeline.make_pipeline(scaling.StandardScaler(), analysis.LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))
    seeds = range(TRAIN_CROPS * config.seed, TRAIN_CROPS * (config.seed + 1))
    crops = (_crops(dataset, training, statistics, seed) for seed in seeds)
    rows = np.concatenate([whole_statistics(utterances, training, statistics), *crops])  # (utterances * (TRAIN_CROPS + 1), d)
    return model.fit(rows, np.tile(utterances.labels[training], TRAIN_CROPS + 1))


def whole_statistics(utterances: Utterances, chosen: torch.Tensor, statistics: str) -> np.ndarray:
    """The `utterance_statistics` of some whole utterances (n,): (n, d)."""
    return np.stack([utterance_statistics(utterances.mel(i), statistics) for i in chosen.tolist()])  # (n, d)


def _crops(dataset: SpeakerDataset, chosen: torch.Tensor, statistics: str, *draw: int) -> np.ndarray:
    batches = ValidBatches(dataset, chosen, _BATCH, *draw)
    cut = (mel[:length] for batch in batches for mel, length in zip(batch.mels.numpy(), batch.lengths, strict=True))
    return np.stack([utterance_statistics(mel, statistics) for mel in cut])  # (n, d)


def saved_results(run: Run, evaluation: dict[str, object] | None) -> list[ClassicalResult]:
    """What ``evaluate --classical`` saved in a run's `Run.evaluation`, often nothing. Raises RunError if it cannot be read."""
    saved = (evaluation or {}).get("classical", [])
    try:
        results = [ClassicalResult(**found) for found in saved]
        numbers = [getattr(result, field.name) for result in results for field in fields(result)[1:]]
        if not all(isinstance(number, float) for number in numbers):
            raise TypeError("a number is missing")
    except TypeError:
        raise RunError(f"the classical baseline in {run.folder} cannot be read: run `evaluate --classical` again.") from None
    return results


def classical_conclusion(results: Sequence[ClassicalResult], name: str, accuracy: float, n_utterances: int) -> str:
    """Whether a network's ``accuracy`` on whole utterances is ahead of the baseline with all statistics.

    Two accuracies on ``n_utterances`` count as level where they differ by less than two standard errors.
    """
    lda = results[-1]
    gain = accuracy - lda.full
    error = math.sqrt((accuracy * (1 - accuracy) + lda.full * (1 - lda.full)) / n_utterances)
    ahead = "{by:.3f} ahead of it" if gain > 0 else "{by:.3f} behind it"
    verdict = translate("level with it" if abs(gain) <= 2 * error else ahead, by=abs(gain))
    return translate(
        "Without a network, LDA names {lda:.3f} of {n:,} whole utterances right after {seconds:.0f} s of training on one core. "
        "The {model} model names {accuracy:.3f}: it is {verdict}.",
        lda=lda.full, n=n_utterances, seconds=lda.cpu_seconds, model=name, accuracy=accuracy, verdict=verdict,
    )  # fmt: skip
