"""``make bench``: what the kit does fast, beside the plain way, in one run on one machine.

Runs under a plain PyTorch install. Writes what it found to benchmarks/results/.
"""

from __future__ import annotations

import datetime
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from speaker_lib import Corpus, CorpusWriter, SpeakerDataset, TrainConfig
from speaker_lib.data import TrainSampler
from speaker_lib.files import replacing
from speaker_lib.parallel import available_cores
from speaker_lib.progress import progress_bar

RESULTS = Path(__file__).parent / "results"
UTTERANCES = 56_666  # as many as HW4 has labelled
BATCH, SEGMENT = 32, 128


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = [bench_open(Path(folder) / "many"), bench_batch(Path(folder) / "long")]
    print(f"\n{'what':<58} {'plain':>12} {'kit':>12} {'ratio':>8}")
    for row in rows:
        print(f"{row['what']:<58} {row['plain_s'] * 1e3:>9.2f} ms {row['kit_s'] * 1e3:>9.2f} ms {row['ratio']:>8.1f}")
    machine = f"{platform.machine()}-{available_cores()}-cores"
    about = {"machine": machine, "torch": torch.__version__, "date": datetime.date.today().isoformat()}
    with replacing(RESULTS / f"data-{machine}.json", "w", encoding="utf-8") as file:
        json.dump([row | about for row in rows], file, indent=1)
    print(f"Written to {RESULTS / f'data-{machine}.json'}")


def bench_open(folder: Path) -> dict[str, object]:
    """Opening a packed corpus of HW4's count; plain: reading every file once, as packing does."""
    make_corpus(folder, np.full(UTTERANCES, 10))
    began = time.perf_counter()
    Corpus.open(folder)
    first = time.perf_counter() - began
    again = median(seconds(lambda: Corpus.open(folder)) for _ in range(7))
    return row(f"open {UTTERANCES:,} utterances (plain: the first time, packing)", first, again)


def bench_batch(folder: Path) -> dict[str, object]:
    """Cutting a training batch from the packed corpus; plain: 32 files read with torch.load and stacked."""
    lengths = np.clip(np.random.default_rng(0).lognormal(6.3, 0.5, 2_000), SEGMENT, 7_193).astype(int)  # about HW4's
    make_corpus(folder, lengths)
    corpus = Corpus.open(folder)
    dataset = SpeakerDataset(corpus.labelled, SEGMENT)
    crops = iter(TrainSampler(torch.arange(len(dataset)), TrainConfig(batch_size=BATCH)))
    paths = [folder / name for name in corpus.labelled.paths]
    generator = np.random.default_rng(1)

    def plain() -> torch.Tensor:
        segments = []
        for i in generator.integers(len(paths), size=BATCH):
            mel = torch.load(paths[i], weights_only=True)
            start = int(generator.integers(len(mel) - SEGMENT + 1))
            segments.append(mel[start : start + SEGMENT])
        return torch.stack(segments)

    def kit() -> torch.Tensor:
        return dataset.__getitems__(next(crops)).mels

    pairs = [(seconds(plain, 5), seconds(kit, 100)) for _ in range(20)]  # turn about, so that both see the machine's moods
    return row(f"cut a batch of {BATCH} x {SEGMENT} frames (plain: torch.load)", *map(median, zip(*pairs, strict=True)))


def seconds(function: Callable[[], object], times: int = 1) -> float:
    """Per call."""
    began = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - began) / times


def row(what: str, plain: float, kit: float) -> dict[str, object]:
    return {"what": what, "plain_s": plain, "kit_s": kit, "ratio": plain / kit}


def make_corpus(folder: Path, lengths: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(size=(int(lengths.max()), 40)).astype(np.float32)
    with CorpusWriter(folder, "random numbers") as writer, progress_bar(len(lengths), "Write", "uttr") as bar:
        for i, length in enumerate(lengths):
            writer.add(noise[:length], f"speaker{i % 600:03d}")
            bar.update()


if __name__ == "__main__":
    main()
