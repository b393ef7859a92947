"""Evaluation of a trained model by two protocols: accuracy on random segments and on whole utterances.

``crop``: a random 128-frame segment of each utterance, mean and standard deviation over 10 draws; comparable with the report.
``full``: whole utterances, as in a test set; 7 to 17 points higher for public models that trained well on HW4.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ..data.batches import EVALUATION_CROPS, Batch, SpeakerDataset, ValidBatches
from ..data.corpus import Corpus
from ..data.splits import split_utterances
from ..models.classifier import Classifier, count_parameters
from ..models.pooling import lengths_of_padded
from ..training.run import Run, digest
from ..utils.device import sum_dtype
from ..utils.errors import RunError
from ..utils.progress import progress_bar

CROP_SEEDS = 10
Model = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]  # mels (batch, frames, n_mels), lengths (batch,) → (batch, d)
FRAME_BUDGET = {"cpu": 2_000, "cuda": 65_536, "mps": 16_384}  # frames in a batch with padding; a CPU is slower with more


@dataclass(frozen=True)
class CropResult:
    """Accuracy on random segments of `TrainConfig.segment_len` frames."""

    accuracy: float  # mean over the draws
    std: float  # of the accuracy over the draws
    loss: float  # mean cross-entropy, nats


@dataclass(frozen=True)
class FullResult:
    """Accuracy on whole utterances."""

    accuracy: float
    top5: float
    loss: float  # cross-entropy, nats


@dataclass(frozen=True)
class Evaluation:
    """The JSON of ``evaluate`` for one run, and its evaluation.json."""

    crop: CropResult
    full: FullResult
    n_utterances: int
    n_parameters: int
    weights: str  # digest of the evaluated weights
    confidence: tuple[float, ...] = ()  # the highest probability of whole utterances, at 0, 5, … 100 % of them, rising

    def to_dict(self) -> dict[str, object]:
        """Plain nested dictionaries, ready for JSON."""
        return asdict(self) | {"confidence": list(self.confidence)}


def evaluate(
    run: Run, corpus: Corpus, device: torch.device, everything: bool = False
) -> tuple[Evaluation, torch.Tensor, torch.Tensor]:
    """Both protocols on the utterances of `heldout_indices`. Raises RunError.

    Also returns the logits of ``full``, (utterances, n_speakers), and the labels, (utterances,).
    """
    utterances = heldout_indices(run, corpus, everything)
    weights = run.weights()
    model = run.load_model(device, weights)
    dataset = SpeakerDataset(corpus.labelled, run.preset.train.segment_len, device=device)
    logits, labels = full_outputs(model, dataset, utterances, device), dataset.labels[utterances]
    crop, full = crop_result(model, dataset, utterances, device), full_result(logits, labels)
    highest = logits.softmax(dim=1).amax(dim=1)  # (utterances,)
    confidence = torch.quantile(highest.double(), torch.linspace(0, 1, 21, dtype=torch.double)).tolist()
    found = Evaluation(crop, full, len(utterances), count_parameters(model), digest(weights), tuple(confidence))
    return found, logits, labels


def heldout_indices(run: Run, corpus: Corpus, everything: bool = False) -> torch.Tensor:
    """The utterances to evaluate a run on, (n,) int64: the held-out ones of its training, or ``everything`` but augmented copies.

    Raises RunError if the corpus has other speakers, or if it is not the training data and ``everything`` is false.
    """
    run.check_same_speakers(corpus)
    if everything:
        return torch.from_numpy(corpus.labelled.clean)  # (n,)
    if corpus.digest != run.data.digest:
        problem = f"{corpus.folder} is not the training data of {run.folder}, so it has no held-out utterances"
        raise RunError(f"{problem}: use --all to evaluate on all utterances.")
    return split_utterances(corpus.labelled, run.preset.train)[1]


@torch.inference_mode()
def full_outputs(model: Model, dataset: SpeakerDataset, utterances: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The outputs of ``model`` for whole utterances, (utterances, d) on the CPU, in the order given."""
    order, found = [], []
    with progress_bar(len(utterances), "Full", "uttr", leave=False) as bar:
        for where in length_sorted_batches(dataset.lengths[utterances], FRAME_BUDGET[device.type]):
            order.append(where)
            found.append(_apply(model, dataset.whole(utterances[where]), device))  # (batch, d)
            bar.update(len(where))
    rows = torch.cat(found).cpu()  # (utterances, d), longest first; one copy to the CPU
    return torch.empty_like(rows).index_copy_(0, torch.cat(order), rows)  # (utterances, d)


