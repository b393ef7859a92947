"""Progress bars in one manner: lively on a terminal or in a notebook, a line now and then in a log."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from tqdm import tqdm  # not tqdm.auto: a notebook that is opened again shows an error for each of its finished bars


def progress_bar(total: int, description: str, unit: str, **options: object) -> tqdm:
    """A tqdm bar in the form the report shows: ``Train: 100% 2000/2000 [00:45<00:00, 43.60 step/s, …]``."""
    if in_notebook():
        options = {"mininterval": 0.5, "leave": False} | options  # finished bars would push the pictures out of sight
    else:
        options = {"mininterval": 0.1 if sys.stderr.isatty() else 30.0, "dynamic_ncols": True} | options
    return tqdm(total=total, desc=description, unit=f" {unit}", file=_stream(), **options)


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def log(sentence: str) -> None:
    """Prints a line without tearing a bar that is being drawn; of processes that train together, the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
        tqdm.write(sentence, file=_stream())


def _stream() -> TextIO:
    """Where bars and what is said about them go; a notebook shows the other stream in red, like an error."""
    return sys.stdout if in_notebook() else sys.stderr
