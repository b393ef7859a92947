"""``make check-notebooks``: what must hold before a lesson is committed. Each problem is a sentence that says how to mend it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import jupytext
import nbformat
import yaml
from jupytext.cli import jupytext as sync
from nbformat import NotebookNode

from .clean import CELL_METADATA, METADATA, PICTURE, PICTURE_METADATA, WIDGET, cell_ids
from .errors import ToolError
from .exercises import EXERCISE, malformed
from .generated import BADGES, BOOTSTRAP, generated_cells, links, tags_of
from .pairs import read_source
from .project import Project
from .sources import CHECKED, stale_sources
from .translations import english_left, is_translatable, lesson_texts

LARGEST = 1_500_000  # bytes of an .ipynb
MOST_CELLS = 25  # of code
LONG_CELL = 12  # lines; more than half of the cells must be shorter
REMAKE = "run `make notebooks`"
TAGS = {BADGES, BOOTSTRAP, CHECKED, EXERCISE, "raises-exception"}
_FOLDERS = "home root Users tmp var private mnt media content kaggle opt usr work workspace data srv"
_NO_PROSE = re.compile(r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)|<[^>]*>")  # code, formulas and addresses
_ENGLISH = re.compile(r"(?:[A-Za-z][A-Za-z'’-]*,? ){4,}[A-Za-z]+")
_PATH = re.compile(rf"(?<![\w.:/~])(?:/(?:{'|'.join(_FOLDERS.split())})/|[A-Za-z]:\\)[^\s\"']*|file:///[^\s\"']*")


def problems(project: Project) -> list[str]:
    """Everything that is wrong with the lessons; empty where they may be committed."""
    if not project.lessons:
        return [f"{project.root / 'notebooks'} holds no lesson: name the files 01_….py and 01_….ipynb."]
    found = list(_readmes(project))
    for lesson in project.notebooks:
        missing = [ending for ending in ("py", "ipynb") if not project.path(lesson, ending).exists()]
        if missing:
            found.append(f"notebooks/{lesson}.{missing[0]} is missing beside its other half: {REMAKE}.")
            continue
        path = project.path(lesson, "ipynb")
        try:
            found += [f"notebooks/{lesson}.ipynb{problem}" for problem in _problems(project, lesson, path)]
        except ToolError as problem:
            found.append(f"notebooks/{lesson}.py: {problem}")
    return found


def _readmes(project: Project) -> Iterator[str]:
    for readme in project.root.glob("README*.md"):
        text = readme.read_text(encoding="utf-8")
        language = readme.name.split(".")[1]  # README.zh-TW.md names the lessons in that language
        lessons = [name for name in project.translations if name.startswith(f"{language}/")] or project.lessons
        missing = [link for lesson in lessons for link in links(project, lesson) if link not in text]
        if missing:
            yield f"{readme.name} lacks the link {missing[0]}: put it where the lesson is named."


def _problems(project: Project, lesson: str, path: Path) -> Iterator[str]:
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (ValueError, KeyError, AttributeError, nbformat.ValidationError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield f" is not a notebook ({reason}): {REMAKE}."
        return
    yield from _size(path)
    yield from _metadata(notebook)
    yield from _generated(notebook, generated_cells(project, lesson))
    yield from _cells(notebook)
    yield from _outputs(notebook)
    for number, problem in malformed(notebook):
        yield f", cell {number}: {problem}: mend it, then {REMAKE}."
    for number, problem in stale_sources(notebook):
        yield f", cell {number}: {problem}: {REMAKE}."
    if lesson in project.translations:
        yield from _translation(project, lesson, notebook)
    yield from _paths(notebook, project.root)
    yield from _sync(project, lesson)


def _size(path: Path) -> Iterator[str]:
    size = path.stat().st_size
    if size > LARGEST:
        yield f" has {size:,} bytes, more than {LARGEST:,}: show fewer or smaller figures, then {REMAKE}."


def _metadata(notebook: NotebookNode) -> Iterator[str]:
    wrong = sorted(key for key in {*METADATA, *notebook.metadata} if notebook.metadata.get(key) != METADATA.get(key))
    if wrong:
        yield f": its metadata {', '.join(wrong)} are not the course's own: {REMAKE}."
    for number, cell in enumerate(notebook.cells, 1):
        extra = sorted(set(cell.metadata) - CELL_METADATA)
        if extra:
            yield f", cell {number}: carries the metadata {', '.join(extra)}: {REMAKE}."
        for tag in sorted(set(tags_of(cell)) - TAGS):
            yield f", cell {number}: has the tag {tag!r}, which nothing here reads: use one of {', '.join(sorted(TAGS))}."


def _generated(notebook: NotebookNode, sources: dict[str, str]) -> Iterator[str]:
    for tag, source in sources.items():
        cells = [cell for cell in notebook.cells if tag in tags_of(cell)]
        if len(cells) != 1:
            yield f" has {len(cells)} cells with the tag {tag!r} instead of one: put the tag on one empty cell, then {REMAKE}."
        elif cells[0].source != source:
            yield f": its {tag} cell is not the generated one: change tools/generated.py instead, then {REMAKE}."


def _cells(notebook: NotebookNode) -> Iterator[str]:
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    if len(sources) > MOST_CELLS:
        yield f" has {len(sources)} code cells, more than {MOST_CELLS}: move what is not the lesson into speaker_lib."
    long = sum(len(source.splitlines()) >= LONG_CELL for source in sources)
    if 2 * long > len(sources):
        yield f": {long} of its {len(sources)} code cells have {LONG_CELL} lines or more: move helpers into speaker_lib."


def _outputs(notebook: NotebookNode) -> Iterator[str]:
    expected = count(1)
    for number, (cell, name) in enumerate(zip(notebook.cells, cell_ids(notebook), strict=True), 1):
        if cell.cell_type != "code":
            continue
        if cell.get("id") != name:
            yield f", cell {number}: was edited after it was run: {REMAKE}."
        if cell.execution_count != next(expected):
            yield f", cell {number}: was not run in one go with the cells above it: {REMAKE}."
            return
        for output in cell.outputs:
            if output.output_type == "error":
                yield f", cell {number}: shows the error {output.ename}: mend its cause, then {REMAKE}."
            elif output.get("name") == "stderr":
                said = output.text.strip().splitlines()[0][:80]
                yield f", cell {number}: shows the warning {said!r}: mend its cause, then {REMAKE}."
            elif extra := _foreign_metadata(output):
                yield f", cell {number}: an output carries the metadata {', '.join(extra)}: {REMAKE}."
            elif PICTURE in output.get("data", {}) and not output.metadata.get(PICTURE, {}).get("alt"):
                yield f", cell {number}: a picture has no description: show it by `show` of speaker_lib.course, then {REMAKE}."
            elif WIDGET in output.get("data", {}):
                yield f", cell {number}: carries a widget, which is dead where the notebook is only read: {REMAKE}."


def _foreign_metadata(output: NotebookNode) -> list[str]:
    """The metadata of an output but for what a picture says of itself."""
    metadata = output.get("metadata", {})
    extra = [key for key in metadata if key != PICTURE]
    return extra + [f"{PICTURE} {key}" for key in metadata.get(PICTURE, {}) if key not in PICTURE_METADATA]


def _translation(project: Project, lesson: str, notebook: NotebookNode) -> Iterator[str]:
    """The code is that of the English lesson, and nothing in it, in the prose or in the outputs is left in English."""
    language, original = lesson.split("/")
    made, english, texts = read_source(project, lesson), read_source(project, original), lesson_texts(language)
    for number, (cell, fresh, other) in enumerate(zip(notebook.cells, made.cells, english.cells, strict=False), 1):
        if cell.cell_type == "markdown":
            left = [found.group() for found in _ENGLISH.finditer(_NO_PROSE.sub(" ", fresh.source))]
        elif cell.source != fresh.source:
            yield f", cell {number}: is not made from the English lesson of today: {REMAKE}."
            continue
        else:
            left = english_left(other.source, texts) if is_translatable(other) else []
            if "getsource(" not in cell.source:  # what prints the library's code shows it as it is
                left += _ENGLISH.findall(_NO_PROSE.sub(" ", "\n".join(map(_text, cell.get("outputs", [])))))
        if left:
            yield f", cell {number}: {left[0][:60]!r} is not translated: write it in notebooks/{lesson}.py or the table."


def _paths(notebook: NotebookNode, root: Path) -> Iterator[str]:
    for number, cell in enumerate(notebook.cells, 1):
        text = "\n".join([cell.source, *map(_text, cell.get("outputs", []))])
        found = [str(root)] * (str(root) in text) or [match.group().rstrip(".,:;)") for match in _PATH.finditer(text)]
        if found:
            yield f", cell {number}: contains {found[0]}, a path of one machine: print relative paths, then {REMAKE}."


def _text(output: NotebookNode) -> str:
    """What a reader can read of an output."""
    return output.get("text", "") + output.get("data", {}).get("text/plain", "")


def _sync(project: Project, lesson: str) -> Iterator[str]:
    """``jupytext --sync`` on a copy, then no difference; `jupytext --test` would not notice every one."""
    try:
        header = jupytext.read(project.path(lesson, "py"), fmt="py:percent").metadata.get("jupytext", {})
    except (ValueError, yaml.YAMLError) as error:
        yield f": jupytext cannot read notebooks/{lesson}.py ({str(error).splitlines()[0]}): mend it."
        return
    if header.get("formats") != METADATA["jupytext"]["formats"]:
        yield f": notebooks/{lesson}.py lacks the header that pairs the two: {REMAKE}."
        return
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / f"{Path(lesson).name}.{ending}" for ending in ("ipynb", "py")]
        for age, copy in enumerate(copies):
            shutil.copy(project.path(lesson, copy.suffix[1:]), copy)
            os.utime(copy, (age, age))  # the .py is the newer one: it is what people edit
        before = [copy.read_bytes() for copy in copies]
        sync(["--quiet", "--sync", str(copies[1])])
        if [copy.read_bytes() for copy in copies] != before:
            yield f" and notebooks/{lesson}.py say different things: edit the .py only, then {REMAKE}."
