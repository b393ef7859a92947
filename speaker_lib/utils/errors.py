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
    """A value from a file or an option for a sentence: on one line, and shortened."""
    return _SHORT.repr(value)


def is_text(text: str) -> bool:
    """Whether a name can be stored and printed: it has no control characters and no unpaired surrogates."""
    return text.isprintable() or all(map(_is_shown, text))


def escape_controls(text: str) -> str:
    """The text on one line. Characters that `is_text` refuses are escaped, as in ``\\x1b``."""
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def _is_shown(character: str) -> bool:
    # Python calls the wide space of Chinese not printable, and also the (non-)joiners of Persian and Hindi.
    return character.isprintable() or unicodedata.category(character) == "Zs" or character in "\u200c\u200d"


class SpeakerError(Exception):
    """A problem in one sentence: the file or setting, what is wrong, and what to do next."""

    exit_code = 1  # of the command line


class WriteError(SpeakerError):
    """A file that could not be written."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what, advice)  # both: an error of a worker process is pickled
        self.what, self.advice = what, advice

    def __str__(self) -> str:
        return f"{self.what}: {self.advice}, then run the same command again."


class ConfigError(SpeakerError, ValueError):
    """An unknown preset, an unknown setting, or a value that a setting does not take."""

    exit_code = 2


class DownloadError(SpeakerError):
    """Data that could not be fetched; ``exit_code`` says of which kind the problem is, see ``download --help``."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class CorpusError(SpeakerError):
    """A data folder that cannot be used as it is."""


class RunError(SpeakerError):
    """A run folder that cannot be used as it is."""


class TrainingDiverged(SpeakerError):
    """The training loss is no longer a number."""
