"""The utterances that a model gave to another speaker.  In: logits and labels of `evaluate`.  Out: a `Mistake` for each."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..utils.errors import ConfigError

TOP = 5  # speakers of a mistake that are listed


@dataclass(frozen=True)
class Mistake:
    """An utterance, its true speaker, and the likeliest speakers for the model; speakers are class ids."""

    utterance: int  # its index in ``corpus.labelled``
    true: int
    rank: int  # of the true speaker among all, from 2
    true_probability: float
    top: tuple[tuple[int, float], ...]  # the five likeliest speakers and their probabilities, likeliest first

    @property
    def named(self) -> int:
        """The speaker whom the model named."""
        return self.top[0][0]

    @property
    def probability(self) -> float:
        """That of the speaker named."""
        return self.top[0][1]


def find_mistakes(logits: torch.Tensor, labels: torch.Tensor, utterances: torch.Tensor) -> list[Mistake]:
    """The mistakes in logits (n, n_speakers) against labels (n,), most confident first.

    ``utterances`` (n,) are the indices of the rows, from `heldout_indices`.  Raises ConfigError if there are not as many.
    """
    if len(logits) != len(utterances):
        problem = f"logits has {len(logits):,} rows for {len(utterances):,} utterances"
        raise ConfigError(f"{problem}: give the logits that `evaluate` returned for this run and these data.")
    probabilities = logits.softmax(dim=1)  # (n, n_speakers)
    ranked = probabilities.argsort(dim=1, descending=True, stable=True)  # (n, n_speakers)
    wrong = torch.nonzero(ranked[:, 0] != labels).flatten()  # (mistakes,)
    confident = wrong[probabilities[wrong].amax(dim=1).argsort(descending=True, stable=True)]  # (mistakes,)
    return [
        Mistake(
            utterance=int(utterances[row]),
            true=int(labels[row]),
            rank=1 + int((ranked[row] == labels[row]).nonzero()),
            true_probability=float(probabilities[row, labels[row]]),
            top=tuple((speaker, float(probabilities[row, speaker])) for speaker in ranked[row, :TOP].tolist()),
        )
        for row in confident.tolist()
    ]
