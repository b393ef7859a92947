"""The plain way that the kit is compared with: written for this purpose, in the manner of the assignment's sample code.

It reads a file for every segment, in worker processes, uses PyTorch's own layers, and fetches loss and accuracy from the
device at every step.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from speaker_lib import ModelConfig, Preset


class PlainDataset(Dataset):
    """Reads an utterance's file at every access."""

    def __init__(self, folder: Path, segment_len: int) -> None:
        metadata = json.loads((folder / "metadata.json").read_text())
        ids = json.loads((folder / "mapping.json").read_text())["speaker2id"]
        self.folder, self.segment_len = folder, segment_len
        self.items = [(u["feature_path"], ids[name]) for name, listed in metadata["speakers"].items() for u in listed]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        path, speaker = self.items[i]
        mel = torch.load(self.folder / path, weights_only=True)
        if len(mel) > self.segment_len:
            start = random.randint(0, len(mel) - self.segment_len)
            mel = mel[start : start + self.segment_len].clone()
        return mel, torch.tensor([speaker])


def collate(items: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    mels, speakers = zip(*items, strict=True)
    return pad_sequence(mels, batch_first=True, padding_value=-20), torch.cat(speakers)


class PlainClassifier(nn.Module):
    """The same model from PyTorch's own layers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.prenet = nn.Linear(config.n_mels, config.d_model)
        pre_norm = config.norm == "pre"
        layer = nn.TransformerEncoderLayer(
            config.d_model, config.nhead, config.dim_feedforward, config.dropout, norm_first=pre_norm
        )
        layer.self_attn.dropout = config.attention_dropout
        norm = nn.LayerNorm(config.d_model) if pre_norm else None
        self.encoder = nn.TransformerEncoder(layer, config.num_layers, norm, enable_nested_tensor=False)
        self.pred_layer = nn.Sequential(
            nn.Linear(config.d_model, config.d_model),
            nn.Sigmoid() if config.activation == "sigmoid" else nn.ReLU(),
            nn.Linear(config.d_model, config.n_speakers),
        )

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(self.prenet(mels).permute(1, 0, 2)).transpose(0, 1)  # (batch, frames, d_model)
        return self.pred_layer(hidden.mean(dim=1))  # (batch, n_speakers)


def plain_steps(folder: Path, preset: Preset, device: torch.device, dtype: torch.dtype, workers: int) -> Iterator[float]:
    """Trains without end; every ``next`` is a step and gives its loss."""
    config = preset.train
    loader = DataLoader(
        PlainDataset(folder, config.segment_len),
        batch_size=config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        collate_fn=collate,
    )
    model, criterion = PlainClassifier(preset.model).to(device), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
    while True:
        for mels, labels in loader:
            mels, labels = mels.to(device), labels.to(device)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits = model(mels)
            loss = criterion(logits.float(), labels)
            accuracy = (logits.argmax(1) == labels).float().mean()
            batch_loss, _ = loss.item(), accuracy.item()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            yield batch_loss


@torch.no_grad()
def plain_predictions(folder: Path, names: list[str], model: nn.Module, device: torch.device) -> list[int]:
    """One utterance after another."""
    model.eval()
    found = []
    for name in names:
        mel = torch.load(folder / name, weights_only=True)
        found.append(int(model(mel[None].to(device)).argmax(1)))
    return found
