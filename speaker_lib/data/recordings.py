"""Turns recordings, as a folder or a list has them, into a corpus in the HW4 layout.

`arrangement` and `manifest` say whose they are, `sessions` on which occasion each was made, `census` what became of every file.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..download.sources import source_of
from ..sound.channels import MOST_COPIES, augmented_copies, augmented_source
from ..sound.decoder import LONGEST
from ..sound.features import FRAMES_PER_SECOND, Features, extract
from ..utils.errors import ConfigError, CorpusError, SpeakerError
from ..utils.files import explain_os_errors
from ..utils.parallel import parallel_map
from .arrangement import FOLDER, Arrangement, Recording, compiled, read_folder
from .audio import AUDIO, write_audio_folder
from .census import by_reason, census_line, log_text
from .manifest import read_manifest
from .sessions import FILE, describe_sessions, sessions_of
from .tree import Skipped, Tree, read_tree
from .writer import CorpusWriter

LOG = "prepare.log"  # in the new data set: a line per file


@dataclass(frozen=True)
class Prepared:
    """A corpus that `prepare` has written, and what became of every file."""

    n_speakers: int
    n_recordings: int  # used, those of the test set among them
    n_utterances: int
    n_test: int
    skipped: tuple[str, ...]  # a sentence per recording that could not be used
    skipped_by_reason: tuple[str, ...]  # fewer: a sentence per reason
    not_sound: Mapping[str, int]  # the number of other files by kind; with the used and the skipped ones, all there are
    n_files: int
    unread: tuple[str, ...]  # a sentence per folder that could not be entered
    without: tuple[str, ...]  # speakers of whom nothing could be used
    speakers: tuple[str, ...]  # all others
    sessions: str  # a sentence on what was taken for a session
    warnings: tuple[str, ...]  # a sentence per doubt about a label
    notes: tuple[str, ...]  # a sentence per oddity of a recording that was used
    seconds: float  # the length of all recordings that were used
    seconds_left: float  # of that, what is left without pauses

    @property
    def census(self) -> str:
        """The count of all files in one sentence."""
        return census_line(self.n_files, self.n_recordings, len(self.skipped), self.not_sound)


@dataclass
class _Outcome:
    """What `_write` finds out."""

    log: list[tuple[str, str, str]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    sessions: list[tuple[str, str, str]] = field(default_factory=list)  # speaker, session, what it was taken from
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    n_utterances: int = 0
    n_test: int = 0
    seconds: float = 0.0
    seconds_left: float = 0.0


def prepare(
    audio_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    chunk: float | None = None,
    test_folder: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    speaker_from: str | None = None,
    session_from: str | None = None,
    augment: int = 0,
) -> Prepared:
    """Extracts the features of the recordings in ``audio_folder/<speaker>/``, at any depth, into a new corpus ``out``.

    ``audio_folder`` may also be a CSV list, see `read_manifest`.  ``speaker_from`` and ``session_from`` say whose recordings
    they are and on which occasion they were made, see `read_folder` and `sessions_of`.  Recordings are cut into utterances of
    ``chunk`` seconds, see `cut`.  ``test_folder`` becomes the test set: its recordings are not cut, and are sorted by name.
    Recordings with the same features are one session of their speaker.  Beside each labelled utterance stand ``augment`` copies
    of it in other channels, for training only, see `augmented_copies`.

    Recordings that cannot be used are skipped and reported, and ``out/prepare.log`` says what became of every file.  Raises
    CorpusError if none can be used or if ``audio_folder`` is one level too high, and ConfigError for a ``chunk`` that is too
    short or too long or a pattern that cannot be used.
    """
    if chunk is not None and not 0.1 <= chunk <= LONGEST:  # NaN is neither
        raise ConfigError(f"chunk is {chunk}: choose a number of seconds from 0.1 up to {LONGEST:,}.")
    if not 0 <= augment <= MOST_COPIES:
        raise ConfigError(f"augment is {augment}: choose a whole number of copies from 0 up to {MOST_COPIES}.")
    for option, pattern in (("--speaker-from", speaker_from), ("--session-from", session_from)):
        compiled(pattern or "", option)
    found = _find(Path(audio_folder), speaker_from, test_folder)
    names, sources = sessions_of(found.recordings, session_from)
    test = _find_test(Path(test_folder)) if test_folder else Tree()
    of_test = [Recording(path, path.relative_to(test_folder).as_posix(), "", ()) for path in test.recordings]
    recordings = [*found.recordings, *of_test]
    sessions = [*zip(names, sources, strict=True), *((recording.name, FILE) for recording in of_test)]
    frames = None if chunk is None else round(chunk * FRAMES_PER_SECOND)
    source = source_of(Path(audio_folder).resolve()) + augmented_source(augment)
    with CorpusWriter(out, source) as writer:
        outcome = _write(writer, recordings, sessions, frames, augment, workers)
        if not outcome.n_utterances:
            first = outcome.skipped[0].reason
            raise CorpusError(
                f"none of the {len(found.recordings):,} recordings of {audio_folder} can be used; the first: {first}"
            )
        skipped = [*found.tree.skipped, *test.skipped, *outcome.skipped]
        prepared = Prepared(
            n_speakers=len(writer.speakers),
            n_recordings=len(recordings) - len(outcome.skipped),
            n_utterances=outcome.n_utterances,
            n_test=outcome.n_test,
            skipped=tuple(one.reason for one in skipped),
            skipped_by_reason=tuple(by_reason(skipped)),
            not_sound=dict(found.tree.not_sound + test.not_sound),
            n_files=found.tree.n_files + test.n_files,
            unread=(*found.tree.unread, *test.unread),
            without=tuple(sorted(found.speakers - writer.speakers.keys())),
            speakers=tuple(sorted(writer.speakers)),
            sessions=describe_sessions(outcome.sessions),
            warnings=(*found.notes, *outcome.warnings),
            notes=tuple(outcome.notes),
            seconds=outcome.seconds,
            seconds_left=outcome.seconds_left,
        )
        with explain_os_errors(writer.folder / AUDIO):
            base = Path(audio_folder)
            write_audio_folder(writer.folder, base if base.is_dir() else base.parent, Path(out))
        files = [*outcome.log, *(("skipped", one.name, one.reason) for one in skipped)]
        with explain_os_errors(writer.folder / LOG):
            lines = [prepared.sessions, prepared.census, *prepared.unread, *prepared.warnings]
            (writer.folder / LOG).write_text(log_text(lines, sorted(files, key=lambda row: row[1])), encoding="utf-8")
    return prepared


def cut(mel: np.ndarray, frames: int | None) -> list[np.ndarray]:
    """Splits (total, n_mels) into pieces of ``frames``. Leaves out a shorter rest of less than half, if there are others."""
    if frames is None:
        return [mel]
    pieces = [mel[start : start + frames] for start in range(0, len(mel), frames)]
    return [piece for i, piece in enumerate(pieces) if i == 0 or 2 * len(piece) >= frames]


def _find(source: Path, speaker_from: str | None, test_folder: str | os.PathLike[str] | None) -> Arrangement:
    if source.is_dir():
        test = Path(test_folder) if test_folder else None
        return read_folder(source, speaker_from, test if test and test.is_dir() else None)
    if not source.is_file():
        raise CorpusError(f"{source} is not a folder: name the one that holds a folder of recordings per speaker, or a CSV list.")
    if speaker_from not in (None, FOLDER):
        raise ConfigError(f"{source} is a list, which names the speakers: leave out --speaker-from.")
    return read_manifest(source)


def _find_test(folder: Path) -> Tree:
    tree = read_tree(folder) if folder.is_dir() else Tree()
    if not tree.recordings:
        raise CorpusError(f"{folder} holds no recording: name the folder of the test recordings.")
    return tree


def _write(
    writer: CorpusWriter,
    recordings: list[Recording],
    sessions: list[tuple[str, str]],
    frames: int | None,
    augment: int,
    workers: int | None,
) -> _Outcome:
    """Extracts, cuts and writes. A recording without a speaker is the test set's."""
    outcome, first_of, repeats = _Outcome(), {}, []  # first_of: by features, and by features and speaker
    extracted = functools.partial(_extract, frames=frames, augment=augment)
    results = parallel_map(extracted, recordings, "Prepare", "recording", workers)
    for recording, session, (result, copies_of_pieces) in zip(recordings, sessions, results, strict=True):
        if isinstance(result, str):
            outcome.skipped.append(Skipped(recording.name, result))
            continue
        digest, speaker = hashlib.sha256(result.mel.tobytes()).digest(), recording.speaker
        first, _ = first_of.setdefault(digest, (recording, session))
        twin, session = first_of.setdefault((digest, speaker), (recording, session))
        if twin is not recording:
            repeats.append(f"{recording.name} (as {twin.name})")
        elif speaker != first.speaker:
            advice = "copied to the wrong folder?" if speaker else "a training recording in the test set?"
            outcome.warnings.append(f"{first.name} and {recording.name} are the same sound: {advice}")
        if speaker:
            pieces = cut(result.mel, frames)
            originals = [writer.add(piece, speaker, session[0], recording.name) for piece in pieces]
            for original, copies in zip(originals, copies_of_pieces, strict=bool(augment)):
                for copy in copies:
                    writer.add(copy, speaker, session[0], recording.name, original)
            outcome.sessions.append((speaker, *session))
            outcome.n_utterances += len(pieces)
        else:
            writer.add_test(result.mel, recording.name, recording.name)
            outcome.n_test += 1
        left = len(result.mel) / FRAMES_PER_SECOND
        outcome.seconds += result.seconds
        outcome.seconds_left += min(left, result.seconds)  # the first frame lies before its sample
        outcome.notes += result.notes
        what = f"speaker {speaker}, session {session[0]}" if speaker else "test set"
        notes = "".join(f"; {note}" for note in result.notes)
        outcome.log.append(("used", recording.name, f"{what}, {left:.1f} of {result.seconds:.1f} s{notes}"))
    if repeats:
        few = ", ".join(repeats[:3]) + ", …" * (len(repeats) > 3)
        outcome.notes.append(f"{len(repeats):,} recordings repeat another of their speaker and share its session: {few}.")
    return outcome


def _extract(recording: Recording, frames: int | None, augment: int) -> tuple[Features | str, list[list[np.ndarray]]]:
    """The features and the copies of each utterance.

    Instead of the features, the sentence of their error: an exception would end the work on the other recordings.
    """
    try:
        features = extract(recording.path)
    except SpeakerError as problem:
        return str(problem), []
    copies = []
    if augment and recording.speaker:
        lengths = [len(piece) for piece in cut(features.mel, frames)]
        copies = augmented_copies(features.samples, lengths, augment, recording.name)
    return replace(features, samples=None), copies  # the samples stay in this process: they are large
