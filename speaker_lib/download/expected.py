"""What a downloaded data set must be, and what is wrong with the one that is there. Standard library only.

Of HW4 the index files, the number of features and their digest are known.  Of LibriSpeech it is the archive's bytes and SHA-256,
and later a listing of what it held.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..utils.errors import ConfigError
from .sources import HW4, HW4_EXPECTED, Source

_HW4_ADVICE = "make such a file with `download --describe`, or unset SPEAKER_DATA_EXPECT"
_SUM = "[0-9a-f]{64}"
_BLOCK_ON_DISK = 4096  # bytes: a small file takes no less
_HW4_LINE = re.compile(
    rf"(#.*|speakers (?P<speakers>\d+)|(?P<name>(?:metadata|testdata)\.json) (?P<bytes>\d+) (?P<sum>{_SUM})"
    rf"|features (?P<count>\d+) (?P<total>\d+) (?P<digest>{_SUM}))?"
)
_ARCHIVE_LINE = re.compile(rf"(#.*|(?P<name>\S+) (?P<bytes>\d+) (?P<sum>{_SUM}))?")
_LISTING_LINE = re.compile(rf"(?P<name>.+) (?P<bytes>\d+) (?P<sum>{_SUM})")


@dataclass(frozen=True)
class ExpectedHW4:
    """An HW4 folder: its index files and its features."""

    speakers: int
    files: dict[str, tuple[int, str]]  # bytes and SHA-256 of metadata.json and perhaps testdata.json
    features: tuple[int, int]  # how many, and their bytes in all
    digest: str  # of all features

    @property
    def room(self) -> int:
        """Bytes on disk, for the archive and for what is in it."""
        count, total = self.features
        return 2 * (total + _BLOCK_ON_DISK * count + sum(size for size, _ in self.files.values()))

    def archive_problem(self, parts: list[Path]) -> str:
        """Nothing: the hashes are those of what the archive holds."""
        return ""

    def is_begun(self, folder: Path) -> bool:
        """Whether the folder holds a data set, whole or not."""
        return (folder / "metadata.json").exists() or (folder / "mapping.json").exists()

    def find(self, unpacked: Path, deep: bool) -> tuple[Path, str]:
        """The data set among what was unpacked, and what is wrong with it; nothing if nothing is."""
        for folder in (unpacked, *sorted(path for path in unpacked.iterdir() if path.is_dir())):
            if (folder / "metadata.json").is_file() and (folder / "mapping.json").is_file():
                return folder, self.problem_of(folder, deep)
        return unpacked, "its archive holds no metadata.json with a mapping.json beside it"

    def files_of(self, found: Path) -> Iterator[Path]:
        """The files of an unpacked data set, relative to it; not packed/ in somebody's own archive: the kit makes its own."""
        return (path.relative_to(found) for path in sorted(found.iterdir()) if path.is_file())

    def problem_of(self, folder: Path, deep: bool) -> str:
        """What is wrong with a data set, for the middle of a sentence; nothing if nothing is. ``deep`` reads every feature."""
        for name, said in self.files.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            found = _size_and_hash(folder / name)
            if found != said:
                return f"{name} has {found[0]} bytes and SHA-256 {found[1]}, not {said[0]} and {said[1]}"
        if not (folder / "mapping.json").is_file():
            return "mapping.json is missing"
        speakers = _speakers(folder)
        if len(speakers) != self.speakers or not _mapping_fits(folder, speakers):
            return f"mapping.json does not number the {self.speakers} speakers of metadata.json"
        if (features := _features(folder)) != self.features:
            return f"its {features[0]} features have {features[1]} bytes, not {self.features[0]} with {self.features[1]}"
        return "the content of a feature is not what it should be" if deep and _digest(folder) != self.digest else ""


def expectation_of(source: Source) -> ExpectedHW4 | ExpectedSpeech:
    """What the table says of a source, or a file that the environment names. Raises ConfigError."""
    named = os.environ.get(source.expect_variable)
    if source is HW4:
        return _read_hw4(named or "the table of sources", _lines(named, _HW4_ADVICE) if named else HW4_EXPECTED.splitlines())
    return _read_speech(source, named)


def _read_hw4(path: str, lines: list[str]) -> ExpectedHW4:
    matches = _matches(path, lines, _HW4_LINE, _HW4_ADVICE)
    facts = [match["name"] or ("speakers" if match["speakers"] else "features") for match in matches]
    if sorted(fact for fact in facts if fact != "testdata.json") != ["features", "metadata.json", "speakers"]:
        raise ConfigError(f"{path} must tell speakers, metadata.json and features once each: {_HW4_ADVICE}.")
    by_fact = dict(zip(facts, matches, strict=True))
    files = {name: (int(by_fact[name]["bytes"]), by_fact[name]["sum"]) for name in facts if name.endswith(".json")}
    features = by_fact["features"]
    return ExpectedHW4(
        int(by_fact["speakers"]["speakers"]), files, (int(features["count"]), int(features["total"])), features["digest"]
    )


def describe(folder: Path) -> str:
    """The lines of such a file for a data set in the HW4 layout. Raises ConfigError where there is none."""
    for name in ("metadata.json", "mapping.json"):
        if not (folder / name).is_file():
            raise ConfigError(f"{folder} holds no {name}: name the folder of a data set.")
    lines = [f"speakers {len(_speakers(folder))}"]
    for name in ("metadata.json", "testdata.json"):
        if (folder / name).is_file():
            lines.append("{} {} {}".format(name, *_size_and_hash(folder / name)))
    return "\n".join([*lines, "features {} {} {}".format(*_features(folder), _digest(folder))])


