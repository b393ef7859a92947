"""Packing: tens of thousands of feature files become one memory-mapped array, once.

In: a data folder and one of its listings.  Out: frames (total frames, n_mels) float16, all utterances end to end.
The array is ``packed/<part>-<digest of the index>.npy``, or lies in a cache folder where the data may only be read.
A file of that name is complete, and its time is that of its newest feature file: after a change it is packed again.
An interrupted pack is resumed after its last complete utterance.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
import torch
from filelock import FileLock
from numpy.lib import format as npy

from ..utils.errors import CorpusError, first_line
from ..utils.files import explain_os_errors, load_tensors
from ..utils.parallel import parallel_results
from ..utils.progress import log, progress_bar
from .hw4_format import Listing

DTYPE = np.dtype("<f2")
CHUNK = 64  # utterances written at a time: the most that an interruption costs
CLOCK_STEP = 2 * 10**9  # ns, the coarsest in which a file system counts time
PARALLEL_FROM = 20_000  # files to read; with fewer, one process is done before others have started


def packed_frames(folder: Path, listing: Listing, part: str) -> np.ndarray:
    """The frames of a listing's utterances end to end: (total frames, n_mels) float16, memory-mapped, read only.

    Packs them first if that was not done yet, or if a feature file is newer than the pack.  Raises CorpusError naming the
    feature file that cannot be used, and SpeakerError if the array cannot be written.
    """
    path, stats = find_pack(folder, listing, part), feature_stats(folder, listing)
    if path and len(stats) == len(listing):
        newest = max(stats, key=lambda name: stats[name].st_mtime_ns)
        if stats[newest].st_mtime_ns > path.stat().st_mtime_ns:
            log(f"{folder / newest} is newer than {path}: the features are packed again.")
            path = None
    return open_pack(path or _pack(folder, listing, part, stats), listing)


def find_pack(folder: Path, listing: Listing, part: str) -> Path | None:
    """The pack of a listing, if there is one; the newer one, if it was made in both places."""
    places = [at / _pack_name(listing, part) for at in (folder / "packed", cache_folder(folder))]
    return max(filter(Path.exists, places), key=lambda path: path.stat().st_mtime_ns, default=None)


def cache_folder(folder: Path) -> Path:
    """Where the pack of a read-only data folder lies: below ``SPEAKER_CACHE``, else below the user's cache folder."""
    root = os.environ.get("SPEAKER_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "speaker_lib"
    return Path(root) / hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]


def write_pack(folder: Path, listing: Listing, part: str, blocks: Iterable[np.ndarray]) -> None:
    """Writes the pack of a new data folder without feature files, from ``blocks`` (frames, n_mels) float16 of its utterances.

    Raises CorpusError if the frames are not as many as the listing says, and WriteError if the disk does not take them.
    """
    path = folder / "packed" / _pack_name(listing, part)
    missing = listing.shape[0]
    with explain_os_errors(path):
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            _write_header(file, listing)
            for block in blocks:
                missing -= len(block)
                file.write(np.ascontiguousarray(block, dtype=DTYPE).data)
    if missing:
        raise CorpusError(f"{path} got {-missing:+,} frames against what its index says: give it as many.")


def read_feature(path: Path, mel_len: int, n_mels: int) -> np.ndarray:
    """One utterance's features, (mel_len, n_mels) float32. Raises CorpusError naming the file and what is wrong with it."""
    try:
        mel = load_tensors(path)
    except FileNotFoundError:
        raise CorpusError(f"{path} is missing: fetch the data set again.") from None
    except Exception as error:  # a damaged file makes torch.load raise nearly anything
        raise CorpusError(f"{path} is not a readable tensor file ({first_line(error)}): fetch it again.") from error
    if not isinstance(mel, torch.Tensor):
        raise CorpusError(f"{path} holds a {type(mel).__name__}, not a tensor: fetch it again.")
    if mel.layout != torch.strided or mel.dtype != torch.float32 or tuple(mel.shape) != (mel_len, n_mels):
        raise CorpusError(
            f"{path} holds {tuple(mel.shape)} {str(mel.dtype).removeprefix('torch.')}, its index says "
            f"({mel_len}, {n_mels}) float32: fetch both again."
        )
    if mel.is_meta or mel.is_neg():
        raise CorpusError(f"{path} holds a tensor without plain values: fetch it again.")
    mel = mel.detach().numpy()
    if problem := value_problem(mel):
        raise CorpusError(f"{path} holds {problem}: fetch it again.")
    return mel


def value_problem(mel: np.ndarray) -> str | None:
    """What is wrong with the values of an utterance (frames, n_mels), or None if they can be packed."""
    lowest, highest = map(float, torch.from_numpy(mel).aminmax())  # both are NaN if one value is
    limit = float(np.finfo(DTYPE).max)
    if -limit <= lowest <= highest <= limit:
        return None
    return f"values that are not numbers (NaN or infinity) or beyond {limit:.0f}, so no log-mel features"


def to_float16(mel: np.ndarray) -> np.ndarray:
    """The mel as a pack holds it. PyTorch rounds as numpy does, with the processor's own instruction: 10 times as fast."""
    return torch.from_numpy(mel).half().numpy().astype(DTYPE, copy=False)


def feature_stats(folder: Path, listing: Listing) -> dict[str, os.stat_result]:
    """By name, the size and time of the feature files that are there. Raises CorpusError if the folder cannot be listed."""
    names = set(listing.paths)
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat() for entry in entries if entry.name in names and entry.is_file()}
    except OSError as error:
        raise CorpusError(f"{folder} cannot be listed ({error.strerror}): check the path and its permissions.") from error


