"""Writing to disk so that nothing is ever half-written: beside first, then moved into place."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import torch

from .errors import SpeakerError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "wb", **open_options: object) -> Iterator[IO]:
    """Opens a file beside ``path`` that takes its name when the block ends well, and vanishes when it does not.

    Raises SpeakerError where the operating system does not take the file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
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


def tensor_bytes(value: object) -> memoryview:
    """What ``torch.save`` would write.

    Saving straight to a file, torch turns a full disk into an error about its own file positions; writing the bytes does not.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getbuffer()


@contextlib.contextmanager
def explain_os_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what the operating system says while ``path`` is being written into one sentence, a SpeakerError."""
    try:
        yield
    except OSError as error:
        raise SpeakerError(_sentence(error, path)) from error


def _sentence(error: OSError, path: str | os.PathLike[str]) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full, {path} could not be written: free some space there and run the same command again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} may not be written ({error.strerror}): choose a folder of your own."
    return f"{path} could not be written ({error.strerror or error}): mend that and run the same command again."
