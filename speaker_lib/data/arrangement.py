"""Whose recordings they are.  In: a folder, or a CSV list.  Out: `Recording`s with their speakers, and all that is left out.

A folder holds one folder per speaker, ``AUDIO_DIR/speaker/**/file``.  ``speaker_from`` is a regular expression for any other
arrangement: see `speaker_by_pattern`.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from ..utils.errors import ConfigError, CorpusError, is_text, short_repr
from .tree import Skipped, Tree, read_tree

FOLDER = "folder"
# What data sets call their parts and formats: folders of these names hold speakers and are none.
_PART = re.compile(
    r"(train|training|dev|test|testing|eval|evaluation|val|valid|validation|wavs?\d*|flacs?|mp3|ogg|opus|m4a|aac|audios?"
    r"|data|dataset|corpus|speech|recordings?|clips|sounds?|librispeech|vox(celeb)?\d?|dr[1-8])([-_. ].*|\d*)",
    re.IGNORECASE,
)
_MOST = 0.9  # of the recordings: a stray file does not decide


@dataclass(frozen=True)
class Recording:
    """A file and what its place says of it."""

    path: Path
    name: str  # below AUDIO_DIR, or as the list writes it
    speaker: str
    below: tuple[str, ...]  # the parts of its path below the speaker's folder; the last one is the file's name
    session: str | None = None  # as a list names it


@dataclass
class Arrangement:
    """The recordings of a folder or a list, and what else it holds."""

    recordings: list[Recording]
    tree: Tree  # what was skipped or is not sound
    speakers: set[str]  # also those without a recording
    notes: list[str] = field(default_factory=list)


def read_folder(folder: Path, speaker_from: str | None = None, without: Path | None = None) -> Arrangement:
    """The recordings below ``folder``, those below ``without`` left out.

    ``speaker_from`` is `FOLDER` or a pattern; None is `FOLDER` with a check that the folder is not one level too high.
    Raises CorpusError if the folder holds no recording of a speaker, or if it fails that check.
    """
    tree = read_tree(folder, without)
    pattern = None if speaker_from in (None, FOLDER) else compiled(speaker_from, "--speaker-from")
    speaker_of = _speaker_by_folder if pattern is None else lambda parts: speaker_by_pattern(parts, pattern)
    recordings, written = [], {}  # written: how each speaker's name is written on disk
    for path in tree.recordings:
        relative = path.relative_to(folder)
        speaker, below, problem = speaker_of(relative.parts)
        if problem:
            tree.skipped.append(Skipped(relative.as_posix(), f"{path} {problem}."))
            continue
        name = unicodedata.normalize("NFC", speaker)
        written.setdefault(name, set()).add(speaker)
        recordings.append(Recording(path, relative.as_posix(), name, below))
    if not recordings:
        raise CorpusError(_nothing(folder, tree, speaker_from))
    if speaker_from is None:
        _check_level(folder, recordings)
    speakers = {recording.speaker for recording in recordings}
    if pattern is None:
        speakers |= {unicodedata.normalize("NFC", top.name) for top in _folders(folder, without)}
    return Arrangement(recordings, tree, speakers, [*_one_name(written), *_alike(written)])


def compiled(pattern: str, option: str) -> re.Pattern[str]:
    """The regular expression in an option. Raises ConfigError."""
    try:
        return re.compile(unicodedata.normalize("NFC", pattern))
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"{option} is {short_repr(pattern)}, no regular expression ({error}): mend it.") from None


def match_path(parts: tuple[str, ...], pattern: re.Pattern[str]) -> re.Match[str] | None:
    """The match of a pattern at the beginning of the file's name or, if the pattern has a ``/``, of the path ``parts``."""
    return pattern.match(unicodedata.normalize("NFC", "/".join(parts) if "/" in pattern.pattern else parts[-1]))


def matched_text(match: re.Match[str] | None) -> str:
    """Group 1 of a match, or all of it if the pattern has no group; empty without a match."""
    return (match[1] if match.re.groups else match[0]) or "" if match else ""


def speaker_by_pattern(parts: tuple[str, ...], pattern: re.Pattern[str]) -> tuple[str, tuple[str, ...], str]:
    """The speaker that `matched_text` names, the path below, and an empty string; or what is wrong.

    ``(\\w+)_\\d+\\.wav`` takes ``ada_01.wav`` for ada's.  A pattern with ``/`` is for the path below AUDIO_DIR, so that
    ``[^/]+/([^/]+)/`` takes the speakers' names from the second folder.
    """
    match = match_path(parts, pattern)
    if not (speaker := matched_text(match)):
        return "", (), f"gives no speaker by --speaker-from {short_repr(pattern.pattern)}: change that pattern, or leave it out"
    end, path = match.end(1 if pattern.groups else 0), match.string
    below = path[end + 1 :] if "/" in pattern.pattern and path[end : end + 1] == "/" else "/".join(parts)
    return speaker, tuple(below.split("/")), ""


