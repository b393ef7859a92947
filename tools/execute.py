"""Runs a notebook from its first cell to its last, as a reader would who presses *Run all*."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from speaker_lib.utils.files import make_folder, replacing

from .errors import ToolError


def execute(notebook: NotebookNode, name: str) -> None:
    """Fills in the outputs; the notebook's kernel works in the present folder. Says on the way which section it is in.

    Raises ToolError with the failing cell's own error.
    """
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": ""}})
    client.on_cell_start = _Narrator(notebook, name)
    if os.name == "posix":  # files instead of open ports, which others on the machine could listen to
        client.create_kernel_manager().transport = "ipc"
    try:
        client.execute()
    except CellExecutionError as error:
        raise ToolError(f"{name} stopped with an error:\n{error}") from None
    except DeadKernelError:
        raise ToolError(f"{name}'s kernel has died, likely for lack of memory: close something and run it again.") from None


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Writes an .ipynb, or leaves the one that is there."""
    make_folder(path.parent)
    with replacing(path, "w", encoding="utf-8") as file:
        nbformat.write(notebook, file)


class _Narrator:
    """Prints each section's heading when its first cell begins, with the minutes and seconds since the start."""

    def __init__(self, notebook: NotebookNode, name: str) -> None:
        self.name, self.began, self.said = name, time.monotonic(), ""
        self.headings: list[str] = []
        heading = ""
        for cell in notebook.cells:
            titles = re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else []
            heading = titles[-1] if titles else heading
            self.headings.append(heading)

    def __call__(self, cell: NotebookNode, cell_index: int) -> None:
        heading = self.headings[cell_index]
        if heading != self.said:
            minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
            print(f"{self.name}  {minutes:2}:{seconds:02}  {heading}", flush=True)
            self.said = heading
