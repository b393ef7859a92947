"""The table of open data that `download` fetches: mirrors, sizes, hashes, licences, citations. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CC_BY = "CC BY 4.0"


@dataclass(frozen=True)
class Source:
    """One data set. A URL is a mirror's prefix followed by the name of a file."""

    name: str
    content: str  # who speaks, and how much
    mirrors: Mapping[str, str]  # by name, in the order in which they are tried
    citation: str
    unpacked: float  # GB on disk
    url_variable: str  # an environment variable with the prefix of another mirror
    expect_variable: str  # an environment variable with a file that says what to expect instead
    licence: str = CC_BY
    archive: str | None = None  # None: parts aa, ab, …
    n_bytes: int | None = None  # of the archive
    sha256: str | None = None  # of the archive
    recordings: int | None = None


_GITHUB = "https://github.com"
HW4 = Source(
    name="hw4",
    content="NTU Machine Learning HW4: 600 speakers of VoxCeleb2, 56,666 labelled and 8,000 test utterances, as features",
    mirrors={
        "2023": f"{_GITHUB}/googly-mingto/ML2023HW4/releases/download/data/Dataset.tar.gz.part",
        "2022": f"{_GITHUB}/MachineLearningHW/ML_HW4_Dataset/releases/latest/download/Dataset.tar.gz.part",
        "copy": f"{_GITHUB}/hsushuai/ml2023spring-hw/releases/download/dataset/ml2023spring-hw4.tar.gz.part-",
    },
    citation="Chung, Nagrani & Zisserman, VoxCeleb2: Deep Speaker Recognition, Interspeech 2018",
    unpacked=7.1,
    url_variable="SPEAKER_DATA_URL",
    expect_variable="SPEAKER_DATA_EXPECT",
)
# Of a file: its bytes and its SHA-256. Of the features uttr-*.pt: how many, their bytes in all, and the SHA-256 of the text that
# has a line "<SHA-256>  <name>" for each, sorted by name. mapping.json is checked by its content: it exists in two spellings.
HW4_EXPECTED = """\
speakers 600
metadata.json 7731814 bf4e0aa43e69d735e560d1e471160bbc91f821cee41823df0907412b61c8cf9c
testdata.json 960912 b41c02c44703e70ec5241b63db8ce14b7e88f4d3ec3aeda538233c74322e3378
features 64666 6846000926 bb28537c6138bca03ec233e77051a7642cbaea1408a80c00de263bc8cf96c181
"""
HW4_PARTS = {"2023": 4, "2022": 4}  # how many parts there are; on another mirror they end where one is missing

_OPENSLR = {
    "openslr": "https://www.openslr.org/resources/12/",
    "us": "https://us.openslr.org/resources/12/",
    "elda": "https://openslr.elda.org/resources/12/",
    "trmal": "https://openslr.trmal.net/resources/12/",
    "magicdata": "https://openslr.magicdatatech.com/resources/12/",
}
_LIBRISPEECH = "Panayotov, Chen, Povey & Khudanpur, LibriSpeech: an ASR corpus based on public domain audio books, ICASSP 2015"


def _librispeech(name: str, readers: str, recordings: str, hours: str, n_bytes: str, sha256: str) -> Source:
    return Source(
        name=name,
        content=f"LibriSpeech: {readers} readers of audio books, {int(recordings):,} recordings, {hours} hours, 16 kHz",
        mirrors=_OPENSLR,
        citation=_LIBRISPEECH,
        unpacked=round(1.1 * int(n_bytes) / 1e9, 1),
        url_variable="SPEAKER_SPEECH_URL",
        expect_variable="SPEAKER_SPEECH_EXPECT",
        archive=f"{name}.tar.gz",
        n_bytes=int(n_bytes),
        sha256=sha256,
        recordings=int(recordings),
    )


_SUBSETS = """
dev-clean 40 2703 5.4 337926286 76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3
test-clean 40 2620 5.4 346663984 39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23
dev-other 33 2864 5.1 314305928 12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365
test-other 33 2939 5.3 328757843 d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29
train-clean-100 251 28539 100.6 6387309499 d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2
"""  # name, readers, recordings, hours, bytes and SHA-256 of the archive
SOURCES: dict[str, Source] = {"hw4": HW4} | {line.split()[0]: _librispeech(*line.split()) for line in _SUBSETS.split("\n")[1:-1]}


def source_of(recordings: Path) -> str:
    """The sentence on where recordings come from, for figures and tables: LibriSpeech's licence asks for its name there."""
    if recordings.parent.name == "LibriSpeech" and recordings.name in SOURCES:
        return f"LibriSpeech {recordings.name} (Panayotov et al. 2015, {CC_BY})"
    return f"recordings of {recordings.name}"


def table() -> str:
    """The sources as a Markdown table, as data/README.md has it."""
    rows = ["| name | what | on disk | licence |", "|---|---|---|---|"]
    for source in SOURCES.values():
        rows.append(f"| `{source.name}` | {source.content} | {source.unpacked} GB | {source.licence} |")
    return "\n".join(rows)