def length_sorted_batches(lengths: torch.Tensor, frame_budget: int) -> Iterator[torch.Tensor]:
    """Indices into ``lengths`` (n,), longest first, in batches of at most ``frame_budget`` frames with padding.

    An utterance longer than the budget is a batch of its own.
    """
    order = torch.argsort(lengths, descending=True, stable=True)
    first = 0
    while first < len(order):
        size = max(1, frame_budget // int(lengths[order[first]]))
        yield order[first : first + size]
        first += size


def crop_result(model: Classifier, dataset: SpeakerDataset, utterances: torch.Tensor, device: torch.device) -> CropResult:
    """The mean of `crop_draws`, and the standard deviation of its accuracies."""
    accuracies, losses = crop_draws(model, dataset, utterances, device).T
    return CropResult(float(np.mean(accuracies)), float(np.std(accuracies)), float(np.mean(losses)))


@torch.inference_mode()
def crop_draws(model: Classifier, dataset: SpeakerDataset, utterances: torch.Tensor, device: torch.device) -> np.ndarray:
    """Accuracy and loss on one random segment per utterance, (`CROP_SEEDS`, 2): each draw cuts the segments elsewhere."""
    size = max(1, FRAME_BUDGET[device.type] // dataset.segment_len)
    draws = []
    with progress_bar(CROP_SEEDS * len(utterances), "Crop", "uttr", leave=False) as bar:
        for seed in range(CROP_SEEDS):
            sums = torch.zeros(2, dtype=sum_dtype(device), device=device)  # (2,) correct answers, loss
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
    accuracy, top5 = float(hits[:, 0].float().mean()), float(hits.any(dim=1).float().mean())
    return FullResult(accuracy, top5, float(F.cross_entropy(logits, labels)))


def speaker_accuracy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Accuracy for each speaker, (n_speakers,); NaN for speakers without an utterance."""
    counts = confusion_counts(logits, labels)  # (n_speakers, n_speakers)
    return counts.diagonal() / counts.sum(dim=1)


def confusion_counts(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The confusion matrix, (n_speakers, n_speakers) int64: true speakers in the rows, predicted ones in the columns."""
    n_speakers = logits.shape[1]
    pairs = labels * n_speakers + logits.argmax(dim=1)  # (n,)
    return torch.bincount(pairs, minlength=n_speakers**2).view(n_speakers, n_speakers)  # (n_speakers, n_speakers)


def most_confused(
    logits: torch.Tensor, labels: torch.Tensor, speakers: Sequence[str], most: int = 5
) -> list[tuple[str, str, int]]:
    """The ``most`` frequent confusions, most frequent first: the true speaker, the predicted one, and the number."""
    counts = confusion_counts(logits, labels).fill_diagonal_(0)  # (n_speakers, n_speakers)
    top = torch.argsort(counts.flatten(), descending=True, stable=True)[:most].tolist()
    pairs = [divmod(place, len(speakers)) for place in top]
    return [(speakers[true], speakers[guess], int(counts[true, guess])) for true, guess in pairs if counts[true, guess]]


def _apply(model: Model, batch: Batch, device: torch.device) -> torch.Tensor:
    """The outputs for a batch, (batch, d) on the device."""
    lengths = lengths_of_padded(batch.mels, batch.lengths)
    return model(batch.mels.to(device), None if lengths is None else lengths.to(device))
