"""Which device a model is trained on, and in which precision."""

from __future__ import annotations

import functools
import os

import torch

from .progress import log


def get_device() -> torch.device:
    """The NVIDIA GPU if there is one that works, else Apple's, else the CPU; each of several processes takes a GPU of its own."""
    if torch.cuda.is_available():
        gpu = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        return gpu if _works(gpu) else torch.device("cpu")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@functools.cache
def _works(gpu: torch.device) -> bool:
    """Whether the GPU can do one small operation; a line where it cannot, as Kaggle's P100, which PyTorch calls available."""
    try:
        return float(torch.ones(2, device=gpu).sum()) == 2.0
    except RuntimeError:
        log(
            f"This PyTorch cannot compute on the {torch.cuda.get_device_name(gpu)}, so the CPU is used: "
            'on Kaggle, choose the accelerator "GPU T4 x2".'
        )
        return False


def get_autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type that matrices are multiplied in: as asked, or bfloat16, float16 or float32, whichever suits the device."""
    if precision != "auto":
        return getattr(torch, precision)
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def sum_dtype(device: torch.device) -> torch.dtype:
    """The type in which sums over a data set are kept: float64, which Apple's GPUs lack."""
    return torch.float32 if device.type == "mps" else torch.float64
