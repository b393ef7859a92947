"""Exercise cells: the author writes the solution between two marks, and the stub is made from it.

    def pool(frames, weights):
        # solution: sum the frames (batch, frames, width), each times its weight (batch, frames).
        return (frames * weights[:, :, None]).sum(dim=1)  # (batch, width)
        # end of solution

Lines ``# stub: …`` straight below the first mark are code that the student is given.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from textwrap import dedent

from nbformat import NotebookNode

from speaker_lib.course.check.exercise import RIGHT, YOUR_TURN

from .generated import tags_of

EXERCISE = "exercise"  # the tag of an exercise's cell
_MARKS = re.compile(
    r"^(?P<indent> *)# solution: (?P<task>.+)\n(?P<given>(?: *# stub: .*\n)*)(?P<solution>(?:.*\n)+?) *# end of solution$",
    re.MULTILINE,
)
_GIVEN = re.compile(r"# stub: ")
_CHECK = re.compile(r"^check\.\w+\(\w+\)$", re.MULTILINE)


def is_exercise(cell: NotebookNode) -> bool:
    """Whether a cell carries the tag."""
    return EXERCISE in tags_of(cell)


def stub(source: str) -> str:
    """The cell as a student gets it: in place of the solution, an error that names the task."""
    return _MARKS.sub(_stub, source)


def solved(source: str) -> str:
    """The cell without the marks."""
    return _MARKS.sub(lambda found: found["solution"].rstrip("\n"), source)


def solution(source: str) -> str:
    """The function alone, without imports, marks and check: what stands folded under a stub."""
    function = solved(source)
    return _CHECK.sub("", function[re.search(r"^def ", function, re.MULTILINE).start() :]).strip()


def stub_output(source: str) -> str:
    """What the check says about a stub."""
    return f"{YOUR_TURN}{_MARKS.search(source)['task']}\n"


def malformed(notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """The number of each exercise cell that no stub can be made of, or whose solution its check refuses, with the reason."""
    for number, cell in enumerate(notebook.cells, 1):
        marks = len(re.findall(r"# (?:end of )?solution\b", cell.source)) if cell.cell_type == "code" else 0
        if not is_exercise(cell):
            if marks:
                yield number, f"holds a solution without the tag {EXERCISE!r}, so students would be given it"
        elif marks != 2 or len(_MARKS.findall(cell.source)) != 1:
            yield number, "needs one solution, between the lines `# solution: THE TASK` and `# end of solution`"
        elif len(re.findall(r"^def ", cell.source, re.MULTILINE)) != 1:
            yield number, "needs one function, which the student writes"
        elif len(_CHECK.findall(cell.source)) != 1:
            yield number, "needs one line `check.NAME(FUNCTION)`, so that a student learns whether it is right"
        elif not _parses(stub(cell.source)):
            yield number, "makes a stub that is no Python"
        elif cell.outputs and not "".join(output.get("text", "") for output in cell.outputs).startswith(RIGHT[0]):
            yield number, "holds a solution that its own check refuses"


def _stub(found: re.Match[str]) -> str:
    task = found["task"].replace("\\", "\\\\").replace('"', '\\"')
    return f'{_GIVEN.sub("", found["given"])}{found["indent"]}raise NotImplementedError("{task}")'


def _parses(source: str) -> bool:
    try:
        ast.parse(dedent(source))
    except SyntaxError:
        return False
    return True
