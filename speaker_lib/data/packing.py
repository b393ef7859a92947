"""Packing: tens of thousands of small files become one memory-mapped float16 array, once.

The array lies in ``packed/`` beside the features, or in a cache folder where the data may only be read.  Its name carries
the digest of the index it was made from, and it takes that name only when complete: an array under its own name is whole,
and one made from another index is never found.  Its time is that of the newest feature file that it was made from: if one is
newer, the features are packed again.  An interrupted pack goes on where its file ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

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
CHUNK = 64  # utterances written at a time; what an interruption can cost
SAMPLE = 50  # utterances of a pack that are compared with their files
CLOCK_STEP = 2 * 10**9  # ns, the coarsest in which a file system counts time
PARALLEL_FROM = 20_000  # files to read; with fewer, other processes have hardly started when one would be done


def packed_frames(folder: Path, listing: Listing, name: str) -> np.ndarray:
    """The frames of all utterances of a listing, end to end: (total frames, n_mels) float16, memory-mapped, read only.

    Packs them first if that was not done yet, or if a feature file is newer than the pack.  Raises CorpusError naming the
    feature file that cannot be used, and SpeakerError where the disk does not take the array.
    """
    path = find_pack(folder, listing, name)
    newer = path and _newer_feature(path, folder, listing)
    if newer:
        log(f"{newer} is newer than {path}: the features are packed again.")
    return _open_pack(path if path and not newer else _pack(folder, listing, _pack_name(listing, name)), listing)


def _open_pack(path: Path, listing: Listing) -> np.ndarray:
    shape = (int(listing.lengths.sum()), listing.n_mels)
    try:
        # Not "c": a mapping that could be written to is refused where it is larger than the memory.
        frames = npy.open_memmap(path, mode="r")
    except Exception as error:  # a damaged header makes numpy raise nearly anything
        raise CorpusError(f"{path} cannot be read ({first_line(error)}): delete it, it will be made again.") from error
    if not frames.flags.c_contiguous:
        raise CorpusError(f"{path} holds its frames column by column: delete it, it will be made again.")
    if frames.shape != shape or frames.dtype != DTYPE:
        raise CorpusError(f"{path} holds {frames.shape} {frames.dtype}, not {shape} float16: delete it, it will be made again.")
    return frames


def find_pack(folder: Path, listing: Listing, name: str) -> Path | None:
    """The pack of a listing, if it was made; the newest, if it was made in both places."""
    places = (at / _pack_name(listing, name) for at in (folder / "packed", cache_folder(folder)))
    return max((path for path in places if path.exists()), key=lambda path: path.stat().st_mtime_ns, default=None)


def write_pack(folder: Path, listing: Listing, name: str, blocks: Iterable[np.ndarray]) -> None:
    """Packs frames that never were files: ``blocks``, each (frames, n_mels) float16, are the listing's utterances end to end.

    A folder whose pack is there needs no feature files.  Raises CorpusError if the frames are not as many as the listing
    says or the disk has no room for them, and WriteError if it does not take them.
    """
    target = folder / "packed" / _pack_name(listing, name)
    partial = target.with_suffix(".partial")
    left = int(listing.lengths.sum())
    with explain_os_errors(target):
        target.parent.mkdir(exist_ok=True)
        _check_space(target, listing)
        with partial.open("wb") as file:
            _write_header(file, listing)
            for block in blocks:
                left -= len(block)
                file.write(np.ascontiguousarray(block, dtype=DTYPE).data)
            os.fsync(file.fileno())
        if left:
            raise CorpusError(f"{target} got {-left:+,} frames against what its index says: give it as many.")
        partial.replace(target)


def pack_problems(folder: Path, listing: Listing, name: str) -> Iterator[tuple[int, str | None]]:
    """Reads a pack utterance by utterance, where the files are not there: the number of each, and what is wrong with it."""
    frames, ends = packed_frames(folder, listing, name), np.cumsum(listing.lengths)
    for i, (end, length) in enumerate(zip(ends.tolist(), listing.lengths.tolist(), strict=True)):
        problem = value_problem(frames[end - length : end].astype(np.float32))
        yield i, problem and f"the pack in {folder} holds {problem} for {listing.paths[i]}: make the data set again."


def pack_differences(folder: Path, listing: Listing, name: str) -> list[str]:
    """A sentence if the pack cannot be read or, by `SAMPLE` utterances spread over it, does not hold what its files hold."""
    path, sample = find_pack(folder, listing, name), np.linspace(0, len(listing) - 1, min(SAMPLE, len(listing))).astype(int)
    if path is None:
        return []
    try:
        frames, ends = _open_pack(path, listing), np.cumsum(listing.lengths)
    except CorpusError as problem:
        return [str(problem)]
    differing = []
    for i in sample.tolist():
        with contextlib.suppress(CorpusError):  # a file that cannot be used is a problem of its own
            packed = _packed_chunk((folder, listing.paths[i : i + 1], listing.lengths[i : i + 1], listing.n_mels))
            differing += [listing.paths[i]] * (packed != frames[ends[i] - listing.lengths[i] : ends[i]].tobytes())
    return [
        f"{path} differs from its feature files in {len(differing)} of {len(sample)} utterances that were compared, "
        f"{name} among them: delete it, it will be made again."
        for name in differing[:1]
    ]


def cache_folder(folder: Path) -> Path:
    """Where the pack of a read-only data folder lies: below ``SPEAKER_CACHE``, else below the user's cache folder."""
    root = os.environ.get("SPEAKER_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "speaker_lib"
    return Path(root) / hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]


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
        raise CorpusError(f"{path} holds a tensor that does not say its numbers outright: fetch it again.")
    mel = mel.detach().numpy()
    if problem := value_problem(mel):
        raise CorpusError(f"{path} holds {problem}: fetch it again.")
    return mel


