"""The pages of `make site`: every link leads somewhere; and in a real browser nothing is broken or inaccessible."""

import functools
import http.server
import re
import shutil
import threading
from pathlib import Path

import axe_core_python
import nbformat
import pytest

from benchmarks import hw4
from tools.errors import ToolError
from tools.project import ROOT, Project
from tools.site import site, write_sources

from .browser import chromium

AXE = Path(axe_core_python.__file__).with_name("axe.min.js")
ASK_AXE = """
const done = arguments[0];
axe.run({runOnly: ['wcag2a', 'wcag2aa']}).then(done);
"""
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    return folder, write_sources(Project.read(), folder)


def test_a_language_has_its_lessons_and_english_has_all_docs(sources):
    project, (folder, editions) = Project.read(), sources
    english, chinese = editions
    assert [page.removeprefix("notebooks/") for page in english.chapters["Lessons"]] == project.lessons
    assert [page.removeprefix("notebooks/") for page in chinese.chapters["課程"]] == project.translations
    docs = {f"docs/{path.stem}" for path in (ROOT / "docs").glob("*.md")}
    assert docs <= set(english.pages)
    translated = {f"docs/zh-TW/{path.stem}" for path in (ROOT / "docs" / "zh-TW").glob("*.md")}
    assert translated and translated <= set(chinese.pages)
    for edition in editions:
        for page in ["index", *edition.pages]:
            assert any((folder / edition.language / f"{page}.{ending}").exists() for ending in ("md", "ipynb")), page


def test_every_link_leads_to_a_page_of_its_language_or_of_the_other(sources):
    folder, editions = sources
    pages = {edition.folder: {"index", *edition.pages} for edition in editions}
    counts = {"own": 0, "other": 0}
    for edition in editions:
        for path in (folder / edition.language).rglob("*.*"):
            if path.suffix not in {".md", ".ipynb"}:
                continue
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".ipynb":
                cells = nbformat.reads(text, as_version=4).cells
                text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
                assert not re.search(r"!\[[^\]]*\]\(https?:", text)  # no picture of another server
            for target in LINK.findall(text):
                if target.endswith(".pdf"):
                    assert target == f"site:{path.stem}.pdf"
                elif target.startswith("site:"):
                    where = (
                        Path(edition.folder) / path.parent.relative_to(folder / edition.language) / target.removeprefix("site:")
                    )
                    parts = list(Path(*_flat(where)).with_suffix("").parts)
                    home = parts[0] if parts[0] in pages else ""
                    assert "/".join(parts[1:] if home else parts) in pages[home], (path, target)
                    counts["other"] += 1
                else:
                    assert (path.parent / target).exists(), (path, target)
                    counts["own"] += 1
    assert min(counts.values()) > 10


def _flat(path: Path) -> list[str]:
    parts: list[str] = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return parts


@pytest.mark.parametrize("name", ["teaching", "hw4", "recordings"])
def test_a_translated_page_has_the_parts_and_the_commands_of_the_english_one(name):
    english, chinese = ((ROOT / "docs" / folder / f"{name}.md").read_text(encoding="utf-8") for folder in ("", "zh-TW"))
    english = english.replace(hw4.BEGIN, "").replace(hw4.END, "")
    for part in (r"^#+(?= )", r"^```\w*$", r"^\|", r"^python -m .*?(?=  |$)", r"(?<=`)make [a-z-]+(?=`)"):
        found = [re.findall(part, text, re.MULTILINE) for text in (english, chinese)]
        assert found[0] == found[1], part


def test_every_picture_of_a_lesson_is_described(sources):
    folder, _ = sources
    pictures = 0
    for path in folder.rglob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            shown = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
            assert bool(shown) == bool(cell.metadata.get("mystnb", {}).get("image", {}).get("alt"))
            pictures += len(shown)
    assert pictures > 20


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    for path in ROOT.iterdir():
        if path.name not in {"docs", "build", ".git"}:
            (tmp_path / path.name).symlink_to(path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "docs" / "hw4.md").write_text("[a page](nowhere.md)", encoding="utf-8")
    with pytest.raises(ToolError, match=r"docs/hw4: the link nowhere\.md leads nowhere: mend it\."):
        write_sources(Project.read(tmp_path), tmp_path / "sources")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.long
def test_every_page_opens_is_accessible_and_fits_a_telephone(tmp_path):
    assert site(Project.read()) == 0
    root = ROOT / "build" / "site"
    handler = functools.partial(Quiet, directory=str(root))
    pages = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.html") if "_static" not in path.parts)
    assert len(pages) > 25
    lessons = [path for path in root.rglob("0*.html") if path.parent.name in {"notebooks", "zh-TW"}]
    assert len(lessons) == 10 and all(path.with_suffix(".pdf").read_bytes().startswith(b"%PDF") for path in lessons)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, chromium(tmp_path / "browser") as chrome:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for page in pages:
            chrome.get(f"http://127.0.0.1:{server.server_port}/{page}")
            errors = [entry["message"] for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]
            assert errors == [], (page, errors)
            chrome.execute_script(AXE.read_text(encoding="utf-8"))
            found = chrome.execute_async_script(ASK_AXE)["violations"]
            serious = [(fault["id"], fault["nodes"][0]["html"]) for fault in found if fault["impact"] in {"serious", "critical"}]
            assert serious == [], (page, serious)
            telephone = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
            chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", telephone)
            assert chrome.execute_script("return document.documentElement.scrollWidth") <= 360, page
            chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        chrome.get(f"http://127.0.0.1:{server.server_port}/notebooks/01_baseline.html")
        chrome.find_element("css selector", "a.language").click()
        assert chrome.current_url.endswith("/zh-TW/notebooks/zh-TW/01_baseline.html")
        chrome.find_element("css selector", "a.language").click()
        assert chrome.current_url.endswith("/notebooks/01_baseline.html")
        for page in ("notebooks/01_baseline.html", "zh-TW/notebooks/zh-TW/01_baseline.html"):
            chrome.get(f"http://127.0.0.1:{server.server_port}/{page}")
            terms = chrome.find_elements("css selector", "a.term")
            name = terms[0].text.removesuffix("s")  # a plural, maybe
            assert len(terms) > 15
            chrome.get(terms[0].get_attribute("href"))
            assert name in chrome.find_element("css selector", "tr:target").text
        server.shutdown()
