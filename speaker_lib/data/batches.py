"""From packed utterances to batches: the assignment's ``myDataset`` and ``get_dataloader``.

In: a `Corpus` and a `TrainConfig`.  Out: batches of mels (batch, frames, n_mels), lengths (batch,) and labels (batch,).

The batch of a training step depends only on the seed and the step's number.  A run that resumes at step 35,000 therefore
gets the same batches as without the interruption, and saves no random state for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from ..config.schema import TrainConfig
from ..utils.errors import ConfigError
from .corpus import Corpus, Utterances
from .placement import place_frames
from .splits import split_utterances

CPU = torch.device("cpu")
PADDING = -20.0  # fills the frames after an utterance's end: about the lowest log-mel feature
_SHUFFLE, _TRAIN_CROPS, _VALID_CROPS, _SINGLE, DROPOUT, EVALUATION_CROPS = range(6)  # one random stream per purpose


class Batch(NamedTuple):
    """The segments of a training step, of validation or of evaluation."""

    mels: torch.Tensor  # (batch, frames, n_mels) float32, padded with -20
    lengths: torch.Tensor  # (batch,) int64, frames without padding; on the CPU, to be read without waiting for a GPU
    labels: torch.Tensor  # (batch,) int64, class ids


def get_dataloader(
    corpus: Corpus, config: TrainConfig, first_step: int = 0, device: torch.device = CPU, rank: int = 0, world_size: int = 1
) -> tuple[TrainBatches, ValidBatches, int]:
    """The batches of training from ``first_step`` on, the batches of validation, and the number of speakers.

    Batches are cut on ``device`` if its memory holds the frames.  Raises CorpusError if ``config.split`` is not possible, and
    ConfigError if ``world_size`` processes cannot divide a batch equally.
    """
    training, validation = split_utterances(corpus.labelled, config)  # (n,) each
    dataset = SpeakerDataset(corpus.labelled, config.segment_len, config.seed, device)
    train_batches = TrainBatches(dataset, training, config, first_step, rank, world_size)
    valid_batches = ValidBatches(dataset, validation, config.batch_size, config.seed, rank=rank, world_size=world_size)
    return train_batches, valid_batches, corpus.n_speakers


@dataclass(eq=False)
class TrainBatches:
    """The batches of steps ``first_step`` to ``total_steps``. Each epoch has a new order and new positions of the segments.

    An epoch is drawn at once, on the CPU, so that it is the same on every device.
    """

    dataset: SpeakerDataset
    utterances: torch.Tensor  # (n,) int64, the indices to train on
    config: TrainConfig
    first_step: int = 0
    rank: int = 0  # each of ``world_size`` processes that train one model gets its part of a batch
    world_size: int = 1

    def __post_init__(self) -> None:
        self.batch_size, self._mine = shared_batch(self.config, len(self.utterances), self.rank, self.world_size)

    def __len__(self) -> int:
        return self.config.total_steps - self.first_step

    def __iter__(self) -> Iterator[Batch]:
        drawn = None
        for step in range(self.first_step, self.config.total_steps):
            epoch, i = divmod(step, len(self.utterances) // self.batch_size)
            width = frames_to_cut(self.config.segment_len_at(step), self.config.speed)
            if drawn != (epoch, width):
                segments, drawn = self._draw(epoch, width), (epoch, width)
            batch = slice(i * self.batch_size, (i + 1) * self.batch_size)
            starts, lengths, labels = (part[batch][self._mine] for part in segments)  # (batch / world_size,) each
            yield self.dataset.cut(starts, lengths, labels, width)

    def _draw(self, epoch: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The starts, lengths and labels of an epoch's segments, (count,) each."""
        seed, n = self.config.seed, len(self.utterances)
        order = torch.randperm(n, generator=random_stream(seed, _SHUFFLE, epoch))  # (n,)
        count = n - n % self.batch_size  # an incomplete last batch is left out
        positions = torch.rand(count, generator=random_stream(seed, _TRAIN_CROPS, epoch), dtype=torch.float64)  # (count,)
        return self.dataset.locate(self.utterances[order[:count]], positions, width)


