"""A synthetic data set of HW4's size and length distribution, for measurements without HW4.

600 speakers, 56,666 labelled and 8,000 test utterances. `features` draws their log-mels, which are written as two packs
(3.4 GB, in a minute or two) instead of 64,666 files.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np
import torch

from speaker_lib.data.corpus import PARTS, Corpus, Utterances, read_listings
from speaker_lib.data.hw4_format import Listing
from speaker_lib.data.packing import DTYPE, pack_name, write_header
from speaker_lib.data.writer import CorpusWriter
from speaker_lib.simulation.voices import numpy_stream
from speaker_lib.sound.features import N_MELS
from speaker_lib.utils.device import get_device
from speaker_lib.utils.errors import ConfigError
from speaker_lib.utils.files import explain_os_errors
from speaker_lib.utils.parallel import parallel_results
from speaker_lib.utils.progress import progress_bar

from .features import FeatureModel, Variability

SPEAKERS, LABELLED, TEST = 600, 56_666, 8_000  # of HW4
BLOCK = 64  # utterances drawn together; another number gives other data
PARALLEL_FROM = 100  # blocks; one process draws fewer before others have started
FEWEST, MOST, MEAN = 80, 111, LABELLED / SPEAKERS  # labelled utterances of a speaker
# Quantiles of the lengths of HW4's labelled utterances: the published ones, and others between them, chosen so that the sum
# is HW4's 37.29 million frames.
_QUANTILES = (0.0, 3e-5, 1e-3, 0.05, 0.25, 0.5, 0.75, 0.86, 0.95, 0.99, 0.999, 1.0)
_FRAMES = (91, 128, 220, 368, 441, 541, 740, 900, 1_338, 1_950, 3_200, 7_193)
TEST_FRAMES = (214, 4_940)  # the shortest and the longest of HW4's test utterances; their median is 538
_COUNTS, _LENGTHS, _DEALT = 10, 11, 12  # one random stream per purpose


@dataclass(frozen=True)
class StandIn:
    """Settings and seed, which decide every frame on one kind of device. The defaults are HW4's size.  Raises ConfigError."""

    speakers: int = SPEAKERS
    utterances: float = MEAN  # labelled, per speaker, on average
    test_utterances: float = TEST / SPEAKERS  # per speaker, on average
    sessions: int = 12  # per speaker: VoxCeleb2 cuts some 7 or 8 utterances from each video
    seed: int = 0
    spreads: Variability = field(default_factory=Variability)

    def __post_init__(self) -> None:
        for name, least in (("speakers", 1), ("utterances", 1), ("test_utterances", 0), ("sessions", 1), ("seed", 0)):
            if not least <= getattr(self, name) <= 1_000_000:
                raise ConfigError(f"{name} is {getattr(self, name)}: choose a number from {least} to 1,000,000.")

    @property
    def source(self) -> str:
        """The label of every figure and table of these data. As a part of the index it also decides the digest."""
        people = f"{self.speakers} speakers who are not people"
        spreads = " ".join(map(str, astuple(self.spreads)))
        return f"simulated features like HW4's, of {people}, seed {self.seed}, spreads {spreads}"


@dataclass(frozen=True)
class Plan:
    """Length, speaker and session of each utterance. Labelled utterances are grouped by speaker, as in HW4's index."""

    lengths: np.ndarray  # (utterances,) int64, frames
    people: np.ndarray  # (utterances,) int64
    sessions: np.ndarray  # (utterances,) int64, numbered over all speakers

    def __len__(self) -> int:
        return len(self.lengths)


def plan(standin: StandIn) -> tuple[Plan, Plan]:
    """The labelled utterances and those of the test set."""
    counts = _counts(standin)
    n_test = round(standin.speakers * standin.test_utterances)
    testers = numpy_stream(standin.seed, _DEALT).permutation(np.arange(n_test) % standin.speakers)  # in random order, as in HW4
    parts = []
    for number, people in enumerate((np.repeat(np.arange(standin.speakers), counts), testers)):
        rng = numpy_stream(standin.seed, _LENGTHS, number)
        lengths = lengths_like_hw4(len(people), rng)
        if number:
            lengths = lengths.clip(*TEST_FRAMES)
        parts.append(Plan(lengths, people, people * standin.sessions + rng.integers(standin.sessions, size=len(people))))
    return parts[0], parts[1]


def lengths_like_hw4(count: int, seed: int | np.random.Generator = 0) -> np.ndarray:
    """Frames per utterance (count,) int64, uniform over HW4's quantiles, in random order."""
    lengths = np.exp(np.interp(np.linspace(0.0, 1.0, count), _QUANTILES, np.log(_FRAMES)))  # (count,)
    return np.random.default_rng(seed).permutation(lengths.round().astype(np.int64))


