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

    Only ``config.split_seed`` decides, so that runs of several seeds hold out the same utterances.  ``random`` is the
    sample code's split bit for bit: ``torch.manual_seed(split_seed)``, then ``random_split(dataset, [0.9 n, rest])``.
    ``session`` holds out whole recordings: about ``valid_fraction`` of each speaker's, and at least one of two or more.
    Raises CorpusError if one side would be empty.
    """
    if config.split == "session":
        held_out = _held_out_sessions(utterances, config)
        training, validation = torch.nonzero(~held_out)[:, 0], torch.nonzero(held_out)[:, 0]  # (n,) each
    else:
        n_train = int((1 - config.valid_fraction) * len(utterances))
        order = torch.randperm(len(utterances), generator=torch.Generator().manual_seed(config.split_seed))  # (utterances,)
        training, validation = order[:n_train], order[n_train:]  # (n,) each
    if not len(training) or not len(validation):
        setting = f"train.valid_fraction = {config.valid_fraction}"
        raise CorpusError(f"{len(utterances)} utterances cannot be split with {setting}: take more, or change that setting.")
    return training, validation


def can_hold_out_sessions(utterances: Utterances) -> bool:
    """Whether a speaker has at least two sessions, so that one can be held out."""
    return any(len(names) > 1 for names in _sessions_by_speaker(utterances).values())


def _held_out_sessions(utterances: Utterances, config: TrainConfig) -> torch.Tensor:
    """(utterances,) bool, true in held-out sessions."""
    if not can_hold_out_sessions(utterances):
        files = "prepare them with --session-from file if each file was recorded on its own occasion"
        problem = "no speaker in these data has two named sessions, one to hold out"
        raise CorpusError(f"{problem}: train with train.split=random, or {files}.")
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
    """The names of each speaker's sessions, in the order of the corpus; none if its index names none."""
    sessions: dict[int, list[str]] = {}
    for label, session in dict.fromkeys(zip(utterances.labels.tolist(), utterances.sessions or (), strict=False)):
        sessions.setdefault(label, []).append(session)
    return sessions
