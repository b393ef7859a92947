"""Ensembles: the average of the predictions of several runs, or of several crops of an utterance.

Models that were trained independently make different mistakes, so their average makes fewer (Hansen & Salamon 1990, "Neural
network ensembles").  Runs are evaluated one after another, and only the sum is kept in memory.
"""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from ..data.batches import SpeakerDataset
from ..data.corpus import Corpus
from ..data.hw4_format import SUBMISSION_HEADER
from ..models.classifier import Classifier
from ..training.run import Run
from ..utils.errors import ConfigError, CorpusError, RunError
from ..utils.files import write_csv
from .embeddings import recording_names
from .identification import FullResult, Model, full_outputs, full_result, heldout_indices

AVERAGES = ("probabilities", "logits")
_SPLIT = ("train.split", "train.split_seed", "train.valid_fraction")  # these settings choose the held-out utterances


@dataclass(frozen=True)
class EnsembleConfig:
    """Settings of an ensemble: the average over runs and over crops. Raises ConfigError.

    ``probabilities`` have the same scale in every run.  ``logits`` do not: a cosine head bounds them by its scale, a linear head
    does not, and the run with the largest logits would outweigh the others.  Use them for runs with the same kind of head.
    With ``crops``, an utterance of more than ``crop_len`` frames is evaluated on that many evenly spaced crops of that length.
    """

    average: str = "probabilities"
    crops: int = 1  # 1 for the whole utterance
    crop_len: int | None = None  # frames of 10 ms

    def __post_init__(self) -> None:
        if self.average not in AVERAGES:
            raise ConfigError(f"average is {self.average!r}: choose one of {', '.join(AVERAGES)}.")
        for name, value in (("crops", self.crops), ("crop-len", self.crop_len)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}: choose a number from 1 up.")
        if (self.crops == 1) != (self.crop_len is None):
            raise ConfigError("crops and crop-len belong together: set both, with crops from 2 up, or neither.")


@dataclass(frozen=True)
class EnsembleEvaluation:
    """The JSON of ``evaluate`` for several runs: their average on whole utterances."""

    full: FullResult
    n_utterances: int
    average: str
    runs: tuple[str, ...]  # their folders


def evaluate_ensemble(
    runs: Sequence[Run],
    corpus: Corpus,
    device: torch.device,
    everything: bool = False,
    averaging: EnsembleConfig = EnsembleConfig(),
) -> tuple[EnsembleEvaluation, torch.Tensor, torch.Tensor]:
    """Evaluates the average of the runs on the utterances of `heldout_by_all`. Raises RunError.

    Also returns the averaged logits, (utterances, n_speakers), and the labels, (utterances,).
    """
    utterances = heldout_by_all(runs, corpus, everything)
    dataset = SpeakerDataset(corpus.labelled, device=device)
    logits, labels = ensemble_logits(runs, dataset, utterances, device, averaging), dataset.labels[utterances]
    folders = tuple(str(run.folder) for run in runs)
    return EnsembleEvaluation(full_result(logits, labels), len(utterances), averaging.average, folders), logits, labels


def predict(
    runs: Run | Sequence[Run],
    corpus: Corpus,
    out: str | os.PathLike[str],
    device: torch.device,
    averaging: EnsembleConfig = EnsembleConfig(),
    names: str | os.PathLike[str] | None = None,
) -> int:
    """Writes the competition's CSV for the test set, in the order of testdata.json; returns its number of rows.

    Several runs predict by their average.  ``names`` is a second CSV, with the recording's own name in each row.
    Raises CorpusError if there is no test set, RunError if the corpus has other speakers
    than a run.
    """
    runs = [runs] if isinstance(runs, Run) else runs
    for run in runs:
        run.check_same_speakers(corpus)
    if corpus.test is None:
        raise CorpusError(f"{corpus.folder} has no testdata.json, so there is nothing to predict: fetch the test set too.")
    dataset = SpeakerDataset(corpus.test, device=device)
    logits = ensemble_logits(runs, dataset, torch.arange(len(dataset)), device, averaging)  # (utterances, n_speakers)
    best = logits.argmax(dim=1).tolist()  # (utterances,)
    speakers = [corpus.speakers[i] for i in best]
    write_csv(out, SUBMISSION_HEADER, zip(corpus.test.paths, speakers, strict=True))
    if names is not None:
        rows = zip(corpus.test.paths, recording_names(corpus.test), speakers, strict=True)
        write_csv(names, ("Id", "Recording", "Category"), rows)
    return len(best)


def ensemble_logits(
    runs: Sequence[Run], dataset: SpeakerDataset, utterances: torch.Tensor, device: torch.device, averaging: EnsembleConfig
) -> torch.Tensor:
    """The runs' `mean_logits` for each utterance, (utterances, n_speakers) on the CPU, in the order given."""
    found = (full_outputs(crop_averaged(run.load_model(device), averaging), dataset, utterances, device) for run in runs)
    return mean_logits(found, averaging.average)


def mean_logits(parts: Iterable[torch.Tensor], average: str) -> torch.Tensor:
    """The mean of logits (n, n_speakers) over ``parts``, or the logarithm of their mean probabilities, of the same shape."""
    add = torch.add if average == "logits" else torch.logaddexp  # a probability that underflows to 0 has an infinite loss
    total, count = None, 0
    for logits in parts:
        rows = logits if average == "logits" else logits.log_softmax(dim=1)
        total, count = rows if total is None else add(total, rows), count + 1
    return total / count if average == "logits" else total - math.log(count)


def crop_averaged(model: Classifier, averaging: EnsembleConfig) -> Model:
    """``model`` with its logits (batch, n_speakers) averaged over crops, for utterances that are longer than a crop."""
    width, last = averaging.crop_len, averaging.crops - 1
    if last == 0:
        return model

    def average(mels: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        if mels.shape[1] <= width:
            return model(mels, lengths)  # (batch, n_speakers)
        if lengths is None:
            lengths = torch.full((len(mels),), mels.shape[1], device=mels.device)  # (batch,)
        spare, kept = (lengths - width).clamp(min=0), lengths.clamp(max=width)  # (batch,) each; a short one has all crops at 0
        kept = kept if bool((kept < width).any()) else None
        frames, rows = torch.arange(width, device=mels.device), torch.arange(len(mels), device=mels.device)[:, None]
        crops = (mels[rows, (spare * i // last)[:, None] + frames] for i in range(last + 1))  # each (batch, width, n_mels)
        return mean_logits((model(crop, kept) for crop in crops), averaging.average)  # (batch, n_speakers)

    return average


def heldout_by_all(runs: Sequence[Run], corpus: Corpus, everything: bool = False) -> torch.Tensor:
    """The utterances to evaluate several runs on, (n,) int64: their common `heldout_indices`.

    Raises RunError as `heldout_indices` does, and if the runs held out different utterances.
    """
    first, *others = runs
    utterances = heldout_indices(first, corpus, everything)
    for other in others:
        if set(heldout_indices(other, corpus, everything).tolist()) != set(utterances.tolist()):
            differences = first.preset.differences(other.preset).items()
            listed = ", ".join(f"{name} is {one} and {two}" for name, (one, two) in differences if name in _SPLIT)
            raise RunError(
                f"{first.folder} and {other.folder} held out different utterances ({listed}), so one was trained on some that "
                "the other held out: use --all with --data of utterances that are in no run's training data."
            )
    return utterances
