"""Ensembles: the average of the predictions of several runs, or of several crops of an utterance.

Models that were trained apart err in different places, so their average errs less (Hansen & Salamon 1990, "Neural network
ensembles").  Only a sum is kept, of one run after another, however many there are.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from ..data.batches import SpeakerDataset
from ..data.corpus import Corpus
from ..models.classifier import Classifier
from ..training.run import Run
from ..utils.errors import ConfigError, RunError
from .identification import FullResult, full_result, heldout_indices, of_whole_utterances, test_set, write_predictions

AVERAGES = ("probabilities", "logits")
_SPLIT = ("train.split", "train.split_seed", "train.valid_fraction")  # what decides which utterances are held out


@dataclass(frozen=True)
class EnsembleConfig:
    """What is averaged, over runs and over crops. Raises ConfigError.

    ``probabilities`` have one scale in every run.  ``logits`` have not: a cosine head's stay within its scale, a linear
    one's grow as they like, and the run with the largest would decide alone.  Between runs of one head they are worth a try.
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
    """How well the average of the runs names the utterances that `heldout_by_all` gives.

    Also returns the averaged logits, (utterances, n_speakers), and the labels, (utterances,).  Raises RunError.
    """
    check_same_classes(runs)
    utterances = heldout_by_all(runs, corpus, everything)
    dataset = SpeakerDataset(corpus.labelled, device=device)
    logits, labels = ensemble_logits(runs, dataset, utterances, device, averaging), dataset.labels[utterances]
    folders = tuple(str(run.folder) for run in runs)
    result = EnsembleEvaluation(full_result(logits, labels), len(utterances), averaging.average, folders)
    return result, logits, labels


def predict_ensemble(
    runs: Sequence[Run],
    corpus: Corpus,
    out: str | os.PathLike[str],
    device: torch.device,
    averaging: EnsembleConfig = EnsembleConfig(),
) -> int:
    """Writes the CSV that `evaluation.predict` writes, of the runs' average; returns its number of rows.

    Raises CorpusError if there is no test set, RunError if the runs do not know the same speakers, or not the corpus's.
    """
    check_same_classes(runs)
    dataset = SpeakerDataset(test_set(runs[0], corpus), device=device)
    return write_predictions(corpus, ensemble_logits(runs, dataset, torch.arange(len(dataset)), device, averaging), out)


def ensemble_logits(
    runs: Sequence[Run], dataset: SpeakerDataset, utterances: torch.Tensor, device: torch.device, averaging: EnsembleConfig
) -> torch.Tensor:
    """The runs' average for each utterance, (utterances, n_speakers) on the CPU, in the order given, as `mean_logits` says."""
    found = (of_whole_utterances(crop_averaged(run.load_model(device), averaging), dataset, utterances, device) for run in runs)
    return mean_logits(found, averaging.average)


def mean_logits(parts: Iterable[torch.Tensor], average: str) -> torch.Tensor:
    """The average of ``parts``, each (n, n_speakers) logits: the mean of them, or the logarithm of the mean probability."""
    add = torch.add if average == "logits" else torch.logaddexp  # as logarithms no probability shrinks to 0, with infinite loss
    total, count = None, 0
    for logits in parts:
        rows = logits if average == "logits" else logits.log_softmax(dim=1)
        total, count = rows if total is None else add(total, rows), count + 1
    return total / count if average == "logits" else total - math.log(count)


def crop_averaged(model: Classifier, averaging: EnsembleConfig) -> Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]:
    """``model`` as a function of mels and lengths that judges long utterances by crops, (batch, n_speakers) as ever."""
    width, last = averaging.crop_len, averaging.crops - 1

    def judge(mels: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        if last == 0 or mels.shape[1] <= width:
            return model(mels, lengths)  # (batch, n_speakers)
        if lengths is None:
            lengths = torch.full((len(mels),), mels.shape[1], device=mels.device)  # (batch,)
        spare, kept = (lengths - width).clamp(min=0), lengths.clamp(max=width)  # (batch,); the short have all crops at 0
        kept = kept if bool((kept < width).any()) else None
        frames, rows = torch.arange(width, device=mels.device), torch.arange(len(mels), device=mels.device)[:, None]
        crops = (mels[rows, (spare * i // last)[:, None] + frames] for i in range(last + 1))  # each (batch, width, n_mels)
        return mean_logits((model(crop, kept) for crop in crops), averaging.average)  # (batch, n_speakers)

    return judge


def check_same_classes(runs: Sequence[Run]) -> None:
    """Raises RunError unless all runs know the same speakers in one order, by as many mel bands; ConfigError without any."""
    if not runs:
        raise ConfigError("there is no run to judge by: name the folder of one, or of several.")
    first, *others = ((run, run.data.speakers, run.preset.model.n_mels) for run in runs)
    for other in others:
        if other[1:] != first[1:]:
            one, two = (f"{run.folder} knows {len(names)} speakers by {mels} mel bands" for run, names, mels in (first, other))
            raise RunError(f"{one}, {two}, and not the same in one order: average runs of the same data.")


def heldout_by_all(runs: Sequence[Run], corpus: Corpus, everything: bool = False) -> torch.Tensor:
    """The utterances that every run held out, or ``everything`` in another corpus, (n,) int64.

    Raises RunError if they did not hold out the same ones: the average would be evaluated on data that some of it was trained on.
    """
    first, *others = ((run, heldout_indices(run, corpus, everything)) for run in runs)
    for run, utterances in others:
        if set(utterances.tolist()) != set(first[1].tolist()):
            differing = first[0].preset.differences(run.preset).items()
            listed = ", ".join(f"{name} is {one} and {two}" for name, (one, two) in differing if name in _SPLIT)
            raise RunError(
                f"{first[0].folder} and {run.folder} held out other utterances ({listed}), so their average would be judged by "
                "some that one of them was trained on: use --all with --data of utterances that no run has heard."
            )
    return first[1]