def size_problems(folder: Path, listing: Listing, stats: dict[str, os.stat_result]) -> dict[str, str]:
    """A sentence for each feature file that is missing or too small for the frames its index claims, by name."""
    problems = {}
    for name, length in zip(listing.paths, listing.lengths.tolist(), strict=True):
        if name not in stats:
            problems[name] = f"{folder / name} is missing: fetch the data set again."
        elif (size := stats[name].st_size) < length * listing.n_mels * 4:
            problems[name] = (
                f"{folder / name} has {size:,} bytes, too few for the {length:,} frames its index claims: fetch it again."
            )
    return problems


def open_pack(path: Path, listing: Listing) -> np.ndarray:
    """A pack, (total frames, n_mels) float16, memory-mapped. Raises CorpusError if it is not that of the listing."""
    try:
        # Not "c": a mapping that could be written to is refused where it is larger than the memory.
        frames = npy.open_memmap(path, mode="r")
    except Exception as error:  # a damaged header makes numpy raise nearly anything
        raise CorpusError(f"{path} cannot be read ({first_line(error)}): delete it, it will be made again.") from error
    if frames.shape != listing.shape or frames.dtype != DTYPE or not frames.flags.c_contiguous:
        raise CorpusError(f"{path} does not hold {listing.shape} float16, row by row: delete it, it will be made again.")
    return frames


def _pack(folder: Path, listing: Listing, part: str, stats: dict[str, os.stat_result]) -> Path:
    problems = list(size_problems(folder, listing, stats).values())  # before anything is allocated
    if problems:
        raise CorpusError(problems[0] + (f" The same goes for {len(problems) - 1:,} more files." if len(problems) > 1 else ""))
    newest = max(stat.st_mtime_ns for stat in stats.values())  # a file that changes from now on is newer than the pack
    target = _writable_folder(folder) / _pack_name(listing, part)
    partial = target.with_suffix(".partial")
    with explain_os_errors(target), FileLock(target.with_suffix(".lock")):
        if target.exists() and target.stat().st_mtime_ns >= newest:  # another process has made it meanwhile
            return target
        if partial.is_symlink() or (partial.exists() and not partial.is_file()):  # it would lead the frames elsewhere
            raise CorpusError(f"{partial} is not a file: delete it, the pack will be made again.")
        if partial.exists() and partial.stat().st_mtime_ns < newest:
            partial.unlink()
        partial.touch()
        needed = math.prod(listing.shape) * DTYPE.itemsize - partial.stat().st_size
        free = shutil.disk_usage(partial.parent).free
        if free < needed:
            raise CorpusError(
                f"{target} needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free: make room and run it again."
            )
        with partial.open("r+b") as file:
            _write_frames(file, folder, listing)
            os.fsync(file.fileno())
        os.utime(partial, ns=(newest, newest))
        if partial.stat().st_mtime_ns < newest:  # the file system rounds times down
            os.utime(partial, ns=(newest + CLOCK_STEP, newest + CLOCK_STEP))
        partial.replace(target)
        for old in target.parent.glob(f"{part}-*.npy"):
            if old != target:
                old.unlink()  # made of an index that is no longer there
    return target


def _pack_name(listing: Listing, part: str) -> str:
    return f"{part}-{listing.digest[:16]}.npy"


def _writable_folder(folder: Path) -> Path:
    """``packed/`` inside the data folder, or the cache folder where that may not be written."""
    packed, cache = folder / "packed", cache_folder(folder)
    with contextlib.suppress(OSError):
        packed.mkdir(exist_ok=True)
        tempfile.TemporaryFile(dir=packed).close()  # fails where nothing may be written
        return packed
    with explain_os_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
    return cache


def _write_header(file: IO[bytes], listing: Listing) -> None:
    npy.write_array_header_1_0(file, {"descr": DTYPE.str, "fortran_order": False, "shape": listing.shape})


def _write_frames(file: IO[bytes], folder: Path, listing: Listing) -> None:
    """Writes header and frames, and resumes after the last complete utterance that the file already holds."""
    _write_header(file, listing)
    ends = file.tell() + np.cumsum([0, *listing.lengths]) * listing.n_mels * DTYPE.itemsize  # (utterances + 1,) bytes
    done = int(np.searchsorted(ends, file.seek(0, os.SEEK_END), side="right")) - 1
    file.seek(int(ends[done]))
    file.truncate()
    firsts = range(done, len(listing), CHUNK)
    chunks = [(folder, listing.paths[i : i + CHUNK], listing.lengths[i : i + CHUNK], listing.n_mels) for i in firsts]
    workers = None if len(listing) - done >= PARALLEL_FROM else 1
    with progress_bar(len(listing), "Pack", "uttr", initial=done) as bar:
        for chunk, frames in zip(chunks, parallel_results(_packed_chunk, chunks, workers, ahead=4), strict=True):
            file.write(frames)
            file.flush()
            bar.update(len(chunk[1]))


def _packed_chunk(chunk: tuple[Path, tuple[str, ...], np.ndarray, int]) -> bytes:
    """The frames, end to end, of a folder's utterances that are given by file names, lengths and number of mel bands."""
    folder, names, lengths, n_mels = chunk
    mels = (read_feature(folder / name, int(length), n_mels) for name, length in zip(names, lengths, strict=True))
    return b"".join(to_float16(mel).tobytes() for mel in mels)
