"""Small recordings for tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def write(path: Path, seconds: float = 0.3, seed: int | None = None) -> Path:
    """A recording of noise; of the same seed the same, by default of one that belongs to the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(path.as_posix().encode()) if seed is None else seed)
    soundfile.write(path, rng.normal(0.0, 0.1, int(seconds * RATE)), RATE, format="WAV" if path.suffix == ".dat" else None)
    return path


def write_all(folder: Path, names: Iterable[str]) -> Path:
    """A recording for each name below ``folder``."""
    for name in names:
        write(folder / name)
    return folder
