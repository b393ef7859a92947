"""Chooses the device and the precision of training."""

from __future__ import annotations

import functools
import multiprocessing
import os

import torch

from .errors import first_line
from .progress import log


def get_device() -> torch.device:
    """An NVIDIA GPU that works, else Apple's GPU, else the CPU. With several processes, each takes its own NVIDIA GPU."""
    gpu = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if torch.cuda.is_available() and _works(gpu):
        return gpu
    alone = int(os.environ.get("WORLD_SIZE", 1)) == 1  # processes cannot exchange gradients on Apple's GPU
    return torch.device("mps" if alone and torch.backends.mps.is_available() else "cpu")


@functools.cache
def _works(gpu: torch.device) -> bool:
    """Whether PyTorch has code for this GPU. It has none for Kaggle's P100, although that GPU counts as available."""
    try:
        return bool((torch.ones(2, device=gpu) + 1).sum() == 4)
    except RuntimeError as error:
        if multiprocessing.parent_process() is None:  # else each worker would log it again
            problem = f"PyTorch cannot use the GPU {torch.cuda.get_device_name(gpu)} ({first_line(error)})"
            log(f"{problem}, so the kit trains on the CPU: on Kaggle choose the accelerator T4 x2.")
        return False


def get_autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type of matrix products: ``precision``, or for ``auto`` the best one of the device."""
    if precision != "auto":
        return getattr(torch, precision)
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def sum_dtype(device: torch.device) -> torch.dtype:
    """The type of sums over a data set: float64, or float32 on Apple's GPUs, which have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
