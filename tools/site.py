"""``make site``: the course as pages in both languages, in ``build/site``.  Nothing is fetched.

A page keeps its path in the repository, so that links between lessons and docs stay as they are.  A link to what is no page
leads to the file in the repository; one that leads nowhere is an error.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat

from .clean import PICTURE
from .errors import ToolError
from .generated import BADGES, BOOTSTRAP, tags_of
from .project import Project

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
_LINK = re.compile(r"(\]\()(?!https?://|mailto:|#)([^)#\s]+)([^)\s]*\))")
_BADGE = re.compile(r"\[!\[([^\]]*)\]\([^)]*\)\]")  # a picture from another server in a link
_DOCS = (
    "glossary",
    "accuracy",
    "channels",
    "hw4",
    "recordings",
    "enrolment",
    "performance",
    "reliability",
    "library",
    "reference",
)
_READING = re.compile(r"^\d+\. \[`(.+?)\.py`\]", re.MULTILINE)  # the list of files in docs/library.md
_TREE = "\n```{{toctree}}\n:hidden:\n:caption: {}\n\n{}\n```\n"


@dataclass(frozen=True)
class Edition:
    """The site in one language."""

    language: str
    home: str  # the file that is the first page
    folder: str  # of the site
    chapters: dict[str, list[str]]  # the pages by heading, as paths in the repository without ending

    @property
    def pages(self) -> list[str]:
        """All pages but the first."""
        return [page for pages in self.chapters.values() for page in pages]


def editions(project: Project) -> list[Edition]:
    """English with all docs, and each other language with its lessons."""
    lessons = [f"notebooks/{name}" for name in project.lessons]
    docs = {"For instructors": ["docs/teaching"], "Documentation": [*(f"docs/{name}" for name in _DOCS), "data/README"]}
    found = [Edition("en", "README.md", "", {"Lessons": lessons, **docs, "Code": ["api", "CONTRIBUTING"]})]
    for language in sorted({name.split("/")[0] for name in project.translations}):
        own = [f"notebooks/{name}" for name in project.translations if name.startswith(f"{language}/")]
        teaching, *pages = (f"docs/{language}/{name}" for name in ("teaching", "hw4", "recordings"))
        chapters = {"課程": own, "給老師": [teaching], "參考": ["docs/glossary", *pages]}
        found.append(Edition(language, f"README.{language}.md", language, chapters))
    return found


def site(project: Project) -> int:
    """Makes the pages of every language. Raises ToolError as `write_sources`, or for a page that Sphinx complains of."""
    folder, sources = project.root / "build" / "site", project.root / "build" / "site-source"
    for path in (folder, sources):
        shutil.rmtree(path, ignore_errors=True)
    every = write_sources(project, sources)
    for edition in every:
        source = sources / edition.language
        command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-j", "auto"]
        command += ["-d", str(sources / f"doctrees-{edition.language}"), "-c", str(project.root / "site")]
        environment = os.environ | {"SITE_LANGUAGE": edition.language}
        if subprocess.run([*command, str(source), str(folder / edition.folder)], env=environment).returncode:
            raise ToolError(f"the pages in {edition.language} are not right: mend what stands above.")
    if BROWSER:
        for edition in every:
            for page in edition.pages:
                if page.startswith("notebooks/"):
                    _print(folder / edition.folder / page)
    else:
        print("No PDF of the lessons was made: that needs chromium.")
    (folder / ".nojekyll").touch()  # GitHub would leave out folders that begin with _
    print(f"{folder.relative_to(project.root)}/index.html: {sum(len(edition.pages) + 1 for edition in every)} pages.")
    return 0


def write_sources(project: Project, folder: Path) -> list[Edition]:
    """Lays out what Sphinx reads, a folder per language. Raises ToolError for a link that leads nowhere."""
    every = editions(project)
    for edition in every:
        _prepare(project, edition, every, folder / edition.language)
    return every


def _prepare(project: Project, edition: Edition, every: list[Edition], source: Path) -> None:
    """Lays out the sources of an edition, with links that are right from there."""

    def linked(page: str) -> Callable[[str], str]:
        def replaced(found: re.Match[str]) -> str:
            return found[1] + _target(project, edition, every, page, found[2]) + found[3]

        return lambda text: _LINK.sub(replaced, _BADGE.sub(r"[\1]", text))

    trees = "".join(_TREE.format(heading, "\n".join(pages)) for heading, pages in edition.chapters.items())
    home = (project.root / edition.home).read_text(encoding="utf-8")
    _write(source / "index.md", linked("README")(home) + trees)
    for page in edition.pages:
        path = project.root / page
        if page == "api":
            _write(source / "api.md", _api(project))
        elif path.with_suffix(".md").exists():
            _write(source / f"{page}.md", linked(page)(path.with_suffix(".md").read_text(encoding="utf-8")))
        else:
            notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
            for cell in notebook.cells:
                if BOOTSTRAP in tags_of(cell):
                    cell.metadata.tags = [BOOTSTRAP, "hide-input"]
                if cell.cell_type == "markdown":
                    cell.source = linked(page)(cell.source)
                if BADGES in tags_of(cell) and BROWSER:
                    cell.source += f" [PDF](site:{posixpath.basename(page)}.pdf)"
                described = [
                    out.metadata[PICTURE]["alt"] for out in cell.get("outputs", []) if PICTURE in out.get("metadata", {})
                ]
                if described:
                    cell.metadata["mystnb"] = {"image": {"alt": " ".join(described)}}
            _write(source / f"{page}.ipynb", nbformat.writes(notebook))
    shutil.copytree(project.root / "docs" / "figures", source / "docs" / "figures", dirs_exist_ok=True)


def _print(page: Path) -> None:
    """Prints a page to a PDF beside it. Raises ToolError if the browser makes none."""
    made = page.with_suffix(".pdf")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", f"--print-to-pdf={made}"]
    subprocess.run([BROWSER, *options, page.with_suffix(".html").as_uri()], capture_output=True, timeout=120)
    if not made.exists():
        raise ToolError(f"{BROWSER} does not print {page}.html: open it and look.")


def _target(project: Project, edition: Edition, every: list[Edition], page: str, target: str) -> str:
    """Where a link of a page leads on the site: to this language if it has the page, else to another."""
    here, path = posixpath.dirname(page), posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
    if not (project.root / path).exists():
        raise ToolError(f"{page}: the link {target} leads nowhere: mend it.")
    own = re.sub("^(notebooks|docs)/", rf"\1/{edition.language}/", path)
    for wanted in (own, path):
        if wanted == edition.home or posixpath.splitext(wanted)[0] in edition.pages or wanted.startswith("docs/figures/"):
            return posixpath.relpath("index.md" if wanted == edition.home else wanted, here or ".")
    for other in every:
        name = "index" if path == other.home else posixpath.splitext(path)[0]
        if name == "index" or name in other.pages:
            leads = posixpath.relpath(posixpath.join(other.folder, f"{name}.html"), posixpath.join(edition.folder, here) or ".")
            return f"site:{leads}"
    kind = "tree" if (project.root / path).is_dir() else "blob"
    return f"{project.address}/{kind}/{project.tag}/{path}"


def _api(project: Project) -> str:
    """The files of docs/library.md's reading list, with their docstrings."""
    files = _READING.findall((project.root / "docs" / "library.md").read_text(encoding="utf-8"))
    parts = ["# The library, file by file\n\nThe docstrings of the files that [the library](docs/library.md) lists."]
    for name in files:
        module = "speaker_lib." + name.replace("/", ".")
        parts.append(f"## {name}.py\n\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```")
    return "\n\n".join(parts) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
