"""Evaluation of a trained model, by two protocols on the same weights.

``crop``: 128-frame segments at fixed positions, mean and standard deviation over 10 draws of the positions; comparable with
the report.  ``full``: whole utterances, which is what a test set asks for, and 7 to 17 points higher for public models that
trained well on HW4.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ..data.batches import EVALUATION_CROPS, Batch, SpeakerDataset, ValidBatches, lengths_of_padded
from ..data.corpus import Corpus, Utterances
from ..data.features import N_MELS, extract_features
from ..data.splits import split_utterances
from ..models.classifier import Classifier, count_parameters
from ..training.run import Run, digest
from ..utils.device import sum_dtype
from ..utils.errors import CorpusError, RunError
from ..utils.files import replacing
from ..utils.progress import progress_bar

CROP_SEEDS = 10
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


@dataclass(frozen=True)
class Confusion:
    """How often one speaker was taken for another."""

    speaker: str
    taken_for: str
    count: int


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
    logits, labels = full_logits(model, dataset, utterances, device), dataset.labels[utterances]
    result = Evaluation(
        crop=crop_result(model, dataset, utterances, device),
        full=full_result(logits, labels),
        n_utterances=len(utterances),
        n_parameters=count_parameters(model),
        weights=digest(weights),
    )
    return result, logits, labels


def heldout_indices(run: Run, corpus: Corpus, everything: bool = False) -> torch.Tensor:
    """The utterances to judge a run by, (n,) int64: those its training held out, or ``everything`` in another corpus.

    Raises RunError if the corpus has other speakers, or is not the run's and ``everything`` was not asked for.
    """
    run.check_same_speakers(corpus)
    if everything:
        return torch.arange(len(corpus.labelled))
    if corpus.digest != run.data.digest:
        raise RunError(
            f"{corpus.folder} is not what {run.folder} was trained on, so which utterances were held out is not known: "
            "use --all to judge by all of them."
        )
    return split_utterances(corpus.labelled, run.preset.train)[1]


def full_logits(model: Classifier, dataset: SpeakerDataset, utterances: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Logits of whole utterances, (utterances, n_speakers) on the CPU, in the order given."""
    return of_whole_utterances(model, dataset, utterances, device)


@torch.inference_mode()
def of_whole_utterances(
    function: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor],
    dataset: SpeakerDataset,
    utterances: torch.Tensor,
    device: torch.device,
) -> torch.Tensor:
    """What ``function`` makes of mels and lengths, (utterances, d) on the CPU, in the order given: a row per whole utterance."""
    order, found = [], []
    with progress_bar(len(utterances), "Full", "uttr", leave=False) as bar:
        for where in length_sorted_batches(dataset.lengths[utterances], FRAME_BUDGET[device.type]):
            order.append(where)
            found.append(_apply(function, dataset.whole(utterances[where]), device))  # (batch, d)
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
    """Accuracy and loss of every draw, (`CROP_SEEDS`, 2): one and the same model, its utterances only cut elsewhere."""
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
    """The share of each speaker's utterances that was recognised, (n_speakers,); NaN for speakers without any."""
    n_speakers = logits.shape[1]
    correct = torch.bincount(labels[logits.argmax(dim=1) == labels], minlength=n_speakers)
    return correct / torch.bincount(labels, minlength=n_speakers)


def confusion_counts(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How often the speaker of each row was taken for that of each column: (n_speakers, n_speakers) int64."""
    n_speakers = logits.shape[1]
    pairs = labels * n_speakers + logits.argmax(dim=1)  # (n,)
    return torch.bincount(pairs, minlength=n_speakers**2).view(n_speakers, n_speakers)  # (n_speakers, n_speakers)


def most_confused(logits: torch.Tensor, labels: torch.Tensor, speakers: tuple[str, ...], most: int = 10) -> list[Confusion]:
    """The pairs that were mistaken most often, in that order."""
    n_speakers = logits.shape[1]
    counts = confusion_counts(logits, labels).fill_diagonal_(0).flatten()  # (n_speakers ** 2,)
    top = torch.argsort(counts, descending=True, stable=True)[:most]
    pairs = [(int(pair) // n_speakers, int(pair) % n_speakers, int(counts[pair])) for pair in top]
    return [Confusion(speakers[true], speakers[taken], count) for true, taken, count in pairs if count]


def predict(run: Run, corpus: Corpus, out: str | os.PathLike[str], device: torch.device) -> int:
    """Writes the competition's CSV for the corpus's test set, in the order of testdata.json; returns its number of rows.

    Raises CorpusError if there is no test set, RunError if the corpus has other speakers than the run.
    """
    dataset = SpeakerDataset(test_set(run, corpus), device=device)
    return write_predictions(corpus, full_logits(run.load_model(device), dataset, torch.arange(len(dataset)), device), out)


def test_set(run: Run, corpus: Corpus) -> Utterances:
    """The test set of a corpus whose speakers the run knows. Raises CorpusError if there is none, RunError if not."""
    run.check_same_speakers(corpus)
    if corpus.test is None:
        raise CorpusError(f"{corpus.folder} has no testdata.json, so there is nothing to predict: fetch the test set too.")
    return corpus.test


def write_predictions(corpus: Corpus, logits: torch.Tensor, out: str | os.PathLike[str]) -> int:
    """The likeliest speaker of each utterance of the test set by logits (n, n_speakers), as the competition's CSV; returns n."""
    best = logits.argmax(dim=1).tolist()  # (n,)
    with replacing(out, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Id", "Category"])
        writer.writerows((path, corpus.speakers[i]) for path, i in zip(corpus.test.paths, best, strict=True))
    return len(best)


@torch.inference_mode()
def identify(run: Run, recording: str | os.PathLike[str], device: torch.device, most: int = 5) -> list[tuple[str, float]]:
    """The likeliest speakers of a recording with their probabilities, likeliest first. Raises SpeakerError."""
    if run.preset.model.n_mels != N_MELS:
        raise RunError(f"{run.folder} hears {run.preset.model.n_mels} mel bands, recordings give {N_MELS}: use another run.")
    mel = torch.from_numpy(extract_features(Path(recording)))  # (frames, n_mels)
    model = run.load_model(device)
    probabilities = model(mel[None].to(device)).softmax(dim=1)[0].cpu()  # (n_speakers,)
    best = probabilities.topk(min(most, len(probabilities)))
    return [(run.data.speakers[i], p) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]


def _apply(
    function: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor], batch: Batch, device: torch.device
) -> torch.Tensor:
    """(batch, d) on the device."""
    lengths = lengths_of_padded(batch.mels, batch.lengths)
    return function(batch.mels.to(device), None if lengths is None else lengths.to(device))
