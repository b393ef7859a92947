"""From packed utterances to batches: the assignment's ``myDataset`` and ``get_dataloader``.

What a training step sees depends on the seed and on the number of the step, on nothing else.  So a run that is continued
at step 35,000 sees what it would have seen without the interruption, and no random state has to be kept for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from .config import TrainConfig
from .corpus import Corpus, Utterances
from .errors import CorpusError

PADDING = -20.0  # what stands beyond the end of an utterance, about the lowest value a feature takes
_SHUFFLE, _TRAIN_CROPS, _VALID_CROPS, _SINGLE = range(4)  # what a random stream is for


class Batch(NamedTuple):
    """What a model is fed and judged by."""

    mels: torch.Tensor  # (batch, frames, n_mels) float32, padded with -20
    lengths: torch.Tensor  # (batch,) int64, the frames that are not padding
    labels: torch.Tensor  # (batch,) int64, class ids


class Crops(NamedTuple):
    """Where to cut: a position of 0 is the first segment of its utterance, one just under 1 the last."""

    utterances: torch.Tensor  # (batch,) int64
    positions: torch.Tensor  # (batch,) float64 in [0, 1)


class SpeakerDataset(Dataset):
    """Segments of labelled utterances.

    ``dataset[i]`` cuts a segment of utterance ``i`` at random, anew each time: ``mel`` (segment_len, n_mels) float32, its
    length in frames, its class id.  A `DataLoader` asks for whole batches instead, cut in one indexing operation.
    """

    def __init__(self, utterances: Utterances, segment_len: int = 128, seed: int = 0) -> None:
        self.segment_len = segment_len
        self.frames = torch.from_numpy(utterances.frames)  # (total frames, n_mels) float16, still on disk
        self.offsets = torch.from_numpy(utterances.offsets[:-1])  # (utterances,)
        self.lengths = torch.from_numpy(utterances.lengths)  # (utterances,)
        self.labels = torch.from_numpy(utterances.labels)  # (utterances,)
        self._generator = random_stream(seed, _SINGLE)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int, int]:
        if not 0 <= i < len(self):
            raise IndexError(f"utterance {i} of {len(self)}")
        position = torch.rand(1, generator=self._generator, dtype=torch.float64)
        mels, lengths, labels = self.__getitems__(Crops(torch.tensor([i]), position))
        return mels[0], int(lengths[0]), int(labels[0])

    def __getitems__(self, crops: Crops) -> Batch:
        """A segment of each utterance at its position: mels (batch, segment_len, n_mels)."""
        utterances, positions = crops
        spare = self.lengths[utterances] - self.segment_len  # (batch,) frames that a segment leaves over, or lacks
        starts = self.offsets[utterances] + (positions * (spare.clamp(min=0) + 1)).long()
        lengths = self.lengths[utterances].clamp(max=self.segment_len)
        return Batch(self._cut(starts, lengths, self.segment_len), lengths, self.labels[utterances])

    def whole(self, utterances: torch.Tensor) -> Batch:
        """Whole utterances, padded to the longest of them: mels (batch, longest, n_mels)."""
        lengths = self.lengths[utterances]
        return Batch(self._cut(self.offsets[utterances], lengths, int(lengths.max())), lengths, self.labels[utterances])

    def _cut(self, starts: torch.Tensor, lengths: torch.Tensor, width: int) -> torch.Tensor:
        n_mels = self.frames.shape[1]
        if bool((lengths == width).all()):  # the common case, with each segment one stretch of memory
            windows = self.frames.view(-1).unfold(0, width * n_mels, n_mels)  # (total frames - width + 1, width * n_mels)
            return windows.index_select(0, starts).float().view(-1, width, n_mels)  # (batch, width, n_mels)
        steps = torch.arange(width, device=starts.device)
        rows = (starts[:, None] + steps).clamp_(max=len(self.frames) - 1)  # (batch, width)
        mels = self.frames.index_select(0, rows.flatten()).float().view(-1, width, n_mels)  # (batch, width, n_mels)
        return mels.masked_fill_((steps >= lengths[:, None])[:, :, None], PADDING)


class TrainSampler(Sampler[Crops]):
    """The batches of steps ``first_step`` to ``total_steps``: every epoch a new order, every crop a new position."""

    def __init__(self, utterances: torch.Tensor, config: TrainConfig, first_step: int = 0) -> None:
        self.utterances, self.config, self.first_step = utterances, config, first_step
        self.batch_size = min(config.batch_size, len(utterances))

    def __len__(self) -> int:
        return self.config.total_steps - self.first_step

    def __iter__(self) -> Iterator[Crops]:
        seed, size = self.config.seed, self.batch_size
        steps_per_epoch = len(self.utterances) // size  # the few left over have their turn in another epoch's order
        order, order_of = None, -1
        for step in range(self.first_step, self.config.total_steps):
            epoch, i = divmod(step, steps_per_epoch)
            if epoch != order_of:
                order, order_of = torch.randperm(len(self.utterances), generator=random_stream(seed, _SHUFFLE, epoch)), epoch
            positions = torch.rand(size, generator=random_stream(seed, _TRAIN_CROPS, step), dtype=torch.float64)
            yield Crops(self.utterances[order[i * size : (i + 1) * size]], positions)


class ValidSampler(Sampler[Crops]):
    """Every utterance once, none dropped, cut where the seed says: the same segments at every validation."""

    def __init__(self, utterances: torch.Tensor, batch_size: int, seed: int) -> None:
        self.utterances, self.batch_size = utterances, batch_size
        self.positions = torch.rand(len(utterances), generator=random_stream(seed, _VALID_CROPS), dtype=torch.float64)

    def __len__(self) -> int:
        return -(-len(self.utterances) // self.batch_size)

    def __iter__(self) -> Iterator[Crops]:
        batches = zip(self.utterances.split(self.batch_size), self.positions.split(self.batch_size), strict=True)
        return (Crops(utterances, positions) for utterances, positions in batches)


def get_dataloader(corpus: Corpus, config: TrainConfig, first_step: int = 0) -> tuple[DataLoader, DataLoader, int]:
    """The training loader, from ``first_step`` to the last step, the validation loader, and the number of speakers.

    Both yield `Batch`. Raises CorpusError if the corpus cannot be split as ``config.split`` asks.
    """
    training, validation = split_utterances(corpus.labelled, config)
    dataset = SpeakerDataset(corpus.labelled, config.segment_len, config.seed)
    train_loader = segment_loader(dataset, TrainSampler(training, config, first_step))
    valid_loader = segment_loader(dataset, ValidSampler(validation, config.batch_size, config.seed))
    return train_loader, valid_loader, corpus.n_speakers


def segment_loader(dataset: SpeakerDataset, sampler: Sampler[Crops]) -> DataLoader:
    """A loader of the batches that ``sampler`` describes, which the dataset already returns collated."""
    # A generator of its own: without one, every iterator draws a number from PyTorch's global stream.
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=_as_it_is, generator=torch.Generator())


def split_utterances(utterances: Utterances, config: TrainConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the utterances to train on and of those held out, each (n,) int64.

    ``random`` is the sample code's split, ``torch.manual_seed(seed)`` and ``random_split(dataset, [0.9 n, rest])``, bit
    for bit.  ``session`` holds out whole recordings: of each speaker with several, about ``valid_fraction`` of them and at
    least one.  Raises CorpusError if one side would be empty.
    """
    if config.split == "session":
        held_out = _held_out_sessions(utterances, config)
        training, validation = torch.nonzero(~held_out)[:, 0], torch.nonzero(held_out)[:, 0]
    else:
        n_train = int((1 - config.valid_fraction) * len(utterances))
        order = torch.randperm(len(utterances), generator=torch.Generator().manual_seed(config.seed))
        training, validation = order[:n_train], order[n_train:]
    if not len(training) or not len(validation):
        raise CorpusError(
            f"{len(utterances)} utterances cannot be split with train.valid_fraction = {config.valid_fraction}: "
            "bring more utterances or change that setting."
        )
    return training, validation


