"""Recordings through a trained model: outputs in windows where they are long, and the most probable speakers.

In: sound files.  Out: probabilities of the speakers in the training data, or one embedding per recording.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch.nn import functional as F

from ..data.tree import read_tree
from ..models.classifier import Classifier
from ..sound.features import FRAMES_PER_SECOND, N_MELS, extract
from ..training.run import Run
from ..utils.errors import RunError, SpeakerError, escape_controls
from ..utils.progress import log, progress_bar
from .identification import Model

T = TypeVar("T")  # what is found out about a recording

LONG = 6_000  # frames: a longer recording goes through the model in windows, since attention takes time ~ frames ** 2
WINDOW = 2_000  # frames, at most
SHORTEST = 0.5  # seconds of speech to identify somebody by
SHORTEST_ENROLMENT = 1.0  # seconds of speech to enrol somebody by


@dataclass(frozen=True)
class Identified:
    """The most probable of the run's speakers for one recording, most probable first."""

    recording: str
    seconds: float  # of speech, after pauses were removed
    best: tuple[tuple[str, float], ...]  # speaker and probability


def find_recordings(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[Path], list[str]]:
    """The files among ``paths`` and the recordings in folders, at any depth; and a sentence per thing that is left out."""
    found, problems = [], []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        tree = read_tree(path)
        found += tree.recordings
        problems += [*tree.unread, *(skipped.reason for skipped in tree.skipped)]
        if tree.not_sound:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tree.not_sound.items()))
            problems.append(f"{path} holds files that are not sound ({kinds}).")
        if not tree.n_files:
            problems.append(f"{path} holds no file: name a folder of recordings.")
    return list(dict.fromkeys(found)), problems


def open_model(run: Run, device: torch.device) -> Classifier:
    """The run's model, if recordings give the features it was trained on. Raises RunError."""
    n_mels = run.preset.model.n_mels
    if n_mels != N_MELS:
        raise RunError(f"{run.folder} was trained on {n_mels} mel bands, recordings give {N_MELS}: use another run.")
    return run.load_model(device)


def read_recording(path: Path, shortest: float = SHORTEST) -> np.ndarray:
    """The features of a recording, (frames, 40); says what is odd about the file.

    Raises SpeakerError for one that cannot be used, or with less than ``shortest`` seconds of speech.
    """
    features = extract(path)
    mels = features.mel  # (frames, 40)
    seconds = len(mels) / FRAMES_PER_SECOND
    if seconds < shortest:
        advice = f"record at least {shortest:g} s"
        raise SpeakerError(f"{path} holds {seconds:.2f} s of speech, pauses not counted, too short to tell a voice: {advice}.")
    for note in features.notes:
        log(f"note: {escape_controls(note)}")
    return mels


def read_recordings(
    paths: Iterable[str | os.PathLike[str]], answer: Callable[[Path, np.ndarray], T]
) -> Iterator[T | SpeakerError]:
    """``answer(path, mels)`` for each recording, mels (frames, n_mels); or the problem that a recording has."""
    for path in map(Path, paths):
        try:
            mels = read_recording(path)  # (frames, n_mels)
        except SpeakerError as problem:
            yield problem
        else:
            yield answer(path, mels)


@torch.inference_mode()
def window_outputs(model: Model, mels: np.ndarray, device: torch.device) -> torch.Tensor:
    """The outputs of ``model`` for mels (frames, n_mels), (windows, d) on the CPU: one window for up to `LONG` frames.

    More frames are divided into windows of equal length, at most `WINDOW`, so that time and memory are proportional to them.
    """
    count = 1 if len(mels) <= LONG else -(-len(mels) // WINDOW)
    found = []
    with progress_bar(count, "Windows", "window", leave=False, disable=count == 1) as bar:
        for window in np.array_split(mels, count):  # (frames / count, n_mels)
            found.append(model(torch.from_numpy(window)[None].to(device), None)[0].cpu())  # (d,)
            bar.update()
    return torch.stack(found)  # (windows, d)


def embed_recording(model: Classifier, mels: np.ndarray, device: torch.device) -> np.ndarray:
    """The unit vector of a recording, (d,) float32: the mean over windows of unit vectors."""
    vectors = F.normalize(window_outputs(model.embed, mels, device).double(), dim=1)  # (windows, d)
    return F.normalize(vectors.mean(dim=0), dim=0).float().numpy()  # (d,)


def identify(
    run: Run, recordings: Iterable[str | os.PathLike[str]], device: torch.device, most: int = 5
) -> Iterator[Identified | SpeakerError]:
    """The ``most`` probable speakers of each recording, or the problem that it has: its probabilities are means over windows.

    Raises RunError for a run that cannot be used.
    """
    model = open_model(run, device)

    def answer(path: Path, mels: np.ndarray) -> Identified:
        probabilities = window_outputs(model, mels, device).softmax(dim=1).mean(dim=0)  # (n_speakers,)
        best = probabilities.topk(min(most, len(probabilities)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return Identified(str(path), len(mels) / FRAMES_PER_SECOND, tuple((run.data.speakers[i], p) for i, p in pairs))

    return read_recordings(recordings, answer)
