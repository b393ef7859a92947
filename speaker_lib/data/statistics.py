"""Mean and variance of a data set, for global normalisation of a model's input."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .corpus import Utterances


def band_statistics(utterances: Utterances, indices: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each mel band over all frames of some utterances, (n_mels,) float64 each."""
    n_mels = utterances.frames.shape[1]
    count, total, squares = 0, np.zeros(n_mels), np.zeros(n_mels)  # (n_mels,) each
    for i in indices:
        mel = utterances.mel(int(i)).astype(np.float64)  # (frames, n_mels)
        count, total, squares = count + len(mel), total + mel.sum(0), squares + (mel**2).sum(0)  # (n_mels,)
    mean = total / count  # (n_mels,)
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 1e-6))  # (n_mels,) each; a silent band is not divided by 0
