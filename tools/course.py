"""``make course``: runs every lesson as a reader would, and ends with the comparison. Needs no more than a reader has."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat

from speaker_lib.course.lesson import open_lesson
from speaker_lib.experiments.tables import comparison_table
from speaker_lib.utils.errors import SpeakerError

from .clean import clean
from .errors import ToolError
from .execute import execute, write_notebook

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ("comparison.png", "ablation.png", "ladder.png")  # what lessons 3 and 4 save among its runs, and the README shows


def main() -> int:
    """Executed notebooks go among the runs; the committed ones stay as they are. Returns the exit code."""
    os.chdir(ROOT / "notebooks")
    try:
        lesson = open_lesson()
        print(f"The course on {lesson.corpus.source}; profile {lesson.profile.name}: {lesson.profile.meaning}.", flush=True)
        out = lesson.runs / "notebooks"
        for path in sorted(Path().glob("[0-9]*.ipynb")):
            notebook = nbformat.read(path, as_version=4)
            execute(notebook, path.stem)
            clean(notebook)
            write_notebook(notebook, out / path.name)
        print(f"\n{comparison_table([lesson.trained('baseline'), lesson.trained('tuned')])}\n")
    except (ToolError, SpeakerError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    for name in FIGURES:
        print(f"Figure: {os.path.relpath(lesson.runs / name, ROOT)}")
    print(f"Executed notebooks: {os.path.relpath(out, ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
