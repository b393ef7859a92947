"""What a committed notebook carries: cells, tags and the outputs of a real run, no trace of the program that ran it."""

from __future__ import annotations

import hashlib
import re

import nbformat
from nbformat import NotebookNode

WIDGET = "application/vnd.jupyter.widget-view+json"
# Colab reads the last two, and gives the reader a GPU.
METADATA = {
    "accelerator": "GPU",
    "colab": {"gpuType": "T4"},
    # Without the filter a .py would change with the version of jupytext that writes it.
    "jupytext": {"formats": "ipynb,py:percent", "notebook_metadata_filter": "-jupytext.text_representation.jupytext_version"},
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = {"tags"}
PICTURE, PICTURE_METADATA = "image/png", {"alt", "height", "width"}  # what a figure says of itself: `course.widgets`


def clean(notebook: NotebookNode) -> None:
    """Drops widget state, execution times and other traces of the program that ran the notebook."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell, name in zip(notebook.cells, cell_ids(notebook), strict=True):
        cell.id = name
        cell.metadata = nbformat.from_dict({key: value for key, value in cell.metadata.items() if key in CELL_METADATA})
        if cell.cell_type == "code":
            cell.outputs = [output for output in _merged(cell.outputs) if _worth_keeping(output)]


def cell_ids(notebook: NotebookNode) -> list[str]:
    """An id for each cell, made from its source: a cell that was edited after it was run carries another."""
    seen: set[str] = set()
    return [_unique(hashlib.sha256(cell.source.encode()).hexdigest()[:8], seen) for cell in notebook.cells]


def _unique(name: str, seen: set[str]) -> str:
    while name in seen:
        name += "x"
    seen.add(name)
    return name


def _worth_keeping(output: NotebookNode) -> bool:
    """Takes out of an output what only moves while a kernel lives; false if nothing is left."""
    if output.output_type == "stream":
        output.text = re.sub(r"[^\n]*\r", "", output.text)  # a progress bar overwrites itself, at last with nothing
        return bool(output.text)
    if "data" not in output:
        return True
    about = {key: value for key, value in output.get("metadata", {}).get(PICTURE, {}).items() if key in PICTURE_METADATA}
    output.metadata = nbformat.from_dict({PICTURE: about} if about and PICTURE in output.data else {})
    return output.data.pop(WIDGET, None) is None or set(output.data) != {"text/plain"}


def _merged(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Joins what was printed in pieces."""
    merged: list[NotebookNode] = []
    for output in outputs:
        if merged and output.output_type == merged[-1].output_type == "stream" and output.name == merged[-1].name:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged
