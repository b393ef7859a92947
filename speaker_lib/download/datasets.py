"""Fetches open data: all of a data set, verified, or nothing.  In: a name of `SOURCES`.  Out: its folder. Standard library only.

What was fetched lies in ``<folder>.parts`` until the data set is complete, so that the same call goes on where it was.  An
archive whose hash is known is verified before it is unpacked, another by what it holds; it is unpacked beside the folder, which
then is renamed.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..utils.errors import ConfigError, DownloadError, short_repr
from .expected import ExpectedSpeech, expectation_of
from .fetching import DISK, disk_error, first_to_answer
from .mirrors import UNPACKED, Mirrors, choose_mirrors
from .sources import HW4, SOURCES, Source

BUSY, IN_THE_WAY = 6, 7  # exit codes


def download(
    name: str,
    to: str | os.PathLike[str] | None = None,
    mirror: str | None = None,
    keep_parts: bool = False,
    deep: bool = False,
    repair: bool = False,
) -> Path:
    """Fetches a data set unless it is there; returns its folder, ``to`` for HW4 and ``to/LibriSpeech/NAME`` for LibriSpeech.

    ``mirror`` is one of the source's, or a URL to which the names of the files are appended.  ``deep`` compares every file of a
    folder that is there, ``repair`` puts back what is missing in it or differs.  Raises ConfigError, and DownloadError.
    """
    return _Download(get_source(name), to, mirror, keep_parts, deep, repair).run()


def get_source(name: str) -> Source:
    """The entry of the table. Raises ConfigError."""
    if name not in SOURCES:
        raise ConfigError(f"there is no data set {short_repr(name)} to fetch: choose one of {', '.join(SOURCES)}.")
    return SOURCES[name]


def is_reachable(name: str, seconds: float = 8.0) -> bool:
    """Whether a mirror of the data set answers within that time."""
    source = get_source(name)
    urls = [prefix + (source.archive or "aa") for prefix in choose_mirrors(source).values()]
    return first_to_answer(urls, seconds) is not None


class _Download:
    def __init__(
        self, source: Source, to: str | os.PathLike[str] | None, mirror: str | None, keep: bool, deep: bool, repair: bool
    ) -> None:
        self.source, self.keep, self.deep, self.repair = source, keep, deep, repair
        self.expected = expectation_of(source)
        self.mirrors = choose_mirrors(source, mirror)
        self.target = Path(to or ("data/Dataset" if source is HW4 else "data"))
        if source is not HW4:
            self.target = self.target / "LibriSpeech" / source.name
        self.work = self.target.with_name(f"{self.target.name}.parts")
        self.done = False

    def run(self) -> Path:
        if self._is_there():
            return self.target
        with self._alone():
            if not self.repair and self.target.exists():
                raise DownloadError(f"{self.target} has appeared meanwhile: run this again to have it checked.", IN_THE_WAY)
            self._check_room()
            found = Mirrors(self.source, self.expected, self.mirrors, self.work).fetch(self.deep)
            self.done = True
            if self.repair and self.target.exists():
                self._put_back(found)
            else:
                self._put_there(found)
        return self.target

    def _is_there(self) -> bool:
        """Whether there is nothing to do. An empty folder gives way, anything else is the user's."""
        target = self.target
        try:
            if self.expected.is_begun(target) or (self.repair and target.is_dir()):
                problem = self.expected.problem_of(target, self.deep)
                if not problem:
                    print(f"{target} is complete{', to the last file' * self.deep}: nothing was fetched.")
                    return True
                if not self.repair:
                    advice = "add --repair, or name another folder"
                    raise DownloadError(f"{target} is not the data set expected, {problem}: {advice}.", IN_THE_WAY)
            elif target.exists() or target.is_symlink():
                target.rmdir()
        except OSError:
            message = f"{target} is there already and is no empty folder: name another folder."
            raise DownloadError(message, IN_THE_WAY) from None
        return False

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Takes the lock, and at the end removes what is of no further use."""
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            lock = _locked(self.work / "lock")
        except OSError as error:
            raise DownloadError(f"{self.target.parent} cannot be written to: name another folder.", DISK) from error
        if lock is None:
            raise DownloadError(f"another run is fetching into {self.target}: wait for it, or name another folder.", BUSY)
        with lock:
            try:
                yield
            finally:
                shutil.rmtree(self.work / UNPACKED, ignore_errors=True)
                kept = [path for path in self.work.rglob("*") if path.is_file() and path.name != "lock"]
                if not kept or (self.done and not self.keep):
                    shutil.rmtree(self.work, ignore_errors=True)
                    if self.source is not HW4:
                        with contextlib.suppress(OSError):  # not empty
                            self.target.parent.rmdir()

    def _check_room(self) -> None:
        here = sum(path.stat().st_size for path in self.work.rglob("*") if path.is_file())
        needed, free = max(0, self.expected.room - here), shutil.disk_usage(self.work).free
        parent = self.target.parent
        sizes = f"{needed / 1e9:.1f} GB of disk, half of it only while it is fetched; {parent} has {free / 1e9:.1f} GB free"
        print(f"This needs {sizes}.", flush=True)
        if free < needed:
            raise DownloadError(f"there is too little room in {parent}: free some, or name a folder on another disk.", DISK)

    def _put_there(self, found: Path) -> None:
        if self.target.exists():
            advice = "it was left alone, and what was fetched is gone"
            raise DownloadError(f"{self.target} has appeared meanwhile: {advice}.", IN_THE_WAY)
        try:
            self._put_beside(found)
            found.rename(self.target)
        except OSError as error:
            raise disk_error(error, f"{self.target} could not be written") from error
        print(f"{self.target} is complete.{self._credit()}")

    def _put_beside(self, found: Path) -> None:
        """LibriSpeech's texts on speakers and chapters, and the listing of what the archive held."""
        if isinstance(self.expected, ExpectedSpeech):
            self.expected.write_listing(found, self.target)
            for text in found.parent.glob("*.TXT"):
                if not (self.target.parent / text.name).exists():
                    text.rename(self.target.parent / text.name)

    def _put_back(self, found: Path) -> None:
        count = 0
        try:
            self._put_beside(found)
            for name in self.expected.files_of(found):
                fresh, there = found / name, self.target / name
                if not (there.is_file() and filecmp.cmp(fresh, there, shallow=False)):
                    os.utime(fresh)  # as of now, not as in the archive: the kit packs again what is newer than its pack
                    there.parent.mkdir(parents=True, exist_ok=True)
                    fresh.replace(there)
                    count += 1
        except OSError as error:
            raise disk_error(error, f"{self.target} could not be repaired") from error
        if left := self.expected.problem_of(self.target, deep=False):
            advice = "name another folder"
            raise DownloadError(f"{self.target} is not whole even with every file of the archive ({left}): {advice}.", IN_THE_WAY)
        print(f"{self.target} is complete again: {count} files were put back.")

    def _credit(self) -> str:
        own = os.environ.get(self.source.expect_variable)
        return "" if own else f" {self.source.licence}; cite {self.source.citation}."


@contextlib.contextmanager
def _holding(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path) -> contextlib.AbstractContextManager | None:
    """A lock that ends with this process, or None if another has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        print("This system has no flock: see that this does not run twice at once.")
        return contextlib.nullcontext()
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return _holding(descriptor)
        os.close(descriptor)  # the run that had the lock has removed the file meanwhile
        path.parent.mkdir(parents=True, exist_ok=True)
