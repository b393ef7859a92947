"""Text tables and lists of sentences, for the terminal and the lessons."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from unicodedata import east_asian_width

from .language import translate_finished


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """A line per row: the first, in the reader's language, is underlined; all columns but the first are right-aligned."""
    rows = [[translate_finished(head) for head in rows[0]], *rows[1:]]
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([padded(row[0], widths[0]), *map(right_aligned, row[1:], widths[1:])]) for row in rows]
    return "\n".join([lines[0], "-" * columns(lines[0]), *lines[1:]])


def columns(text: str) -> int:
    """The width of a text on the screen, where a Chinese character takes two columns."""
    return sum(1 + (east_asian_width(character) in "WF") for character in text)


def padded(text: str, width: int) -> str:
    """A text with spaces up to a width on the screen."""
    return text + " " * (width - columns(text))


def right_aligned(text: str, width: int) -> str:
    """A text with spaces before it, up to a width on the screen."""
    return " " * (width - columns(text)) + text


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
