"""Figures of embeddings: scores of pairs, a DET curve, and a t-SNE map."""

from collections import Counter

import numpy as np
import torch

from ..evaluation.embeddings import Embeddings, flatten_vectors
from ..evaluation.verification import Verification, error_rates
from .style import COLOURS, GREY, MARKERS, Axes, Figure, finish, label_names, plain

_TICKS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99, 0.999)  # error rates
_MOST_PER_SPEAKER = 100  # points: with more, t-SNE is slow and they cover each other


def verification_figure(result: Verification, scores: np.ndarray, same: np.ndarray) -> Figure:
    """Histograms of the scores (pairs,), where ``same`` (pairs,) marks the pairs of one speaker, and the DET curve."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    _scores(left, result, scores, same)
    _trade_off(right, result, scores, same)
    figure.suptitle(plain(f"trained on {result.trained_on}\nverified on {result.verified_on}"), fontsize=9)
    return figure


def map_figure(embeddings: Embeddings, most: int = 12) -> Figure:
    """A t-SNE map of the ``most`` speakers with most utterances, with a colour and a marker per speaker.

    In a test set, which names no speakers, all points look alike.  Raises SpeakerError without scikit-learn.
    """
    by_speaker = Counter(embeddings.speakers)
    shown = sorted(sorted(by_speaker, key=lambda name: (-by_speaker[name], name))[:most])
    of = np.array(embeddings.speakers)
    rows = [np.flatnonzero(of == name)[:_MOST_PER_SPEAKER] for name in shown]
    places = flatten_vectors(embeddings.vectors[np.concatenate(rows)])  # (points, 2)
    figure = Figure(figsize=(8.4, 5.6), layout="constrained")
    axes = figure.subplots()
    parts = np.split(places, np.cumsum([len(r) for r in rows])[:-1])
    for i, (label, part) in enumerate(zip(label_names(shown), parts, strict=True)):
        turn, colour = divmod(i, len(COLOURS))  # where a colour comes again, its marker differs
        style = {"color": COLOURS[colour], "marker": MARKERS[(colour + 3 * turn) % len(MARKERS)]}
        axes.scatter(*part.T, s=26, alpha=0.85, linewidths=0.4, edgecolors="white", label=label or "not known", **style)
    of_all = f"{len(shown)} of {len(by_speaker)}" if len(shown) < len(by_speaker) else f"{len(shown)}"
    title = f"{len(places):,} utterances of {of_all} speakers" if any(shown) else f"{len(places):,} utterances of a test set"
    finish(axes, f"Map of embeddings: {title}", "", "", legend=False)
    figure.suptitle(plain(f"trained on {embeddings.trained_on}\nmap of {embeddings.source}"), fontsize=9)
    axes.set_xticks([])  # the axes of a t-SNE map have no unit
    axes.set_yticks([])
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def _scores(axes: Axes, result: Verification, scores: np.ndarray, same: np.ndarray) -> None:
    bins = np.linspace(scores.min(), max(scores.max(), scores.min() + 1e-6), 51)
    for i, (kind, label) in enumerate(((~same, "two speakers"), (same, "one speaker"))):
        style = {"color": COLOURS[1 - i], "hatch": ("", "//")[i], "edgecolor": "white", "linewidth": 0.3, "alpha": 0.65}
        weights = np.full(kind.sum(), 1 / kind.sum())
        axes.hist(scores[kind], bins, weights=weights, label=f"{label}: {kind.sum():,} pairs", **style)
    label = f"equal error rate {result.eer:.1%} at {result.threshold:.3f}"
    axes.axvline(result.threshold, color="black", linestyle="--", linewidth=1.5, label=label)
    finish(axes, "Similarity of two utterances", "cosine between their embeddings", "fraction of the pairs")


def _trade_off(axes: Axes, result: Verification, scores: np.ndarray, same: np.ndarray) -> None:
    """A DET curve (Martin et al. 1997): both error rates on probit axes, where Gaussian scores give a straight line."""
    rates = error_rates(scores, same)
    finest = 0.5 / max(same.sum(), (~same).sum())  # half a pair stands for 0, which a probit axis does not have
    x, y = (_probit(np.clip(rate, finest, 1 - finest)) for rate in (rates.false_accepts, rates.false_rejects))
    axes.plot(x, y, color=COLOURS[0])
    at = float(_probit(np.clip(result.eer, finest, 1 - finest)))
    axes.plot(at, at, color=COLOURS[1], marker="o", markersize=8, linestyle="", label=f"equal error rate {result.eer:.1%}")
    shown = [tick for tick in _TICKS if finest <= tick <= 0.6]
    limits = _probit(np.array([finest, 0.7]))
    axes.plot(limits, limits, color=GREY, linestyle=":", label="both errors equal")
    for set_ticks, set_limits in ((axes.set_xticks, axes.set_xlim), (axes.set_yticks, axes.set_ylim)):
        set_ticks(_probit(np.array(shown)), [f"{tick:.1%}".replace(".0%", "%") for tick in shown], fontsize=8)
        set_limits(*limits)
    finish(axes, "DET curve: the errors by threshold", "pairs of two speakers accepted", "pairs of one speaker rejected")
    axes.set_aspect("equal")


def _probit(probabilities: np.ndarray) -> np.ndarray:
    """Quantiles of the standard normal distribution at probabilities (n,)."""
    return torch.special.ndtri(torch.as_tensor(probabilities, dtype=torch.float64)).numpy()
