"""What the Makefile's targets for those who edit lessons do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import nbformat

from speaker_lib.config.presets import PRESETS
from speaker_lib.course.finished import ARCHIVE, pack_finished_runs
from speaker_lib.course.lesson import open_lesson
from speaker_lib.course.profiles import PROFILES, VARIABLE
from speaker_lib.data.corpus import Corpus
from speaker_lib.experiments.published import people_results
from speaker_lib.plots import architecture_figure, save_figure, time_figure
from speaker_lib.simulation.corpus import simulate
from speaker_lib.utils.files import make_folder, replacing
from speaker_lib.utils.language import ENGLISH
from speaker_lib.utils.language import VARIABLE as LANGUAGE

from .audit import known_holes
from .course import FIGURES
from .editions import student_edition, write_editions, write_zip
from .errors import ToolError
from .execute import execute, write_notebook
from .exercises import is_exercise, stub_output
from .gate import CHECKED, problems
from .house import PICTURE, house
from .pairs import read_source, refill, with_outputs, write_pair
from .previews import CARD, MOTION, write_card, write_motion
from .project import Project, slug_of
from .reference import PAGE, reference

LAB = Path("build/lab")
MODEL = "model.png"  # README's picture of both models
_TEXTS = (".cff", ".ipynb", ".md", ".py", ".toml", ".yaml", ".yml")  # files that may name the repository


def notebooks(project: Project) -> int:
    """Makes every committed notebook and the README's figures anew, in a folder without earlier runs."""
    voices = project.root / "data" / "simulated"
    if not voices.exists():
        simulate(voices, PROFILES["laptop"].simulation)
    if Corpus.open(voices).source != PROFILES["laptop"].simulation.source:
        raise ToolError(f"{voices} are not the voices that every reader gets: move that folder away, and it is made anew.")
    # Whatever data set the maintainer has: what is committed shows the voices that every reader can make.
    os.environ |= {VARIABLE: "laptop", "SPEAKER_DATA": str(voices)}
    os.chdir(_emptied(project.root / "build" / "notebooks"))
    lesson = open_lesson()
    names = project.notebooks  # these find the runs of the English lessons
    texts = {name: project.path(name, "py").read_bytes() for name in names}
    made = {name: read_source(project, name) for name in names}
    drawn: dict[str, dict[str, bytes]] = {}  # README's figures by language, because the next language draws over them
    for name, notebook in made.items():
        execute(notebook, name)
        found = {figure: lesson.runs / figure for figure in FIGURES}
        drawn[name.rpartition("/")[0]] = {figure: path.read_bytes() for figure, path in found.items() if path.exists()}
    edited = [name for name, text in texts.items() if project.path(name, "py").read_bytes() != text]
    if edited:
        raise ToolError(f"notebooks/{edited[0]}.py was edited meanwhile, so nothing was written: run `make notebooks` again.")
    for name, notebook in made.items():  # only now, all or none: half of a new course beside half of the old one would not fit
        write_pair(notebook, project, name)
    for language, figures in drawn.items():
        folder = project.root / "docs" / "figures" / language
        make_folder(folder)
        for figure, content in figures.items():
            (folder / figure).write_bytes(content)
        os.environ[LANGUAGE] = language or ENGLISH
        save_figure(architecture_figure(PRESETS["tuned"], changed_from=PRESETS["baseline"]), folder / MODEL)
        if language:  # the English one is drawn with its measurement, by `python -m benchmarks.people --report`
            save_figure(time_figure(*people_results("time")), folder / "people_time.png")
    os.environ[LANGUAGE] = ENGLISH
    write_motion(lesson, project.root / MOTION)
    write_card(project.root / CARD)
    return _verdict(problems(project))


def smoke(project: Project) -> int:
    """Lays out every lesson in ``build/smoke`` for nbval, away from earlier runs: solved, and as students get it.

    The solved lessons are those of the ``.py``, with the committed outputs of the cells that were not edited since.
    """
    folder = _emptied(project.root / "build" / "smoke")
    for name in project.lessons:
        committed = nbformat.read(project.path(name, "ipynb"), as_version=4)
        solved = with_outputs(read_source(project, name), committed)
        write_notebook(solved, folder / "solved" / f"{name}.ipynb")
        said = [stub_output(cell.source) for cell in solved.cells if is_exercise(cell)]
        student = student_edition(project, name)
        for cell, text in zip(filter(is_exercise, student.cells), said, strict=True):
            cell.metadata.tags, cell.outputs, cell.execution_count = [CHECKED], [nbformat.v4.new_output("stream", text=text)], 1
        write_notebook(student, folder / "student" / f"{name}.ipynb")
    return 0


