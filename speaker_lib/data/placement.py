"""Keeps the packed features in GPU memory, in main memory or on disk, whichever fits."""

from __future__ import annotations

import os
import warnings

import numpy as np
import torch

from ..utils.progress import log

RESERVE = 3 * 2**30  # bytes of a GPU's memory that are left to the model
_HOST_SHARE = 0.5  # of the main memory that is to be had, the most that frames may take


def place_frames(frames: np.ndarray, device: torch.device) -> torch.Tensor:
    """The packed frames (total frames, n_mels) float16 as a tensor, and where a GPU trains, a line on where they lie.

    On the GPU if its free memory holds them, else in main memory, else as they are: mapped from disk.  On a CPU they stay
    mapped, because the operating system keeps in memory what is read often.
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
    if frames.nbytes <= _HOST_SHARE * _available_memory():
        log(f"{why}: they lie in main memory, and each batch is sent.")
        return mapped.clone()
    log(f"{why} and would crowd main memory: they stay on disk, mapped, and each batch is sent.")
    return mapped


def _available_memory() -> int:
    """Bytes of main memory that a program can get; 0 where the system does not say.

    The file cache, which reading and packing fill, counts as available: the system gives it up on demand.  Without psutil
    only free memory is known, which is less.
    """
    try:
        import psutil

        return psutil.virtual_memory().available
    except ImportError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0
