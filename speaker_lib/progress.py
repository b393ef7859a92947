"""Progress bars in one manner: lively on a terminal or in a notebook, a line now and then in a log."""

from __future__ import annotations

import sys

from tqdm.auto import tqdm


def progress_bar(total: int, description: str, unit: str, **options: object) -> tqdm:
    """A tqdm bar in the form the report shows: ``Train: 100% 2000/2000 [00:45<00:00, 43.60 step/s, …]``."""
    interval = 0.1 if is_interactive() else 30.0  # seconds between redraws
    if in_notebook():
        options.setdefault("leave", False)  # finished bars would push the pictures out of sight
    return tqdm(total=total, desc=description, unit=f" {unit}", mininterval=interval, dynamic_ncols=True, **options)


def is_interactive() -> bool:
    """Whether somebody watches: on a terminal, or in a notebook."""
    return sys.stderr.isatty() or in_notebook()


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    return "ipykernel" in sys.modules


def say(sentence: str) -> None:
    """Prints a line without tearing a bar that is being drawn: to where the bars are, or into a notebook's output."""
    tqdm.write(sentence, file=sys.stdout if in_notebook() else sys.stderr)
