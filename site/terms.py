"""A Sphinx extension: where a lesson first uses a term that the glossary says it explains, the term links to the glossary."""

import os
import re
from pathlib import Path

from docutils import nodes

GLOSSARY = "docs/glossary"
_NO_PROSE = (nodes.reference, nodes.literal, nodes.literal_block, nodes.title, nodes.math, nodes.math_block)
_SOURCE = Path(__file__).resolve().parents[1] / f"{GLOSSARY}.md"


def read_terms(language: str) -> dict[str, tuple[str, set[str]]]:
    """Each name of a term in a language: the anchor of its row, and the numbers of the lessons that explain it."""
    terms = {}
    for line in _SOURCE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("| ") else []
        names = cells[language != "en"] if cells else ""
        for name in re.split(r"[,、]", re.sub(r"[(（].*?[)）]", "", names)):
            if name.strip():
                terms[name.strip()] = anchor_of(cells[0]), set(re.findall(r"\[(\d)\]", cells[-1]))
    return terms


def anchor_of(english: str) -> str:
    return "term-" + re.sub(r"\W+", "-", english.lower()).strip("-")


def add_anchors(app, doctree):
    """Gives each row of the glossary its anchor."""
    if app.env.docname == GLOSSARY:
        for row in doctree.findall(nodes.row):
            row["ids"].append(anchor_of(row.children[0].astext()))


def link_terms(app, doctree, docname):
    """Links the first use of each term in a lesson; the longest name first, so that *mel band* is not found in another."""
    lesson = re.search(r"notebooks/.*?0(\d)_\w+$", docname)
    if not lesson:
        return
    page = app.builder.get_relative_uri(docname, GLOSSARY)
    terms = read_terms(os.environ["SITE_LANGUAGE"])
    for name in sorted((name for name, (_, lessons) in terms.items() if lesson[1] in lessons), key=len, reverse=True):
        whole = rf"\b{re.escape(name)}s?\b" if name.isascii() else re.escape(name)
        for text in doctree.findall(nodes.Text):
            if not (found := re.search(whole, text, re.IGNORECASE)) or _has_parent(text, _NO_PROSE):
                continue
            link = nodes.reference(found[0], found[0], refuri=f"{page}#{terms[name][0]}", internal=True, classes=["term"])
            parts = [nodes.Text(text[: found.start()]), link, nodes.Text(text[found.end() :])]
            text.parent.replace(text, [part for part in parts if part.astext()])
            break


def _has_parent(node, kinds):
    while node := node.parent:
        if isinstance(node, kinds):
            return True
    return False


def setup(app):
    """Called by Sphinx."""
    app.connect("doctree-read", add_anchors)
    app.connect("doctree-resolved", link_terms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
