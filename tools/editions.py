"""``make student``: the lessons as students get them, in ``build/student`` and in one zip to hand out.

Exercises are stubs with the solution folded below; nothing has run yet.  ``solutions/`` holds the same lessons solved.  The
library lies beside them, so that they also run without a network.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from speaker_lib.utils.files import replacing

from .clean import METADATA, clean
from .errors import ToolError
from .execute import write_notebook
from .exercises import is_exercise, malformed, solution, solved, stub
from .generated import BADGES, BOOTSTRAP, tags_of
from .pairs import read_source
from .project import Project

_LIBRARY = ("speaker_lib", "benchmarks/results/people", "pyproject.toml", "requirements.txt", "LICENSE")  # lesson 3 shows results
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time of a zip: the same lessons make the same file
_SOLUTION = "<details><summary>Solution</summary>\n\n```python\n{}\n```\n\n</details>"
_BESIDE = 'import sys\n\nsys.path.append("{}")  # where the library of the student edition lies\n'
_START = """\
# {title}: student edition

- **On this computer:** `pip install -r requirements.txt jupyterlab` once, then `jupyter lab` in this folder. The library
  lies beside the lessons, so no network is needed after that.
- **On Colab:** upload one lesson at <https://colab.research.google.com> (File > Upload notebook). Its first cell fetches
  the rest.
- **Exercises** say `raise NotImplementedError(…)`. Write the function in its place and run the cell: its last line says
  what is right or wrong. Everything else in a lesson runs without them.
{solutions}
The lessons with their outputs: <{address}>
"""


def write_editions(project: Project, folder: Path, solutions: bool = True) -> None:
    """Fills an empty ``folder`` with the student edition. Raises ToolError for an exercise that no stub can be made of."""
    folded = "- **Solutions** are folded below each exercise; `solutions/` has the lessons with all of them filled in.\n"
    about = _START.format(title=project.slug.split("/")[1], address=project.address, solutions=folded if solutions else "")
    with replacing(folder / "START.md", "w", encoding="utf-8") as file:
        file.write(about)
    for lesson in project.notebooks:
        write_notebook(student_edition(project, lesson, solutions), folder / f"{lesson}.ipynb")
        if solutions:
            write_notebook(solved_edition(project, lesson), folder / "solutions" / f"{lesson}.ipynb")
    for name in _LIBRARY:
        source = project.root / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=_IGNORED)
        elif source.exists():
            shutil.copy(source, folder / name)


def student_edition(project: Project, lesson: str, solutions: bool = True) -> NotebookNode:
    """A lesson without outputs, its exercises as stubs, each with its solution folded below unless ``solutions`` is false."""
    notebook = _edition(project, lesson)
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if is_exercise(cell):
            if solutions:
                cells.append(nbformat.v4.new_markdown_cell(_SOLUTION.format(solution(cell.source))))
            cell.source = stub(cell.source)
    notebook.cells = cells
    return _cleaned(notebook, lesson.count("/"))


def solved_edition(project: Project, lesson: str) -> NotebookNode:
    """A lesson without outputs, for the folder ``solutions``: every exercise is filled in."""
    notebook = _edition(project, lesson)
    for cell in notebook.cells:
        if is_exercise(cell):
            cell.source = solved(cell.source)
    return _cleaned(notebook, lesson.count("/") + 1)


def write_zip(folder: Path, path: Path, name: str) -> None:
    """Packs ``folder`` into one zip, in which everything lies in a folder ``name``."""
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in sorted(filter(Path.is_file, folder.rglob("*"))):
            entry = zipfile.ZipInfo(f"{name}/{member.relative_to(folder).as_posix()}", _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, member.read_bytes(), zipfile.ZIP_DEFLATED)


def _edition(project: Project, lesson: str) -> NotebookNode:
    notebook = read_source(project, lesson)
    for number, problem in malformed(notebook):
        raise ToolError(f"notebooks/{lesson}.py, cell {number}: {problem}.")
    # Badges open the lesson that has its solutions; and what lies beside notebooks/ is only in the repository.
    notebook.cells = [cell for cell in notebook.cells if BADGES not in tags_of(cell)]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\((\.\./)+", f"]({project.address}/blob/{project.tag}/", cell.source)
    return notebook


def _cleaned(notebook: NotebookNode, depth: int) -> NotebookNode:
    """As it is handed out, so many folders below the library."""
    for cell in notebook.cells:
        if depth and BOOTSTRAP in tags_of(cell):
            cell.source = _BESIDE.format("/".join([".."] * depth)) + cell.source
    clean(notebook)
    # Without its pairing: a student's JupyterLab shall not write a .py beside each lesson.
    notebook.metadata = nbformat.from_dict({key: value for key, value in METADATA.items() if key != "jupytext"})
    return notebook
