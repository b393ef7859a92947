"""Rows of a CSV file as people save it: commas, semicolons or tabs, Excel's UTF-8 and UTF-16, the line ends of Windows."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path

from .errors import SpeakerError


def read_rows(path: Path, error: type[SpeakerError], otherwise: str, most: int = 2**28) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, each with the number of its line; values are stripped.

    ``otherwise`` ends the sentence on a file that is no CSV file, or has more than ``most`` bytes: "… is neither …: name one."
    Raises ``error``, and OSError for a file that cannot be read.
    """
    if path.stat().st_size > most:
        raise error(f"{path} {otherwise}")
    content = path.read_bytes()
    excel = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if excel else "utf-8-sig")
    except UnicodeDecodeError:
        raise error(f"{path} is no text in UTF-8: save it as CSV UTF-8, if it is a CSV file.") from None
    if "\0" in text:
        raise error(f"{path} {otherwise}")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    delimiter = max(",;\t", key=text.lstrip("\n").split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        rows = [(reader.line_num, [value.strip() for value in row]) for row in reader]
    except csv.Error as problem:
        raise error(f"{path} cannot be read as CSV ({problem}): check its quotes.") from None
    return [(line, row) for line, row in rows if any(row)]
