"""The reader's language.  English sentences are their own keys, as in gettext; ``messages/<language>.json`` has the others."""

from __future__ import annotations

import json
import os
import re
from functools import cache, lru_cache
from pathlib import Path

from .errors import ConfigError

VARIABLE = "SPEAKER_LANGUAGE"
ENGLISH = "en"
MESSAGES = Path(__file__).parents[1] / "messages"


@cache
def languages() -> list[str]:
    """The languages there are, English first."""
    return [ENGLISH, *sorted(path.stem for path in MESSAGES.glob("*.json"))]


def language() -> str:
    """The language in ``SPEAKER_LANGUAGE``, else English. Raises ConfigError for one that there is not."""
    chosen = os.environ.get(VARIABLE) or ENGLISH
    if chosen not in languages():
        raise ConfigError(f"{VARIABLE} is {chosen!r}: choose one of {', '.join(languages())}.")
    return chosen


def translate(text: str, /, **values: object) -> str:
    """``text`` in the reader's language, with ``values`` in the places that it names: ``translate("{n} seeds", n=3)``.

    What is not translated stays English.
    """
    chosen = language()
    found = text if chosen == ENGLISH else messages(chosen).get(text, text)
    return found.format(**values) if values else found


def translate_finished(text: str) -> str:
    """A finished text, such as a figure's label or the name of a data set, in the reader's language.

    The section ``finished`` of the table has its pattern, in which ``{n}`` or another single letter stands for a number,
    ``{list}`` for anything, and any other ``{name}`` for a text without a semicolon.  The parts are translated likewise.  What
    fits no pattern stays English.
    """
    chosen = language()
    return text if chosen == ENGLISH else _by_pattern(text, chosen)


@lru_cache(4096)  # a live plot says the same again and again
def _by_pattern(text: str, chosen: str) -> str:
    bare = text.strip(" ")
    known = messages(chosen, "finished").get(bare) or messages(chosen).get(bare)
    if known is None:
        matches = ((pattern.fullmatch(bare), other) for pattern, other in _patterns(chosen))
        match, known = next(((match, other) for match, other in matches if match), (None, bare))
        if match:
            known = known.format(**{name: _by_pattern(part, chosen) for name, part in match.groupdict().items()})
    return text.replace(bare, known) if bare else text


@cache
def _patterns(chosen: str) -> list[tuple[re.Pattern[str], str]]:
    """Expressions with their translations, the one with most text of its own first."""
    table = {english: other for english, other in messages(chosen, "finished").items() if "{" in english}
    parts = {english: re.split(r"\{(\w+)\}", english) for english in table}  # text, name, text, name, ..., text
    order = sorted(table, key=lambda english: -sum(map(len, parts[english][::2])))
    return [(re.compile(_expression(parts[english]), re.DOTALL), table[english]) for english in order]


def _expression(parts: list[str]) -> str:
    return "".join(f"(?P<{part}>{_matched_by(part)})" if i % 2 else re.escape(part) for i, part in enumerate(parts))


def _matched_by(name: str) -> str:
    if len(name) == 1:
        return r"[-+]?[\d.,]*\d(?:e-?\d+)?%?"
    return ".+?" if name == "list" else "[^;]+?"


@cache
def messages(chosen: str, part: str = "library") -> dict[str, str]:
    """The sentences of the ``library``, the ``finished`` texts, or those of the ``lessons``' code, by the English ones."""
    return json.loads((MESSAGES / f"{chosen}.json").read_text(encoding="utf-8"))[part]
