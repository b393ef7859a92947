"""A few speakers of a corpus as a corpus of their own, for questions that many small models have to answer."""

from __future__ import annotations

import os

from ..utils.progress import progress_bar
from .corpus import Corpus, CorpusWriter


def write_subset(corpus: Corpus, out: str | os.PathLike[str], n_speakers: int) -> None:
    """Writes the labelled utterances of the first ``n_speakers`` speakers (by class id) to ``out``.

    Raises CorpusError if ``out`` holds anything already.
    """
    utterances = corpus.labelled
    chosen = [i for i, label in enumerate(utterances.labels.tolist()) if label < n_speakers]
    source = f"the first {n_speakers} of {corpus.source}"
    with CorpusWriter(out, source, corpus.n_mels) as writer, progress_bar(len(chosen), "Subset", "uttr") as bar:
        for i in chosen:
            session = None if utterances.sessions is None else utterances.sessions[i]
            writer.add(utterances.mel(i), corpus.speakers[int(utterances.labels[i])], session)
            bar.update()
