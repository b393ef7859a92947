"""A CSV list of recordings: ``path,speaker`` and maybe ``session``.  In: the list.  Out: an `Arrangement`.

The first line names the columns.  Paths are relative to the list.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from ..utils.errors import CorpusError, is_text, short_repr
from ..utils.sheets import read_rows
from .arrangement import Arrangement, Recording
from .tree import Skipped, Tree

COLUMNS = ("path", "speaker", "session")


def read_manifest(path: Path) -> Arrangement:
    """The recordings of a list. A row that cannot be used is skipped with a reason.

    Raises CorpusError if the file is no list, if a row has too many or too few columns, if a recording is given to two
    speakers, or if no row can be used.
    """
    rows, notes = _rows(path)
    tree, recordings, seen = Tree(), [], {}
    for line, row in rows:
        tree.n_files += 1
        name, speaker, session = (unicodedata.normalize("NFC", row.get(column, "").strip()) for column in COLUMNS)
        where, raw = f"{path}, line {line}", row["path"].strip()
        if not raw or not speaker:
            problem = f"has no {'speaker' if raw else 'path'}: fill it in."
        elif not all(map(is_text, (raw, speaker, session))):
            problem = "has characters that cannot be shown: write it without them."
        else:
            file = _found(path.parent, raw)
            key = os.path.realpath(file)
            first_line, first_speaker = seen.setdefault(key, (line, speaker))
            if first_speaker != speaker:
                both = f"{short_repr(first_speaker)} in line {first_line} and to {short_repr(speaker)} in line {line}"
                raise CorpusError(f"{path} gives {raw} to {both}: decide whose it is.")
            if first_line == line and file.is_file():
                recordings.append(Recording(file, name, speaker, _below(raw, speaker), session or None))
                continue
            why = f"as line {first_line} does." if first_line != line else "which is no file: mend the path."
            problem = f"names {raw}, {why}"
        tree.skipped.append(Skipped(raw or f"line {line}", f"{where} {problem}"))
    if not recordings:
        first = f"; the first: {tree.skipped[0].reason}" if tree.skipped else ": add a line per recording."
        raise CorpusError(f"{path} names no recording that is there{first}")
    speakers = {unicodedata.normalize("NFC", row["speaker"].strip()) for _, row in rows}
    return Arrangement(recordings, tree, speakers - {""}, notes)


def _rows(path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """Each row with the number of its line, and notes."""
    lines = read_rows(path, CorpusError, "is neither a folder nor a CSV list of recordings: name one of them.")
    names = [name.casefold() for name in lines[0][1]] if lines else []
    missing = [name for name in COLUMNS[:2] if name not in names]
    if missing:
        header = short_repr(",".join(lines[0][1]) if lines else "")
        found = f"{path} has no column {' and no column '.join(missing)} in its first line ({header})"
        raise CorpusError(f"{found}: begin it with path,speaker or path,speaker,session.")
    if twice := [name for name in COLUMNS if names.count(name) > 1]:
        raise CorpusError(f"{path} has the column {twice[0]} more than once: keep one.")
    for line, row in lines[1:]:
        if len(row) != len(names):
            problem = f"has {len(row)} columns and the first line {len(names)}: put a path with a comma in quotes"
            raise CorpusError(f"{path}, line {line} {problem}.")
    unused = [name for name in names if name not in COLUMNS]
    listed = ", ".join(map(repr, unused))
    notes = [f"{path} has columns that are not used: {listed} (path, speaker and session are)."] if unused else []
    return [(line, dict(zip(names, row, strict=True))) for line, row in lines[1:]], notes


def _found(folder: Path, raw: str) -> Path:
    """The file that a row names; where it is not there, the same path as Windows writes it, if that is."""
    file = folder / raw
    if not file.exists() and "\\" in raw and (other := folder / raw.replace("\\", "/")).exists():
        return other
    return file


def _below(raw: str, speaker: str) -> tuple[str, ...]:
    """The parts of the path below a folder of the speaker's name, or the file's name alone."""
    parts = unicodedata.normalize("NFC", raw).replace("\\", "/").split("/")
    *folders, name = parts
    last = len(folders) - folders[::-1].index(speaker) if speaker in folders else len(folders)
    return (*folders[last:], name)
