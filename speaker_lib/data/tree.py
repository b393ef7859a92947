"""Every file below a folder, and which of them are recordings.

In: a folder.  Out: its files, links followed, each a recording, skipped with a reason, or counted by kind as not sound.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..sound.reading import is_audio
from ..utils.errors import is_text

# Files with these names are tried whatever they hold, so that a damaged one is reported. Any other is taken by its content.
SUFFIXES = {
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64"),
    *(".m4a", ".aac", ".wma", ".amr", ".mp4", ".3gp", ".webm", ".mka"),
}


class Skipped(NamedTuple):
    """A file, or a row of a list, that is not used."""

    name: str  # as in the listing of everything
    reason: str  # a whole sentence, which names the file


@dataclass
class Tree:
    """The files below a folder. Each one is in exactly one of the first three."""

    recordings: list[Path] = field(default_factory=list)  # sorted
    skipped: list[Skipped] = field(default_factory=list)
    not_sound: Counter[str] = field(default_factory=Counter)  # number of files by kind, such as ".txt"
    unread: list[str] = field(default_factory=list)  # a sentence per folder that could not be entered
    n_files: int = 0


def read_tree(folder: Path, without: Path | None = None) -> Tree:
    """Sorts out every file below ``folder``, except those below ``without``. Opens files of unknown kind, decodes none."""
    tree = Tree()
    paths = sorted(_walk(folder, without, tree))
    tree.n_files = len(paths)
    for path in paths:
        name = path.relative_to(folder).as_posix()
        kind = _kind(path, hidden=any(part.startswith(".") for part in path.relative_to(folder).parts))
        if isinstance(kind, Skipped):
            tree.skipped.append(kind._replace(name=name))
        elif kind:
            tree.not_sound[kind] += 1
        elif not is_text(name):
            tree.skipped.append(Skipped(name, f"{path} has characters that cannot be shown in its name: rename it."))
        else:
            tree.recordings.append(path)
    return tree


def _walk(folder: Path, without: Path | None, tree: Tree) -> list[Path]:
    """The files below ``folder`` in any order. ``Path.rglob`` would pass over linked and locked folders in silence."""
    excluded = None if without is None else _identity(without)
    found, waiting = [], [(folder, frozenset())]
    while waiting:
        here, above = waiting.pop()
        try:
            identity = _identity(here)
            if identity in above:
                tree.unread.append(f"{here} is a link to a folder in which it lies itself, and is not followed.")
                continue
            if identity == excluded:
                continue
            with os.scandir(here) as entries:
                names = [entry.name for entry in entries]
        except OSError as error:
            tree.unread.append(f"{here} cannot be listed ({error.strerror}): change its permissions, or leave it out.")
            continue
        for name in names:
            if os.path.isdir(path := here / name):  # noqa: PTH112 - Path.is_dir raises for a link into a locked folder
                waiting.append((path, above | {identity}))
            else:
                found.append(path)
    tree.unread.sort()
    return found


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _kind(path: Path, hidden: bool) -> Skipped | str:
    """Why a file is skipped, or its kind if it is not sound; empty for a recording."""
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        return Skipped("", f"{path} cannot be opened ({error.strerror}), maybe a link to nothing: mend or delete it.")
    if not regular:  # to open a pipe would wait for ever
        return "no ordinary file"
    if not os.access(path, os.R_OK):
        return Skipped("", f"{path} may not be read (Permission denied): change its permissions.")
    if not hidden and path.suffix.lower() in SUFFIXES:
        return ""
    if is_audio(path):
        return Skipped("", f"{path} is hidden by a dot in its name: rename it to use it.") if hidden else ""
    return "hidden" if hidden else path.suffix.lower() or "without a suffix"
