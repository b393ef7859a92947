"""Ensembles: the average of the predictions of several runs, or of several crops of an utterance.

Models that were trained independently make different mistakes, so their average makes fewer (Hansen & Salamon 1990, "Neural
network ensembles").  Runs are evaluated one after another, and only the sum is kept in memory.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from ..data.batches import SpeakerDataset
from ..data.corpus import Corpus
from ..models.classifier import Classifier
from ..training.run import Run
from ..utils.errors import ConfigError, CorpusError, RunError
from ..utils.files import replacing
from .identification import FullResult, Model, full_outputs, full_result, heldout_indices

AVERAGES = ("probabilities", "logits")
_SPLIT = ("train.split", "train.split_seed", "train.valid_fraction")  # what decides which utterances are held out


@dataclass(frozen=True)
class EnsembleConfig:
    """What is averaged, over runs and over crops. Raises ConfigError.

    ``probabilities`` have the same scale in every run.  ``logits`` do not: those of a cosine head are bounded by its scale,
    those of a linear head are not, and the run with the largest would outweigh the others.  Try them for runs of one head.
    With ``crops``, an utterance of more than ``crop_len`` frames is evaluated on that many crops of so many frames, the
    first at its start, the last at its end.
    """

    average: str = "probabilities"
    crops: int = 1  # the whole utterance
    crop_len: int | None = None  # frames of 10 ms

    def __post_init__(self) -> None:
        if self.average not in AVERAGES:
            raise ConfigError(f"average is {self.average!r}: choose one of {', '.join(AVERAGES)}.")
        for name, value in (("crops", self.crops), ("crop-len", self.crop_len)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}: choose a number from 1 up.")
        if (self.crops == 1) != (self.crop_len is None):
            raise ConfigError("crops and crop-len belong together: ask for 2 crops or more of so many frames, or for neither.")


@dataclass(frozen=True)
class EnsembleEvaluation:
    """What ``evaluate --json`` prints for several runs: how well their average does on whole utterances."""

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
    """How well the average of the runs recognises the utterances that `heldout_by_all` gives.

    Also returns the averaged logits, (utterances, n_speakers), and the labels, (utterances,).  Raises RunError.
    """
    utterances = heldout_by_all(runs, corpus, everything)
    dataset = SpeakerDataset(corpus.labelled, device=device)
    logits, labels = ensemble_logits(runs, dataset, utterances, device, averaging), dataset.labels[utterances]
    folders = tuple(str(run.folder) for run in runs)
    result = EnsembleEvaluation(full_result(logits, labels), len(utterances), averaging.average, folders)
    return result, logits, labels


def predict(
    runs: Run | Sequence[Run],
    corpus: Corpus,
    out: str | os.PathLike[str],
    device: torch.device,
    averaging: EnsembleConfig = EnsembleConfig(),
) -> int:
    """Writes the competition's CSV for the test set, in the order of testdata.json, of one run or the average of several.

    Returns its number of rows.  Raises CorpusError if there is no test set, RunError if the corpus has other speakers than a run.
    """
    runs = [runs] if isinstance(runs, Run) else runs
    for run in runs:
        run.check_same_speakers(corpus)
    if corpus.test is None:
        raise CorpusError(f"{corpus.folder} has no testdata.json, so there is nothing to predict: fetch the test set too.")
    dataset = SpeakerDataset(corpus.test, device=device)
    logits = ensemble_logits(runs, dataset, torch.arange(len(dataset)), device, averaging)  # (utterances, n_speakers)
    best = logits.argmax(dim=1).tolist()  # (utterances,)
    with replacing(out, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Id", "Category"])
        writer.writerows((path, corpus.speakers[i]) for path, i in zip(corpus.test.paths, best, strict=True))
    return len(best)


def ensemble_logits(
    runs: Sequence[Run], dataset: SpeakerDataset, utterances: torch.Tensor, device: torch.device, averaging: EnsembleConfig
) -> torch.Tensor:
    """The runs' average for each utterance, (utterances, n_speakers) on the CPU, in the order given, as `mean_logits` says."""
    found = (full_outputs(crop_averaged(run.load_model(device), averaging), dataset, utterances, device) for run in runs)
    return mean_logits(found, averaging.average)


def mean_logits(parts: Iterable[torch.Tensor], average: str) -> torch.Tensor:
    """The average of ``parts``, each (n, n_speakers) logits: the mean of them, or the logarithm of the mean probability."""
    add = torch.add if average == "logits" else torch.logaddexp  # as logarithms no probability shrinks to 0, with infinite loss
    total, count = None, 0
    for logits in parts:
        rows = logits if average == "logits" else logits.log_softmax(dim=1)
        total, count = rows if total is None else add(total, rows), count + 1
    return total / count if average == "logits" else total - math.log(count)


def crop_averaged(model: Classifier, averaging: EnsembleConfig) -> Model:
    """``model``, but with the average over crops for utterances that are longer than one; logits (batch, n_speakers)."""
    width, last = averaging.crop_len, averaging.crops - 1
    if last == 0:
        return model

    def average(mels: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        if mels.shape[1] <= width:
            return model(mels, lengths)  # (batch, n_speakers)
        if lengths is None:
            lengths = torch.full((len(mels),), mels.shape[1], device=mels.device)  # (batch,)
        spare, kept = (lengths - width).clamp(min=0), lengths.clamp(max=width)  # (batch,); the short have all crops at 0
        kept = kept if bool((kept < width).any()) else None
        frames, rows = torch.arange(width, device=mels.device), torch.arange(len(mels), device=mels.device)[:, None]
        crops = (mels[rows, (spare * i // last)[:, None] + frames] for i in range(last + 1))  # each (batch, width, n_mels)
        return mean_logits((model(crop, kept) for crop in crops), averaging.average)  # (batch, n_speakers)

    return average


def heldout_by_all(runs: Sequence[Run], corpus: Corpus, everything: bool = False) -> torch.Tensor:
    """The utterances that every run held out, or ``everything`` in another corpus, (n,) int64.

    Raises RunError as `heldout_indices`, and if the runs held out different ones: some would be in the training data of one.
    """
    first, *others = runs
    utterances = heldout_indices(first, corpus, everything)
    for other in others:
        if set(heldout_indices(other, corpus, everything).tolist()) != set(utterances.tolist()):
            differences = first.preset.differences(other.preset).items()
            listed = ", ".join(f"{name} is {one} and {two}" for name, (one, two) in differences if name in _SPLIT)
            raise RunError(
                f"{first.folder} and {other.folder} held out different utterances ({listed}), so some that one of them was "
                "trained on would be evaluated: use --all with --data of utterances that are in no run's training data."
            )
    return utterances
