"""Figures of embeddings: scores of pairs, a DET curve, and a t-SNE map."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from ..evaluation.embeddings import Embeddings, flatten_vectors
from ..evaluation.verification import Verification, error_rates
from .style import BLACK, COLOURS, GREEN, GREY, MARKERS, Axes, Figure, describe, finish, label_names, new_figure

_TICKS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99, 0.999)  # error rates
_MOST_PER_SPEAKER = 100  # points: with more, t-SNE is slow and they cover each other


def verification_figure(result: Verification, scores: np.ndarray, same: np.ndarray) -> Figure:
    """Histograms of the scores (pairs,), where ``same`` (pairs,) marks the pairs of one speaker, and the DET curve."""
    figure = new_figure(4.0, f"trained on {result.trained_on}; verified on {result.verified_on}")
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
    _scores(left, result, scores, same)
    _trade_off(right, result, scores, same)
    text = f"{same.sum():,} pairs of one speaker, {(~same).sum():,} of two; equal error rate {result.eer:.1%}"
    return describe(figure, f"Histograms of the cosine of two embeddings, and the DET curve of both errors. {text}.")


def map_figure(embeddings: Embeddings, most: int = 12) -> Figure:
    """A t-SNE map of the ``most`` speakers with most utterances, with a colour and a marker per speaker.

    Where the data name recordings, those of a speaker differ in how they are filled.  In a test set, which names no speakers,
    all points look alike.  Raises SpeakerError without scikit-learn.
    """
    by_speaker = Counter(embeddings.speakers)
    shown = sorted(sorted(by_speaker, key=lambda name: (-by_speaker[name], name))[:most])
    of = np.array(embeddings.speakers)
    rows = [np.flatnonzero(of == name)[:_MOST_PER_SPEAKER] for name in shown]
    places = flatten_vectors(embeddings.vectors[np.concatenate(rows)])  # (points, 2)
    figure = new_figure(5.2, f"trained on {embeddings.trained_on}; map of {embeddings.source}")
    axes = figure.subplots()
    groups = zip(label_names(shown), rows, np.split(places, np.cumsum([len(r) for r in rows])[:-1]), strict=True)
    for i, (name, chosen, part) in enumerate(groups):
        turn, colour = divmod(i, len(COLOURS))  # where a colour comes again, its marker differs
        style = {"edgecolors": COLOURS[colour], "marker": MARKERS[(colour + 3 * turn) % len(MARKERS)]}
        points = axes.scatter(*part.T, s=46, linewidths=1.2, c=_fills(embeddings, chosen, COLOURS[colour]), **style)
        if name:
            points.set_label(name)
    of_all = f"{len(shown)} of {len(by_speaker)}" if len(shown) < len(by_speaker) else f"{len(shown)}"
    title = f"{len(places):,} utterances of {of_all} speakers" if any(shown) else f"{len(places):,} utterances of a test set"
    recordings = "; filled alike: one recording" * bool(embeddings.sessions)
    finish(axes, f"t-SNE map of the embeddings: {title}{recordings}", "", "", legend=False)
    axes.set_xticks([])  # the axes of a t-SNE map have no unit
    axes.set_yticks([])
    if any(shown):
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    return describe(
        figure, f"A t-SNE map of the embeddings of {title}; utterances that sound alike to the model are close together."
    )


def _fills(embeddings: Embeddings, chosen: np.ndarray, colour: str) -> list[tuple[float, ...]]:
    """The fill of each point: the colour for a speaker's first recording, paler for the next ones, white for the last."""
    if not embeddings.sessions:
        return [_pale(colour, 0.0)] * len(chosen)
    recordings = list(dict.fromkeys(embeddings.sessions[i] for i in chosen))
    return [_pale(colour, recordings.index(embeddings.sessions[i]) / max(len(recordings) - 1, 1)) for i in chosen]


def _pale(colour: str, white: float) -> tuple[float, ...]:
    return tuple(white + (1 - white) * int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def _scores(axes: Axes, result: Verification, scores: np.ndarray, same: np.ndarray) -> None:
    bins = np.linspace(scores.min(), max(scores.max(), scores.min() + 1e-6), 51)
    kinds = ((~same, "different speakers", GREY, ""), (same, "same speaker", GREEN, "//"))
    for kind, label, colour, hatch in kinds:
        style = {"color": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0.3, "alpha": 0.65}
        weights = np.full(kind.sum(), 100 / kind.sum())
        axes.hist(scores[kind], bins, weights=weights, label=f"{label}: {kind.sum():,} pairs", **style)
    label = f"equal error rate {result.eer:.1%} at {result.threshold:.3f}"
    axes.axvline(result.threshold, color=BLACK, linestyle="--", linewidth=1.5, label=label)
    finish(axes, "Similarity of two utterances", "cosine between their embeddings", "pairs of that kind (%)")


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
        set_ticks(_probit(np.array(shown)), [f"{100 * tick:g}" for tick in shown], fontsize=8)
        set_limits(*limits)
    title = "DET curve: one point per threshold"
    finish(axes, title, "different speakers, accepted (%)", "same speaker, rejected (%)")
    axes.set_aspect("equal")


def _probit(probabilities: np.ndarray) -> np.ndarray:
    """Quantiles of the standard normal distribution at probabilities (n,)."""
    return torch.special.ndtri(torch.as_tensor(probabilities, dtype=torch.float64)).numpy()
