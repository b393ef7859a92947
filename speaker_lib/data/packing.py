"""Packing: tens of thousands of feature files become one memory-mapped array, once.

In: a data folder and one of its listings.  Out: frames (total frames, n_mels) float16, all utterances end to end.
The array is ``packed/<part>-<digest of the index>.npy``, or in a cache folder if the data folder is read-only.
A file of that name is complete and has the time of its newest feature file: if a feature changes, all are packed again.
An interrupted pack is resumed after its last complete utterance.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
import tempfile
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
CHUNK = 64  # utterances written at a time: an interruption costs at most so many
CLOCK_STEP = 2 * 10**9  # ns, the coarsest time step of a file system
PARALLEL_FROM = 20_000  # files; fewer are read by one process before others have started


def packed_frames(folder: Path, listing: Listing, part: str) -> np.ndarray:
    """The frames of a listing's utterances end to end: (total frames, n_mels) float16, memory-mapped, read-only.

    Packs them first if there is no pack yet, or if a feature file is newer than the pack.  Raises CorpusError with the name
    of a feature file that cannot be used, and SpeakerError if the array cannot be written.
    """
    path, stats = find_pack(folder, listing, part), feature_stats(folder, listing)
    if path and len(stats) == len(listing):
        newest = max(stats, key=lambda name: stats[name].st_mtime_ns)
        if stats[newest].st_mtime_ns > path.stat().st_mtime_ns:
            log(f"{folder / newest} is newer than {path}: the features are packed again.")
            path = None
    return open_pack(path or _pack(folder, listing, part, stats), listing)


def find_pack(folder: Path, listing: Listing, part: str) -> Path | None:
    """The pack of a listing, or None. If there is one in the data folder and one in the cache, the newer one."""
    places = [at / pack_name(listing, part) for at in (folder / "packed", cache_folder(folder))]
    return max(filter(Path.exists, places), key=lambda path: path.stat().st_mtime_ns, default=None)


def pack_name(listing: Listing, part: str) -> str:
    """The file name of a listing's pack."""
    return f"{part}-{listing.digest[:16]}.npy"


def cache_folder(folder: Path) -> Path:
    """Where a read-only data folder is packed: below ``SPEAKER_CACHE``, else below the user's cache folder."""
    root = os.environ.get("SPEAKER_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "speaker_lib"
    return Path(root) / hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]


def read_feature(path: Path, mel_len: int, n_mels: int) -> np.ndarray:
    """One utterance's features, (mel_len, n_mels) float32. Raises CorpusError with the file's name and its problem."""
    try:
        mel = load_tensors(path)
        if isinstance(mel, torch.Tensor):
            mel = mel.detach().numpy()  # (mel_len, n_mels); fails if the values are sparse or not there
    except FileNotFoundError:
        raise CorpusError(f"{path} is missing: fetch the data set again.") from None
    except Exception as error:  # a damaged file makes torch.load raise nearly anything
        raise CorpusError(f"{path} is not a readable tensor file ({first_line(error)}): fetch it again.") from error
    if not isinstance(mel, np.ndarray):
        raise CorpusError(f"{path} holds a {type(mel).__name__}, not a tensor: fetch it again.")
    if mel.dtype != np.float32 or mel.shape != (mel_len, n_mels):
        found = f"{path} holds {mel.shape} {mel.dtype}, its index says ({mel_len}, {n_mels}) float32"
        raise CorpusError(f"{found}: fetch both again.")
    if problem := value_problem(mel):
        raise CorpusError(f"{path} holds {problem}: fetch it again.")
    return mel


def value_problem(mel: np.ndarray) -> str | None:
    """What is wrong with the values of an utterance (frames, n_mels) float32, or None if they can be packed."""
    lowest, highest = map(float, torch.from_numpy(mel).aminmax())  # both are NaN if one value is
    limit = float(np.finfo(DTYPE).max)
    if -limit <= lowest <= highest <= limit:
        return None
    return f"values that are not numbers (NaN or infinity) or beyond {limit:.0f}, so no log-mel features"