def value_problem(mel: np.ndarray) -> str | None:
    """What is wrong with the values of an utterance (frames, n_mels), or None if they can be packed."""
    lowest, highest = map(float, torch.from_numpy(mel).aminmax())  # not a number if one value is none
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        return "values that are not numbers (NaN or infinity), so no log-mel features"
    if max(-lowest, highest) > float(np.finfo(DTYPE).max):
        return f"values beyond {np.finfo(DTYPE).max:.0f}, so no log-mel features"
    return None


def _pack(folder: Path, listing: Listing, file_name: str) -> Path:
    problems = list(size_problems(folder, listing).values())  # before anything is allocated
    if problems:
        raise CorpusError(problems[0] + (f" The same goes for {len(problems) - 1:,} more files." if len(problems) > 1 else ""))
    target = _writable_folder(folder) / file_name
    partial = target.with_suffix(".partial")
    with explain_os_errors(target), FileLock(target.with_suffix(".lock")):
        if target.exists() and not _newer_feature(target, folder, listing):  # another process finished it meanwhile
            return target
        if partial.is_symlink() or (partial.exists() and not partial.is_file()):  # would lead the frames elsewhere
            raise CorpusError(f"{partial} is not a file: delete it, the pack will be made again.")
        if partial.exists() and _newer_feature(partial, folder, listing):
            partial.unlink()
        newest = _newest_feature(folder, listing)  # before the first is read: what changes from now on is newer than the pack
        _check_space(target, listing)
        with partial.open("r+b" if partial.exists() else "w+b") as file:
            _write_frames(file, folder, listing)
            os.fsync(file.fileno())
        if newest:
            _set_time(partial, newest[0])
        partial.replace(target)
        for old in target.parent.glob(f"{file_name.split('-')[0]}-*.npy"):
            if old != target:
                old.unlink()  # the packs of indexes that are no longer there
    return target


def _newer_feature(path: Path, folder: Path, listing: Listing) -> Path | None:
    """The newest feature file of a listing, if it is newer than ``path``."""
    newest = _newest_feature(folder, listing)
    return folder / newest[1] if newest and newest[0] > path.stat().st_mtime_ns else None