def _speaker_by_folder(parts: tuple[str, ...]) -> tuple[str, tuple[str, ...], str]:
    if len(parts) == 1:
        return "", (), "lies beside the speakers' folders: move it into one, or use --speaker-from"
    return parts[0], parts[1:], ""


def _folders(folder: Path, without: Path | None) -> list[Path]:
    """The visible folders in ``folder``."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".") and is_text(path.name)]
    folders = [path for path in paths if os.path.isdir(path)]  # noqa: PTH112 - as in `read_tree`
    return [path for path in folders if without is None or not os.path.samefile(path, without)]  # noqa: PTH121


def _nothing(folder: Path, tree: Tree, speaker_from: str | None) -> str:
    if tree.unread and not tree.n_files:
        return f"{folder} holds no file that can be reached; the first problem: {tree.unread[0]}"
    if tree.recordings and speaker_from not in (None, FOLDER):
        first = tree.skipped[-len(tree.recordings)].reason
        return f"none of the {len(tree.recordings):,} recordings of {folder} has a speaker; the first: {first}"
    if tree.recordings:
        loose = f"{folder} has no folder of recordings in it, its {len(tree.recordings):,} lie loose"
        return f"{loose}: make one folder per speaker, or take the speakers from the files' names by --speaker-from."
    if tree.skipped:
        return f"none of the {tree.n_files:,} files below {folder} can be used; the first: {tree.skipped[0].reason}"
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in tree.not_sound.most_common(5))
    return f"{folder} has no folder with recordings in it ({kinds or 'it is empty'}): make one folder per speaker."


def _check_level(folder: Path, recordings: list[Recording]) -> None:
    """Raises CorpusError if what looks like speakers are the parts of a data set, each with folders of its own speakers.

    So it is if there is one "speaker" with several folders, or with a name of a part or a format (train, test-clean, wav);
    if nine recordings in ten lie two folders or more below their "speaker" (VoxCeleb's ``id/video/file`` and LibriSpeech's
    ``speaker/chapter/file`` lie one below); or if they lie in folders and all "speakers" have such names.
    """
    tops = sorted({recording.speaker for recording in recordings})
    depths = [len(recording.below) - 1 for recording in recordings]  # folders between speaker and file
    lower, deep = (sum(depth >= d for depth in depths) >= _MOST * len(depths) for d in (1, 2))
    parts = all(map(_PART.fullmatch, tops))
    if not (len(tops) == 1 and (lower or parts)) and not (lower and (deep or parts)):
        return
    names = ", ".join(map(short_repr, tops[:3])) + ", …" * (len(tops) > 3)
    found = f"{folder} gives {len(tops)} speaker{'s' * (len(tops) > 1)}, {names}"
    meant, levels = _level_meant(recordings)
    if meant is None:
        if len(tops) == 1 and parts:
            advice = "its speakers may stand in the files' names (see --speaker-from) or in a list"
            raise CorpusError(f"{found}: {advice}; if that is one, add --speaker-from folder.")
        return
    together = f", or all together with --speaker-from '{'[^/]+/' * levels}([^/]+)/'" * (len(tops) > 1)
    theirs = "or, if those are the speakers, --speaker-from folder"
    raise CorpusError(f"{found}, with folders of recordings below: did you mean {folder / meant}{together}, {theirs}?")


def _level_meant(recordings: list[Recording]) -> tuple[Path | None, int]:
    """The first folder on the way down that holds several folders of recordings, and its depth; None if there is none."""
    first = recordings[0].name.split("/")
    for levels in range(1, len(first) - 1):
        below = [r.name.split("/") for r in recordings if r.name.split("/")[:levels] == first[:levels]]
        if len({parts[levels] for parts in below if len(parts) > levels + 1}) > 1:
            return Path(*first[:levels]), levels
    return None, 0


def _one_name(written: dict[str, set[str]]) -> list[str]:
    """macOS and other systems write an accent in two ways (NFD, NFC), which look the same."""
    twice = [name for name, forms in written.items() if len(forms) > 1]
    return [
        f"{name!r} is written in two ways on this disk (Unicode NFC and NFD): both are taken for one speaker." for name in twice
    ]


def _alike(speakers: dict[str, set[str]]) -> list[str]:
    alike: dict[str, list[str]] = {}
    for name in sorted(speakers):
        alike.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    return [
        f"{' and '.join(map(repr, names))} look alike and are {len(names)} speakers: rename the folders if they are one."
        for names in alike.values()
        if len(names) > 1
    ]
