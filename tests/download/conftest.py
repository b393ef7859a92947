"""What the tests of data/download.sh share: a server, a small data set in an archive, the script."""

from __future__ import annotations

import os
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
    done = subprocess.run(["bash", SCRIPT, "--describe", source], capture_output=True, text=True, check=True)
    path = tmp_path_factory.mktemp("expected") / "small.expected"
    path.write_text(f"# a small one\n\n{done.stdout}")
    return path


@pytest.fixture(autouse=True)
def environment(monkeypatch, server, expected, tmp_path_factory):
    monkeypatch.setenv("SPEAKER_DATA_URL", server.root + PREFIX)
    monkeypatch.setenv("SPEAKER_DATA_EXPECT", str(expected))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("SPEAKER_DATA", raising=False)
    commands = tmp_path_factory.mktemp("commands")
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    stand_in(commands / "sleep", f'echo "$1" >>{commands}/pauses')  # nobody need wait between two tries here
    return commands


def stand_in(command: Path, text: str) -> None:
    command.write_text(f"#!/usr/bin/env bash\n{text}\n")
    command.chmod(0o755)


def download(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def failure(code: int, *arguments: object) -> str:
    done = download(*arguments)
    assert done.returncode == code, done.stderr
    *_, last = done.stderr.splitlines()
    assert last.endswith(".") and "download.sh: line" not in done.stderr
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


def big_disk(commands: Path, free: int = 20_000_000) -> None:
    """From now on a disk seems to have so many KiB free."""
    stand_in(commands / "df", f"echo Filesystem 1024-blocks Used Available; echo /dev/disk 99000000 1000000 {free}")
