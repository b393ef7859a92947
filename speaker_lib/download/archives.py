"""Unpacks a .tar.gz that lies in one or more parts, without a joined copy.  Plain files and folders only."""

from __future__ import annotations

import errno
import gzip
import io
import sys
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ..utils.errors import DownloadError, escape_controls, first_line
from .fetching import BLOCK, disk_error

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)


class ArchiveError(Exception):
    """An archive that is damaged or unsafe: the middle of a sentence."""


class JoinedFiles(io.RawIOBase):
    """Some files end to end, as one that can be read."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._waiting, self._file = list(paths), io.BytesIO()

    def readable(self) -> bool:
        """True: it can only be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:
        """Fills the buffer from the current file, or from the next one."""
        while not (n := self._file.readinto(buffer)) and self._waiting:
            self._file.close()
            self._file = self._waiting.pop(0).open("rb")
        return n

    def close(self) -> None:
        """Closes the file that is open."""
        self._file.close()
        super().close()


def unpack(parts: Sequence[Path], out: Path) -> None:
    """Unpacks the archive into the new folder ``out``, without the ``._`` files of macOS.

    The caller removes what a failure left.  Raises ArchiveError for a damaged archive, a link, a device or a path outside, and
    DownloadError if the disk is full.
    """
    if not hasattr(tarfile, "data_filter"):
        version = ".".join(map(str, sys.version_info[:3]))
        raise DownloadError(f"Python {version} cannot unpack archives safely: use 3.10.12, 3.11.4, 3.12 or later.")
    try:
        out.mkdir(parents=True)
        with io.BufferedReader(JoinedFiles(parts), BLOCK) as joined, gzip.GzipFile(fileobj=joined) as plain:
            with tarfile.open(fileobj=plain, mode="r|") as archive:
                for member in archive:
                    name = PurePosixPath(member.name)
                    if any(piece.startswith("._") for piece in name.parts):
                        continue
                    if name.is_absolute() or ".." in name.parts or not (member.isreg() or member.isdir()):
                        raise ArchiveError(
                            f"its archive would write outside its folder, or a link ({escape_controls(member.name)})"
                        )
                    archive.extract(member, out, filter="data")
            while plain.read(BLOCK):  # to the end, where the checksum is
                pass
    except tarfile.FilterError as error:
        raise ArchiveError(f"its archive would write outside its folder, or a link ({_told(error)})") from error
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError, ValueError) as error:
        raise ArchiveError(f"its archive is damaged ({_told(error)})") from error
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise disk_error(error, f"the data set could not be unpacked in {out}") from error
        raise ArchiveError(f"its archive cannot be unpacked ({_told(error)})") from error


def _told(error: Exception) -> str:
    return escape_controls(first_line(error))
