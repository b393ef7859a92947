"""Keeps the packed frames in GPU memory, in main memory or on disk, whichever is the first with room for them."""

from __future__ import annotations

import contextlib
import os
import warnings

import numpy as np
import torch

from ..utils.errors import SpeakerError
from ..utils.optional import optional
from ..utils.progress import log

RESERVE = 3 * 2**30  # bytes of GPU memory that are left for the model
HOST_FRACTION = 0.5  # of the available main memory: the frames' limit


def place_frames(frames: np.ndarray, device: torch.device) -> torch.Tensor:
    """The packed frames (total frames, n_mels) float16 as a tensor: on the GPU, else in main memory, else mapped from disk.

    For a GPU, a line is printed that says where.  For a CPU the frames stay mapped: the operating system keeps in memory what
    is read often.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # no code writes to it
        mapped = torch.from_numpy(frames)  # (total frames, n_mels)
    if device.type != "cuda":
        return mapped
    size, free = f"{frames.nbytes / 1e9:.2f} GB of frames", torch.cuda.mem_get_info(device)[0]
    if frames.nbytes + RESERVE <= free:
        log(f"{size} are kept on the GPU.")
        return mapped.to(device)
    fits = frames.nbytes <= HOST_FRACTION * _available_memory()
    place = "in main memory" if fits else "on disk, because main memory has no room"
    log(f"{size} do not fit beside a model on the GPU ({free / 1e9:.1f} GB free): they are kept {place}.")
    return mapped.clone() if fits else mapped


def _available_memory() -> int:
    """Bytes of main memory, with the file cache, that a program can get. Without psutil only those that are free, or 0."""
    with contextlib.suppress(SpeakerError):
        return optional("psutil", "a look at the memory").virtual_memory().available
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0
