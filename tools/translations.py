"""A lesson in another language: its prose stands in its own ``.py``, its code cells are made from the English lesson's.

What a reader reads in code (comments, docstrings, printed text) comes from the section ``lessons`` of the language's table.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from nbformat import NotebookNode

from speaker_lib.utils.language import messages

from .errors import ToolError
from .generated import BOOTSTRAP, tags_of

_WORDS = re.compile(r"[A-Za-z]{2,}[:;,)]?\s(?:.*\s)?[(]?[A-Za-z]{2,}|[a-z]{3,}[:;,]")
_NO_TEXT = re.compile(r"# (@param .*|end of solution|\([^()]*\))")


def take_code(notebook: NotebookNode, original: NotebookNode, language: str) -> None:
    """Puts the code cells of ``original`` into a translation. Raises ToolError if the cells are not of the same kinds."""
    kinds = [[cell.cell_type for cell in half.cells] for half in (notebook, original)]
    if kinds[0] != kinds[1]:
        at = next((i for i, pair in enumerate(zip(*kinds, strict=False), 1) if len(set(pair)) > 1), min(map(len, kinds)) + 1)
        raise ToolError(f"the {language} lesson has other cells than the English one, from cell {at} on: write one for each.")
    texts = lesson_texts(language)
    for cell, other in zip(notebook.cells, original.cells, strict=True):
        cell.metadata = other.metadata
        if cell.cell_type == "code":
            cell.source = translated_code(other.source, texts)


def lesson_texts(language: str) -> dict[str, str]:
    """What a reader reads in the lessons' code, by the English text."""
    return messages(language, "lessons")


def translated_code(source: str, texts: dict[str, str]) -> str:
    """A cell with its comments and strings in another language. Raises ToolError if anything else would change."""
    made = source
    for text in sorted(filter(source.__contains__, texts), key=len, reverse=True):
        made = made.replace(text, texts[text])
    if _bare(made) != _bare(source):
        raise ToolError(f"the translation of this cell is other code; mend its texts in the table:\n{made}")
    return made


def english_left(source: str, texts: dict[str, str]) -> list[str]:
    """The comments of a cell, and its strings of several words, that have no translation.

    Shapes, and what Colab reads (``@param``), are no text; what stays English on purpose is its own translation in the table.
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    told = [token.string for token in tokens if token.type == tokenize.COMMENT and not _NO_TEXT.fullmatch(token.string)]
    told += [ast.get_source_segment(source, node) for node in _strings(ast.parse(source)) if _WORDS.search(_plain(node))]
    return [text for text in told if not any(known in text for known in texts)]


def is_translatable(cell: NotebookNode) -> bool:
    """Whether a cell is code that a student reads as part of the lesson."""
    return cell.cell_type == "code" and BOOTSTRAP not in tags_of(cell)


def _strings(tree: ast.AST) -> Iterator[ast.JoinedStr | ast.Constant]:
    """The strings of a cell, an f-string as one."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            yield node
        else:
            waiting += ast.iter_child_nodes(node)


def _plain(string: ast.JoinedStr | ast.Constant) -> str:
    """The text of a string, without the values that it shows."""
    parts = string.values if isinstance(string, ast.JoinedStr) else [string]
    return " ".join(part.value for part in parts if isinstance(part, ast.Constant))


def _bare(source: str) -> str:
    """The code without its strings and comments."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
        elif isinstance(node, ast.JoinedStr):  # another language has another order of words
            node.values = sorted((part for part in node.values if isinstance(part, ast.FormattedValue)), key=ast.dump)
    return ast.dump(tree)
