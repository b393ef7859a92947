"""The lock of a run's folder: one process trains in it at a time.

It is a lock on an open file (flock), so it ends with its process.  It holds for that file, not for its name: a folder that was
unmounted, or deleted and made anew, has another file, which `renew` locks.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import filelock

from ..utils.errors import RunError
from ..utils.files import explain_os_errors


class FolderLock:
    """Keeps other processes out of ``folder``; not locked yet."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / ".lock"
        self._lock: filelock.BaseFileLock | None = None
        self._locked: tuple[int, int] | None = None  # the device and the number of the locked file

    def acquire(self) -> None:
        """Locks the folder. Raises RunError if another process trains in it, WriteError if it cannot be locked."""
        with explain_os_errors(self.path):
            if not self.folder.is_dir():  # the lock would make it
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            lock = filelock.FileLock(self.path, timeout=0)
            try:
                lock.acquire()
            except filelock.Timeout:
                problem = f"{self.folder} is being trained by another process"
                raise RunError(f"{problem}: wait, or use another folder.") from None
            self._lock, self._locked = lock, self._file()

    def renew(self, away: bool) -> None:
        """Locks the folder again if it was ``away``, or if the locked file is no longer in it. Raises what `acquire` does."""
        if away or self._locked is None or self._locked != self._file():
            self.release()
            self.acquire()

    def release(self) -> None:
        """Ends the lock, if there is one."""
        lock, self._lock, self._locked = self._lock, None, None
        if lock is not None:
            with contextlib.suppress(OSError):  # its disk is gone
                lock.release()

    def _file(self) -> tuple[int, int] | None:
        with contextlib.suppress(OSError):
            found = self.path.stat()
            return found.st_dev, found.st_ino
        return None
