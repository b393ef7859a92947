"""``make house``: the picture of the library, from its import contract, its imports and the reading path in docs/library.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap

from grimp import ImportGraph, build_graph

from .project import Project, tomllib

PICTURE = Path("docs/figures/house.svg")
WIDTH, LEFT, GAP, PADDING, LINE = 960, 64, 14, 14, 19  # pixels
CHARACTER = 7.2  # the mean width of a character, in pixels
EVERYWHERE = {"config", "utils"}
TITLE = "A package imports from lower floors only, and nearly all from config and utils. Numbers: the order of reading."


def house(project: Project) -> str:
    """An SVG: a row for each floor of the contract, a box for each package with its purpose, its modules and its imports.

    The modules of the reading path of docs/library.md carry their number. Raises ToolError as `Project.read`.
    """
    graph, order = build_graph("speaker_lib", cache_dir=None), _reading_path(project)
    boxes, y = [], 56
    floors = _floors(project)
    for number, floor in zip(range(len(floors), 0, -1), floors, strict=True):
        width = (WIDTH - LEFT - GAP * len(floor)) // len(floor)
        columns = int((width - 2 * PADDING) / CHARACTER)
        texts = [list(_lines(project, graph, name, order, columns)) for name in floor]
        height = max(map(len, texts)) * LINE + PADDING
        boxes.append(f'<text x="30" y="{y + height // 2 + 6}" font-size="20" fill="#777" text-anchor="middle">{number}</text>')
        for x, lines in zip(range(LEFT, WIDTH, width + GAP), texts, strict=False):
            boxes.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="#f4f4f4" stroke="#333"/>')
            boxes += [f'<text x="{x + PADDING}" y="{y + LINE * at + 4}"{line}</text>' for at, line in enumerate(lines, 1)]
        y += height + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="Helvetica, Arial, sans-serif" '
        f'font-size="13" role="img" aria-label="The packages of speaker_lib. {TITLE}">\n'
        f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>\n<text x="{LEFT}" y="32" font-size="15">{TITLE}</text>\n'
        + "\n".join(boxes)
        + "\n</svg>\n"
    )


def _floors(project: Project) -> list[list[str]]:
    """The packages on each floor, the highest first."""
    contracts = tomllib.loads((project.root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [floor.split(" | ") for floor in layers]


def _reading_path(project: Project) -> list[str]:
    """``config/schema`` and so on, in the order in which docs/library.md lists them."""
    page = (project.root / "docs" / "library.md").read_text(encoding="utf-8")
    return re.findall(r"^\d+\. \[`([a-z_/]+)\.py`\]", page, re.MULTILINE)


def _lines(project: Project, graph: ImportGraph, name: str, order: list[str], columns: int) -> Iterator[str]:
    """A package's lines of text, each as the rest of an SVG text element whose place stands already."""
    folder = project.root / "speaker_lib" / name
    yield f' font-size="15" font-weight="bold">{name}'
    purpose = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    for line in wrap(purpose.splitlines()[0], columns):
        yield f">{line}"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    path = [f"{order.index(read) + 1}\N{NO-BREAK SPACE}{read.split('/')[1]}" for read in order if read.startswith(f"{name}/")]
    others = sorted(module for module in modules if f"{name}/{module}" not in order)
    for fill, words in (("#b34700", path), ("#0b5394", others)):
        for line in wrap("   ".join(words), columns):
            yield f' fill="{fill}" xml:space="preserve">{line}'
    imported = {
        target.split(".")[1]
        for module in {f"speaker_lib.{name}", *graph.find_descendants(f"speaker_lib.{name}")}
        for target in graph.find_modules_directly_imported_by(module)
        if target.count(".") > 1
    } - {name}
    for line in wrap(f"imports {', '.join(sorted(imported - EVERYWHERE or imported)) or 'nothing'}", columns):
        yield f' fill="#666" font-style="italic">{line}'
