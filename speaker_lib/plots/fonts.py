"""Fonts for names in any script: Matplotlib's own has no Chinese, Japanese or Korean."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import warnings
from collections.abc import Iterable, Sequence

from ..utils.optional import optional

font_manager = optional("matplotlib.font_manager", "drawing figures")
# Matplotlib would say of many a font that it has no normal weight, in red in a notebook.
logging.getLogger("matplotlib.font_manager").addFilter(lambda record: "font weight" not in str(record.msg))

INSTALL = "install a Noto font (for Chinese, Japanese and Korean, `apt-get install fonts-noto-cjk`)"
# The first that has the characters is taken, then any other font. All of them have Chinese, or Japanese or Korean.
_PREFERRED = (
    "Noto Sans CJK TC", "Noto Sans TC", "Source Han Sans TC", "Microsoft JhengHei", "PingFang TC", "PingFang HK", "Heiti TC",
    "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Noto Sans CJK", "Noto Sans", "Source Han Sans", "PingFang", "Heiti",
    "Microsoft YaHei", "SimHei", "Hiragino Sans", "Yu Gothic", "Meiryo", "Malgun Gothic", "Apple SD Gothic Neo", "Nanum",
    "Arial Unicode MS",
)  # fmt: skip
_NO_LETTERS = re.compile("last ?resort|blank|emoji", re.IGNORECASE)  # a box for every character, or pictures of fixed sizes


def find_families(text: str, families: Sequence[str]) -> tuple[list[str], set[str]]:
    """The families of installed fonts for the characters that ``families`` lack, and the characters that no font has."""
    lacking = {c for c in set(text) - {"\n"} if not c.isascii()}
    for family in families:
        lacking -= _characters(family, lacking)
    return _find(frozenset(lacking), _installed()) if lacking else ([], set())


def _installed() -> frozenset[str]:
    """The families of all fonts; Matplotlib itself keeps a list, which lacks those that were installed since it was written."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in set(font_manager.findSystemFonts()) - known:
        with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):  # not every file is a font
            font_manager.fontManager.addfont(path)
    return frozenset(entry.name for entry in font_manager.fontManager.ttflist if not _NO_LETTERS.search(entry.name))


@functools.lru_cache(64)
def _find(lacking: frozenset[str], installed: frozenset[str]) -> tuple[list[str], set[str]]:
    found, left = [], set(lacking)
    for family in sorted(installed, key=_rank):
        if has := _characters(family, left):
            found.append(family)
            left -= has
        if not left:
            break
    return found, left


def _rank(family: str) -> tuple[int, str]:
    ranks = (rank for rank, name in enumerate(_PREFERRED) if family.startswith(name))
    return next(ranks, len(_PREFERRED)), family


def _characters(family: str, of: Iterable[str]) -> set[str]:
    """Those of some characters that the family's upright font has."""
    with contextlib.suppress(ValueError, OSError, RuntimeError):  # no such family, or a damaged font
        path = font_manager.findfont(font_manager.FontProperties(family=[family]), fallback_to_default=False)
        charmap = font_manager.get_font(path).get_charmap()  # by code point
        return {c for c in of if ord(c) in charmap}
    return set()
