"""`make course` and `make notebooks`, with a course of one small lesson in a checkout of its own."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from speaker_lib.course.profiles import PROFILES
from tools.__main__ import main
from tools.project import ROOT

from .conftest import write_corpus

LESSON = """\
# %% [markdown] tags=["badges"]

# %% [markdown]
# # A small lesson
#
# ## The only section

# %% tags=["bootstrap"]

# %%
from speaker_lib.course.lesson import open_lesson

lesson = open_lesson()
lesson.runs.mkdir(parents=True, exist_ok=True)
for name in ("comparison.png", "ablation.png", "ladder.png"):
    (lesson.runs / name).write_bytes(b"a figure")

# %%
import tqdm.auto

from speaker_lib.utils.progress import log, progress_bar

for _ in tqdm.auto.tqdm(range(3)):  # a bar that is a widget
    pass
with progress_bar(3, "Work", "piece") as bar:  # a bar of text
    bar.update(3)
    log("half-way")
print("profile", lesson.profile.name)

# %%
from speaker_lib.course import show
from speaker_lib.plots import schedule_figure

show(schedule_figure(lesson.profile.baseline.train))

# %%
print(1 / {divisor})
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    return write_checkout(tmp_path / "course")


@pytest.fixture(scope="module")
def made_once(tmp_path_factory) -> tuple[Path, str]:
    """A checkout whose notebooks were made, and what that printed; tests copy it."""
    folder = write_checkout(tmp_path_factory.mktemp("made") / "course")
    done = run(folder, "tools", "notebooks", SPEAKER_PROFILE="smoke", SPEAKER_DATA="elsewhere")  # neither counts here
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.fixture
def made(made_once, tmp_path) -> Path:
    return shutil.copytree(made_once[0], tmp_path / "course")


def write_checkout(folder: Path) -> Path:
    for name in ("tools", "speaker_lib"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "notebooks").mkdir()
    (folder / "docs" / "figures").mkdir(parents=True)
    voices = write_corpus(folder / "data" / "simulated")
    metadata = voices / "metadata.json"  # a small stand-in, by its own account the voices that every reader gets
    metadata.write_text(metadata.read_text().replace("random numbers", PROFILES["laptop"].simulation.source))
    write_lesson(folder, divisor=2)
    return folder


def write_lesson(checkout: Path, divisor: int) -> None:
    (checkout / "notebooks" / "01_small.py").write_text(LESSON.replace("{divisor}", str(divisor)))


def run(checkout: Path, *command: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SPEAKER_")}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=checkout, env=clean | environment, capture_output=True, text=True, timeout=300
    )


def halves(checkout: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (checkout / "notebooks").glob("*.*")}


