"""Which utterances of a corpus a run was trained on, told by their content.

The same recordings may have been prepared another way: cut elsewhere, under other names, in another folder.  Their frames are the
same then, and frames of recorded sound hardly ever agree by chance.  What is not found: a recording that was converted, resampled
or changed before its features were taken.
"""

from __future__ import annotations

import functools

import numpy as np

from ..data.corpus import Corpus, Utterances
from ..data.splits import split_utterances
from ..training.run import Run
from ..utils.errors import CorpusError
from .embeddings import unseen_indices

_SAMPLE = 8  # one frame in so many is compared; its content decides which, so that both corpora sample the same
_ENOUGH = 0.5  # of an utterance's sampled frames


def trained_on(run: Run, corpus: Corpus, utterances: np.ndarray) -> tuple[np.ndarray, bool]:
    """Whether each labelled utterance (n,) was in the run's training data, (n,) bool; and whether that could be told.

    It cannot if the corpus is another one and the folder of the training data is not there any more, or has changed.
    """
    if corpus.digest == run.data.digest:
        return ~np.isin(utterances, unseen_indices(run, corpus).numpy()), True
    try:
        training = Corpus.open(run.data.folder)
    except (CorpusError, OSError):
        training = None
    if training is None or training.digest != run.data.digest or training.n_mels != corpus.n_mels:
        return np.zeros(len(utterances), dtype=bool), False
    chosen = split_utterances(training.labelled, run.preset.train)[0].numpy()
    known = np.unique(np.concatenate([_sampled(training.labelled, i) for i in chosen]))  # (frames,)
    sampled = [_sampled(corpus.labelled, i) for i in utterances]
    counts = np.array([len(hashes) for hashes in sampled])  # (n,)
    hits = np.isin(np.concatenate(sampled), known)  # (frames,) in one call: each would sort all known hashes again
    heard = np.bincount(np.repeat(np.arange(len(counts)), counts), hits, len(counts))  # (n,)
    return heard >= _ENOUGH * np.maximum(counts, 1), True


def _sampled(utterances: Utterances, i: int) -> np.ndarray:
    """Hashes of about one in `_SAMPLE` of an utterance's frames, (frames,) uint64."""
    rows = np.ascontiguousarray(utterances.frames[utterances.offsets[i] : utterances.offsets[i + 1]])  # (frames, n_mels) float16
    hashes = (rows.view(np.uint16).astype(np.uint64) * _weights(rows.shape[1])).sum(
        axis=1, dtype=np.uint64
    )  # (frames,) modulo 2 ** 64
    hashes ^= hashes >> np.uint64(32)
    return hashes[hashes % np.uint64(_SAMPLE) == 0]


@functools.cache
def _weights(n_mels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 2**63, n_mels, dtype=np.uint64) | np.uint64(1)  # (n_mels,) odd numbers
