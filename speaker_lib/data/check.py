"""Checks a data folder: reads every feature file, and compares the packs with them.

In: a folder.  Out: a summary of the corpus, and a sentence for each file that cannot be used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..utils.errors import CorpusError
from ..utils.progress import progress_bar
from .corpus import PARTS, read_listings
from .hw4_format import Listing
from .packing import feature_stats, find_pack, open_pack, read_feature, size_problems, to_float16, value_problem


def check_corpus(folder: str | os.PathLike[str]) -> tuple[str, list[str]]:
    """A summary of a data folder, and a sentence per feature that cannot be used and per pack that differs. Writes nothing.

    Where there is only a pack, its frames are checked instead.  Raises CorpusError if the index files cannot be used.
    """
    folder = Path(folder)
    speakers, metadata, testdata = read_listings(folder)
    problems = []
    for listing, part in zip((metadata, testdata), PARTS, strict=True):
        if listing is not None:
            problems += _problems(folder, listing, part)
    return _summary(folder, speakers, metadata, testdata), problems


def _problems(folder: Path, listing: Listing, part: str) -> list[str]:
    problems = size_problems(folder, listing, feature_stats(folder, listing))  # by file name
    pack, frames, differing = find_pack(folder, listing, part), None, []
    if pack:
        try:
            frames = open_pack(pack, listing)  # (total frames, n_mels)
        except CorpusError as problem:
            problems[pack.name] = str(problem)
    if frames is not None and len(problems) == len(listing):
        return _pack_problems(pack, frames, listing)
    for name, length, end in _with_bar(listing):
        try:
            if name not in problems:
                mel = read_feature(folder / name, length, listing.n_mels)  # (length, n_mels)
                if frames is not None and not np.array_equal(to_float16(mel), frames[end - length : end]):
                    differing.append(name)
        except CorpusError as problem:
            problems[name] = str(problem)
    found = list(problems.values())
    if differing:
        found.append(
            f"{pack} differs from its feature files in {len(differing)} of {len(listing) - len(problems)} utterances, "
            f"{differing[0]} among them: delete it, it will be made again."
        )
    return found


def _pack_problems(pack: Path, frames: np.ndarray, listing: Listing) -> list[str]:
    found = []
    for name, length, end in _with_bar(listing):
        if problem := value_problem(frames[end - length : end].astype(np.float32)):
            found.append(f"{pack} holds {problem} for {name}: make the data set again.")
    return found


def _with_bar(listing: Listing) -> Iterator[tuple[str, int, int]]:
    """The file name of each utterance, its length, and where it ends in a pack; the bar counts them."""
    ends = np.cumsum(listing.lengths)  # (utterances,)
    with progress_bar(len(listing), "Check", "uttr") as bar:
        for utterance in zip(listing.paths, listing.lengths.tolist(), ends.tolist(), strict=True):
            yield utterance
            bar.update()


def _summary(folder: Path, speakers: tuple[str, ...], metadata: Listing, testdata: Listing | None) -> str:
    lengths = metadata.lengths
    n_test = f"{len(testdata):,}" if testdata else "none"
    sessions = len(set(zip(metadata.labels.tolist(), metadata.sessions, strict=True))) if metadata.sessions else None
    return "\n".join(
        [
            f"{folder}: {metadata.source or 'no source is given'}",
            f"{len(speakers):,} speakers, {len(metadata):,} labelled utterances, {n_test} for the test set",
            f"{lengths.sum() / 360_000:.1f} hours; frames of 10 ms per utterance: min {lengths.min():,}, "
            f"median {np.median(lengths):,.0f}, max {lengths.max():,}; {metadata.n_mels} mel bands",
            f"{sessions:,} sessions" if sessions else "no sessions are given, so train.split=session is not possible",
        ]
    )