def student(project: Project, without_solutions: bool = False) -> int:
    """Makes the student edition in ``build/student``, with packed runs if there are any, and the zip to hand out."""
    folder = _emptied(project.root / "build" / "student")
    write_editions(project, folder, not without_solutions)
    runs = project.root / "build" / ARCHIVE
    if runs.exists():
        shutil.copy(runs, folder)
    path = folder.with_suffix(".zip")
    write_zip(folder, path, f"{project.slug.split('/')[1]}-student")
    print(f"{path.relative_to(project.root)}: {len(project.lessons)} lessons, {path.stat().st_size / 1e6:.1f} MB to hand out.")
    return 0


def release(project: Project) -> int:
    """Packs the finished runs of the lessons, for classes that do not wait for training."""
    os.chdir(project.root / "notebooks")
    lesson = open_lesson()
    path = project.root / "build" / ARCHIVE
    make_folder(path.parent)
    names = pack_finished_runs(lesson.runs, lesson.corpus, lesson.profile.name, path)
    kinds = Counter(name.split("/")[0] for name in names)
    print(*(f"{kind}: {count} run{'s' * (count > 1)}" for kind, count in kinds.items()), sep="\n")
    print(f"{path.relative_to(project.root)}: {path.stat().st_size / 1e6:.1f} MB. Lay it beside the lessons (docs/teaching.md).")
    return 0


def lab(project: Project) -> int:
    """Copies each lesson to ``build/lab``, where JupyterLab opens it: what a reader does there changes no committed file.

    A copy that is there already stays as it is; where the lesson has changed since, that is said.
    """
    folder = project.root / LAB
    folder.mkdir(parents=True, exist_ok=True)
    for name in project.notebooks:
        lesson, copy = project.path(name, "ipynb"), folder / f"{name}.ipynb"
        original = copy.with_name(f".{copy.stem}.original")
        copy.parent.mkdir(exist_ok=True)
        content = lesson.read_bytes().replace(b"](../", b"](../../")  # links to docs and library, from one folder deeper
        if copy.exists() and not (original.exists() and copy.read_bytes() == original.read_bytes()):
            if not original.exists() or content != original.read_bytes():
                print(f"notebooks/{name}.ipynb has changed since it was copied: to get it, rename {LAB}/{name}.ipynb.")
            continue
        for path in (copy, original):
            with replacing(path) as file:
                file.write(content)
    return 0


def check(project: Project) -> int:
    """Says what is wrong with the committed notebooks."""
    return _verdict(problems(project), f"{len(project.lessons)} lessons, nothing to mend.")


def draw_house(project: Project) -> int:
    """Draws the picture of the library anew."""
    with replacing(project.root / PICTURE, "w", encoding="utf-8") as file:
        file.write(house(project))
    return 0


def write_reference(project: Project) -> int:
    """Writes the reference of commands, settings and presets anew."""
    with replacing(project.root / PAGE, "w", encoding="utf-8") as file:
        file.write(reference())
    return 0


def audit(project: Project) -> int:
    """Says which of the packages that CI installs have known holes, or that nobody could be asked."""
    holes, summary = known_holes(project.root / "constraints.txt")
    print(summary)
    return _verdict(holes)


def repository(project: Project, address: str) -> int:
    """Gives the course another address wherever the old one stands."""
    old, new = project.slug, slug_of(address)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=project.root, capture_output=True, text=True)
    if listed.returncode:
        raise ToolError(f"{project.root} is not a git checkout, so its files are not known: clone the course first.")
    paths = [project.root / name for name in listed.stdout.split("\0") if name.endswith(_TEXTS)]
    # pyproject.toml last: as long as it gives the old address, an interrupted change can be made again.
    for path in sorted(filter(Path.is_file, paths), key=lambda path: path.name == "pyproject.toml"):
        text = path.read_text(encoding="utf-8")
        if old in text:
            with replacing(path, "w", encoding="utf-8") as file:
                file.write(text.replace(old, new))
            print(path.relative_to(project.root))
    project = Project.read(project.root)
    for name in project.notebooks:  # the bootstrap cells also name the folder that a clone makes
        refill(project, name)
    print(f"The course now lives at {project.address}. Badges and bootstrap cells refer to its release {project.tag}:")
    print(f"commit, then push that tag too (git tag --force {project.tag} && git push --force origin {project.tag}).")
    return 0


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _verdict(found: list[str], fine: str = "") -> int:
    print("\n".join(f"error: {problem}" for problem in found) or fine)
    return 1 if found else 0
