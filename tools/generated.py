"""The two cells that are the same in every lesson, made from the project's address and release."""

from __future__ import annotations

from nbformat import NotebookNode

from speaker_lib.utils.language import VARIABLE, messages

from .project import Project

BADGES, BOOTSTRAP = "badges", "bootstrap"  # the tags of these cells

_BADGES = """\
[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})
[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]({kaggle})"""

_BOOTSTRAP = """\
# On Colab and Kaggle this fetches the course. Where speaker_lib is installed it does nothing.
import importlib.util, os, subprocess, sys

ADDRESS = "{address}"
COURSE, RELEASE = "{folder}", "{tag}"
if importlib.util.find_spec("speaker_lib") is None:
    assert not os.path.exists("../speaker_lib"), "open this notebook by `make lab` in the checkout"
    if not os.path.exists(COURSE):
        source = os.environ.get("SPEAKER_REPOSITORY", ADDRESS)
        clone = f"git -c advice.detachedHead=false clone --quiet --depth=1 --branch={{RELEASE}}"
        failed = subprocess.run([*clone.split(), source, COURSE]).returncode
        assert not failed, f"cannot fetch {{RELEASE}} from {{source}}; on Kaggle, switch Internet on"
    subprocess.run([sys.executable, f"{{COURSE}}/tools/install_missing.py"], check=True)
    sys.path.insert(0, os.path.abspath(COURSE))"""


def generated_cells(project: Project, lesson: str) -> dict[str, str]:
    """The source of each generated cell of a lesson, by its tag."""
    colab, kaggle = links(project, lesson)
    folder = project.slug.split("/")[1]
    bootstrap = _BOOTSTRAP.format(address=project.address, tag=project.tag, folder=folder)
    if "/" in lesson:  # a translation, one folder deeper
        language = lesson.split("/")[0]
        chosen = f'{bootstrap.splitlines()[1]}\n\nos.environ.setdefault("{VARIABLE}", "{language}")'
        bootstrap = bootstrap.replace(bootstrap.splitlines()[1], chosen).replace('"../speaker_lib"', '"../../speaker_lib"')
        for text, other in messages(language, "lessons").items():
            bootstrap = bootstrap.replace(text, other)
    return {BADGES: _BADGES.format(colab=colab, kaggle=kaggle), BOOTSTRAP: bootstrap}


def links(project: Project, lesson: str) -> tuple[str, str]:
    """Where Colab and Kaggle open a lesson of the present release."""
    page = f"{project.slug}/blob/{project.tag}/notebooks/{lesson}.ipynb"
    return f"https://colab.research.google.com/github/{page}", f"https://kaggle.com/kernels/welcome?src=https://github.com/{page}"


def fill(notebook: NotebookNode, project: Project, lesson: str) -> None:
    """Puts the generated sources where their tags stand."""
    sources = generated_cells(project, lesson)
    for cell in notebook.cells:
        for tag in tags_of(cell):
            cell.source = sources.get(tag, cell.source)


def tags_of(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])