def _newest_feature(folder: Path, listing: Listing) -> tuple[int, str] | None:
    """The time, in ns, and the name of a listing's newest feature file; None unless all are there to be packed."""
    names = set(listing.paths)
    try:
        with os.scandir(folder) as entries:
            times = [(entry.stat().st_mtime_ns, entry.name) for entry in entries if entry.name in names]
    except OSError:
        return None
    return max(times) if len(times) == len(names) else None


def _set_time(path: Path, nanoseconds: int) -> None:
    """Gives a file that time, or one a little later where its file system would round it down."""
    for time in (nanoseconds, nanoseconds + CLOCK_STEP):
        os.utime(path, ns=(time, time))
        if path.stat().st_mtime_ns >= nanoseconds:
            break


def _write_frames(file, folder: Path, listing: Listing) -> None:
    """Writes header and frames, going on after the last whole utterance that the file already holds."""
    bytes_per_frame = listing.n_mels * DTYPE.itemsize
    file.seek(0)
    _write_header(file, listing)
    header = file.tell()
    ends = header + np.cumsum(listing.lengths) * bytes_per_frame  # (utterances,) where each one ends in the file
    done = int(np.searchsorted(ends, os.fstat(file.fileno()).st_size, side="right"))
    file.seek(int(ends[done - 1]) if done else header)
    file.truncate()
    firsts = range(done, len(listing), CHUNK)
    chunks = [(folder, listing.paths[i : i + CHUNK], listing.lengths[i : i + CHUNK], listing.n_mels) for i in firsts]
    workers = None if len(listing) - done >= PARALLEL_FROM else 1
    with progress_bar(len(listing), "Pack", "uttr", initial=done) as bar:
        for chunk, frames in zip(chunks, parallel_results(_packed_chunk, chunks, workers, ahead=4), strict=True):
            file.write(frames)
            file.flush()
            bar.update(len(chunk[1]))


def _write_header(file, listing: Listing) -> None:
    shape = (int(listing.lengths.sum()), listing.n_mels)
    npy.write_array_header_1_0(file, {"descr": DTYPE.str, "fortran_order": False, "shape": shape})


def _pack_name(listing: Listing, name: str) -> str:
    return f"{name}-{listing.digest[:16]}.npy"


def _packed_chunk(chunk: tuple[Path, tuple[str, ...], np.ndarray, int]) -> bytes:
    """Utterances of a folder, given by file names, lengths and bands: their frames end to end."""
    folder, names, lengths, n_mels = chunk
    mels = (read_feature(folder / name, int(length), n_mels) for name, length in zip(names, lengths, strict=True))
    # PyTorch rounds to float16 as numpy does, with the processor's own instruction: 10 times as fast.
    return b"".join(torch.from_numpy(mel).half().numpy().astype(DTYPE, copy=False).tobytes() for mel in mels)


def size_problems(folder: Path, listing: Listing) -> dict[str, str]:
    """A sentence for each feature that is missing or too small for the frames its index claims, by file name."""
    try:
        with os.scandir(folder) as entries:
            sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    except OSError as error:
        raise CorpusError(f"{folder} cannot be listed ({error.strerror}): check the path and its permissions.") from error
    problems = {}
    for name, length in zip(listing.paths, listing.lengths.tolist(), strict=True):
        if name not in sizes:
            problems[name] = f"{folder / name} is missing: fetch the data set again."
        elif sizes[name] < length * listing.n_mels * 4:
            problems[name] = (
                f"{folder / name} has {sizes[name]:,} bytes, too few for the {length:,} frames its index claims: fetch it again."
            )
    return problems


def _writable_folder(folder: Path) -> Path:
    """``packed/`` inside the data folder, or the cache folder where that may not be written."""
    packed = folder / "packed"
    try:
        packed.mkdir(exist_ok=True)
        probe = packed / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
        return packed
    except OSError:
        cache = cache_folder(folder)
        with explain_os_errors(cache):
            cache.mkdir(parents=True, exist_ok=True)
        return cache


def _check_space(target: Path, listing: Listing) -> None:
    partial = target.with_suffix(".partial")
    needed = int(listing.lengths.sum()) * listing.n_mels * DTYPE.itemsize - (partial.stat().st_size if partial.exists() else 0)
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise CorpusError(f"{target} needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free: make room and run it again.")
