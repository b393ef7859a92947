"""A whole training on data of HW4's size: how long until the first step, how long in all."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import torch

from speaker_lib import Corpus, Preset, Run, train

from .growth import write_packed
from .hw4_standin.corpus import lengths_like_hw4


def time_of_run(folder: Path, device: torch.device, preset: Preset, n_utterances: int) -> tuple[float, float]:
    """Seconds from opening packed data to the first step, and to the end of the last validation."""
    write_packed(folder / "data", lengths_like_hw4(n_utterances))
    began, first_step = time.perf_counter(), FirstStep(device)
    corpus = Corpus.open(folder / "data")
    train(Run.create(folder / "run", preset, corpus), corpus, device, stop=first_step)
    return first_step.at - began, time.perf_counter() - began


class FirstStep(threading.Event):
    """A stop signal that is never set. Training checks it after every step; the first check is the time of the first step."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.at = device, None

    def is_set(self) -> bool:
        """Always False; the first call sets ``at``."""
        if self.at is None:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.at = time.perf_counter()
        return False