def test_notebooks_are_made_with_outputs_and_pass_the_gate(made_once, made):
    assert re.search(r"^01_small +\d+:\d\d  The only section$", made_once[1], re.MULTILINE)  # however long it took to start
    notebook = nbformat.read(made / "notebooks" / "01_small.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4, 5]
    assert [[output.get("text") for output in cell.outputs] for cell in code] == [
        [],
        [],
        ["half-way\nprofile laptop\n"],
        [None],
        ["0.5\n"],
    ]
    (figure,) = code[3].outputs
    assert (
        figure.metadata["image/png"]["alt"].startswith("The learning rate rises") and figure.metadata["image/png"]["width"] == 900
    )
    assert "widgets" not in notebook.metadata and "Open in Colab" in (made / "notebooks" / "01_small.py").read_text()
    assert (made / "docs" / "figures" / "ablation.png").read_bytes() == b"a figure"
    assert run(made, "tools", "check").returncode == 0
    # The same lesson again is the same file, to the byte: nothing in it changes by itself.
    before = halves(made)
    assert run(made, "tools", "notebooks").returncode == 0 and halves(made) == before

    write_lesson(made, divisor=0)
    before = halves(made)
    done = run(made, "tools", "notebooks")
    assert done.returncode == 1 and "error: 01_small stopped with an error" in done.stderr and "ZeroDivisionError" in done.stderr
    assert halves(made) == before

    done = run(made, "tools", "check")
    assert done.returncode == 1 and "01_small.py lacks the header that pairs the two" in done.stdout


def test_an_edit_made_while_the_notebooks_run_is_not_lost(checkout):
    path = checkout / "notebooks" / "01_small.py"
    path.write_text(
        path.read_text() + "\n# %%\nwith open('../../notebooks/01_small.py', 'a') as file:\n    file.write('# an edit\\n')\n"
    )
    done = run(checkout, "tools", "notebooks")
    assert done.returncode == 1 and "01_small.py was edited meanwhile, so nothing was written" in done.stderr
    assert path.read_text().endswith("# an edit\n") and not (checkout / "notebooks" / "01_small.ipynb").exists()


def test_the_course_ends_with_the_table_the_figures_and_the_notebooks(made):
    committed = halves(made)
    done = run(made, "tools.course", SPEAKER_PROFILE="smoke", SPEAKER_DATA=str(made / "data" / "simulated"))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("The course on 100 simulated voices (not people), 60 utterances each, seed 0; profile smoke: ")
    assert any(line.startswith("baseline-short ") for line in lines) and any(line.startswith("tuned-short ") for line in lines)
    assert lines[-4:] == [
        "Figure: runs/smoke/simulated/comparison.png",
        "Figure: runs/smoke/simulated/ablation.png",
        "Figure: runs/smoke/simulated/ladder.png",
        "Executed notebooks: runs/smoke/simulated/notebooks",
    ]
    executed = json.loads((made / "runs/smoke/simulated/notebooks/01_small.ipynb").read_text())
    assert "profile smoke" in json.dumps(executed) and halves(made) == committed
    assert "Traceback" not in done.stderr and "WARNING" not in done.stderr


def test_a_course_without_its_data_says_so(checkout):
    done = run(checkout, "tools.course", SPEAKER_DATA="nowhere", SPEAKER_PROFILE="smoke")
    assert done.returncode == 1 and done.stderr.startswith("error: nowhere") and "Traceback" not in done.stderr


def test_smoke_lays_out_every_lesson_solved_and_as_students_get_it(made):
    assert run(made, "tools", "smoke").returncode == 0
    found = sorted(str(path.relative_to(made)) for path in made.glob("build/smoke/*/*"))
    assert found == ["build/smoke/solved/01_small.ipynb", "build/smoke/student/01_small.ipynb"]


def test_lab_opens_copies_and_keeps_what_a_reader_did_there(made):
    committed, copy = halves(made), made / "build" / "lab" / "01_small.ipynb"
    assert run(made, "tools", "lab").returncode == 0
    assert copy.read_bytes() == (made / "notebooks" / "01_small.ipynb").read_bytes()
    lesson = made / "notebooks" / "01_small.ipynb"
    lesson.write_text(lesson.read_text().replace("The only section", "A [page](../docs/page.md)"))
    assert run(made, "tools", "lab").stdout == "" and "](../../docs/page.md)" in copy.read_text()  # nobody worked in the copy

    copy.write_text(mine := copy.read_text().replace("profile", "my profile"))
    assert run(made, "tools", "lab").stdout == "" and copy.read_text() == mine
    lesson.write_text(lesson.read_text().replace("A [page]", "Another [page]"))
    said = run(made, "tools", "lab").stdout
    assert said == "notebooks/01_small.ipynb has changed since it was copied: to get it, rename build/lab/01_small.ipynb.\n"
    assert copy.read_text() == mine
    lesson.write_bytes(committed["01_small.ipynb"])
    assert halves(made) == committed


def test_notebooks_are_not_made_of_other_voices(checkout):
    metadata = checkout / "data" / "simulated" / "metadata.json"
    metadata.write_text(metadata.read_text().replace("100 simulated voices", "10 simulated voices"))
    done = run(checkout, "tools", "notebooks")
    assert done.returncode == 1 and "are not the voices that every reader gets" in done.stderr


@pytest.mark.parametrize("command", [["--help"], ["repository", "--help"], ["check", "--help"]])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 0 and capsys.readouterr().out.startswith("usage: python -m tools")


def test_an_address_elsewhere_is_refused(checkout):
    done = run(checkout, "tools", "repository", "https://example.org/course")
    assert done.returncode == 1 and done.stderr.startswith("error: 'https://example.org/course' is not the address of")
