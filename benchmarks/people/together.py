"""A network and LDA together: they make different mistakes, so their weighted mean makes fewer."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch

from speaker_lib import Corpus, Preset, Run, SpeakerDataset, train
from speaker_lib.evaluation.identification import full_outputs, heldout_indices
from speaker_lib.experiments.classical import STATISTICS, fit_lda, whole_statistics
from speaker_lib.training.run import fit_to_data
from speaker_lib.utils.device import get_device
from speaker_lib.utils.progress import quietly

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)  # of LDA's log-probabilities, beside 1 for the network's
FLOOR = -60.0  # LDA is sure of itself: a log-probability far below this would outvote the network


def network_and_lda(preset: Preset, corpus: Corpus) -> dict[str, float]:
    """Accuracies on the held-out whole utterances: of the network, of LDA, and of both together."""
    device = get_device()
    with tempfile.TemporaryDirectory() as scratch, quietly():
        run = Run.create(Path(scratch) / "run", fit_to_data(preset, corpus), corpus)
        began = time.process_time()
        train(run, corpus)
        lda = fit_lda(corpus, preset.train)
        seconds = time.process_time() - began
        utterances, dataset = heldout_indices(run, corpus), SpeakerDataset(corpus.labelled)
        network = full_outputs(run.load_model(device), dataset, utterances, device).log_softmax(dim=1)  # (n, n_speakers)
    rows = whole_statistics(corpus.labelled, utterances, STATISTICS[-1])  # (n, d)
    classical = torch.from_numpy(lda.predict_log_proba(rows)).float().clamp(min=FLOOR)  # (n, n_speakers)
    labels = dataset.labels[utterances]
    alone = {name: accuracy(scores, labels) for name, scores in (("network", network), ("lda", classical))}
    return {**alone, "full": together(network, classical, labels), "cpu_seconds": seconds}


def together(network: torch.Tensor, classical: torch.Tensor, labels: torch.Tensor) -> float:
    """Accuracy of the weighted sum of log-probabilities, (n, n_speakers) each, against labels (n,).

    The weight for one half of the utterances is chosen on the other half.
    """
    odd, right = torch.arange(len(labels)) % 2 == 1, torch.zeros(len(labels), dtype=torch.bool)
    for here in (odd, ~odd):
        scores = {weight: network + weight * classical for weight in WEIGHTS}  # each (n, n_speakers)
        best = max(WEIGHTS, key=lambda weight: accuracy(scores[weight][~here], labels[~here]))
        right[here] = (scores[best].argmax(dim=1) == labels)[here]
    return float(right.float().mean())


def accuracy(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """The fraction of scores (n, n_speakers) that are highest at their label (n,)."""
    return float((scores.argmax(dim=1) == labels).float().mean())
