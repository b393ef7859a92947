"""Which device a model is trained on, and in which precision."""

from __future__ import annotations

import os

import torch


def get_device() -> torch.device:
    """The GPU if there is one, else the CPU; of several processes on one machine, each takes a GPU of its own."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else torch.device("cpu")


def get_autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type that matrices are multiplied in: as asked, or bfloat16, float16 or float32, whichever suits the device."""
    if precision != "auto":
        return getattr(torch, precision)
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
