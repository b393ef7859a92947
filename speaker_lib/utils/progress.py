"""Progress bars and log lines for a terminal, a notebook or a log file."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from tqdm import tqdm  # not tqdm.auto: a notebook that is opened again shows an error for each of its finished bars

_kept_lines: list[str] | None = None  # within `quietly`: what is to be printed later


def progress_bar(total: int, description: str, unit: str, **options: object) -> tqdm:
    """A tqdm bar in the form the report shows: ``Train: 100% 2000/2000 [00:45<00:00, 43.60 step/s, …]``."""
    if in_notebook():
        options = {"mininterval": 0.5, "leave": False} | options  # finished bars would push the pictures out of sight
    else:
        options = {"mininterval": 0.1 if sys.stderr.isatty() else 30.0, "dynamic_ncols": True} | options
    options["disable"] = bool(options.get("disable")) or _kept_lines is not None
    return tqdm(total=total, desc=description, unit=f" {unit}", file=_stream(), **options)


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def log(sentence: str, routine: bool = False) -> None:
    """Prints a line without tearing a bar that is being drawn; of processes that train together, only the first prints.

    Within `quietly` a ``routine`` line is dropped and any other one is kept.
    """
    if _kept_lines is not None:
        if not routine:
            _kept_lines.append(sentence)
    elif os.environ.get("RANK", "0") == "0":
        tqdm.write(sentence, file=_stream())


@contextlib.contextmanager
def quietly() -> Iterator[list[str]]:
    """Within the block no bar is drawn, and `log` appends to the list that this yields, to be printed later."""
    global _kept_lines
    _kept_lines = []
    try:
        yield _kept_lines
    finally:
        _kept_lines = None


def _stream() -> TextIO:
    """Where bars and log lines are written; a notebook shows stderr in red, like an error."""
    return sys.stdout if in_notebook() else sys.stderr
