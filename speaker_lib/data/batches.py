"""From packed utterances to batches: the assignment's ``myDataset`` and ``get_dataloader``.

What a training step sees depends on the settings and on the number of the step, on nothing else.  So a run that is continued
at step 35,000 sees what it would have seen without the interruption, and no random state has to be kept for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ..config.schema import TrainConfig
from ..training.distributed import ALONE, Team
from ..utils.errors import ConfigError
from .corpus import Corpus, Utterances
from .placement import place_frames
from .splits import split_utterances

PADDING = -20.0  # what stands beyond the end of an utterance, about the lowest value a feature takes
_SHUFFLE, _TRAIN_CROPS, _VALID_CROPS, _SINGLE, DROPOUT, EVALUATION_CROPS = range(6)  # what a random stream is for


class Batch(NamedTuple):
    """What a model is fed and judged by."""

    mels: torch.Tensor  # (batch, frames, n_mels) float32, padded with -20
    lengths: torch.Tensor  # (batch,) int64, the frames that are not padding; on the CPU, where reading them waits for nothing
    labels: torch.Tensor  # (batch,) int64, class ids

    @property
    def padded(self) -> bool:
        """Whether some frames are padding."""
        return bool((self.lengths < self.mels.shape[1]).any())


class Segments(NamedTuple):
    """Which stretches of the packed frames a batch is cut from."""

    starts: torch.Tensor  # (batch,) int64, the first frame of each; where the frames lie
    lengths: torch.Tensor  # (batch,) int64, on the CPU
    labels: torch.Tensor  # (batch,) int64, class ids; where the frames lie
    width: int  # frames of each, padding included


class SpeakerDataset(Dataset):
    """Segments of labelled utterances.

    ``dataset[i]`` cuts a segment of utterance ``i`` at random, anew each time: ``mel`` (segment_len, n_mels) float32, its
    length in frames, its class id.  A `DataLoader` asks for whole batches instead, cut in one indexing operation on the
    device where the frames lie.
    """

    def __init__(
        self, utterances: Utterances, segment_len: int = 128, seed: int = 0, device: torch.device = torch.device("cpu")
    ) -> None:
        self.segment_len = segment_len
        self.frames = place_frames(utterances.frames, device)  # (total frames, n_mels) float16
        self.offsets = torch.from_numpy(utterances.offsets[:-1])  # (utterances,)
        self.lengths = torch.from_numpy(utterances.lengths)  # (utterances,)
        self.labels = torch.from_numpy(utterances.labels)  # (utterances,)
        self._sent = device.type == "cuda" and not self.frames.is_cuda  # batches have a way to go to the device
        self._generator = random_stream(seed, _SINGLE)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int, int]:
        if not 0 <= i < len(self):
            raise IndexError(f"utterance {i} of {len(self)}")
        position = torch.rand(1, generator=self._generator, dtype=torch.float64)
        mels, lengths, labels = self.__getitems__(self.segments(torch.tensor([i]), position))
        return mels[0], int(lengths[0]), int(labels[0])

    def __getitems__(self, segments: Segments) -> Batch:
        """The segments as a batch: mels (batch, width, n_mels)."""
        starts, lengths, labels, width = segments
        return Batch(self._cut(starts, lengths, width), lengths, labels)

    def segments(self, utterances: torch.Tensor, positions: torch.Tensor, width: int | None = None) -> Segments:
        """A segment of each utterance (n,), where a position (n,) of 0 is its first and one just under 1 its last.

        It is ``width`` frames long, or segment_len.
        """
        width, at = width or self.segment_len, self.frames.device
        spare = self.lengths[utterances] - width  # (n,) frames that a segment leaves over, or lacks
        starts = self.offsets[utterances] + (positions * (spare.clamp(min=0) + 1)).long()  # (n,)
        lengths = self.lengths[utterances].clamp(max=width)  # (n,)
        return Segments(starts.to(at), lengths, self.labels[utterances].to(at), width)

    def whole(self, utterances: torch.Tensor) -> Batch:
        """Whole utterances, padded to the longest of them: mels (batch, longest, n_mels)."""
        lengths, at = self.lengths[utterances], self.frames.device
        mels = self._cut(self.offsets[utterances].to(at), lengths, int(lengths.max()))  # (batch, longest, n_mels)
        return Batch(mels, lengths, self.labels[utterances].to(at))

    def _cut(self, starts: torch.Tensor, lengths: torch.Tensor, width: int) -> torch.Tensor:
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
        return mels.pin_memory() if self._sent else mels  # from locked memory it is sent while the GPU computes


class TrainSampler(Sampler[Segments]):
    """The batches of steps ``first_step`` to ``total_steps``: every epoch a new order, every segment a new place.

    An epoch is drawn at once, on the CPU, so that it is the same on every device; of each batch, process ``rank`` of
    ``size`` takes its share.
    """

    def __init__(
        self, dataset: SpeakerDataset, utterances: torch.Tensor, config: TrainConfig, first_step: int = 0, team: Team = ALONE
    ) -> None:
        self.dataset, self.utterances, self.config, self.first_step = dataset, utterances, config, first_step
        self.batch_size, self.mine = shared_batch(config, len(utterances), team)
        self.share = self.mine.stop - self.mine.start  # utterances of a batch that this process works on

    def __len__(self) -> int:
        return self.config.total_steps - self.first_step

    def __iter__(self) -> Iterator[Segments]:
        steps_per_epoch = len(self.utterances) // self.batch_size
        drawn, rows = None, None
        for step in range(self.first_step, self.config.total_steps):
            epoch, i = divmod(step, steps_per_epoch)
            wanted = epoch, longest_cut(self.config.segment_len_at(step), self.config.speed)
            if wanted != drawn:
                rows, drawn = self._epoch(*wanted, steps_per_epoch), wanted
            yield Segments(*(part[i, self.mine] for part in rows[:3]), rows.width)

    def _epoch(self, epoch: int, width: int, n_steps: int) -> Segments:
        """All segments of an epoch, each part (steps, batch)."""
        seed, count = self.config.seed, n_steps * self.batch_size  # the few left over have their turn in another epoch
        order = torch.randperm(len(self.utterances), generator=random_stream(seed, _SHUFFLE, epoch))[:count]
        positions = torch.rand(count, generator=random_stream(seed, _TRAIN_CROPS, epoch), dtype=torch.float64)
        drawn = self.dataset.segments(self.utterances[order], positions, width)
        return Segments(*(part.view(n_steps, self.batch_size) for part in drawn[:3]), width)  # each (steps, batch)


def longest_cut(n_frames: int, speed: float) -> int:
    """How many frames to cut so that ``n_frames`` are left of them when they are played faster by the share ``speed``."""
    return n_frames if speed == 0 else math.ceil((n_frames - 1) * (1 + speed)) + 1


def shared_batch(config: TrainConfig, n_utterances: int, team: Team) -> tuple[int, slice]:
    """The size of a batch of ``n_utterances`` to train on, and the part of it that this process works on.

    Raises ConfigError if the processes cannot share it equally: their gradients would not count the same.
    """
    size = min(config.batch_size, n_utterances)
    share, rest = divmod(size, team.size)
    if rest:
        raise ConfigError(
            f"{team.size} processes cannot share a batch of {size} equally: change train.batch_size or their number."
        )
    return size, slice(team.rank * share, (team.rank + 1) * share)


class ValidSampler(Sampler[Segments]):
    """Every utterance once, none dropped, cut where the seed says: the same segments at every validation.

    Each process of a team takes its share of the utterances.  ``purpose`` names the random stream, so that evaluation cuts
    elsewhere than the validation that chose the weights.
    """

    def __init__(
        self,
        dataset: SpeakerDataset,
        utterances: torch.Tensor,
        batch_size: int,
        seed: int,
        team: Team = ALONE,
        purpose: int = _VALID_CROPS,
    ) -> None:
        positions = torch.rand(len(utterances), generator=random_stream(seed, purpose), dtype=torch.float64)
        mine = slice(team.rank, None, team.size)
        self.utterances, self.batch_size = utterances[mine], batch_size
        self.segments = dataset.segments(self.utterances, positions[mine])

    def __len__(self) -> int:
        return -(-len(self.utterances) // self.batch_size)

    def __iter__(self) -> Iterator[Segments]:
        parts = (part.split(self.batch_size) for part in self.segments[:3])
        return (Segments(*batch, self.segments.width) for batch in zip(*parts, strict=True))


def get_dataloader(
    corpus: Corpus,
    config: TrainConfig,
    first_step: int = 0,
    device: torch.device = torch.device("cpu"),
    team: Team = ALONE,
) -> tuple[DataLoader, DataLoader, int]:
    """The training loader, from ``first_step`` to the last step, the validation loader, and the number of speakers.

    Both yield `Batch`, cut where the frames lie, if there is room on ``device``.  Raises CorpusError if the corpus cannot be
    split as ``config.split`` asks, ConfigError if the processes of a team cannot share its batches.
    """
    training, validation = split_utterances(corpus.labelled, config)
    dataset = SpeakerDataset(corpus.labelled, config.judged_len, config.seed, device)
    train_loader = segment_loader(dataset, TrainSampler(dataset, training, config, first_step, team))
    valid_loader = segment_loader(dataset, ValidSampler(dataset, validation, config.batch_size, config.seed, team))
    return train_loader, valid_loader, corpus.n_speakers


def segment_loader(dataset: SpeakerDataset, sampler: Sampler[Segments]) -> DataLoader:
    """A loader of the batches that ``sampler`` describes, which the dataset already returns collated."""
    # A generator of its own: without one, every iterator draws a number from PyTorch's global stream.
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=_as_it_is, generator=torch.Generator())


def random_stream(seed: int, *key: int) -> torch.Generator:
    """A generator of its own for each purpose, so that no draw shifts another."""
    state = np.random.SeedSequence((seed, *key)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))


def _as_it_is(batch: Batch) -> Batch:
    return batch
