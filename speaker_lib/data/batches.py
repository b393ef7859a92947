"""From packed utterances to batches: the assignment's ``myDataset`` and ``get_dataloader``.

In: a `Corpus` and a `TrainConfig`.  Out: batches of mels (batch, frames, n_mels), lengths (batch,) and labels (batch,).

What a training step sees depends on the seed and the step's number alone.  A run that resumes at step 35,000 therefore sees
what it would have seen without the interruption, and no random state has to be saved for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from ..config.schema import TrainConfig
from ..utils.errors import ConfigError
from .corpus import Corpus, Utterances
from .placement import place_frames
from .splits import split_utterances

PADDING = -20.0  # fills the frames after an utterance's end: about the lowest value of a log-mel feature
_SHUFFLE, _TRAIN_CROPS, _VALID_CROPS, _SINGLE, DROPOUT, EVALUATION_CROPS = range(6)  # one random stream per purpose


class Batch(NamedTuple):
    """What a model is trained on or evaluated with."""

    mels: torch.Tensor  # (batch, frames, n_mels) float32, padded with -20
    lengths: torch.Tensor  # (batch,) int64, frames that are not padding; on the CPU, where reading them waits for no device
    labels: torch.Tensor  # (batch,) int64, class ids


class Segments(NamedTuple):
    """Where in the packed frames the segments of a batch lie."""

    starts: torch.Tensor  # (batch,) int64, first frame of each segment, on the device that holds the frames
    lengths: torch.Tensor  # (batch,) int64, frames that are not padding, on the CPU
    labels: torch.Tensor  # (batch,) int64, class ids, on the device that holds the frames
    width: int  # frames of every segment, padding included


class SpeakerDataset(Dataset):
    """Segments of labelled utterances.

    ``dataset[i]`` cuts a random segment of utterance ``i``: mel (segment_len, n_mels) float32, its length in frames, its class
    id; an ordinary `DataLoader` works with that.  `TrainBatches` and `ValidBatches` cut a whole batch in one indexing
    operation instead, on the device that holds the frames.
    """

    def __init__(
        self, utterances: Utterances, segment_len: int = 128, seed: int = 0, device: torch.device = torch.device("cpu")
    ) -> None:
        self.segment_len = segment_len
        self.frames = place_frames(utterances.frames, device)  # (total frames, n_mels) float16
        self.offsets = torch.from_numpy(utterances.offsets[:-1])  # (utterances,)
        self.lengths = torch.from_numpy(utterances.lengths)  # (utterances,)
        self.labels = torch.from_numpy(utterances.labels)  # (utterances,)
        self._pin = device.type == "cuda" and not self.frames.is_cuda  # batches are copied to the GPU
        self._generator = random_stream(seed, _SINGLE)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int, int]:
        if not 0 <= i < len(self):
            raise IndexError(f"utterance {i} of {len(self)}")
        position = torch.rand(1, generator=self._generator, dtype=torch.float64)
        mels, lengths, labels = self.cut(self.locate(torch.tensor([i]), position))
        return mels[0], int(lengths[0]), int(labels[0])

    def locate(self, utterances: torch.Tensor, positions: torch.Tensor, width: int | None = None) -> Segments:
        """A segment of each utterance (n,), ``width`` frames long (default: segment_len).

        A position (n,) of 0 is the utterance's first possible segment, one just below 1 its last.
        """
        width, at = width or self.segment_len, self.frames.device
        spare = self.lengths[utterances] - width  # (n,) frames beside the segment; negative where it needs padding
        starts = self.offsets[utterances] + (positions * (spare.clamp(min=0) + 1)).long()  # (n,)
        lengths = self.lengths[utterances].clamp(max=width)  # (n,)
        return Segments(starts.to(at), lengths, self.labels[utterances].to(at), width)

    def cut(self, segments: Segments) -> Batch:
        """The segments as a batch: mels (batch, width, n_mels)."""
        starts, lengths, labels, width = segments
        n_mels, full = self.frames.shape[1], bool((lengths == width).all())
        if full and self.frames.device.type == "cpu":  # each segment is one stretch of memory
            windows = self.frames.view(-1).unfold(0, width * n_mels, n_mels)  # (total frames - width + 1, width * n_mels)
            mels = windows.index_select(0, starts).float().view(-1, width, n_mels)  # (batch, width, n_mels)
        else:
            steps = torch.arange(width, device=starts.device)
            rows = (starts[:, None] + steps).clamp_(max=len(self.frames) - 1)  # (batch, width)
            mels = self.frames.index_select(0, rows.flatten()).float().view(-1, width, n_mels)  # (batch, width, n_mels)
            if not full:
                mels.masked_fill_((steps >= lengths.to(steps.device)[:, None])[:, :, None], PADDING)
        return Batch(mels.pin_memory() if self._pin else mels, lengths, labels)

    def whole(self, utterances: torch.Tensor) -> Batch:
        """Whole utterances (n,), padded to the longest of them: mels (n, longest, n_mels)."""
        longest = int(self.lengths[utterances].max())
        return self.cut(self.locate(utterances, torch.zeros(len(utterances), dtype=torch.float64), longest))


class TrainBatches:
    """The batches of steps ``first_step`` to ``total_steps``: each epoch in a new order, each segment at a new place.

    An epoch is drawn at once, on the CPU, so that it is the same on every device.  Of several processes that train one model,
    process ``rank`` of ``world_size`` gets its share of each batch.
    """

    def __init__(
        self,
        dataset: SpeakerDataset,
        utterances: torch.Tensor,
        config: TrainConfig,
        first_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.dataset, self.utterances, self.config, self.first_step = dataset, utterances, config, first_step
        self.batch_size, self._mine = shared_batch(config, len(utterances), rank, world_size)

    def __len__(self) -> int:
        return self.config.total_steps - self.first_step

    def __iter__(self) -> Iterator[Batch]:
        steps_per_epoch = len(self.utterances) // self.batch_size
        drawn, segments = None, None
        for step in range(self.first_step, self.config.total_steps):
            epoch, i = divmod(step, steps_per_epoch)
            wanted = epoch, frames_to_cut(self.config.segment_len_at(step), self.config.speed)
            if wanted != drawn:
                segments, drawn = self._epoch(*wanted, steps_per_epoch), wanted
            yield self.dataset.cut(Segments(*(part[i, self._mine] for part in segments[:3]), segments.width))

    def _epoch(self, epoch: int, width: int, n_steps: int) -> Segments:
        """All segments of an epoch, each part (steps, batch); the last few utterances of the order are left out of it."""
        seed, count = self.config.seed, n_steps * self.batch_size
        order = torch.randperm(len(self.utterances), generator=random_stream(seed, _SHUFFLE, epoch))[:count]
        positions = torch.rand(count, generator=random_stream(seed, _TRAIN_CROPS, epoch), dtype=torch.float64)
        drawn = self.dataset.locate(self.utterances[order], positions, width)
        return Segments(*(part.view(n_steps, self.batch_size) for part in drawn[:3]), width)  # each (steps, batch)


class ValidBatches:
    """Every utterance once, cut where the seed and the random stream say: the same segments at every validation."""

    def __init__(
        self,
        dataset: SpeakerDataset,
        utterances: torch.Tensor,
        batch_size: int,
        seed: int,
        stream: int = _VALID_CROPS,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        positions = torch.rand(len(utterances), generator=random_stream(seed, stream), dtype=torch.float64)
        mine = slice(rank, None, world_size)
        self.dataset, self.batch_size, self.n_utterances = dataset, batch_size, len(utterances[mine])
        self._segments = dataset.locate(utterances[mine], positions[mine])

    def __len__(self) -> int:
        return -(-self.n_utterances // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        parts = (part.split(self.batch_size) for part in self._segments[:3])
        for starts, lengths, labels in zip(*parts, strict=True):
            yield self.dataset.cut(Segments(starts, lengths, labels, self._segments.width))


def get_dataloader(
    corpus: Corpus,
    config: TrainConfig,
    first_step: int = 0,
    device: torch.device = torch.device("cpu"),
    rank: int = 0,
    world_size: int = 1,
) -> tuple[TrainBatches, ValidBatches, int]:
    """The batches of training from ``first_step`` on, those of validation, and the number of speakers.

    Batches are cut on ``device`` where its memory holds the frames.  Raises CorpusError if the corpus cannot be split as
    ``config.split`` asks, ConfigError if ``world_size`` processes cannot share its batches.
    """
    training, validation = split_utterances(corpus.labelled, config)
    dataset = SpeakerDataset(corpus.labelled, config.segment_len, config.seed, device)
    train_batches = TrainBatches(dataset, training, config, first_step, rank, world_size)
    valid_batches = ValidBatches(dataset, validation, config.batch_size, config.seed, rank=rank, world_size=world_size)
    return train_batches, valid_batches, corpus.n_speakers


def lengths_of_padded(mels: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor | None:
    """``lengths`` (batch,), or None where no frame of mels (batch, frames, n_mels) is padding: no mask is faster.

    Lengths that are not on the CPU are returned as they are: to look at them would wait for the device.
    """
    full = lengths is not None and lengths.device.type == "cpu" and bool((lengths == mels.shape[1]).all())
    return None if full else lengths


def frames_to_cut(n_frames: int, speed: float) -> int:
    """How many frames to cut so that ``n_frames`` are left when the utterance is sped up by the fraction ``speed``."""
    return n_frames if speed == 0 else math.ceil((n_frames - 1) * (1 + speed)) + 1


def shared_batch(config: TrainConfig, n_utterances: int, rank: int, world_size: int) -> tuple[int, slice]:
    """The size of a batch of ``n_utterances`` to train on, and the slice of it that process ``rank`` works on.

    Raises ConfigError if the processes cannot share it equally: the average of their gradients would be another one.
    """
    size = min(config.batch_size, n_utterances)
    share, rest = divmod(size, world_size)
    if rest:
        raise ConfigError(
            f"{world_size} processes cannot share a batch of {size} equally: change train.batch_size or their number."
        )
    return size, slice(rank * share, (rank + 1) * share)


def random_stream(seed: int, *key: int) -> torch.Generator:
    """A generator of its own for each purpose, so that a draw for one never shifts the draws for another."""
    state = np.random.SeedSequence((seed, *key)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))
