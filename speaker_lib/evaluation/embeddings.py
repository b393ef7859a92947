"""Utterance embeddings: one vector per utterance, also for speakers that the run was not trained on.

The embedding is the input of the head's last layer.  That layer can only name the speakers in the training data; the embeddings
of any one voice are close together (Snyder et al. 2018, "X-vectors", section 2).
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ..data.batches import SpeakerDataset
from ..data.corpus import Corpus
from ..data.splits import split_utterances
from ..training.run import Run
from ..utils.errors import CorpusError, RunError
from ..utils.files import make_folder, replacing
from ..utils.optional import optional
from .identification import full_outputs

PCA_WIDTH = 30  # dimensions of the input of t-SNE
FEWEST_FOR_TSNE = 5


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of some utterances, not normalised: `unit_vectors` gives them length one."""

    vectors: np.ndarray  # (utterances, d) float32
    lengths: np.ndarray  # (utterances,) int64, frames
    paths: tuple[str, ...]  # the utterance's file in the data folder
    speakers: tuple[str, ...]  # empty strings in a test set
    source: str  # of the corpus; every figure of the vectors shows it
    trained_on: str  # the source of the run's training data

    def save(self, out: str | os.PathLike[str]) -> None:
        """Writes an array per field, for `np.load`. Raises WriteError."""
        make_folder(Path(out).parent)
        with replacing(out) as file:
            np.savez(file, **{name: np.array(value) for name, value in vars(self).items()})


def embed(run: Run, corpus: Corpus, utterances: torch.Tensor | None, device: torch.device) -> Embeddings:
    """The embeddings of whole labelled ``utterances`` (n,), in that order; None stands for the test set.

    The speakers may differ from the run's.  Raises RunError if the corpus has other mel bands than the run, CorpusError if
    there is no test set.
    """
    _check_mels(run, corpus)
    part = corpus.labelled
    if utterances is None:
        if corpus.test is None:
            raise CorpusError(f"{corpus.folder} has no testdata.json, so there is no test set: omit --test.")
        part, utterances = corpus.test, torch.arange(len(corpus.test))
    chosen = utterances.numpy()
    vectors = full_outputs(run.load_model(device).embed, SpeakerDataset(part, device=device), utterances, device)  # (n, d)
    speakers = tuple("" if label < 0 else corpus.speakers[label] for label in part.labels[chosen])
    paths = tuple(part.paths[i] for i in chosen)
    return Embeddings(vectors.numpy(), part.lengths[chosen], paths, speakers, corpus.source, run.data.source)


def unseen_indices(run: Run, corpus: Corpus, everything: bool = False) -> torch.Tensor:
    """The labelled utterances that are not in the training data, (n,) int64: the held-out ones, or all of another corpus.

    ``everything`` includes the training data.  Raises RunError if the corpus has other mel bands than the run.
    """
    _check_mels(run, corpus)
    if everything or corpus.digest != run.data.digest:
        return torch.arange(len(corpus.labelled))
    return split_utterances(corpus.labelled, run.preset.train)[1]


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Each row of (n, d) divided by its Euclidean length, float64: the dot product of two rows is their cosine.

    A vector of zeros stays as it is; its cosine with any other is 0.
    """
    return F.normalize(torch.from_numpy(vectors).double(), dim=1).numpy()


def flatten_vectors(vectors: np.ndarray) -> np.ndarray:
    """A map of vectors (n, d): a point (n, 2) for each, with similar vectors close together.

    PCA to 30 dimensions, then t-SNE (van der Maaten & Hinton 2008); PCA alone for fewer than 5 vectors.  Distances between far
    groups mean little on such a map.  Raises SpeakerError without scikit-learn.
    """
    decomposition, manifold = (optional(f"sklearn.{name}", "a map of voices") for name in ("decomposition", "manifold"))
    units = unit_vectors(vectors)  # (n, d)
    if len(units) < 2 or np.ptp(units, axis=0).max() < 1e-9:  # all vectors are equal
        return np.zeros((len(units), 2))
    n, d = units.shape
    width = min(PCA_WIDTH, n, d) if n >= FEWEST_FOR_TSNE else min(2, d)
    reduced = decomposition.PCA(width, svd_solver="full").fit_transform(units)  # (n, width)
    if n < FEWEST_FOR_TSNE or width < 2:
        return np.pad(reduced, ((0, 0), (0, 2 - width)))  # (n, 2)
    return manifold.TSNE(perplexity=min(30.0, (n - 1) / 3), init="pca", random_state=0).fit_transform(reduced)  # (n, 2)


def _check_mels(run: Run, corpus: Corpus) -> None:
    n_mels = run.preset.model.n_mels
    if corpus.n_mels != n_mels:
        advice = f"use data with {n_mels} mel bands, or another run"
        raise RunError(f"{run.folder} was trained on {n_mels} mel bands, {corpus.folder} has {corpus.n_mels}: {advice}.")
