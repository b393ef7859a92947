"""Chooses the device and the precision of training."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os

import torch

from .errors import ConfigError, first_line, short_repr
from .progress import log


def get_device() -> torch.device:
    """The device in SPEAKER_DEVICE (``cpu``, ``cuda`` or ``mps``), else an NVIDIA GPU that works, else the CPU.

    With several processes, each takes its own NVIDIA GPU. ``mps``, Apple's GPU, must be asked for: no test of the kit ran on one.
    Raises ConfigError if the device that was asked for cannot be used.
    """
    gpu, apple = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))), torch.device("mps")
    asked = os.environ.get("SPEAKER_DEVICE") or None
    if asked not in (None, "cpu", "cuda", "mps"):
        raise ConfigError(f"SPEAKER_DEVICE is {short_repr(asked)}: choose cpu, cuda or mps, or leave it out.")
    if asked in (None, "cuda") and torch.cuda.is_available() and _works(gpu):
        return gpu
    alone = int(os.environ.get("WORLD_SIZE", 1)) == 1  # processes cannot exchange gradients on Apple's GPU
    if asked == "mps" and alone and has_apple_gpu() and _works(apple):
        return apple
    if asked in ("cuda", "mps"):
        raise ConfigError(f"SPEAKER_DEVICE is {asked}, which PyTorch cannot use here: leave it out to use the CPU.")
    return torch.device("cpu")


def has_apple_gpu() -> bool:
    """Whether PyTorch finds Apple's GPU."""
    return torch.backends.mps.is_available()


@functools.cache
def _works(gpu: torch.device) -> bool:
    """Whether PyTorch has code for this GPU. It has none for Kaggle's P100, although that GPU counts as available."""
    try:
        return bool((torch.ones(2, device=gpu) + 1).sum() == 4)
    except RuntimeError as error:
        if multiprocessing.parent_process() is None:  # else each worker would log it again
            name = str(gpu)
            with contextlib.suppress(RuntimeError):  # the driver may not even tell
                name = torch.cuda.get_device_name(gpu) if gpu.type == "cuda" else "of Apple"
            advice = "restart the machine, or end what else uses the GPU"
            if "kernel image" in str(error):
                advice = "on Kaggle choose the accelerator T4 x2"
            log(f"PyTorch cannot use the GPU {name} ({first_line(error)}), so the kit trains on the CPU: {advice}.")
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
