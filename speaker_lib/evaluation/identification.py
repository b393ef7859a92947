"""Evaluation of a trained model, by two protocols on the same weights.

``crop``: 128-frame segments at fixed positions, mean and standard deviation over 10 draws of the positions; comparable with
the report.  ``full``: whole utterances, which is what a test set asks for, and 7 to 17 points higher for public models that
trained well on HW4.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ..data.batches import EVALUATION_CROPS, Batch, SpeakerDataset, ValidBatches, lengths_of_padded
from ..data.corpus import Corpus
from ..data.features import N_MELS, extract_features
from ..data.splits import split_utterances
from ..models.classifier import Classifier, count_parameters
from ..training.run import Run, digest
from ..utils.device import sum_dtype
from ..utils.errors import RunError
from ..utils.progress import progress_bar

CROP_SEEDS = 10
Model = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]  # mels (batch, frames, n_mels), lengths (batch,) → (batch, d)
FRAME_BUDGET = {"cpu": 2_000, "cuda": 65_536, "mps": 16_384}  # frames in a batch, padding included; a CPU is slower with more


@dataclass(frozen=True)
class CropResult:
    """Random segments of `TrainConfig.segment_len` frames, as in the report."""

    accuracy: float  # mean over the draws
    std: float  # of the accuracy, over the draws
    loss: float  # mean cross-entropy, nats


@dataclass(frozen=True)
class FullResult:
    """Whole utterances."""

    accuracy: float
    top5: float
    loss: float  # cross-entropy, nats


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate --json`` prints."""

    crop: CropResult
    full: FullResult
    n_utterances: int
    n_parameters: int
    weights: str  # digest of the weights that were evaluated

    def to_dict(self) -> dict[str, object]:
        """Plain nested dictionaries, ready for JSON."""
        return asdict(self)


def evaluate(
    run: Run, corpus: Corpus, device: torch.device, everything: bool = False
) -> tuple[Evaluation, torch.Tensor, torch.Tensor]:
    """Both protocols on the utterances that `heldout_indices` gives.

    Also returns the logits of ``full``, (utterances, n_speakers), and the labels, (utterances,), for a closer look.
    """
    utterances = heldout_indices(run, corpus, everything)
    weights = run.weights()
    model = run.load_model(device, weights)
    dataset = SpeakerDataset(corpus.labelled, run.preset.train.segment_len, device=device)
    logits, labels = full_outputs(model, dataset, utterances, device), dataset.labels[utterances]
    result = Evaluation(
        crop=crop_result(model, dataset, utterances, device),
        full=full_result(logits, labels),
        n_utterances=len(utterances),
        n_parameters=count_parameters(model),
        weights=digest(weights),
    )
    return result, logits, labels


def heldout_indices(run: Run, corpus: Corpus, everything: bool = False) -> torch.Tensor:
    """The utterances to evaluate a run on, (n,) int64: those its training held out, or ``everything`` in another corpus.

    Raises RunError if the corpus has other speakers, or is not the run's and ``everything`` was not asked for.
    """
    run.check_same_speakers(corpus)
    if everything:
        return torch.arange(len(corpus.labelled))
    if corpus.digest != run.data.digest:
        raise RunError(
            f"{corpus.folder} is not what {run.folder} was trained on, so which utterances were held out is not known: "
            "use --all to evaluate on all of them."
        )
    return split_utterances(corpus.labelled, run.preset.train)[1]


