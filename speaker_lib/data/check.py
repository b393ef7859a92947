"""Checks a data folder: reads every feature file, and compares the packs with them.

In: a folder.  Out: a summary of the corpus, and a sentence for each file that cannot be used.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path

import numpy as np

from ..utils.errors import CorpusError, escape_controls
from ..utils.progress import progress_bar
from .corpus import PARTS, read_listings
from .hw4_format import Listing
from .packing import feature_stats, find_pack, open_pack, read_feature, size_problems, to_float16, value_problem


def check_corpus(folder: str | os.PathLike[str]) -> tuple[str, list[str]]:
    """A summary of a data folder, and a sentence for each feature or pack that is damaged. Writes nothing.

    In a folder without feature files the frames of the pack are checked.  Raises CorpusError if an index cannot be used.
    """
    folder = Path(folder)
    speakers, metadata, testdata = read_listings(folder)
    listings = zip((metadata, testdata), PARTS, strict=True)
    seen = Repeats(speakers)
    problems = [sentence for listing, part in listings if listing for sentence in _problems(folder, listing, part, seen)]
    return "\n".join([*_summary(folder, speakers, metadata, testdata), *seen.lines()]), problems


class Repeats:
    """Counts utterances with the same features as one before."""

    def __init__(self, speakers: tuple[str, ...]) -> None:
        self.speakers = (*speakers, "the test set")  # class id -1
        self.first: dict[bytes, tuple[str, int]] = {}  # name and class id of the first utterance with these features
        self.same: list[str] = []  # a pair of names for each that repeats one of its speaker
        self.other: list[str] = []

    def add(self, name: str, label: int, mel: np.ndarray) -> None:
        """Enters an utterance, ``mel`` (frames, n_mels) float16 as in a pack."""
        digest = hashlib.sha256(np.ascontiguousarray(mel)).digest()
        if digest not in self.first:
            self.first[digest] = name, label
            return
        first, its_label = self.first[digest]
        if label == its_label:
            self.same.append(f"{name} and {first} of {self.speakers[label]}")
        else:
            self.other.append(f"{name} of {self.speakers[label]} and {first} of {self.speakers[its_label]}")

    def lines(self) -> list[str]:
        """A sentence on those of one speaker and one on those of two, if there are any."""
        kinds = (self.same, "of the same speaker"), (self.other, "of another speaker")
        return [escape_controls(f"{len(found):,} utterances repeat one {whose}: {found[0]}.") for found, whose in kinds if found]


def _problems(folder: Path, listing: Listing, part: str, seen: Repeats) -> list[str]:
    names = listing.recordings or listing.paths  # those that people know
    problems = size_problems(folder, listing, feature_stats(folder, listing))  # by file name
    pack, frames, differing = find_pack(folder, listing, part), None, []
    only_pack = pack is not None and len(problems) == len(listing)
    if pack:
        try:
            frames = open_pack(pack, listing)  # (total frames, n_mels)
        except CorpusError as problem:
            problems[pack.name], only_pack = str(problem), False
    if only_pack:
        problems.clear()
    ends = np.cumsum(listing.lengths).tolist()  # where each utterance ends in the pack
    with progress_bar(len(listing), "Check", "uttr") as bar:
        for i, (name, length, end) in enumerate(zip(listing.paths, listing.lengths.tolist(), ends, strict=True)):
            bar.update()
            packed = None if frames is None else frames[end - length : end]  # (length, n_mels) float16
            try:
                if only_pack:
                    seen.add(names[i], int(listing.labels[i]), packed)
                    if problem := value_problem(packed.astype(np.float32)):
                        problems[name] = f"{pack} holds {problem} for {name}: make the data set again."
                elif name not in problems:
                    mel = read_feature(folder / name, length, listing.n_mels)  # (length, n_mels) float32
                    half = to_float16(mel)  # (length, n_mels)
                    seen.add(names[i], int(listing.labels[i]), half)
                    if packed is not None and not np.array_equal(half, packed):
                        differing.append(name)
            except CorpusError as problem:
                problems[name] = str(problem)
    found = list(problems.values())
    if differing:
        count = f"{len(differing)} of {len(listing) - len(problems)} utterances, {differing[0]} among them"
        found.append(f"{pack} differs from its feature files in {count}: delete it, it will be made again.")
    return found


def _summary(folder: Path, speakers: tuple[str, ...], metadata: Listing, testdata: Listing | None) -> list[str]:
    lengths, n_test = metadata.lengths, f"{len(testdata):,}" if testdata else "none"
    return [
        f"{folder}: {metadata.source or 'no source is given'}",
        f"{len(speakers):,} speakers, {len(metadata):,} labelled utterances, {n_test} for the test set",
        f"{lengths.sum() / 360_000:.1f} hours; frames of 10 ms per utterance: min {lengths.min():,}, "
        f"median {np.median(lengths):,.0f}, max {lengths.max():,}; {metadata.n_mels} mel bands",
        _sessions(metadata),
    ]


def _sessions(metadata: Listing) -> str:
    if not metadata.sessions:
        return "no sessions are given, so train.split=session is not possible"
    distinct = set(zip(metadata.labels.tolist(), metadata.sessions, strict=True))
    per_speaker = Counter(label for label, _ in distinct)
    single = sum(count == 1 for count in per_speaker.values())
    what = f"; {single:,} of {len(per_speaker):,} speakers have only one, and train.split=session never evaluates them"
    return f"{len(distinct):,} sessions" + what * bool(single)
