"""Speaker verification: do two utterances come from the same speaker?  The speakers need not be in the training data.

A pair is scored by the cosine between its two embeddings, and accepted if the score reaches a threshold.  A higher threshold
rejects more pairs of one speaker, a lower one accepts more pairs of two: the equal error rate and the detection cost weigh both.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ..data.corpus import Corpus
from ..training.run import Run
from ..utils.errors import SpeakerError
from ..utils.optional import optional
from .embeddings import embed, unit_vectors, unseen_indices
from .trials import Trials

P_TARGETS = (0.01, 0.05)  # prior probability of a target trial, for the detection cost


@dataclass(frozen=True)
class ErrorRates:
    """Both error rates at each threshold, from the highest threshold down."""

    thresholds: np.ndarray  # (points,) a pair is accepted if it scores at least this; the first is infinite and accepts none
    false_accepts: np.ndarray  # (points,) fraction of the pairs of two speakers, rising from 0 to 1
    false_rejects: np.ndarray  # (points,) fraction of the pairs of one speaker, falling from 1 to 0


@dataclass(frozen=True)
class Verification:
    """The JSON of ``verify``."""

    eer: float  # equal error rate, 0 to 1
    threshold: float  # the cosine at which both error rates are equal
    min_dcf: dict[str, float]  # normalised minimal detection cost, by the prior probability of a target
    n_targets: int
    n_nontargets: int
    n_utterances: int
    n_heard: int  # utterances in the training data, which say nothing about new speakers
    n_speakers: int
    rule: str  # how the pairs were chosen
    trained_on: str
    verified_on: str


def verify(run: Run, corpus: Corpus, trials: Trials, device: torch.device) -> tuple[Verification, np.ndarray]:
    """Evaluates a run on pairs of utterances; also returns the cosine of each pair, (trials,).

    The speakers may differ from the run's.  Raises RunError if the corpus has other mel bands than the run, SpeakerError without
    scikit-learn.
    """
    optional("sklearn.metrics", "verification")  # an error comes before the work
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
    parts = [slice(start, start + chunk) for start in range(0, len(first), chunk)]  # less memory than all at once
    return np.concatenate([np.einsum("pd,pd->p", units[first[part]], units[second[part]]) for part in parts])  # (pairs,)


def error_rates(scores: np.ndarray, same: np.ndarray) -> ErrorRates:
    """Both error rates of scores (pairs,), where ``same`` (pairs,) marks the pairs of one speaker.

    Raises SpeakerError if the pairs are all of one kind, if a score is not finite, or without scikit-learn.
    """
    roc_curve = optional("sklearn.metrics", "verification").roc_curve
    if same.all() or not same.any():
        raise SpeakerError("all pairs are of one kind: error rates need pairs of one speaker and pairs of two.")
    if not np.isfinite(scores).all():
        raise SpeakerError("some scores are not numbers (NaN or infinity): check the embeddings that they come from.")
    false_accepts, accepted, thresholds = roc_curve(same, scores, drop_intermediate=False)  # (points,) each
    return ErrorRates(thresholds, false_accepts, 1.0 - accepted)


def equal_error_rate(rates: ErrorRates) -> tuple[float, float]:
    """The equal error rate, and the threshold where both errors have that rate.

    It is interpolated on the straight line between the two thresholds around the crossing.
    """
    gaps = rates.false_accepts - rates.false_rejects  # (points,) rising from -1 to 1
    finite = rates.thresholds.clip(max=rates.thresholds[1])  # (points,)
    return float(np.interp(0.0, gaps, rates.false_accepts)), float(np.interp(0.0, gaps, finite))


def min_detection_cost(rates: ErrorRates, p_target: float) -> float:
    """The lowest detection cost over all thresholds, if both errors cost 1; 1.0 is the cost of ignoring the scores.

    ``p_target`` is the prior probability of a target trial.  The cost is that of NIST's speaker recognition evaluations (2010
    evaluation plan, section 3), normalised as there by the cost of always accepting or always rejecting, whichever is lower.
    It is optimistic, because the threshold is chosen on the evaluated pairs.
    """
    costs = p_target * rates.false_rejects + (1.0 - p_target) * rates.false_accepts  # (points,)
    return float(costs.min() / min(p_target, 1.0 - p_target))
