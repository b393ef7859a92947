"""Sphinx's configuration of the course's pages; `make site` (tools/site.py) calls it once per language."""

import html
import os
import posixpath
import re
import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.search.en import SearchEnglish

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "site")]
from tools.previews import CARD
from tools.project import Project
from tools.site import editions

_project, _language = Project.read(), os.environ["SITE_LANGUAGE"]
_other = {"en": "zh-TW", "zh-TW": "en"}[_language]

project = {"en": "Who is speaking?", "zh-TW": "誰在說話？"}[_language]
author = copyright = ""
language = _language.replace("-", "_")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton", "terms"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
default_role = "code"
nb_execution_mode = "off"  # the committed outputs
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 4
# `site:` leads to a page of the other language, which this build does not know.
myst_url_schemes = {"http": None, "https": None, "mailto": None, "site": "{{path}}"}
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["course.css"]
html_favicon = "_static/favicon.svg"
html_extra_path = [str(ROOT / CARD)]
html_baseurl = "https://{}.github.io/{}/".format(*_project.slug.split("/")) + ("" if _language == "en" else f"{_language}/")
html_copy_source = html_show_sphinx = html_show_copyright = False
templates_path = ["_templates"]
html_theme_options = {
    "repository_url": _project.address,
    "repository_branch": _project.tag,
    "path_to_docs": ".",
    "use_repository_button": True,
    "use_download_button": True,
    "use_fullscreen_button": False,
    "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    "article_header_start": ["toggle-primary-sidebar.html", "language.html"],
    "navbar_persistent": [],
    "show_toc_level": 2,
}
html_context = {"default_mode": "auto", "other_language": _other, "other_name": {"en": "English", "zh-TW": "繁體中文"}[_other]}


class Chinese(SearchEnglish):
    """Chinese has no spaces between words: a page is found by each two and three characters, and by the glossary's terms."""

    lang = "zh"
    _runs = re.compile("[\u4e00-\u9fff]+")
    _terms = frozenset(_runs.findall((ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")))

    def split(self, input):
        runs = self._runs.findall(input)
        pieces = {run[i : i + n] for run in runs for n in (2, 3) for i in range(len(run) - n + 1)}
        return super().split(self._runs.sub(" ", input)) + sorted(pieces | {t for t in self._terms if len(t) < 9 and t in input})


def other_page(app, pagename, templatename, context, doctree):
    """Where a page's counterpart in the other language is, or that language's first page."""
    other = next(edition for edition in editions(_project) if edition.language == _other)
    inner = re.sub("^(notebooks|docs)/", rf"\1/{_other}/", pagename.replace(f"/{_language}/", "/")).replace("/en/", "/")
    page = next((name for name in (inner, pagename) if name in other.pages), "index")
    to_root = "../" * (pagename.count("/") + (_language != "en"))
    context["other_page"] = to_root + posixpath.join(other.folder, f"{page}.html")


def card(app, pagename, templatename, context, doctree):
    """What a link to a page shows in a social network."""
    about = {"og:title": context.get("title", project), "og:type": "website", "og:image": html_baseurl + Path(CARD).name}
    tags = [f'<meta property="{name}" content="{html.escape(str(value))}">' for name, value in about.items()]
    context["metatags"] = context.get("metatags", "") + "\n".join(
        [*tags, '<meta name="twitter:card" content="summary_large_image">']
    )


def mathml(self, node):
    """Formulas as MathML, which every browser draws without a script."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    self.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def setup(app):
    """Called by Sphinx."""
    app.add_search_language(Chinese)
    app.connect("html-page-context", other_page)
    app.connect("html-page-context", card)
    for node in (nodes.math, nodes.math_block):
        app.add_node(node, override=True, html=(mathml, None))
    app.set_html_assets_policy("per_page")