def can_hold_out_sessions(utterances: Utterances) -> bool:
    """Whether some speaker has two recordings, one of them to hold out."""
    if utterances.sessions is None:
        return False
    recordings = set(zip(utterances.labels.tolist(), utterances.sessions, strict=True))
    return len(recordings) > len({label for label, _ in recordings})


def random_stream(seed: int, *key: int) -> torch.Generator:
    """A generator of its own for each purpose, so that no draw shifts another."""
    state = np.random.SeedSequence((seed, *key)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))


def _held_out_sessions(utterances: Utterances, config: TrainConfig) -> torch.Tensor:
    """(utterances,) bool, true for those of a held-out session."""
    if utterances.sessions is None:
        raise CorpusError("these data do not say which recording an utterance is from: train with train.split=random.")
    sessions: dict[int, list[str]] = {}  # of each speaker, in the order of the corpus
    for label, session in dict.fromkeys(zip(utterances.labels.tolist(), utterances.sessions, strict=True)):
        sessions.setdefault(label, []).append(session)
    if all(len(names) < 2 for names in sessions.values()):
        raise CorpusError("no speaker in these data has two recordings, one to hold out: train with train.split=random.")
    generator = torch.Generator().manual_seed(config.seed)
    held_out: set[tuple[int, str]] = set()
    for label, names in sessions.items():
        if len(names) > 1:
            count = min(len(names) - 1, max(1, round(config.valid_fraction * len(names))))
            chosen = torch.randperm(len(names), generator=generator)[:count].tolist()
            held_out.update((label, names[i]) for i in chosen)
    keys = zip(utterances.labels.tolist(), utterances.sessions, strict=True)
    return torch.tensor([key in held_out for key in keys])


def _as_it_is(batch: Batch) -> Batch:
    return batch
