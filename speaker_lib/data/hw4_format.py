"""Reads and validates the index files of the HW4 layout.  In: a data folder.  Out: speaker names, and `Listing`s.

``mapping.json`` numbers the speakers, ``metadata.json`` lists the labelled utterances by speaker, ``testdata.json`` the
unlabelled ones.  Each utterance is one file, a float32 tensor (mel_len, n_mels).  Four keys are not HW4's: ``session`` of an
utterance (the occasion on which it was recorded), ``recording`` (the file that it was cut from), ``augmented_from`` of an
augmented copy (the file of its clean utterance), and ``source`` in ``metadata.json`` (a sentence on where the data come from).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..utils.errors import CorpusError, is_text, short_repr

METADATA, MAPPING, TESTDATA = "metadata.json", "mapping.json", "testdata.json"
SUBMISSION_HEADER = ("Id", "Category")  # of the CSV file to hand in, and of its key
LONGEST = 10_000_000  # frames, 28 hours: an index with a larger mel_len is damaged
LONGEST_NAME = 255  # characters, the limit of most file systems


@dataclass(frozen=True)
class Listing:
    """The utterances that one index file lists, in its order."""

    paths: tuple[str, ...]  # file names inside the folder
    lengths: np.ndarray  # (utterances,) int64, frames
    labels: np.ndarray  # (utterances,) int64, class ids; -1 in a test set
    sessions: tuple[str, ...] | None  # the occasion on which each was recorded, if the index names it
    recordings: tuple[str, ...] | None  # the file each was cut from, if the index names it
    originals: np.ndarray  # (utterances,) int64, the clean utterance that each is a copy of; a clean one is its own
    n_mels: int
    source: str | None
    digest: str  # SHA-256 of the index file

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, int]:
        """(total frames, n_mels): all utterances end to end."""
        return int(self.lengths.sum()), self.n_mels


def read_mapping(folder: Path) -> tuple[str, ...]:
    """Speaker names by class id. Raises CorpusError unless ``speaker2id`` and ``id2speaker`` are each other's inverse."""
    path = folder / MAPPING
    mapping, _ = _read_json(path)
    speaker2id, id2speaker = _get(mapping, "speaker2id", dict, path), _get(mapping, "id2speaker", dict, path)
    names = [id2speaker.get(str(i)) for i in range(len(speaker2id))]
    strings = len(id2speaker) == len(names) and all(isinstance(name, str) for name in names)
    if not strings or speaker2id != {name: i for i, name in enumerate(names)}:
        problem = "speaker2id and id2speaker do not number the same speakers from 0 up"
        raise CorpusError(f"{path}: {problem}: fetch the data set again.")
    for name in names:
        _check_text(path, "speaker", name)
    return tuple(names)


def read_metadata(folder: Path, speakers: tuple[str, ...]) -> Listing:
    """The labelled utterances, in the order of the file, as in the sample code. Raises CorpusError."""
    path = folder / METADATA
    metadata, digest = _read_json(path)
    ids = {name: i for i, name in enumerate(speakers)}
    entries, labels = [], []
    for name, utterances in _get(metadata, "speakers", dict, path).items():
        if name not in ids:
            raise CorpusError(f"{path} has speaker {short_repr(name)}, but {MAPPING} has not: fetch the data set again.")
        if not isinstance(utterances, list):
            raise CorpusError(f"{path}: the utterances of speaker {short_repr(name)} are not a list: fetch the data set again.")
        entries += utterances
        labels += [ids[name]] * len(utterances)
    return _listing(path, metadata, entries, labels, digest)


def read_testdata(folder: Path) -> Listing | None:
    """The unlabelled utterances, or None if the folder has no test set. Raises CorpusError."""
    path = folder / TESTDATA
    if not path.exists():
        return None
    testdata, digest = _read_json(path)
    entries = _get(testdata, "utterances", list, path)
    return _listing(path, testdata, entries, [-1] * len(entries), digest)


