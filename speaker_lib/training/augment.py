"""Augmentation of log-mels, in training only: SpecAugment masks and speed perturbation.

In: a `Batch`.  Out: a `Batch` with mels (batch, n_frames, n_mels).  Like dropout, augmentation draws from PyTorch's global
random stream.  Its state is saved, so a resumed run draws the same numbers.
"""

from __future__ import annotations

import torch

from ..config.schema import TrainConfig
from ..data.batches import Batch
from ..models.pooling import lengths_of_padded, mean_pooling, padding_mask

MASKS = 2  # of each kind, as in the paper's policy LD


def augment(batch: Batch, n_frames: int, config: TrainConfig) -> Batch:
    """The augmented batch with mels (batch, n_frames, n_mels), and with lengths None if there is no padding.

    With ``train.speed`` the mels that come in have more frames (`frames_to_cut`).
    """
    batch = batch._replace(lengths=lengths_of_padded(batch.mels, batch.lengths))
    if config.speed > 0:
        batch = speed_perturb(batch, n_frames, config.speed)
    if not (config.freq_mask or config.time_mask):
        return batch
    mels, lengths = batch.mels, batch.lengths
    padding = None if lengths is None else padding_mask(lengths.to(mels.device), mels.shape[1])  # (batch, frames)
    # Masked values get the mean of their band over the utterance, which is zero after CMN, as in the paper (section 2).
    # Any other value would change the mean of the bands, which describes the voice.
    mean = mean_pooling(mels, padding)[:, None]  # (batch, 1, n_mels)
    for axis, widest, limit in ((1, config.time_mask, lengths), (2, config.freq_mask, None)):
        for _ in range(MASKS if widest else 0):
            mels = torch.where(random_mask(mels, axis, widest, limit), mean, mels)
    return batch._replace(mels=mels)


def random_mask(mels: torch.Tensor, axis: int, widest: int, lengths: torch.Tensor | None = None) -> torch.Tensor:
    """True in one random interval per utterance on an axis, 0 to ``widest`` long; on axis 1 within ``lengths`` (batch,) frames.

    (batch, frames, 1) for axis 1, (batch, 1, n_mels) for axis 2 (SpecAugment: Park et al. 2019, arXiv 1904.08779, section 2).
    """
    places = torch.arange(mels.shape[axis], device=mels.device)
    shape = (1, -1, 1) if axis == 1 else (1, 1, -1)
    sizes = torch.full((len(mels),), mels.shape[axis], device=mels.device) if lengths is None else lengths.to(mels.device)
    widths = (torch.rand(len(mels), device=mels.device) * (sizes.clamp(max=widest) + 1)).long()  # (batch,)
    starts = (torch.rand(len(mels), device=mels.device) * (sizes - widths + 1)).long()  # (batch,)
    starts, ends = starts.view(-1, 1, 1), (starts + widths).view(-1, 1, 1)  # (batch, 1, 1) each
    return (places.view(shape) >= starts) & (places.view(shape) < ends)


def speed_perturb(batch: Batch, n_frames: int, speed: float) -> Batch:
    """Resamples every utterance in time by a factor from 1 - speed to 1 + speed, to ``n_frames`` frames (Ko et al. 2015).

    The mel bands stay the same: the speaker talks faster or slower with the same voice.
    """
    mels, at = batch.mels, batch.mels.device
    rates = 1 + speed * (2 * torch.rand(len(mels), 1, device=at) - 1)  # (batch, 1)
    places = torch.arange(n_frames, device=at) * rates  # (batch, n_frames), in frames of the original mels
    before = places.long().clamp(max=mels.shape[1] - 2)  # (batch, n_frames)
    between = (places - before)[:, :, None]  # (batch, n_frames, 1), 0 to 1
    rows = torch.arange(len(mels), device=at)[:, None]  # (batch, 1)
    mels = torch.lerp(mels[rows, before], mels[rows, before + 1], between)  # (batch, n_frames, n_mels)
    if batch.lengths is None:
        return batch._replace(mels=mels)
    lengths = ((batch.lengths.to(at) - 1) / rates[:, 0] + 1).long()  # (batch,) frames within the utterance
    return batch._replace(mels=mels, lengths=lengths.clamp(max=n_frames))