@dataclass(eq=False)
class ValidBatches:
    """Every utterance once. The seed and the random stream decide the segments, which are the same at every validation."""

    dataset: SpeakerDataset
    utterances: torch.Tensor  # (n,) int64, the held-out indices
    batch_size: int
    seed: int
    stream: int = _VALID_CROPS
    rank: int = 0  # each of ``world_size`` processes gets its part of the utterances
    world_size: int = 1

    def __post_init__(self) -> None:
        generator = random_stream(self.seed, self.stream)
        positions = torch.rand(len(self.utterances), generator=generator, dtype=torch.float64)  # (n,)
        mine = slice(self.rank, None, self.world_size)
        self._segments = self.dataset.locate(self.utterances[mine], positions[mine], self.dataset.segment_len)
        self.n_utterances = len(self.utterances[mine])

    def __len__(self) -> int:
        return math.ceil(self.n_utterances / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for begin in range(0, self.n_utterances, self.batch_size):
            starts, lengths, labels = (part[begin : begin + self.batch_size] for part in self._segments)  # (batch,) each
            yield self.dataset.cut(starts, lengths, labels, self.dataset.segment_len)


class SpeakerDataset(Dataset):
    """Segments of labelled utterances.

    ``dataset[i]`` cuts a random segment of utterance ``i``: mel (segment_len, n_mels) float32, its length in frames, its class
    id.  It works with an ordinary `DataLoader`; `TrainBatches` and `ValidBatches` are faster and cut a whole batch at once.
    """

    def __init__(self, utterances: Utterances, segment_len: int = 128, seed: int = 0, device: torch.device = CPU) -> None:
        self.segment_len = segment_len
        self.frames = place_frames(utterances.frames, device)  # (total frames, n_mels) float16
        self.offsets = torch.from_numpy(utterances.offsets[:-1])  # (utterances,)
        self.lengths = torch.from_numpy(utterances.lengths)  # (utterances,)
        self.labels = torch.from_numpy(utterances.labels)  # (utterances,)
        self._pin = device.type == "cuda" and not self.frames.is_cuda  # for the copy of each batch to the GPU
        self._generator = random_stream(seed, _SINGLE)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int, int]:
        position = torch.rand(1, generator=self._generator, dtype=torch.float64)  # (1,)
        mels, lengths, labels = self.cut(*self.locate(torch.tensor([i]), position, self.segment_len), self.segment_len)
        return mels[0], int(lengths[0]), int(labels[0])

    def locate(self, utterances: torch.Tensor, positions: torch.Tensor, width: int) -> tuple[torch.Tensor, ...]:
        """A segment of ``width`` frames of each utterance (n,): first frame, length without padding and label, (n,) each.

        Position (n,) 0 is the first possible segment of an utterance, a position just below 1 the last.  The lengths stay on
        the CPU, the others go to the device that holds the frames.
        """
        device = self.frames.device
        spare = self.lengths[utterances] - width  # (n,) frames outside the segment; negative if it needs padding
        starts = self.offsets[utterances] + (positions * (spare.clamp(min=0) + 1)).long()  # (n,)
        lengths = self.lengths[utterances].clamp(max=width)  # (n,)
        return starts.to(device), lengths, self.labels[utterances].to(device)

    def cut(self, starts: torch.Tensor, lengths: torch.Tensor, labels: torch.Tensor, width: int) -> Batch:
        """The segments that `locate` found, (batch,) each, as a batch: mels (batch, width, n_mels)."""
        n_mels, full = self.frames.shape[1], bool((lengths == width).all())
        if full and self.frames.device.type == "cpu":  # each segment is one stretch of memory
            windows = self.frames.view(-1).unfold(0, width * n_mels, n_mels)  # (total frames - width + 1, width * n_mels)
            mels = windows.index_select(0, starts).float().view(-1, width, n_mels)  # (batch, width, n_mels)
        else:
            steps = torch.arange(width, device=starts.device)  # (width,)
            rows = (starts[:, None] + steps).clamp_(max=len(self.frames) - 1)  # (batch, width)
            mels = self.frames.index_select(0, rows.flatten()).float().view(-1, width, n_mels)  # (batch, width, n_mels)
            if not full:
                padding = steps >= lengths.to(steps.device)[:, None]  # (batch, width)
                mels.masked_fill_(padding[:, :, None], PADDING)
        return Batch(mels.pin_memory() if self._pin else mels, lengths, labels)

    def whole(self, utterances: torch.Tensor) -> Batch:
        """Whole utterances (n,), padded to the longest of them: mels (n, longest, n_mels)."""
        longest = int(self.lengths[utterances].max())
        return self.cut(*self.locate(utterances, torch.zeros(len(utterances), dtype=torch.float64), longest), longest)


def frames_to_cut(n_frames: int, speed: float) -> int:
    """How many frames to cut, so that ``n_frames`` are left after a speed-up by the fraction ``speed``."""
    return n_frames if speed == 0 else math.ceil((n_frames - 1) * (1 + speed)) + 1


def shared_batch(config: TrainConfig, n_utterances: int, rank: int, world_size: int) -> tuple[int, slice]:
    """The size of a batch, at most ``n_utterances``, and the slice of it for process ``rank``.

    Raises ConfigError for unequal parts: the mean of their gradients would not be the gradient of the batch.
    """
    size = min(config.batch_size, n_utterances)
    if size % world_size:
        parts = f"{world_size} processes cannot divide a batch of {size} equally"
        raise ConfigError(f"{parts}: change train.batch_size or their number.")
    part = size // world_size
    return size, slice(rank * part, (rank + 1) * part)


def random_stream(seed: int, *key: int) -> torch.Generator:
    """The generator of one purpose: a draw for one never shifts the draws for another."""
    state = np.random.SeedSequence((seed, *key)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))