def _listing(path: Path, index: dict, entries: list, labels: list[int], digest: str) -> Listing:
    n_mels = _get(index, "n_mels", int, path)
    if not 1 <= n_mels <= 1_000:
        raise CorpusError(f"{path}: n_mels is {short_repr(n_mels)}, not a number of mel bands: fetch the data set again.")
    if not entries:
        raise CorpusError(f"{path} lists no utterances: fetch the data set again.")
    for number, entry in enumerate(entries):
        _check_entry(path, number, entry)
    paths = tuple(entry["feature_path"] for entry in entries)
    name, count = Counter(paths).most_common(1)[0]
    if count > 1:
        raise CorpusError(f"{path} lists {name} more than once: fetch the data set again.")
    sessions, recordings = (_all_or_none(path, entries, key) for key in ("session", "recording"))
    source = _get(index, "source", str, path) if "source" in index else None
    _check_text(path, "source", source or "")
    return Listing(
        paths=paths,
        lengths=np.array([entry["mel_len"] for entry in entries], dtype=np.int64),
        labels=np.array(labels, dtype=np.int64),
        sessions=sessions,
        recordings=recordings,
        originals=_originals(path, entries, labels),
        n_mels=n_mels,
        source=source,
        digest=digest,
    )


def _originals(path: Path, entries: list[dict], labels: list[int]) -> np.ndarray:
    """(utterances,) the index of each one's clean utterance. Raises CorpusError for a copy of none that is listed."""
    clean = {entry["feature_path"]: i for i, entry in enumerate(entries) if "augmented_from" not in entry}
    originals = np.arange(len(entries))  # (utterances,)
    for i, entry in enumerate(entries):
        if "augmented_from" in entry:
            name = entry["augmented_from"]
            original = clean.get(name) if isinstance(name, str) else None
            same = original is not None and labels[original] == labels[i]
            if not same or entries[original].get("session") != entry.get("session"):
                wrong = f"augmented_from of {entry['feature_path']} is {short_repr(name)}"
                raise CorpusError(f"{path}: {wrong}, no clean utterance of its speaker and session: make the data set again.")
            originals[i] = original
    return originals


def _check_entry(path: Path, number: int, entry: object) -> None:
    if not isinstance(entry, dict):
        raise CorpusError(f"{path}: utterance {number} is not an object: fetch the data set again.")
    name, mel_len = entry.get("feature_path"), entry.get("mel_len")
    plain = isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\\" not in name and is_text(name)
    if not plain or len(name) > LONGEST_NAME:
        raise CorpusError(f"{path}: feature_path {short_repr(name)} is not a plain file name: fetch the data set again.")
    if type(mel_len) is not int or not 1 <= mel_len <= LONGEST:
        what = f"mel_len of {name} is {short_repr(mel_len)}"
        raise CorpusError(f"{path}: {what}, not a number of frames: fetch the data set again.")
    for key in ("session", "recording"):
        if not isinstance(text := entry.get(key, ""), str):
            raise CorpusError(f"{path}: the {key} of {name} is not a string: write it as one.")
        _check_text(path, key, text)


def _all_or_none(path: Path, entries: list[dict], key: str) -> tuple[str, ...] | None:
    found = tuple(entry[key] for entry in entries if key in entry)
    if found and len(found) != len(entries):
        raise CorpusError(f"{path} gives a {key} for some utterances and not for others: give it for all or for none.")
    return found or None


def _check_text(path: Path, what: str, text: str) -> None:
    if not is_text(text):
        raise CorpusError(f"{path}: the {what} {short_repr(text)} has characters that cannot be shown: write it without them.")


def _read_json(path: Path) -> tuple[dict, str]:
    """The object in a JSON file and the SHA-256 of its bytes."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        advice = f"name the folder that holds {METADATA} and {MAPPING}, or make one with `simulate` or `prepare`"
        raise CorpusError(f"{path} is missing: {advice}.") from None
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror}): check the path and its permissions.") from error
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path} is not valid JSON ({error}): fetch the data set again.") from error
    if not isinstance(value, dict):
        raise CorpusError(f"{path} holds a JSON {type(value).__name__}, not an object: fetch the data set again.")
    return value, hashlib.sha256(content).hexdigest()


def _get(index: dict, key: str, kind: type, path: Path) -> object:
    if type(index.get(key)) is not kind:
        raise CorpusError(f"{path}: {key!r} is missing or not of type {kind.__name__}: fetch the data set again.")
    return index[key]
