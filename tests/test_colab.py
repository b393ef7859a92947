"""A fresh Colab machine, rehearsed offline: one notebook in an empty folder, and only what Colab preinstalls."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tools.editions import write_editions, write_zip
from tools.generated import BOOTSTRAP, tags_of
from tools.project import ROOT, Project

# Colab's published list (runtime 2026.07) has all of what a reader needs, and pip.
NAME = re.compile(r"[\w.-]+")
PREINSTALLED = [NAME.match(line)[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if NAME.match(line)]


@pytest.fixture(scope="module")
def fresh_python(tmp_path_factory) -> Path:
    """The Python of a virtual environment with the distributions of this one that Colab has too, and no others."""
    folder = tmp_path_factory.mktemp("colab") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    there = Path(subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip())
    here = Path(sysconfig.get_path("purelib"))
    for name in with_dependencies(["pip", *PREINSTALLED]):
        for top in {Path(file).parts[0] for file in metadata.files(name) if ".." not in Path(file).parts}:
            if not (there / top).exists() and (here / top).exists():
                (there / top).symlink_to(here / top)
    return python


def with_dependencies(names: list[str]) -> set[str]:
    """The distributions, and all that they cannot do without."""
    found, waiting = set(), list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # needed on another system or Python only
        found.add(name)
        waiting += [NAME.match(line)[0] for line in requires if "extra ==" not in line]
    return found


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """The present state of the checkout as a repository with its release tagged, as students will clone it."""
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is not a git checkout, so there is nothing to clone")
    folder = tmp_path_factory.mktemp("published")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():  # a file that was deleted is still listed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init"], ["add", "--all"], [*who, "commit", "--message=release"], ["tag", Project.read().tag]):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def colab(tmp_path, fresh_python, monkeypatch) -> Path:
    """An empty folder in which a kernel of the fresh environment works, with the smoke profile."""
    kernel = tmp_path / "jupyter" / "kernels" / "fresh"
    kernel.mkdir(parents=True)
    # A kernel that finds pytest's variable leaves out what child processes print, git's words for example.
    command = ["env", "-u", "PYTEST_CURRENT_TEST", str(fresh_python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "fresh", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("SPEAKER_PROFILE", "smoke")
    for name in ("SPEAKER_DATA", "SPEAKER_REPOSITORY", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "content"
    folder.mkdir()
    return folder


def run_cells(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    # A warning that the kernel gives on its way would fail the test; what a reader sees is checked in the outputs.
    return NotebookClient(notebook, timeout=300, kernel_name="fresh", resources={"metadata": {"path": str(folder)}}).execute()


def test_the_environment_is_fresh(fresh_python):
    absent = "import importlib.util; print([n for n in ('speaker_lib', 'jupytext', 'pytest') if importlib.util.find_spec(n)])"
    done = subprocess.run([fresh_python, "-c", absent], capture_output=True, text=True, cwd="/")
    assert done.stdout.strip() == "[]", done.stderr


def test_the_first_lesson_runs_from_nothing_but_itself(colab, published, monkeypatch):
    monkeypatch.setenv("SPEAKER_REPOSITORY", published.as_uri())
    shutil.copy(Project.read().path("01_baseline", "ipynb"), colab)
    notebook = nbformat.read(colab / "01_baseline.ipynb", as_version=4)
    run_cells(notebook, colab)
    said = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output.text for output in said if output.get("name") == "stderr"]
    assert sorted(path.name for path in colab.iterdir()) == ["01_baseline.ipynb", "data", "runs", "speaker-course"]
    (run,) = colab.glob("runs/smoke/*/baseline")
    assert (run / "model.safetensors").exists() and (run / "submission.csv").read_text().startswith("Id,Category\n")


def test_without_ipywidgets_every_cell_still_shows_its_picture(colab, published, monkeypatch):
    monkeypatch.setenv("SPEAKER_REPOSITORY", published.as_uri())
    notebook = nbformat.read(Project.read().path("01_baseline", "ipynb"), as_version=4)
    absent = "import sys; sys.modules['ipywidgets'] = None"  # makes an import fail as if it were not installed
    notebook.cells.insert(0, nbformat.v4.new_code_cell(absent))
    run_cells(notebook, colab)
    for name in ("explore(", "LivePlot(", "explore_mistakes("):
        cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and name in cell.source)
        kinds = [set(output.data) for output in cell.outputs if "data" in output]
        assert {"image/png", "text/plain"} in kinds and not any("widget" in kind for kinds_ in kinds for kind in kinds_)


def bootstrap_alone() -> nbformat.NotebookNode:
    """A notebook of the first lesson's bootstrap cell."""
    cells = nbformat.read(Project.read().path("01_baseline", "ipynb"), as_version=4).cells
    return nbformat.v4.new_notebook(cells=[cell for cell in cells if BOOTSTRAP in tags_of(cell)])


