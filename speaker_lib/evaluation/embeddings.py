"""Utterance embeddings: a vector per utterance, also for speakers that the run was not trained on.

The embedding is the input of the head's last layer.  That layer can only name the speakers in the training data; embeddings of
one voice lie close together whoever it is (Snyder et al. 2018, "X-vectors", section 2).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..data.batches import SpeakerDataset
from ..data.corpus import Corpus, Utterances
from ..data.splits import split_utterances
from ..training.run import Run
from ..utils.errors import CorpusError, RunError, SpeakerError
from ..utils.files import replacing
from .identification import full_outputs

PCA_WIDTH = 30  # dimensions that t-SNE is given
FEWEST_FOR_TSNE = 5


@dataclass(frozen=True)
class Embeddings:
    """The vectors of some utterances, raw: `unit_vectors` gives them length one where they are compared."""

    vectors: np.ndarray  # (utterances, d) float32
    lengths: np.ndarray  # (utterances,) int64, frames
    paths: tuple[str, ...]  # the utterance's file in the data folder
    speakers: tuple[str, ...]  # empty strings in a test set, where they are not known
    source: str  # of the corpus, for every figure made of the vectors
    trained_on: str  # the source of what the run was trained on

    def save(self, out: str | os.PathLike[str]) -> None:
        """Writes an array per field, for `np.load`. Raises WriteError."""
        with replacing(out) as file:
            np.savez(file, **{name: np.array(value) for name, value in vars(self).items()})


def embed(run: Run, corpus: Corpus, utterances: torch.Tensor, device: torch.device) -> Embeddings:
    """The vectors of labelled ``utterances`` (n,), whole, in that order.  The speakers may be others than the run's.

    Raises RunError if the corpus has other mel bands than the run's.
    """
    return _embed(run, corpus, corpus.labelled, utterances, device)


def embed_test(run: Run, corpus: Corpus, device: torch.device) -> Embeddings:
    """The vectors of the test set. Raises CorpusError if there is none, RunError as `embed` does."""
    if corpus.test is None:
        raise CorpusError(f"{corpus.folder} has no testdata.json, so there is no test set: omit --test.")
    return _embed(run, corpus, corpus.test, torch.arange(len(corpus.test)), device)


def unseen_indices(run: Run, corpus: Corpus, everything: bool = False) -> torch.Tensor:
    """The labelled utterances that are not in the training data, (n,) int64: those held out, or all of another corpus.

    ``everything`` takes in those it was trained on.  Raises RunError if the corpus has other mel bands than the run's.
    """
    _check_mels(run, corpus)
    if everything or corpus.digest != run.data.digest:
        return torch.arange(len(corpus.labelled))
    return split_utterances(corpus.labelled, run.preset.train)[1]


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Each row of (n, d) divided by its Euclidean length, float64: a product of two is the cosine between them.

    A vector of zeros stays one, and its cosine with any other is 0.
    """
    vectors = vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)  # (n, 1)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def flatten_vectors(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Where vectors (n, d) lie on a map, (n, 2), neighbours by cosine close together; the same for the same seed.

    PCA to 30 dimensions, then t-SNE (van der Maaten & Hinton 2008) from where PCA lays them; PCA alone for fewer than 5.
    Distances between far groups mean little on such a map.  Raises SpeakerError without scikit-learn.
    """
    with needing_sklearn("a map of voices"):
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
    units = unit_vectors(vectors)  # (n, d)
    if len(units) < 2 or np.ptp(units, axis=0).max() < 1e-9:  # one place
        return np.zeros((len(units), 2))
    n, d = units.shape
    width = min(PCA_WIDTH, n, d) if n >= FEWEST_FOR_TSNE else min(2, d)
    reduced = PCA(width, svd_solver="full").fit_transform(units)  # (n, width)
    if n < FEWEST_FOR_TSNE or width < 2:
        return np.pad(reduced, ((0, 0), (0, 2 - width)))  # (n, 2)
    return TSNE(perplexity=min(30.0, (n - 1) / 3), init="pca", random_state=seed).fit_transform(reduced)  # (n, 2)


@contextlib.contextmanager
def needing_sklearn(purpose: str) -> Iterator[None]:
    """Says what to install where an import of scikit-learn fails: the library imports without it. Raises SpeakerError."""
    try:
        yield
    except ImportError:
        raise SpeakerError(f"{purpose} needs the package scikit-learn: run `pip install scikit-learn`.") from None


def _embed(run: Run, corpus: Corpus, of: Utterances, utterances: torch.Tensor, device: torch.device) -> Embeddings:
    _check_mels(run, corpus)
    dataset, chosen = SpeakerDataset(of, device=device), utterances.numpy()
    vectors = full_outputs(run.load_model(device).embed, dataset, utterances, device)  # (utterances, d)
    speakers = tuple("" if label < 0 else corpus.speakers[label] for label in of.labels[chosen])
    paths = tuple(of.paths[i] for i in chosen)
    return Embeddings(vectors.numpy(), of.lengths[chosen], paths, speakers, corpus.source, run.data.source)


def _check_mels(run: Run, corpus: Corpus) -> None:
    if corpus.n_mels != run.preset.model.n_mels:
        raise RunError(
            f"{run.folder} was trained on {run.preset.model.n_mels} mel bands, {corpus.folder} has {corpus.n_mels}: "
            "use data with as many, or another run."
        )
