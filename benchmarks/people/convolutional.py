"""What the field builds today, in a size for a CPU: ECAPA-TDNN and ResNet34, trained on people beside `laptop_best`.

In: mels (batch, frames, n_mels) and lengths (batch,).  Out: logits (batch, n_speakers).  Both are as published but for the head:
BatchNorm and a linear layer on the pooled vector, which the ladder found better than a narrow embedding on so few speakers.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speaker_lib import Corpus, Preset, SpeakerDataset
from speaker_lib.data.batches import get_dataloader
from speaker_lib.data.splits import split_utterances
from speaker_lib.evaluation.identification import crop_result, full_outputs, full_result
from speaker_lib.models.classifier import count_parameters
from speaker_lib.models.pooling import MIN_VARIANCE, SCORE_WIDTH, mean_pooling, padding_mask
from speaker_lib.training.losses import TrainingLoss
from speaker_lib.training.schedule import get_cosine_schedule_with_warmup
from speaker_lib.training.state import make_ema, set_seed
from speaker_lib.training.step import model_fn
from speaker_lib.utils.device import get_device
from speaker_lib.utils.progress import quietly

SCALE = 8  # groups of channels in a Res2 convolution


class EcapaTdnn(nn.Module):
    """ECAPA-TDNN (Desplanques et al. 2020, arXiv 2005.07143, section 3): dilated convolutions over time, aggregated."""

    def __init__(self, n_mels: int, n_speakers: int, channels: int = 128, stride: int = 2) -> None:
        super().__init__()
        self.stride, width = stride, min(1536, 3 * channels)
        self.first = TdnnLayer(n_mels, channels, 5, stride=stride)
        self.blocks = nn.ModuleList(SeRes2Block(channels, dilation) for dilation in (2, 3, 4))
        self.aggregate = nn.Conv1d(3 * channels, width, 1)
        self.pooling = ChannelAttentionPooling(width)
        self.head = nn.Sequential(nn.BatchNorm1d(2 * width), nn.Linear(2 * width, n_speakers))

    def forward(self, mels: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits (batch, n_speakers) of mels (batch, frames, n_mels); frames after ``lengths`` (batch,) are padding."""
        padding = None if lengths is None else padding_mask(lengths, mels.shape[1])  # (batch, frames)
        if padding is not None:
            mels, padding = mels.masked_fill(padding[:, :, None], 0.0), padding[:, :: self.stride]  # (batch, frames / stride)
        hidden, outputs = self.first(mels.transpose(1, 2)), []  # (batch, channels, frames / stride)
        for block in self.blocks:
            hidden = block(hidden, padding)  # (batch, channels, frames / stride)
            outputs.append(hidden)
        hidden = F.relu(self.aggregate(torch.cat(outputs, dim=1)))  # (batch, width, frames / stride)
        return self.head(self.pooling(hidden.transpose(1, 2), padding))  # (batch, n_speakers)


class TdnnLayer(nn.Sequential):
    """A convolution over time, ReLU and BatchNorm: (batch, channels, frames) to (batch, channels, frames / stride)."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int, dilation: int = 1, stride: int = 1) -> None:
        padding = dilation * (kernel_size // 2)
        convolution = nn.Conv1d(n_in, n_out, kernel_size, stride, padding, dilation)
        super().__init__(convolution, nn.ReLU(), nn.BatchNorm1d(n_out))


class SeRes2Block(nn.Module):
    """A Res2 convolution between two pointwise ones, squeeze and excitation, and a residual connection (figure 1)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        group = channels // SCALE
        self.before, self.after = TdnnLayer(channels, channels, 1), TdnnLayer(channels, channels, 1)
        self.groups = nn.ModuleList(TdnnLayer(group, group, 3, dilation) for _ in range(SCALE - 1))
        narrow = min(128, channels // 2)
        self.gate = nn.Sequential(nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, channels), nn.Sigmoid())

    def forward(self, hidden: Tensor, padding: Tensor | None) -> Tensor:
        """(batch, channels, frames) to the same."""
        first, *others = self.before(hidden).chunk(SCALE, dim=1)  # each (batch, channels / scale, frames)
        outputs, previous = [first], torch.zeros_like(first)  # (batch, channels / scale, frames)
        for layer, part in zip(self.groups, others, strict=True):
            previous = layer(part + previous)  # (batch, channels / scale, frames)
            outputs.append(previous)
        mixed = self.after(torch.cat(outputs, dim=1))  # (batch, channels, frames)
        gate = self.gate(mean_pooling(mixed.transpose(1, 2), padding))  # (batch, channels)
        return hidden + mixed * gate[:, :, None]  # (batch, channels, frames)


