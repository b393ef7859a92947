"""Atomic writes (a temporary file is renamed), safe loading of tensors, and one sentence per disk error."""

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

BRING_BACK = "mount its drive again, or move it back"  # the advice on a folder that vanished
_PARTIAL = ".partial"
_GONE = (errno.ENOENT, errno.ENOTCONN, errno.ESTALE, errno.ENODEV, errno.ENXIO)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "wb", **open_options: object) -> Iterator[IO]:
    """An atomic write: opens a temporary file that is renamed to ``path`` when the block ends well, else deleted.

    Raises WriteError if the operating system refuses the file, or if its folder is not there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    with explain_os_errors(path):
        try:
            with temporary.open(mode, **open_options) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        with contextlib.suppress(OSError):  # the new name must survive a power cut, too, if the file system can do that
            descriptor = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def create_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file that must not exist yet, atomically, and makes its folder. Raises FileExistsError and WriteError."""
    path = Path(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{_PARTIAL}")
    with explain_os_errors(path):
        temporary.write_bytes(content)
    try:
        os.link(temporary, path)  # fails in all but one of several processes
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        file = path.open("xb")
        with explain_os_errors(path), file:
            file.write(content)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: str | os.PathLike[str]) -> None:
    """Makes a folder that the user named, and those above it. Raises WriteError.

    Only where a command begins: a folder that vanishes later must not be made anew, on another disk and without its files.
    """
    with explain_os_errors(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)


def remove_partial(path: str | os.PathLike[str]) -> None:
    """Removes the temporary files of killed processes for ``path``. No other process may be writing ``path``."""
    for left in Path(path).parent.glob(f".{Path(path).name}.*{_PARTIAL}"):
        left.unlink(missing_ok=True)


def tensor_bytes(value: object) -> memoryview:
    """The bytes that ``torch.save`` writes. Saved directly to a full disk, torch would raise an error of its own."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getbuffer()


def load_tensors(path: str | os.PathLike[str], content: bytes | None = None) -> object:
    """Tensors and plain values that `torch.save` wrote to ``path``, or its ``content`` if that was read already.

    Runs no code, and takes little more memory than the file.  Raises FileNotFoundError, and nearly any other error for a
    damaged or hostile file.
    """
    file = io.BytesIO(Path(path).read_bytes() if content is None else content)
    _refuse_inflation(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def load_values(path: str | os.PathLike[str]) -> object:
    """`load_tensors` for a caller that needs only plain values: tensors are memory-mapped, and read when used."""
    with Path(path).open("rb") as file:
        _refuse_inflation(file)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _refuse_inflation(file: IO[bytes]) -> None:
    """Raises ValueError for a compressed zip file (a zip bomb). `torch.save` never compresses, but ``torch.load`` inflates."""
    if zipfile.is_zipfile(file):
        size = file.seek(0, os.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            if sum(member.file_size for member in archive.infolist()) > size:
                raise ValueError("it would unpack to more than its own size")
    file.seek(0)


@contextlib.contextmanager
def explain_os_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns an OSError while ``path`` is written into a WriteError: one sentence."""
    try:
        yield
    except OSError as error:
        what, advice = f"{path} could not be written ({error.strerror or error})", "fix that"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what, advice = f"the disk is full, {path} could not be written", "free some space there"
        elif error.errno in _GONE:
            what, advice = f"{path} could not be written, because its folder is gone ({error.strerror})", BRING_BACK
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            what, advice = f"{path} may not be written ({error.strerror})", "choose a folder of your own"
        raise WriteError(what, advice) from error