@torch.inference_mode()
def full_outputs(model: Model, dataset: SpeakerDataset, utterances: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The outputs for whole utterances, (utterances, d) on the CPU, in the order given: logits, or vectors of ``model.embed``."""
    order, found = [], []
    with progress_bar(len(utterances), "Full", "uttr", leave=False) as bar:
        for where in length_sorted_batches(dataset.lengths[utterances], FRAME_BUDGET[device.type]):
            order.append(where)
            found.append(_apply(model, dataset.whole(utterances[where]), device))  # (batch, d)
            bar.update(len(where))
    rows = torch.cat(found).cpu()  # (utterances, d), longest first; they leave the device once, at the end
    return torch.empty_like(rows).index_copy_(0, torch.cat(order), rows)  # (utterances, d)


def length_sorted_batches(lengths: torch.Tensor, frame_budget: int) -> Iterator[torch.Tensor]:
    """Indices into ``lengths`` (n,), longest first, in batches whose padded size stays within ``frame_budget`` frames.

    An utterance longer than the budget makes a batch of its own.
    """
    order = torch.argsort(lengths, descending=True, stable=True)
    first = 0
    while first < len(order):
        size = max(1, frame_budget // int(lengths[order[first]]))
        yield order[first : first + size]
        first += size


def crop_result(model: Classifier, dataset: SpeakerDataset, utterances: torch.Tensor, device: torch.device) -> CropResult:
    """Accuracy and loss of one segment per utterance, over `CROP_SEEDS` draws of where it is cut."""
    accuracies, losses = crop_draws(model, dataset, utterances, device).T
    return CropResult(float(np.mean(accuracies)), float(np.std(accuracies)), float(np.mean(losses)))


@torch.inference_mode()
def crop_draws(model: Classifier, dataset: SpeakerDataset, utterances: torch.Tensor, device: torch.device) -> np.ndarray:
    """Accuracy and loss of every draw, (`CROP_SEEDS`, 2): one model and the same utterances, only cut elsewhere."""
    size = max(1, FRAME_BUDGET[device.type] // dataset.segment_len)
    draws = []
    with progress_bar(CROP_SEEDS * len(utterances), "Crop", "uttr", leave=False) as bar:
        for seed in range(CROP_SEEDS):
            sums = torch.zeros(2, dtype=sum_dtype(device), device=device)  # right answers, loss
            for batch in ValidBatches(dataset, utterances, size, seed, EVALUATION_CROPS):
                logits, labels = _apply(model, batch, device), batch.labels.to(device)
                correct = (logits.argmax(dim=1) == labels).sum()
                sums += torch.stack([correct, F.cross_entropy(logits, labels, reduction="sum")])
                bar.update(len(labels))
            draws.append((sums / len(utterances)).tolist())
    return np.array(draws)  # (draws, 2)


def full_result(logits: torch.Tensor, labels: torch.Tensor) -> FullResult:
    """Top-1, top-5 and cross-entropy of logits (n, n_speakers) against labels (n,)."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices  # (n, 5)
    hits = best == labels[:, None]  # (n, 5)
    return FullResult(
        accuracy=float(hits[:, 0].float().mean()),
        top5=float(hits.any(dim=1).float().mean()),
        loss=float(F.cross_entropy(logits, labels)),
    )


def speaker_accuracy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The fraction of each speaker's utterances that was recognised, (n_speakers,); NaN for speakers without any."""
    counts = confusion_counts(logits, labels)  # (n_speakers, n_speakers)
    return counts.diagonal() / counts.sum(dim=1)


def confusion_counts(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How often the speaker of each row was taken for that of each column: (n_speakers, n_speakers) int64."""
    n_speakers = logits.shape[1]
    pairs = labels * n_speakers + logits.argmax(dim=1)  # (n,)
    return torch.bincount(pairs, minlength=n_speakers**2).view(n_speakers, n_speakers)  # (n_speakers, n_speakers)


def most_confused(
    logits: torch.Tensor, labels: torch.Tensor, speakers: Sequence[str], most: int = 10
) -> list[tuple[str, str, int]]:
    """The most frequent mistakes, in that order: a speaker, the one it was taken for, and how often."""
    counts = confusion_counts(logits, labels).fill_diagonal_(0)  # (n_speakers, n_speakers)
    top = torch.argsort(counts.flatten(), descending=True, stable=True)[:most].tolist()
    pairs = [divmod(place, len(speakers)) for place in top]
    return [(speakers[true], speakers[taken], int(counts[true, taken])) for true, taken in pairs if counts[true, taken]]


@torch.inference_mode()
def identify(run: Run, recording: str | os.PathLike[str], device: torch.device, most: int = 5) -> list[tuple[str, float]]:
    """The likeliest speakers of a recording with their probabilities, likeliest first. Raises SpeakerError."""
    if run.preset.model.n_mels != N_MELS:
        raise RunError(
            f"{run.folder} was trained on {run.preset.model.n_mels} mel bands, recordings give {N_MELS}: use another run."
        )
    mel = torch.from_numpy(extract_features(Path(recording)))  # (frames, n_mels)
    model = run.load_model(device)
    probabilities = model(mel[None].to(device)).softmax(dim=1)[0].cpu()  # (n_speakers,)
    best = probabilities.topk(min(most, len(probabilities)))
    return [(run.data.speakers[i], p) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]


def _apply(model: Model, batch: Batch, device: torch.device) -> torch.Tensor:
    """(batch, d) on the device."""
    lengths = lengths_of_padded(batch.mels, batch.lengths)
    return model(batch.mels.to(device), None if lengths is None else lengths.to(device))
