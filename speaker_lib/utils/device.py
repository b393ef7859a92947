"""Which device a model is trained on, and in which precision."""

from __future__ import annotations

import functools
import multiprocessing
import os

import torch

from .errors import first_line
from .progress import log


def get_device() -> torch.device:
    """The NVIDIA GPU if there is one that works, else Apple's, else the CPU; each of several processes takes a GPU of its own."""
    gpu = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if torch.cuda.is_available() and _works(gpu):
        return gpu
    # There is only one of Apple's, and processes that train together cannot exchange gradients on it.
    alone = int(os.environ.get("WORLD_SIZE", 1)) == 1
    return torch.device("mps" if alone and torch.backends.mps.is_available() else "cpu")


@functools.cache
def _works(gpu: torch.device) -> bool:
    """Whether PyTorch has code for this GPU; logs a line if not, as for Kaggle's P100, which counts as available all the same."""
    try:
        return bool((torch.ones(2, device=gpu) + 1).sum() == 4)
    except RuntimeError as error:
        if multiprocessing.parent_process() is None:  # else each worker would log it again
            log(
                f"PyTorch cannot use the GPU {torch.cuda.get_device_name(gpu)} ({first_line(error)}), so the kit trains on "
                "the CPU: on Kaggle choose the accelerator T4 x2."
            )
        return False


def get_autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type in which matrices are multiplied: ``precision``, or for ``auto`` the one that suits the device."""
    if precision != "auto":
        return getattr(torch, precision)
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def sum_dtype(device: torch.device) -> torch.dtype:
    """The type in which sums over a data set are kept: float64, which Apple's GPUs lack."""
    return torch.float32 if device.type == "mps" else torch.float64