def to_float16(mel: np.ndarray) -> np.ndarray:
    """The mel as a pack stores it. PyTorch rounds as numpy does, ten times as fast."""
    return torch.from_numpy(mel).half().numpy().astype(DTYPE, copy=False)


def feature_stats(folder: Path, listing: Listing) -> dict[str, os.stat_result]:
    """Size and time of the feature files that exist, by name. Raises CorpusError if the folder cannot be listed."""
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
            found = f"{folder / name} has {size:,} bytes, too few for the {length:,} frames its index claims"
            problems[name] = f"{found}: fetch it again."
    return problems


def open_pack(path: Path, listing: Listing) -> np.ndarray:
    """A pack, (total frames, n_mels) float16, memory-mapped. Raises CorpusError if it is damaged or of another listing."""
    try:
        # Not "c": a mapping that could be written to is refused if it is larger than the memory.
        frames = npy.open_memmap(path, mode="r")  # (total frames, n_mels)
    except Exception as error:  # a damaged header makes numpy raise nearly anything
        raise CorpusError(f"{path} cannot be read ({first_line(error)}): delete it, it will be made again.") from error
    if frames.shape != listing.shape or frames.dtype != DTYPE or not frames.flags.c_contiguous:
        raise CorpusError(f"{path} does not hold {listing.shape} float16, row by row: delete it, it will be made again.")
    return frames


def write_header(file: IO[bytes], listing: Listing) -> None:
    """Begins a pack; the frames (total frames, n_mels) float16 follow, row by row."""
    npy.write_array_header_1_0(file, {"descr": DTYPE.str, "fortran_order": False, "shape": listing.shape})


def _pack(folder: Path, listing: Listing, part: str, stats: dict[str, os.stat_result]) -> Path:
    if problems := list(size_problems(folder, listing, stats).values()):  # before anything is allocated
        raise CorpusError(problems[0] + (f" The same goes for {len(problems) - 1:,} more files." if len(problems) > 1 else ""))
    newest = max(stat.st_mtime_ns for stat in stats.values())  # a file that changes from now on is newer than the pack
    target = _writable_folder(folder) / pack_name(listing, part)
    partial = target.with_suffix(".partial")
    with explain_os_errors(target), FileLock(target.with_suffix(".lock")):
        if target.exists() and target.stat().st_mtime_ns >= newest:  # another process has made it meanwhile
            return target
        if partial.is_symlink() or (partial.is_file() and partial.stat().st_mtime_ns < newest):
            partial.unlink()  # a link would lead elsewhere; in an old file, features may have changed
        partial.touch()
        needed = math.prod(listing.shape) * DTYPE.itemsize - partial.stat().st_size
        free = shutil.disk_usage(partial.parent).free
        if free < needed:
            room = f"{target} needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free"
            raise CorpusError(f"{room}: make room and run it again.")
        with partial.open("r+b") as file:
            _write_frames(file, folder, listing)
            os.fsync(file.fileno())
        os.utime(partial, ns=(newest, newest))
        if partial.stat().st_mtime_ns < newest:  # the file system rounds times down
            os.utime(partial, ns=(newest + CLOCK_STEP, newest + CLOCK_STEP))
        partial.replace(target)
        for old in set(target.parent.glob(f"{part}-*.npy")) - {target}:
            old.unlink()  # made of an index that no longer exists
    return target


def _writable_folder(folder: Path) -> Path:
    packed, cache = folder / "packed", cache_folder(folder)
    with contextlib.suppress(OSError):
        packed.mkdir(exist_ok=True)
        tempfile.TemporaryFile(dir=packed).close()  # fails in a read-only folder
        return packed
    with explain_os_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
    return cache


def _write_frames(file: IO[bytes], folder: Path, listing: Listing) -> None:
    """Writes header and frames, after the last complete utterance that the file already holds."""
    write_header(file, listing)
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
    folder, names, lengths, n_mels = chunk
    mels = (read_feature(folder / name, int(length), n_mels) for name, length in zip(names, lengths, strict=True))
    return b"".join(to_float16(mel).tobytes() for mel in mels)
