"""Splits utterances into those to train on and those held out for validation.

In: `Utterances` and a `TrainConfig`.  Out: indices of the utterances, (n,) each.
"""

from __future__ import annotations

import torch

from ..config.schema import TrainConfig
from ..utils.errors import CorpusError
from .corpus import Utterances


def split_utterances(utterances: Utterances, config: TrainConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the utterances to train on and of those held out, each (n,) int64.

    ``config.split_seed`` alone decides which, so that runs of several seeds hold out the same utterances.  ``random`` is
    the sample code's split, ``torch.manual_seed(split_seed)`` and ``random_split(dataset, [0.9 n, rest])``, bit for bit.
    ``session`` holds out whole recordings: of each speaker with several, about ``valid_fraction`` of them and at least one.
    Raises CorpusError if one side would be empty.
    """
    if config.split == "session":
        held_out = _held_out_sessions(utterances, config)
        training, validation = torch.nonzero(~held_out)[:, 0], torch.nonzero(held_out)[:, 0]  # (n,) each
    else:
        n_train = int((1 - config.valid_fraction) * len(utterances))
        order = torch.randperm(len(utterances), generator=torch.Generator().manual_seed(config.split_seed))
        training, validation = order[:n_train], order[n_train:]  # (n,) each
    if not len(training) or not len(validation):
        raise CorpusError(
            f"{len(utterances)} utterances cannot be split with train.valid_fraction = {config.valid_fraction}: "
            "bring more utterances or change that setting."
        )
    return training, validation


def can_hold_out_sessions(utterances: Utterances) -> bool:
    """Whether some speaker has two recordings, one of them to hold out."""
    return utterances.sessions is not None and any(len(names) > 1 for names in _sessions_by_speaker(utterances).values())


def _held_out_sessions(utterances: Utterances, config: TrainConfig) -> torch.Tensor:
    """(utterances,) bool, true for those of a held-out session."""
    if utterances.sessions is None:
        raise CorpusError("these data do not say which recording an utterance is from: train with train.split=random.")
    if not can_hold_out_sessions(utterances):
        raise CorpusError("no speaker in these data has two recordings, one to hold out: train with train.split=random.")
    generator = torch.Generator().manual_seed(config.split_seed)
    held_out: set[tuple[int, str]] = set()
    for label, names in _sessions_by_speaker(utterances).items():
        if len(names) > 1:
            count = min(len(names) - 1, max(1, round(config.valid_fraction * len(names))))
            chosen = torch.randperm(len(names), generator=generator)[:count].tolist()
            held_out.update((label, names[i]) for i in chosen)
    keys = zip(utterances.labels.tolist(), utterances.sessions, strict=True)
    return torch.tensor([key in held_out for key in keys])  # (utterances,)


def _sessions_by_speaker(utterances: Utterances) -> dict[int, list[str]]:
    """The names of each speaker's sessions, in the order of the corpus."""
    sessions: dict[int, list[str]] = {}
    for label, session in dict.fromkeys(zip(utterances.labels.tolist(), utterances.sessions, strict=True)):
        sessions.setdefault(label, []).append(session)
    return sessions
