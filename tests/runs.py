"""A small run, and how two runs are compared."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch

from speaker_lib import ModelConfig, Preset, Run, TrainConfig

MODEL = ModelConfig(d_model=16, nhead=2, dim_feedforward=16, activation="relu", dropout=0.1, attention_dropout=0.1)
PRESET = Preset(
    MODEL,
    TrainConfig(batch_size=8, segment_len=32, warmup_steps=5, total_steps=60, valid_steps=20, save_steps=10, learning_rate=5e-3),
)


def weights(run: Path | Run) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file((run.folder if isinstance(run, Run) else run) / "model.safetensors")


def last_weights(run: Run) -> dict[str, torch.Tensor]:
    return run.load_resume()["model"]


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def without_speed(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "steps_per_second"} for row in rows]


def assert_same_outcome(run: Run, other: Run) -> None:
    """Bit for bit: the weights that were kept, those of the last checkpoint, and the validations."""
    assert_equal(weights(run), weights(other))
    assert_equal(last_weights(run), last_weights(other))
    assert without_speed(run.metrics()) == without_speed(other.metrics())
