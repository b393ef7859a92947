"""Progress bars and log lines for a terminal, a notebook or a log file."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from tqdm import tqdm  # not tqdm.auto: a notebook that is opened again shows an error for each of its finished bars

from .language import translate_finished

_kept_lines: list[str] | None = None  # within `quietly`, the lines to print later


def progress_bar(total: int, description: str, unit: str, nested: bool = False, **options: object) -> tqdm:
    """A tqdm bar in the form of the report: ``Train: 100% 2000/2000 [00:45<00:00, 43.60 step/s, …]``.

    A ``nested`` bar, below another one, is drawn in a terminal only: a notebook or a log file cannot move up a line.
    """
    if nested and (in_notebook() or not sys.stderr.isatty()):
        options["disable"] = True
    if in_notebook():
        options = {"mininterval": 0.5, "leave": False} | options  # finished bars would push the figures out of sight
    else:
        options = {"mininterval": 0.1 if sys.stderr.isatty() else 30.0, "dynamic_ncols": True} | options
    options["disable"] = bool(options.get("disable")) or _kept_lines is not None
    return tqdm(total=total, desc=translate_finished(description), unit=f" {translate_finished(unit)}", file=_stream(), **options)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def log(sentence: str, routine: bool = False) -> None:
    """Prints a line beside a progress bar. If several processes train together, only the first one prints.

    Within `quietly` a ``routine`` line is dropped and any other is kept.
    """
    if _kept_lines is not None:
        if not routine:
            _kept_lines.append(sentence)
    elif os.environ.get("RANK", "0") == "0":
        tqdm.write(translate_finished(sentence), file=_stream())


@contextlib.contextmanager
def quietly() -> Iterator[list[str]]:
    """Hides progress bars within the block, and yields the list that collects the lines of `log` meanwhile."""
    global _kept_lines
    _kept_lines = []
    try:
        yield _kept_lines
    finally:
        _kept_lines = None


def _stream() -> TextIO:
    return sys.stdout if in_notebook() else sys.stderr  # a notebook shows stderr in red, like an error
