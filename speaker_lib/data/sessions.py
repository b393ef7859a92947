"""Which recordings were made on one occasion.  In: `Recording`s.  Out: the name of a session for each.

Files that were cut from one recording share its room and microphone; a session keeps them together, so that
``train.split=session`` holds out all or none of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from ..utils.errors import ConfigError, short_repr
from .arrangement import FOLDER, Recording, compiled, match_path, matched_text

FILE = "file"
_FOLDERS = "the first folder below each speaker's"
_NAMES = "names of files that say speaker-chapter-utterance, as LibriSpeech's do"
_FILES = "each file"


def sessions_of(recordings: Sequence[Recording], session_from: str | None) -> tuple[list[str], list[str]]:
    """The name of each recording's session, and what it was taken from.

    ``session_from`` is "folder", "file" or a regular expression, see `match_path`.  None takes the first folder below the
    speaker's; for a file that lies directly in that folder the chapter, if it is named as LibriSpeech's; else each file.
    Raises ConfigError if a pattern does not match, if no file lies in a folder, or if the list has a column for it.
    """
    if session_from is not None and any(recording.session for recording in recordings):
        raise ConfigError("the list has a column session: leave out --session-from, or that column.")
    pattern = None if session_from in (None, FOLDER, FILE) else compiled(session_from, "--session-from")
    if session_from == FOLDER and not any(len(recording.below) > 1 for recording in recordings):
        raise ConfigError("--session-from folder: no recording lies in a folder below its speaker's, choose file or a pattern.")
    found = [_session(recording, session_from, pattern) for recording in recordings]
    return [unicodedata.normalize("NFC", name) for name, _ in found], [source for _, source in found]


def _session(recording: Recording, session_from: str | None, pattern: re.Pattern[str] | None) -> tuple[str, str]:
    below = recording.below
    if recording.session:
        return recording.session, "the column session"
    if pattern is not None:
        if name := matched_text(match_path(below, pattern)):
            return name, f"the pattern {short_repr(pattern.pattern)}"
        advice = "it is matched from the beginning of the file's name (with a / in it, of the path below the speaker's folder)"
        raise ConfigError(f"--session-from {short_repr(pattern.pattern)} gives no session for {recording.path}: {advice}.")
    if session_from != FILE and len(below) > 1:
        return below[0], _FOLDERS
    if session_from is None and (chapter := _chapter(below[0], recording.speaker)):
        return chapter, _NAMES
    return "/".join(below), _FILES


def _chapter(name: str, speaker: str) -> str | None:
    """The chapter in ``<speaker>-<chapter>-<utterance>.flac``: three parts, so that a date is no chapter."""
    stem = unicodedata.normalize("NFC", name).rpartition(".")[0]
    parts = stem[len(speaker) + 1 :].split("-") if stem.startswith(f"{speaker}-") else []
    return parts[0] if len(parts) == 2 and all(parts) else None


def describe_sessions(sessions: Sequence[tuple[str, str, str]]) -> str:
    """A sentence on the sessions, from each recording's speaker, session and source."""
    distinct = {(speaker, session): source for speaker, session, source in sessions}
    per_speaker, per_source = Counter(speaker for speaker, _ in distinct), Counter(distinct.values())
    sources = " and ".join(source + f" ({count:,})" * (len(per_source) > 1) for source, count in per_source.most_common())
    single = sum(count == 1 for count in per_speaker.values())
    if single == len(per_speaker):
        rest = "one per speaker, so train.split=session is not possible"
        rest += f" (--session-from file takes {_FILES} for one)" * (set(per_source) != {_FILES})
    elif single:
        rest = f"{single:,} of {len(per_speaker):,} speakers have only one, and train.split=session never evaluates them"
    else:
        rest = f"at least {min(per_speaker.values()):,} per speaker"
    return f"Sessions: {len(distinct):,}, taken from {sources}; {rest}."
