"""Cells that print the library's source: what they print must be the source of today."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator

from nbformat import NotebookNode

from .generated import tags_of

CHECKED = "NBVAL_CHECK_OUTPUT"
_GETSOURCE = "inspect.getsource"


def stale_sources(notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """The number of each cell that calls ``inspect.getsource`` and is not as it should be, with what is wrong.

    No cell is executed: only the lessons' imports from the library, and ``inspect.getsource`` of the names that they bind.
    """
    names: dict[str, object] = {}
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code" or not ("speaker_lib" in cell.source or _GETSOURCE in cell.source):
            continue
        try:
            nodes = list(ast.walk(ast.parse(cell.source)))
            for node in nodes:
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "speaker_lib":
                    module = importlib.import_module(node.module)
                    names |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
            calls = [node.args[0] for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == _GETSOURCE]
            missing = [ast.unparse(shown) for shown in calls if inspect.getsource(_object(shown, names)) not in _printed(cell)]
        except (SyntaxError, ImportError, AttributeError, KeyError, TypeError, OSError) as error:
            yield number, f"its imports or sources cannot be found ({error})"
            continue
        if missing:
            yield number, f"shows another source of {', '.join(missing)} than the library has today"
        elif calls and CHECKED not in tags_of(cell):
            yield number, f"prints a source without the tag {CHECKED}, so no test would notice another one"


def _object(expression: ast.expr, names: dict[str, object]) -> object:
    """What ``Name`` or ``Name.attribute`` stands for."""
    if isinstance(expression, ast.Attribute):
        return getattr(_object(expression.value, names), expression.attr)
    return names[ast.unparse(expression)]


def _printed(cell: NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)