@dataclass(frozen=True)
class ExpectedSpeech:
    """A folder of LibriSpeech, and the archive that holds it."""

    subset: str
    archive: str
    n_bytes: int
    sha256: str
    recordings: int | None  # None: not known

    @property
    def room(self) -> int:
        """Bytes on disk, for the archive and for what is in it: FLAC hardly packs."""
        return round(2.1 * self.n_bytes)

    def archive_problem(self, parts: list[Path]) -> str:
        """What is wrong with the archive, before anything of it is unpacked."""
        size, found = _size_and_hash(parts[0])
        if (size, found) != (self.n_bytes, self.sha256):
            return f"{self.archive} has {size} bytes and SHA-256 {found}, not {self.n_bytes} and {self.sha256}"
        return ""

    def is_begun(self, folder: Path) -> bool:
        """Whether the folder holds recordings, all or some."""
        return any(folder.rglob("*.flac"))

    def find(self, unpacked: Path, deep: bool) -> tuple[Path, str]:
        """The subset's folder among what was unpacked, and what is wrong with it."""
        folder = unpacked / "LibriSpeech" / self.subset
        return folder, "" if self.is_begun(folder) else f"its archive holds no recordings in LibriSpeech/{self.subset}"

    def files_of(self, found: Path) -> Iterator[Path]:
        """The files of an unpacked subset, relative to it."""
        return (path.relative_to(found) for path in sorted(found.rglob("*")) if path.is_file())

    def problem_of(self, folder: Path, deep: bool) -> str:
        """What is wrong with a subset by its listing, or without one by the number of recordings."""
        listing = listing_of(folder)
        if not listing.is_file():
            found = sum(1 for _ in folder.rglob("*.flac"))
            return (
                "" if found == self.recordings and not deep else f"it holds {found:,} recordings and no {listing.name} beside it"
            )
        matches = [_LISTING_LINE.fullmatch(line) for line in listing.read_text(encoding="utf-8", errors="replace").splitlines()]
        if not all(matches) or not matches:
            return f"{listing.name} beside it is damaged"
        for match in matches:
            path = folder / match["name"]
            if not path.is_file():
                return f"{match['name']} is missing"
            if path.stat().st_size != int(match["bytes"]):
                return f"{match['name']} has {path.stat().st_size} bytes, not {match['bytes']}"
            if deep and _size_and_hash(path)[1] != match["sum"]:
                return f"the content of {match['name']} is not what it should be"
        return ""

    def write_listing(self, found: Path, target: Path) -> None:
        """Writes a line ``<name> <bytes> <SHA-256>`` for each file, beside the folder."""
        lines = ["{} {} {}\n".format(name.as_posix(), *_size_and_hash(found / name)) for name in self.files_of(found)]
        listing_of(target).write_text("".join(lines), encoding="utf-8")


def listing_of(folder: Path) -> Path:
    """The file beside a subset that says what it must hold."""
    return folder.with_name(f"{folder.name}.listing")


def _read_speech(source: Source, path: str | None) -> ExpectedSpeech:
    if not path:
        return ExpectedSpeech(source.name, source.archive, source.n_bytes, source.sha256, source.recordings)
    advice = f"give it a line `{source.archive} BYTES SHA256`, or unset {source.expect_variable}"
    for match in _matches(path, _lines(path, advice), _ARCHIVE_LINE, advice):
        if match["name"] == source.archive:
            return ExpectedSpeech(source.name, source.archive, int(match["bytes"]), match["sum"], None)
    raise ConfigError(f"{path} does not tell of {source.archive}: {advice}.")


def _lines(path: str, advice: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path} cannot be read: {advice}.") from None


def _matches(path: str, lines: list[str], line: re.Pattern, advice: str) -> list[re.Match]:
    """The lines that say something."""
    matches = [line.fullmatch(text) for text in lines]
    for number, match in enumerate(matches, 1):
        if not match:
            raise ConfigError(f"{path} says nothing that is understood in line {number}: {advice}.")
    return [match for match in matches if match[1] and not match[1].startswith("#")]


def _size_and_hash(path: Path) -> tuple[int, str]:
    total, digest = 0, hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            total += len(block)
            digest.update(block)
    return total, digest.hexdigest()


def _features(folder: Path) -> tuple[int, int]:
    sizes = [path.stat().st_size for path in folder.glob("uttr-*.pt") if path.is_file()]
    return len(sizes), sum(sizes)


def _digest(folder: Path) -> str:
    names = sorted(path.name for path in folder.glob("uttr-*.pt") if path.is_file())
    return hashlib.sha256("".join(f"{_size_and_hash(folder / name)[1]}  {name}\n" for name in names).encode()).hexdigest()


def _speakers(folder: Path) -> set[str]:
    return set(_object(_object(folder / "metadata.json").get("speakers")))


def _mapping_fits(folder: Path, speakers: set[str]) -> bool:
    mapping = _object(folder / "mapping.json")
    ids, names = _object(mapping.get("speaker2id")), _object(mapping.get("id2speaker"))
    numbered = {name: number for number, name in enumerate(names.get(str(i)) for i in range(len(names))) if isinstance(name, str)}
    return set(ids) == speakers and ids == numbered and len(numbered) == len(names)


def _object(value: object) -> dict:
    """An object of a JSON file, empty where it is none."""
    if isinstance(value, Path):
        try:
            value = json.loads(value.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            value = None
    return value if isinstance(value, dict) else {}
