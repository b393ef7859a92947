"""Atomic file writes (temporary file, then rename), safe loading of tensors, and what the disk says in one sentence."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import torch

from .errors import WriteError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "wb", **open_options: object) -> Iterator[IO]:
    """Opens a file beside ``path`` that takes its name when the block ends well, and vanishes when it does not.

    Raises WriteError where the operating system does not take the file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open(mode, **open_options) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def create_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file that must not be there yet, whole or not at all. Raises FileExistsError, or WriteError as `replacing`."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{_PARTIAL}")
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
    try:
        os.link(beside, path)  # of two processes that try it at once, one succeeds
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        file = path.open("xb")
        with explain_os_errors(path), file:
            file.write(content)
    finally:
        beside.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes a new name outlive a power cut, where the file system knows how; the file itself is on the disk already."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_partial(path: str | os.PathLike[str]) -> None:
    """Removes what processes that were killed while they replaced ``path`` have left; only for who alone writes it."""
    path = Path(path)
    for left in path.parent.glob(f".{path.name}.*{_PARTIAL}"):
        left.unlink(missing_ok=True)


def tensor_bytes(value: object) -> memoryview:
    """What ``torch.save`` would write.

    Saving straight to a file, torch turns a full disk into an error about its own file positions; writing the bytes does not.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getbuffer()


def load_tensors(path: str | os.PathLike[str], content: bytes | None = None) -> object:
    """What `torch.save` wrote to ``path``, or its ``content``: tensors and plain values.

    Runs no code, and takes little more memory than the file has bytes.  Raises FileNotFoundError, and of a damaged or hostile
    file nearly anything.
    """
    file = io.BytesIO(Path(path).read_bytes() if content is None else content)
    _refuse_inflation(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def load_values(path: str | os.PathLike[str]) -> object:
    """What `load_tensors` gives, for who wants the plain values alone: its tensors are not read until they are used."""
    with Path(path).open("rb") as file:
        _refuse_inflation(file)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _refuse_inflation(file: IO[bytes]) -> None:
    """Raises ValueError for a zip file that PyTorch, which never compresses, would inflate to whatever size it claims."""
    if zipfile.is_zipfile(file):
        size = file.seek(0, os.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            if sum(member.file_size for member in archive.infolist()) > size:
                raise ValueError("it would unpack to more than its own size")
    file.seek(0)


@contextlib.contextmanager
def explain_os_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what the operating system says while ``path`` is being written into one sentence, a WriteError."""
    try:
        yield
    except OSError as error:
        raise WriteError(*_what_and_advice(error, path)) from error


def _what_and_advice(error: OSError, path: str | os.PathLike[str]) -> tuple[str, str]:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full, {path} could not be written", "free some space there"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} may not be written ({error.strerror})", "choose a folder of your own"
    return f"{path} could not be written ({error.strerror or error})", "fix that"


_PARTIAL = ".partial"
