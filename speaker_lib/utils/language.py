"""The reader's language.  English sentences are their own keys, as in gettext; ``messages/<language>.json`` has the others."""

from __future__ import annotations

import json
import os
from functools import cache
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


@cache
def messages(chosen: str, part: str = "library") -> dict[str, str]:
    """The sentences of the ``library``, or of the code of the ``lessons``, in a language, by the English ones."""
    return json.loads((MESSAGES / f"{chosen}.json").read_text(encoding="utf-8"))[part]
