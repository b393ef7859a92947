"""Keeps the packed frames in GPU memory, in main memory or on disk, depending on where they fit."""

from __future__ import annotations

import contextlib
import os
import warnings

import numpy as np
import torch

from ..utils.progress import log

RESERVE = 3 * 2**30  # bytes of a GPU's memory that are left to the model
HOST_FRACTION = 0.5  # of the available main memory, the most that frames may take


def place_frames(frames: np.ndarray, device: torch.device) -> torch.Tensor:
    """The packed frames (total frames, n_mels) float16 as a tensor; for a GPU a line says where they are kept.

    On the GPU if its free memory holds them, else in main memory, else mapped from disk.  For a CPU they stay mapped, because
    the operating system keeps in memory what is read often.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # no code writes to it
        mapped = torch.from_numpy(frames)
    if device.type != "cuda":
        return mapped
    size = f"{frames.nbytes / 1e9:.2f} GB of frames"
    free = torch.cuda.mem_get_info(device)[0]
    if frames.nbytes + RESERVE <= free:
        log(f"{size} lie on the GPU.")
        return mapped.to(device)
    why = f"{size} do not fit beside a model on the GPU ({free / 1e9:.1f} GB free)"
    if frames.nbytes <= HOST_FRACTION * _available_memory():
        log(f"{why}: they lie in main memory, and each batch is sent.")
        return mapped.clone()
    log(f"{why} and would crowd main memory: they stay on disk, mapped, and each batch is sent.")
    return mapped


def _available_memory() -> int:
    """Bytes of main memory that a program can get, the file cache included; without psutil only what is free; 0 if unknown."""
    with contextlib.suppress(ImportError):
        import psutil

        return psutil.virtual_memory().available
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0
