"""Text tables and lists of sentences, for the terminal and the lessons."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from unicodedata import east_asian_width


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """A line per row: the first row is underlined, all columns but the first are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]) for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def padded(text: str, width: int) -> str:
    """A text with spaces up to a width on the screen, where a Chinese character takes two columns."""
    return text + " " * (width - sum(1 + (east_asian_width(character) in "WF") for character in text))


class Sentences(list):
    """Sentences, a bullet each: Markdown where a notebook shows them, wrapped lines where they are printed."""

    WIDTH = 100  # characters

    def __getitem__(self, at: int | slice) -> str | Sentences:
        found = super().__getitem__(at)
        return Sentences(found) if isinstance(at, slice) else found

    def __str__(self) -> str:
        wrapped = (
            textwrap.wrap(text, self.WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False) for text in self
        )
        return "\n".join(line for lines in wrapped for line in lines)

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        # Names of settings, data and speakers stand as they are: `d_model`, `$`, `*` and `<` are no marks.
        return "\n".join("- " + re.sub(r"([\\`*_{}\[\]<>$|#])", r"\\\1", " ".join(text.split())) for text in self)