def _counts(standin: StandIn) -> np.ndarray:
    """Labelled utterances of each speaker (speakers,), within HW4's bounds and with the exact sum."""
    rng, total = numpy_stream(standin.seed, _COUNTS), round(standin.speakers * standin.utterances)
    scale = standin.utterances / MEAN
    low, high = max(1, int(FEWEST * scale)), max(1, math.ceil(MOST * scale))
    counts = rng.normal(standin.utterances, 6.0 * scale, standin.speakers).round().astype(np.int64).clip(low, high)
    while (missing := total - counts.sum()) != 0:
        free = np.flatnonzero(counts < high if missing > 0 else counts > low)
        counts[rng.permutation(free)[: abs(missing)]] += np.sign(missing)
    return counts


def write_standin(out: str | os.PathLike[str], standin: StandIn = StandIn(), workers: int | None = None) -> None:
    """Writes a stand-in to ``out``, drawn on a GPU if there is one. The number of processes does not change it.

    Raises CorpusError if ``out`` holds anything already, and WriteError if the operating system refuses a file.
    """
    parts = plan(standin)
    entries = [_entries(standin, part, number) for number, part in enumerate(parts)]
    with CorpusWriter(out, standin.source, N_MELS) as writer:
        writer.test = entries[1]
        for person, entry in zip(parts[0].people.tolist(), entries[0], strict=True):
            writer.speakers.setdefault(standin_name(person), []).append(entry)
        writer.write_index()
        for number, listing in enumerate(read_listings(writer.folder)[1:]):
            if listing is not None:
                _write_pack(writer.folder, listing, PARTS[number], _blocks(standin, parts[number], number, workers))


def _write_pack(folder: Path, listing: Listing, part: str, blocks: Iterator[np.ndarray]) -> None:
    """Writes ``blocks``, each (frames, 40) float16, as the pack of a listing, in place of its feature files."""
    path = folder / "packed" / pack_name(listing, part)
    with explain_os_errors(path):
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            write_header(file, listing)
            for block in blocks:
                file.write(np.ascontiguousarray(block, dtype=DTYPE).data)


def make_standin(standin: StandIn = StandIn(), workers: int | None = None) -> Corpus:
    """The labelled part of a stand-in, in memory."""
    labelled = plan(standin)[0]
    offsets = np.concatenate([[0], np.cumsum(labelled.lengths)])  # (utterances + 1,)
    frames, at = np.empty((offsets[-1], N_MELS), dtype=np.float16), 0
    for block in _blocks(standin, labelled, 0, workers):
        frames[at : at + len(block)] = block
        at += len(block)
    entries = _entries(standin, labelled, 0)
    paths, sessions = (tuple(entry[key] for entry in entries) for key in ("feature_path", "session"))
    utterances = Utterances(frames, offsets, labelled.people, sessions, paths)
    names, digest = tuple(map(standin_name, range(standin.speakers))), hashlib.sha256(repr(standin).encode()).hexdigest()
    return Corpus(Path("stand-in"), names, utterances, None, N_MELS, standin.source, digest)


def standin_name(person: int) -> str:
    """The name of a synthetic speaker, such as ``none0007``."""
    return f"none{person:04d}"


def _entries(standin: StandIn, part: Plan, number: int) -> list[dict]:
    """The index entry of each utterance. No feature file has its name."""
    rows = zip(part.lengths.tolist(), part.people.tolist(), (part.sessions % standin.sessions).tolist(), strict=True)
    digests = (hashlib.md5(f"{number}-{i}".encode(), usedforsecurity=False).hexdigest() for i in range(len(part)))
    return [
        {"feature_path": f"uttr-{digest}.pt", "mel_len": length, "session": f"{standin_name(person)}-{session}"}
        for digest, (length, person, session) in zip(digests, rows, strict=True)
    ]


def _blocks(standin: StandIn, part: Plan, number: int, workers: int | None) -> Iterator[np.ndarray]:
    """The frames of a part in blocks, each (frames, 40) float16, with a progress bar."""
    device = get_device()
    blocks = [
        (number << 20 | first // BLOCK, *(array[first : first + BLOCK] for array in (part.lengths, part.people, part.sessions)))
        for first in range(0, len(part), BLOCK)
    ]
    if device.type == "cuda" or (workers is None and len(blocks) < PARALLEL_FROM):
        workers = 1
    with progress_bar(len(part), "Simulate", "uttr") as bar:
        results = parallel_results(functools.partial(_block, standin, device), blocks, workers, ahead=4)
        for frames, block in zip(results, blocks, strict=True):
            bar.update(len(block[1]))
            yield frames


def _block(standin: StandIn, device: torch.device, block: tuple[int, np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    stream, lengths, people, sessions = block
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several would add in another order and round differently
    try:
        return _feature_model(standin, device).frames(lengths, people, sessions, stream).cpu().numpy()
    finally:
        torch.set_num_threads(threads)


@functools.lru_cache(maxsize=1)
def _feature_model(standin: StandIn, device: torch.device) -> FeatureModel:
    return FeatureModel(standin.speakers, standin.speakers * standin.sessions, standin.spreads, standin.seed, device)
