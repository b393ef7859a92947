"""The kit's error classes: each message is a sentence that a student can act on."""

from __future__ import annotations

import reprlib
import unicodedata

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def first_line(error: Exception) -> str:
    """The first line of a library's error, short enough for one of the kit's sentences."""
    return str(error).strip().split("\n")[0][:120] or type(error).__name__


def short_repr(value: object) -> str:
    """A value from outside as a sentence can show it: on one line, and short however long or deep it is."""
    return _SHORT.repr(value)


def is_text(text: str) -> bool:
    """Whether a name can be written down and shown: no control characters, which a terminal obeys, no half characters."""
    return text.isprintable() or all(map(_is_shown, text))


def escape_controls(text: str) -> str:
    """The text on one line, with what `is_text` would refuse written out as in ``\\x1b``."""
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def _is_shown(character: str) -> bool:
    # The wide space of Chinese is not "printable", nor what joins letters of Persian or Hindi, or does not.
    return character.isprintable() or unicodedata.category(character) == "Zs" or character in "\u200c\u200d"


class SpeakerError(Exception):
    """A problem that the kit explains: names the file or setting, what is wrong, and what to do next."""


class WriteError(SpeakerError):
    """A file that could not be written: which, why, and what would help."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what, advice)  # both, so that it can be unpickled from another process
        self.what, self.advice = what, advice

    def __str__(self) -> str:
        return f"{self.what}: {self.advice}, then run the same command again."


class ConfigError(SpeakerError, ValueError):
    """An unknown preset, an unknown field, or a value a field does not take."""


class CorpusError(SpeakerError):
    """A data folder that cannot be used as it is."""


class RunError(SpeakerError):
    """A run folder that cannot be used as it is."""


class TrainingDiverged(SpeakerError):
    """The training loss is no longer a number."""