class ChannelAttentionPooling(nn.Module):
    """Weighted mean and standard deviation, with weights for each channel that depend on the whole utterance (section 3.1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_frame, self.of_utterance = nn.Linear(width, SCORE_WIDTH), nn.Linear(2 * width, SCORE_WIDTH, bias=False)
        self.score = nn.Linear(SCORE_WIDTH, width)

    def forward(self, hidden: Tensor, padding: Tensor | None) -> Tensor:
        """(batch, frames, width) to (batch, 2 * width)."""
        context = self.of_utterance(statistics(hidden, padding))  # (batch, SCORE_WIDTH)
        scores = self.score(torch.tanh(self.of_frame(hidden) + context[:, None]))  # (batch, frames, width)
        if padding is not None:
            scores, hidden = scores.masked_fill(padding[:, :, None], -torch.inf), hidden.masked_fill(padding[:, :, None], 0.0)
        weights = scores.softmax(dim=1)  # (batch, frames, width)
        mean = (weights * hidden).sum(dim=1)  # (batch, width)
        variance = (weights * (hidden - mean[:, None]) ** 2).sum(dim=1)  # (batch, width)
        return torch.cat([mean, variance.clamp(min=MIN_VARIANCE).sqrt()], dim=1)  # (batch, 2 * width)


def statistics(hidden: Tensor, padding: Tensor | None) -> Tensor:
    """Mean and standard deviation over the real frames: (batch, frames, width) to (batch, 2 * width)."""
    mean = mean_pooling(hidden, padding)  # (batch, width)
    variance = mean_pooling((hidden - mean[:, None]) ** 2, padding)  # (batch, width)
    return torch.cat([mean, variance.clamp(min=MIN_VARIANCE).sqrt()], dim=1)  # (batch, 2 * width)


class ResNet34(nn.Module):
    """ResNet34 over time and frequency (He et al. 2016, arXiv 1512.03385, table 1) with statistics pooling, as in wespeaker.

    There the first convolution has a stride of 1; with 2 a step takes a quarter of the time.
    """

    def __init__(self, n_mels: int, n_speakers: int, channels: int = 16, stride: int = 2) -> None:
        super().__init__()
        first = nn.Conv2d(1, channels, 3, stride, padding=1, bias=False)
        layers, n_in = [first, nn.BatchNorm2d(channels), nn.ReLU()], channels
        for stage, n_blocks in enumerate((3, 4, 6, 3)):
            for block in range(n_blocks):
                layers.append(ResidualBlock(n_in, channels << stage, 2 if stage and block == 0 else 1))
                n_in = channels << stage
        self.layers = nn.Sequential(*layers)
        self.stride = 8 * stride  # of the output, in frames and in mel bands
        width = 2 * n_in * -(-n_mels // self.stride)
        self.head = nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, n_speakers))

    def forward(self, mels: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits (batch, n_speakers) of mels (batch, frames, n_mels); frames after ``lengths`` (batch,) are padding."""
        padding = None if lengths is None else padding_mask(lengths, mels.shape[1])  # (batch, frames)
        if padding is not None:
            mels, padding = mels.masked_fill(padding[:, :, None], 0.0), padding[:, :: self.stride]  # (batch, frames / stride)
        maps = self.layers(mels[:, None])  # (batch, channels, frames / stride, n_mels / stride)
        hidden = maps.transpose(1, 2).flatten(2)  # (batch, frames / stride, channels * n_mels / stride)
        return self.head(statistics(hidden, padding))  # (batch, n_speakers)


class ResidualBlock(nn.Module):
    """Two convolutions and a residual connection (figure 2), projected where the shape changes."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        same = n_in == n_out and stride == 1
        projection = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        self.shortcut = nn.Identity() if same else projection

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, frames, bands) to the same, or to (batch, channels out, frames / stride, bands / stride)."""
        return F.relu(self.convolutions(maps) + self.shortcut(maps))


NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "ECAPA-TDNN, 128 channels": EcapaTdnn,
    "ECAPA-TDNN, 256 channels": lambda n_mels, n_speakers: EcapaTdnn(n_mels, n_speakers, channels=256),
    "ResNet34, 16 channels": ResNet34,
}


def fit_and_evaluate(name: str, preset: Preset, corpus: Corpus) -> dict[str, float]:
    """Trains a network with the recipe of ``preset``: accuracies on what is held out, CPU seconds of training, parameters."""
    device, config = get_device(), preset.train
    set_seed(config.seed)
    model = NETWORKS[name](corpus.n_mels, corpus.n_speakers).to(device)
    batches, _, _ = get_dataloader(corpus, config, device=device)
    began = time.process_time()
    trained = fit(model, batches, preset, device)
    seconds = time.process_time() - began
    utterances = split_utterances(corpus.labelled, config)[1]  # (n,)
    dataset = SpeakerDataset(corpus.labelled, config.segment_len, device=device)
    with quietly():
        logits = full_outputs(trained, dataset, utterances, device)  # (n, n_speakers)
        crop = crop_result(trained, dataset, utterances, device).accuracy
    full = full_result(logits, dataset.labels[utterances]).accuracy
    return {"crop": crop, "full": full, "cpu_seconds": seconds, "parameters": count_parameters(model)}


def fit(model: nn.Module, batches: object, preset: Preset, device: torch.device) -> nn.Module:
    """The training loop without validations and checkpoints; returns the EMA of the model, in evaluation mode."""
    config, criterion, ema = preset.train, TrainingLoss(preset).to(device), make_ema(model, preset.train.ema)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    scheduler = get_cosine_schedule_with_warmup(optimizer, config.warmup_steps, config.total_steps)
    for batch in batches:
        optimizer.zero_grad()
        loss, _ = model_fn(batch, model, criterion, device)
        loss.backward()
        if config.clip_norm > 0:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        scheduler.step()
        ema.update_parameters(model)
    return ema.module.eval()
