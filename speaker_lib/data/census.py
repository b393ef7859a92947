"""What became of every file, as text.  In: what `prepare` found.  Out: lines for the terminal and for prepare.log."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

from ..utils.errors import escape_controls
from .tree import Skipped

MOST = 10  # lines of a kind on the terminal


def by_reason(skipped: Iterable[Skipped]) -> list[str]:
    """A sentence per reason: the first file's, and how many others share it."""
    alike: dict[tuple[str, str], list[Skipped]] = {}
    for one in skipped:
        path = PurePath(one.name)
        reason = one.reason.split(path.name, 1)[-1]
        for name in (path.with_suffix("").as_posix(), path.stem):  # as in the advice to convert a.m4a to a.wav
            reason = re.sub(rf"(?<!\w){re.escape(name)}(?=\.\w)", "", reason)
        alike.setdefault((path.suffix.lower(), reason), []).append(one)
    lines = []
    for group in alike.values():
        others = ", ".join(one.name for one in group[1:4]) + ", …" * (len(group) > 4)
        lines.append(group[0].reason + f" The same holds for {len(group) - 1:,} more: {others}." * (len(group) > 1))
    return lines


def first_few(lines: Sequence[str], where: str) -> list[str]:
    """The lines, or the first of them and how many more there are."""
    return [*lines[:MOST], *[f"{len(lines) - MOST:,} more, see {where}."] * (len(lines) > MOST)]


def census_line(n_files: int, used: int, skipped: int, not_sound: Mapping[str, int]) -> str:
    """How many files there are, and what became of them; the numbers add up."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in Counter(not_sound).most_common())
    rest = f"{sum(not_sound.values()):,} not sound" + f" ({kinds})" * bool(kinds)
    return f"Files: {n_files:,}, of which {used:,} used, {skipped:,} skipped, {rest}."


def log_text(lines: Iterable[str], files: Iterable[tuple[str, str, str]]) -> str:
    """The content of prepare.log: lines, then a line per file with its outcome, its name and what there is to say."""
    rows = ["\t".join(map(escape_controls, row)) for row in files]
    return "\n".join([*map(escape_controls, lines), "", *rows]) + "\n"
