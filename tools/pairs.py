"""The two halves of a lesson: the ``.py`` that people edit and the ``.ipynb`` that carries the outputs."""

from __future__ import annotations

import jupytext
import nbformat
from nbformat import NotebookNode

from speaker_lib.utils.files import replacing

from .clean import METADATA, clean
from .errors import ToolError
from .execute import write_notebook
from .generated import fill
from .project import Project
from .translations import take_code


def read_source(project: Project, lesson: str) -> NotebookNode:
    """The notebook that a lesson's ``.py`` describes, without outputs, its generated cells up to date."""
    path = project.path(lesson, "py")
    if not path.exists():
        raise ToolError(f"{path} is missing: `jupytext --to py:percent` makes it from the .ipynb.")
    notebook = jupytext.read(path, fmt="py:percent")
    if lesson in project.translations:
        language, original = lesson.split("/")
        take_code(notebook, read_source(project, original), language)
    fill(notebook, project, lesson)
    return notebook


def with_outputs(notebook: NotebookNode, earlier: NotebookNode) -> NotebookNode:
    """The notebook with the outputs of those cells of an earlier one that have the same source."""
    ran = {cell.source: cell for cell in earlier.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source in ran:
            cell.outputs, cell.execution_count = ran[cell.source].outputs, ran[cell.source].execution_count
    return notebook


def write_pair(notebook: NotebookNode, project: Project, lesson: str) -> None:
    """Writes both halves, cleaned."""
    _write_ipynb(notebook, project, lesson)
    _write_py(notebook, project, lesson)


def refill(project: Project, lesson: str) -> None:
    """Writes a lesson's generated cells anew, each half by itself: outputs stay, and so does an edit of the text."""
    _write_py(read_source(project, lesson), project, lesson)
    notebook = nbformat.read(project.path(lesson, "ipynb"), as_version=4)
    fill(notebook, project, lesson)
    _write_ipynb(notebook, project, lesson)


def _write_ipynb(notebook: NotebookNode, project: Project, lesson: str) -> None:
    clean(notebook)
    write_notebook(notebook, project.path(lesson, "ipynb"))


def _write_py(notebook: NotebookNode, project: Project, lesson: str) -> None:
    # Jupytext puts a notebook's kernel and the pairing into the header of the text; the rest belongs to the .ipynb alone.
    header = {key: METADATA[key] for key in ("jupytext", "kernelspec")}
    with replacing(project.path(lesson, "py"), "w", encoding="utf-8") as file:
        file.write(jupytext.writes(nbformat.from_dict(dict(notebook, metadata=header)), fmt="py:percent"))
