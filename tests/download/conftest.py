"""What the tests of `download` share: a server, a small data set in an archive, the script that is its door."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile
from pytest_httpserver import HTTPServer

from speaker_lib import Corpus
from speaker_lib.simulation.voices import draw_voice, numpy_stream, speak

from ..conftest import write_corpus
from .server import PREFIX, PartServer, packed

SCRIPT = Path(__file__).resolve().parents[2] / "data" / "download.sh"
USAGE, NETWORK, ARCHIVE, DISK, BUSY, IN_THE_WAY = 2, 3, 4, 5, 6, 7


@pytest.fixture(scope="session")
def http() -> Iterator[HTTPServer]:
    with HTTPServer(host="127.0.0.1", port=0, threaded=True) as http:
        yield http


@pytest.fixture
def server(http: HTTPServer) -> Iterator[PartServer]:
    server = PartServer(http)
    yield server
    server.end.set()


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A small data set, with what macOS leaves beside a file."""
    folder = write_corpus(tmp_path_factory.mktemp("source") / "corpus")
    (folder / "._metadata.json").write_bytes(b"\0\5\x16\7")
    return folder


@pytest.fixture(scope="module")
def archive(source) -> bytes:
    return packed(source)


@pytest.fixture(scope="module")
def expected(source, tmp_path_factory) -> Path:
    """What ``--describe`` says of it."""
    done = subprocess.run(["sh", SCRIPT, "--describe", source], capture_output=True, text=True, check=True)
    path = tmp_path_factory.mktemp("expected") / "small.expected"
    path.write_text(f"# a small one\n\n{done.stdout}")
    return path


@pytest.fixture(autouse=True)
def environment(monkeypatch, server, expected, tmp_path_factory):
    monkeypatch.setenv("SPEAKER_DATA_URL", server.root + PREFIX)
    monkeypatch.setenv("SPEAKER_DATA_EXPECT", str(expected))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("SPEAKER_DATA", raising=False)
    hooks = tmp_path_factory.mktemp("hooks")
    (hooks / "sitecustomize.py").write_text(HOOKS)  # every Python that starts imports it
    monkeypatch.setenv("PYTHONPATH", str(hooks))
    return hooks


HOOKS = """
import os, pathlib, shutil, tarfile, time, urllib.request
here = pathlib.Path(__file__).parent

def sleep(seconds):  # nobody need wait between two tries here
    with (here / "pauses").open("a") as file:
        print(seconds, file=file)

time.sleep = sleep

if (here / "free").exists():
    shutil.disk_usage = lambda path: shutil._ntuple_diskusage(0, 0, int((here / "free").read_text()))

if (here / "github").exists():  # a server in its place
    to_github, there = urllib.request.urlopen, (here / "github").read_text()

    def urlopen(request, timeout):
        request.full_url = request.full_url.replace("https://github.com", there)
        return to_github(request, timeout=timeout)

    urllib.request.urlopen = urlopen

if (here / "stall").exists():  # in the middle of unpacking
    plain = tarfile.TarFile.extract

    def extract(self, member, path, **options):
        plain(self, member, path, **options)
        if member.isreg():
            (here / "now").touch()
            os.read(os.pipe()[0], 1)

    tarfile.TarFile.extract = extract
"""


def download(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(["sh", SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def failure(code: int, *arguments: object) -> str:
    done = download(*arguments)
    assert done.returncode == code, done.stderr
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: ") and last.endswith(".") and "Traceback" not in done.stderr
    return last


def assert_complete(target: Path, parts_left: bool = False) -> None:
    corpus = Corpus.open(target)
    assert corpus.n_speakers == 3 and len(corpus.labelled) == 24 and len(corpus.test) == 4
    assert not (target / "._metadata.json").exists()
    assert Path(f"{target}.parts").exists() == parts_left


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def big_disk(hooks: Path, free: int = 20_000_000_000) -> None:
    """From now on a disk seems to have so many bytes free."""
    (hooks / "free").write_text(str(free))


PATH = "/dev-clean.tar.gz"
SPEAKERS, CHAPTERS, UTTERANCES = (1272, 1462, 84), (3, 1), 2


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """LibriSpeech's layout: three simulated voices, two chapters each, two sentences in a chapter."""
    folder = tmp_path_factory.mktemp("library") / "LibriSpeech"
    for speaker in SPEAKERS:
        voice = draw_voice(numpy_stream(speaker))
        for chapter in CHAPTERS:
            name = f"{speaker}-{speaker + chapter}"
            place = folder / "dev-clean" / str(speaker) / str(speaker + chapter)
            place.mkdir(parents=True)
            (place / f"{name}.trans.txt").write_text(f"{name}-0000 A SENTENCE\n")
            for i in range(UTTERANCES):
                samples = 0.5 * speak(voice, 3.0, numpy_stream(speaker, chapter, i))
                soundfile.write(place / f"{name}-{i:04}.flac", samples, 16_000)
    (folder / "SPEAKERS.TXT").write_text("; ID | SEX | SUBSET | MINUTES | NAME\n")
    return folder


@pytest.fixture(scope="module")
def speech_archive(library) -> bytes:
    return packed(library, "LibriSpeech")


@pytest.fixture
def speech(server, speech_archive, tmp_path, monkeypatch, environment) -> bytes:
    """The archive on the server, and a table in which it is dev-clean."""
    server.files = {PATH: speech_archive}
    expect = tmp_path.parent / f"{tmp_path.name}.expected"
    expect.write_text(f"# small\ndev-clean.tar.gz {len(speech_archive)} {hashlib.sha256(speech_archive).hexdigest()}\n")
    monkeypatch.setenv("SPEAKER_SPEECH_URL", server.root + "/")
    monkeypatch.setenv("SPEAKER_SPEECH_EXPECT", str(expect))
    return speech_archive


def fetch(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "speaker_lib", "download", *map(str, arguments)]
    return subprocess.run(command, cwd=SCRIPT.parents[1], capture_output=True, text=True, timeout=60)


def failing(code: int, *arguments: object) -> str:
    done = fetch(*arguments)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    return done.stderr.splitlines()[-1]
