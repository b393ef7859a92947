"""What the tests of `download` share: a server, a small data set in an archive, the script that is its door."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from speaker_lib import Corpus

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