def test_a_release_that_is_not_there_is_explained(colab, published, monkeypatch):
    monkeypatch.setenv("SPEAKER_REPOSITORY", (published / "nowhere").as_uri())
    with pytest.raises(CellExecutionError, match=r"cannot fetch v.* on Kaggle, switch Internet on"):
        run_cells(bootstrap_alone(), colab)


def test_in_a_checkout_where_it_is_not_installed_the_cell_says_what_to_do(colab):
    (colab / "speaker_lib").mkdir()
    (colab / "notebooks").mkdir()
    with pytest.raises(CellExecutionError, match="open this notebook by `make lab`"):
        run_cells(bootstrap_alone(), colab / "notebooks")
    assert list((colab / "notebooks").iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "said"),
    [("", "✗ Your turn: "), ("solutions", "✓ Right: "), ("zh-TW", "✗ 換你了："), ("solutions/zh-TW", "✓ 答對了：")],
)
def test_the_student_edition_runs_from_its_zip_without_a_network(colab, fresh_python, tmp_path, folder, said):
    (tmp_path / "edition").mkdir()
    write_editions(Project.read(), tmp_path / "edition")
    write_zip(tmp_path / "edition", tmp_path / "student.zip", "student")
    zipfile.ZipFile(tmp_path / "student.zip").extractall(colab)
    notebook = nbformat.read(colab / "student" / folder / "01_baseline.ipynb", as_version=4)
    wanted = ("preflight(", "check.", "speaker_lib.__file__")
    published = "from speaker_lib.experiments import people_results\npeople_results('time')"
    where = nbformat.v4.new_code_cell(f"import speaker_lib\n{published}\nprint(speaker_lib.__file__)")
    chosen = [cell for cell in notebook.cells if cell.cell_type == "code" and any(word in cell.source for word in wanted)]
    bootstrap = next(cell for cell in notebook.cells if BOOTSTRAP in tags_of(cell))
    notebook.cells = [bootstrap, nbformat.v4.new_code_cell("import torch"), *chosen, where]
    run_cells(notebook, colab / "student" / folder)
    texts = ["".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells]
    assert [text.startswith(said) for text in texts[-4:-1]] == [True] * 3
    assert Path(texts[-1].strip()).resolve() == colab / "student" / "speaker_lib" / "__init__.py"
    assert not (colab / "student" / folder / "speaker-course").exists()


@pytest.fixture
def course(tmp_path) -> Path:
    """Just enough of a clone for `install_missing`, and a registry of two packages beside it."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "install_missing.py", tmp_path / "tools")
    (tmp_path / "registry").mkdir()
    make_wheel(tmp_path / "registry", "missing_here", "1.5", "")
    make_wheel(tmp_path / "registry", "greedy", "2.0", "Requires-Dist: numpy>=99\n")
    make_wheel(tmp_path / "registry", "numpy", "99.0", "")
    return tmp_path


def make_wheel(folder: Path, name: str, version: str, requires: str) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{name}/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


def install(python: Path, course: Path, requirements: str) -> subprocess.CompletedProcess:
    (course / "requirements.txt").write_text(requirements)
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(course / "registry"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [python, course / "tools" / "install_missing.py"]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | offline)


def version(python: Path, name: str) -> str:
    ask = f"from importlib.metadata import version; print(version({name!r}))"
    return subprocess.run([python, "-c", ask], capture_output=True, text=True).stdout.strip()


def test_what_is_missing_is_installed_and_what_is_there_is_not_touched(fresh_python, course):
    before = version(fresh_python, "numpy")
    done = install(fresh_python, course, "# a comment\nnumpy>=1.26\nmissing-here>=1.0\n")
    assert done.returncode == 0 and "Installing what is missing here: missing-here>=1.0" in done.stdout, done.stderr
    assert version(fresh_python, "missing_here") == "1.5" and version(fresh_python, "numpy") == before
    assert install(fresh_python, course, "missing-here>=1.0\n").stdout == ""


def test_what_would_replace_something_is_not_installed(fresh_python, course):
    before = version(fresh_python, "numpy")
    done = install(fresh_python, course, "greedy\n")
    assert done.returncode != 0 and version(fresh_python, "greedy") == "" and version(fresh_python, "numpy") == before
