"""Fetches, verifies and unpacks a data set from the first mirror that gives it.  Standard library only."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import shutil
import string
import sys
from collections.abc import Mapping
from pathlib import Path

from ..utils.errors import ConfigError, DownloadError, short_repr
from .archives import ArchiveError, unpack
from .expected import ExpectedHW4, ExpectedSpeech
from .fetching import ARCHIVE, NETWORK, FetchError, disk_error, fetch
from .sources import HW4_PARTS, Source

UNPACKED = "unpacked"  # a folder beside those of the mirrors
_SUFFIXES = ["".join(pair) for pair in itertools.product(string.ascii_lowercase, repeat=2)]  # aa, ab, …


def choose_mirrors(source: Source, named: str | None = None) -> dict[str, str]:
    """The prefixes to try by name: all of the source's, one of them, or a URL of one's own. Raises ConfigError."""
    named = named or os.environ.get(source.url_variable)
    if not named:
        return dict(source.mirrors)
    if named in source.mirrors:
        return {named: source.mirrors[named]}
    if not re.fullmatch(r"https?://[!-~]+", named):
        choices = ", ".join(source.mirrors)
        raise ConfigError(f"the mirror is {short_repr(named)}: choose {choices}, or a URL that begins with https:// or http://.")
    return {named: named}


class Mirrors:
    """Some mirrors of a data set, and the folder ``work`` for what they give."""

    def __init__(self, source: Source, expected: ExpectedHW4 | ExpectedSpeech, prefixes: Mapping[str, str], work: Path) -> None:
        self.source, self.expected, self.prefixes, self.work = source, expected, prefixes, work

    def fetch(self, deep: bool) -> Path:
        """The folder of the data set, unpacked in ``work`` and verified. Raises DownloadError where no mirror gives it."""
        worst, problem, several = ARCHIVE, "", len(self.prefixes) > 1
        for name, prefix in self.prefixes.items():
            try:
                return self._fetch_from(prefix, HW4_PARTS.get(name), deep)
            except FetchError as error:
                problem = str(error)
                worst = NETWORK if error.code == NETWORK else worst
            if several:
                print(f"{problem}.", file=sys.stderr)
        kept = any(path.is_file() and path.name != "lock" for path in self.work.rglob("*"))
        kept = f" What has arrived is kept in {self.work}, and the same command goes on from there." if kept else ""
        if several:
            advice = "try again later, or see data/README.md for other ways"
            raise DownloadError(f"no mirror gave {self.source.name}: {advice}.{kept}", worst)
        advice = f"correct {self.source.url_variable} or --mirror, or leave it out to try the known mirrors"
        if set(self.prefixes) <= set(self.source.mirrors):
            advice = "leave --mirror out to try the others"
        raise DownloadError(f"{problem}: {advice}.{kept}", worst)

    def _fetch_from(self, prefix: str, n_parts: int | None, deep: bool) -> Path:
        """Raises FetchError if this mirror does not give the data set; what it gave is then deleted."""
        # A folder to a mirror, because their parts may differ. With a known hash one goes on where another stopped.
        key = self.expected.sha256 if self.source.archive else hashlib.sha256(prefix.encode()).hexdigest()
        folder, unpacked = self.work / key[:12], self.work / UNPACKED
        try:
            folder.mkdir(exist_ok=True)
            parts = [self._fetch_archive(prefix, folder)] if self.source.archive else _fetch_parts(prefix, folder, n_parts)
        except OSError as error:
            raise disk_error(error, f"{folder} could not be written") from error
        finally:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()
        problem = self.expected.archive_problem(parts)
        if not problem:
            shutil.rmtree(unpacked, ignore_errors=True)
            try:
                unpack(parts, unpacked)
                found, problem = self.expected.find(unpacked, deep)
                if not problem:
                    return found
            except ArchiveError as error:
                problem = str(error)
        shutil.rmtree(folder)
        shutil.rmtree(unpacked, ignore_errors=True)
        raise FetchError(f"what {prefix}{self.source.archive or '*'} gave is of no use and was deleted: {problem}", code=ARCHIVE)

    def _fetch_archive(self, prefix: str, folder: Path) -> Path:
        path = folder / self.source.archive
        if not path.exists():
            print(f"Fetching {prefix}{path.name}.", flush=True)
            fetch(prefix + path.name, path, self.expected.n_bytes)
        return path


def _fetch_parts(prefix: str, folder: Path, n_parts: int | None) -> list[Path]:
    """The parts aa, ab, …; where their number is not known, they end where the server has no more."""
    complete = folder / "complete"
    if not complete.exists():
        print(f"Fetching {prefix}aa and the parts that follow it.", flush=True)
        for suffix in _SUFFIXES[:n_parts]:
            try:
                fetch(prefix + suffix, folder / suffix)
            except FetchError as error:
                if suffix != "aa" and error.status == 404 and n_parts is None:
                    break
                raise
        complete.touch()
    return sorted(folder.glob("[a-z][a-z]"))
