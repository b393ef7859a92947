"""Networks and LDA together: they make different mistakes, so the weighted mean of what they say makes fewer."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from speaker_lib import Corpus, Preset, SpeakerDataset
from speaker_lib.data.splits import split_utterances
from speaker_lib.evaluation.identification import full_outputs
from speaker_lib.experiments.classical import STATISTICS, fit_lda, whole_statistics
from speaker_lib.utils.device import get_device

from .runs import trained_run

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)  # of LDA's log-probabilities, beside 1 for the network's
FLOOR = -60.0  # LDA is sure of itself: a log-probability far below this would outvote the network
FURTHER_SEED = 1_000  # the second network's seed is so much higher


def networks_and_lda(preset: Preset, corpus: Corpus) -> dict[str, float]:
    """Accuracies on the held-out whole utterances, and CPU seconds of training: a network, a second one, LDA; then together.

    Both networks hold out the same utterances, because these depend on ``split_seed`` alone.
    """
    device, dataset = get_device(), SpeakerDataset(corpus.labelled)
    utterances = split_utterances(corpus.labelled, preset.train)[1]  # (n,)
    labels = dataset.labels[utterances]  # (n,)
    began = time.process_time()
    lda = fit_lda(corpus, preset.train)
    lda_seconds = time.process_time() - began
    networks, seconds = [], []
    for seed in (preset.train.seed, preset.train.seed + FURTHER_SEED):
        with trained_run(Preset(preset.model, replace(preset.train, seed=seed)), corpus) as (run, took):
            scores = full_outputs(run.load_model(device), dataset, utterances, device)  # (n, n_speakers)
        networks.append(scores.log_softmax(dim=1))  # (n, n_speakers)
        seconds.append(took)
    rows = whole_statistics(corpus.labelled, utterances, STATISTICS[-1])  # (n, d)
    classical = torch.from_numpy(lda.predict_log_proba(rows)).float().clamp(min=FLOOR)  # (n, n_speakers)
    both = torch.stack(networks).mean(dim=0)  # (n, n_speakers)
    return {
        "lda": accuracy(classical, labels),
        "lda_seconds": lda_seconds,
        "network": accuracy(networks[0], labels),
        "network_seconds": seconds[0],
        "network_and_lda": together(networks[0], classical, labels),
        "two_networks": accuracy(both, labels),
        "two_networks_seconds": sum(seconds),
        "two_networks_and_lda": together(both, classical, labels),
    }


def together(network: Tensor, classical: Tensor, labels: Tensor) -> float:
    """Accuracy of the weighted sum of log-probabilities, (n, n_speakers) each, against labels (n,).

    The weight for one half of the utterances is chosen on the other half.
    """
    odd, right = torch.arange(len(labels)) % 2 == 1, torch.zeros(len(labels), dtype=torch.bool)
    for here in (odd, ~odd):
        scores = {weight: network + weight * classical for weight in WEIGHTS}  # each (n, n_speakers)
        best = max(WEIGHTS, key=lambda weight: accuracy(scores[weight][~here], labels[~here]))
        right[here] = (scores[best].argmax(dim=1) == labels)[here]
    return float(right.float().mean())


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """The fraction of scores (n, n_speakers) that are highest at their label (n,)."""
    return float((scores.argmax(dim=1) == labels).float().mean())
