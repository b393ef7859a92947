"""Speaker verification: is it one speaker in both utterances?  It works for speakers that were not in the training data, too.

Each pair is scored by the cosine between its two vectors and accepted from some threshold on.  A higher threshold misses more
pairs of one speaker, a lower one accepts more pairs of two; the equal error rate and the detection cost weigh both.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch

from ..data.corpus import Corpus
from ..training.run import Run
from ..utils.errors import SpeakerError
from .embeddings import embed, needing_sklearn, unit_vectors, unseen_indices
from .trials import Trials

P_TARGETS = (0.01, 0.05)  # prior probability of a target trial, for the detection cost


@dataclass(frozen=True)
class ErrorRates:
    """Both errors at every threshold that makes a difference, from the strictest down."""

    thresholds: np.ndarray  # (points,) a pair is accepted if it scores at least this; the first accepts none
    false_accepts: np.ndarray  # (points,) fraction of the pairs of two speakers, rising from 0 to 1
    false_rejects: np.ndarray  # (points,) fraction of the pairs of one speaker, falling from 1 to 0


@dataclass(frozen=True)
class Verification:
    """What ``verify --json`` prints."""

    eer: float  # equal error rate, 0 to 1
    threshold: float  # the cosine at which both errors are that
    min_dcf: dict[str, float]  # normalised minimal detection cost, by the prior probability of a target
    n_targets: int
    n_nontargets: int
    n_utterances: int
    n_heard: int  # of the utterances, those in the training data: they say nothing about new speakers
    n_speakers: int
    rule: str  # how the pairs were chosen
    trained_on: str
    verified_on: str

    def to_dict(self) -> dict[str, object]:
        """Plain nested dictionaries, ready for JSON."""
        return asdict(self)


def verify(run: Run, corpus: Corpus, trials: Trials, device: torch.device) -> tuple[Verification, np.ndarray]:
    """How well the run tells pairs of one speaker from pairs of two; also returns the cosine of each pair, (trials,).

    The corpus may hold other speakers than the run's.  Raises RunError if it has other mel bands, SpeakerError without
    scikit-learn.
    """
    with needing_sklearn("verification"):
        import sklearn.metrics  # noqa: F401, to say so before the work
    used, where = np.unique(np.stack([trials.first, trials.second]), return_inverse=True)
    found = embed(run, corpus, torch.from_numpy(used), device)
    scores = cosine_scores(found.vectors, *where.reshape(2, -1))  # (trials,)
    rates = error_rates(scores, trials.same)
    eer, threshold = equal_error_rate(rates)
    result = Verification(
        eer=eer,
        threshold=threshold,
        min_dcf={str(p): min_detection_cost(rates, p) for p in P_TARGETS},
        n_targets=int(trials.same.sum()),
        n_nontargets=int((~trials.same).sum()),
        n_utterances=len(used),
        n_heard=len(np.setdiff1d(used, unseen_indices(run, corpus).numpy())),
        n_speakers=len(set(found.speakers)),
        rule=trials.rule,
        trained_on=run.data.source,
        verified_on=corpus.source,
    )
    return result, scores


def cosine_scores(vectors: np.ndarray, first: np.ndarray, second: np.ndarray, chunk: int = 65_536) -> np.ndarray:
    """The cosine between ``vectors[first]`` and ``vectors[second]``, (pairs,) float64, of raw vectors (n, d)."""
    units = unit_vectors(vectors)  # (n, d)
    parts = [slice(start, start + chunk) for start in range(0, len(first), chunk)]  # all pairs at once take much memory
    return np.concatenate([np.einsum("pd,pd->p", units[first[part]], units[second[part]]) for part in parts])  # (pairs,)


def error_rates(scores: np.ndarray, same: np.ndarray) -> ErrorRates:
    """Both errors of scores (pairs,), where ``same`` (pairs,) bool says which pairs are of one speaker.

    Raises SpeakerError if the pairs are all of one kind, if a score is not a number, or without scikit-learn.
    """
    with needing_sklearn("verification"):
        from sklearn.metrics import roc_curve
    if same.all() or not same.any():
        raise SpeakerError("all pairs are of one kind: error rates need pairs of one speaker and pairs of two.")
    if not np.isfinite(scores).all():
        raise SpeakerError("some scores are not numbers (NaN or infinity): look at the vectors that they were made of.")
    false_accepts, accepted, thresholds = roc_curve(same, scores, drop_intermediate=False)  # (points,) each
    return ErrorRates(thresholds, false_accepts, 1.0 - accepted)


def equal_error_rate(rates: ErrorRates) -> tuple[float, float]:
    """The rate at which both errors are equal, and the threshold where they are.

    Read between the two neighbouring thresholds, along the straight line from one to the other, as if scores between them were
    spread evenly.
    """
    gaps = rates.false_rejects - rates.false_accepts  # (points,) falling from 1 to -1
    i = int(np.argmax(gaps <= 0))  # the first point behind the crossing; never the very first point
    fraction = gaps[i - 1] / (gaps[i - 1] - gaps[i])
    eer = _between(rates.false_accepts, i, fraction)
    # The first threshold accepts nothing and stands for infinity: between it and the next there is no line.
    threshold = rates.thresholds[1] if i == 1 else _between(rates.thresholds, i, fraction)
    return float(eer), float(threshold)


def min_detection_cost(rates: ErrorRates, p_target: float) -> float:
    """The least cost that a threshold can have, if a miss and a false acceptance cost 1 each; 1 is that of ignoring the scores.

    The detection cost of NIST's speaker recognition evaluations (2010 evaluation plan, section 3), divided as there by what
    always accepting or always rejecting costs, whichever is less.  The threshold is chosen on the very pairs that are evaluated.
    """
    costs = p_target * rates.false_rejects + (1.0 - p_target) * rates.false_accepts  # (points,)
    return float(costs.min() / min(p_target, 1.0 - p_target))


def _between(values: np.ndarray, i: int, fraction: float) -> float:
    return values[i - 1] + fraction * (values[i] - values[i - 1])
