"""A run in a scratch folder, and the CPU seconds that its training took."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speaker_lib import Corpus, Preset, Run, train
from speaker_lib.training.run import fit_to_data
from speaker_lib.utils.progress import quietly


@contextmanager
def trained_run(preset: Preset, corpus: Corpus) -> Iterator[tuple[Run, float]]:
    """Trains without a word; inside the block the run is there."""
    with tempfile.TemporaryDirectory() as scratch, quietly():
        run = Run.create(Path(scratch) / "run", fit_to_data(preset, corpus), corpus)
        began = time.process_time()
        train(run, corpus)
        yield run, time.process_time() - began
