"""data/download.sh against a real HTTP server on loopback: the whole data set or nothing, and a sentence that says why."""

import io
import os
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from speaker_lib import Corpus
from speaker_lib.errors import CorpusError
from speaker_lib.lesson import DOWNLOAD
from speaker_lib.preflight import preflight

from .conftest import write_corpus

SCRIPT = Path(__file__).resolve().parents[1] / "data" / "download.sh"
PREFIX = "/Dataset.tar.gz.part"
SUFFIXES = ("aa", "ab", "ac")


class Server(ThreadingHTTPServer):
    """Serves ``files`` by path. Of those in ``cut`` it sends half; of those in ``stuck`` half, and then nothing more."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.stuck: set[str] = set()
        self.busy: set[str] = set()
        self.asked: list[str] = []
        self.end = threading.Event()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path in self.server.busy:
            return self.send_error(503)
        if self.path not in self.server.files:
            return self.send_error(404)
        content = self.server.files[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        whole = self.path not in self.server.cut | self.server.stuck
        self.wfile.write(content if whole else content[: len(content) // 2])
        if self.path in self.server.stuck:
            self.wfile.flush()
            self.server.end.wait(60)
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.end.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> bytes:
    """A small data set, packed as HW4 is: in one folder, with what macOS leaves beside a file."""
    folder = write_corpus(tmp_path_factory.mktemp("archive") / "corpus")
    (folder / "._metadata.json").write_bytes(b"\0\5\x16\7")
    return packed(folder)


def packed(folder: Path, name: str = "Dataset") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, name)
    return buffer.getvalue()


def parts(archive: bytes, prefix: str = PREFIX, suffixes: tuple[str, ...] = SUFFIXES) -> dict[str, bytes]:
    size = -(-len(archive) // len(suffixes))
    return {prefix + suffix: archive[i * size : (i + 1) * size] for i, suffix in enumerate(suffixes)}


@pytest.fixture(autouse=True)
def environment(monkeypatch, server):
    monkeypatch.setenv("SPEAKER_DATA_URL", server.root + PREFIX)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("SPEAKER_DATA", raising=False)


def download(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def failure(*arguments: object, code: int = 1) -> str:
    done = download(*arguments)
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stderr.endswith(".\n")
    return done.stderr


def test_help_names_the_source_the_size_the_licence_and_the_citation():
    text = download("--help").stdout
    assert all(words in text for words in ("TARGET", "SPEAKER_DATA_URL", "6.8 GB", "CC BY 4.0", "Chung, Nagrani & Zisserman"))


@pytest.mark.parametrize("arguments", [["--fast"], ["one", "two"]])
def test_wrong_arguments_are_one_sentence(arguments):
    assert "--help" in failure(*arguments, code=2)


def test_a_data_set_arrives_whole_and_once(server, archive, tmp_path):
    server.files = parts(archive)
    target = tmp_path / "new" / "hw4 data"
    done = download(target)
    assert done.returncode == 0 and done.stderr == ""
    assert f"{target} is complete" in done.stdout and "CC BY 4.0" in done.stdout
    corpus = Corpus.open(target)
    assert corpus.n_speakers == 3 and len(corpus.labelled) == 24 and len(corpus.test) == 4
    assert not (target / "._metadata.json").exists() and list(target.parent.iterdir()) == [target]
    assert server.asked == [PREFIX + suffix for suffix in (*SUFFIXES, "ad")]

    done = download(target)
    assert done.returncode == 0 and "nothing was fetched" in done.stdout
    assert len(server.asked) == 4 and list(target.parent.iterdir()) == [target]


def test_an_archive_without_a_folder_and_an_empty_target_are_fine(server, tmp_path):
    server.files = parts(packed(write_corpus(tmp_path / "corpus"), "."), suffixes=("aa",))
    target = tmp_path / "target"
    target.mkdir()
    assert download(target).returncode == 0
    assert len(Corpus.open(target).labelled) == 24


def test_the_data_go_beside_the_script_where_no_target_is_named(server, archive, tmp_path):
    server.files = parts(archive)
    script = shutil.copy(SCRIPT, tmp_path)
    assert subprocess.run(["bash", Path(script).name], cwd=tmp_path, capture_output=True).returncode == 0
    assert (tmp_path / "Dataset" / "mapping.json").exists()


def no_part(server: Server) -> str:
    server.files = {}
    return "partaa cannot be had: the server answered 404"


def cut_in_the_middle(server: Server) -> str:
    server.cut = {PREFIX + "ab"}
    return "partab did not arrive whole (curl's error 18)"


def busy_at_the_end(server: Server) -> str:
    server.busy = {PREFIX + "ad"}  # the archive is whole, but nobody could know
    return "partad cannot be had: the server answered 503"


def a_part_too_few(server: Server) -> str:
    del server.files[PREFIX + "ac"]
    return "cannot be unpacked"


def a_page_instead(server: Server) -> str:
    server.files = {PREFIX + "aa": b"<html>Log in first</html>"}
    return "cannot be unpacked"


def nobody_there(server: Server) -> str:
    server.shutdown()
    server.socket.close()
    return "partaa cannot be reached"


@pytest.mark.parametrize("trouble", [no_part, cut_in_the_middle, busy_at_the_end, a_part_too_few, a_page_instead, nobody_there])
def test_trouble_on_the_way_leaves_nothing(server, archive, tmp_path, trouble):
    server.files = parts(archive)
    said = trouble(server)
    error = failure(tmp_path / "Dataset")
    assert said in error and "correct SPEAKER_DATA_URL" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("absent", ["metadata.json", "mapping.json"])
def test_an_archive_of_something_else_leaves_nothing(server, tmp_path, absent):
    folder = write_corpus(tmp_path / "corpus")
    (folder / absent).unlink()
    server.files = parts(packed(folder))
    shutil.rmtree(folder)
    assert "holds no metadata.json with a mapping.json beside it" in failure(tmp_path / "Dataset")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_left_alone(server, archive, tmp_path):
    server.files = parts(archive)
    (tmp_path / "notes.txt").write_text("mine")
    for target in (tmp_path, tmp_path / "notes.txt"):
        assert "is no empty folder: name another TARGET" in failure(target)
    assert "cannot be written to: name another TARGET" in failure(tmp_path / "notes.txt" / "Dataset")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"] and server.asked == []


@pytest.mark.parametrize("everybody", [True, False], ids=["Ctrl-C", "SIGTERM to the script alone"])
def test_an_interrupted_download_leaves_nothing(server, archive, tmp_path, everybody):
    server.files, server.stuck = parts(archive), {PREFIX + "ab"}
    process = subprocess.Popen(["bash", SCRIPT, tmp_path / "Dataset"], start_new_session=True)
    until(lambda: list(tmp_path.glob(".Dataset.*.partial/archive/Dataset/uttr-*")))
    if everybody:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    assert process.wait(timeout=20) == (130 if everybody else 143)
    assert list(tmp_path.iterdir()) == []


def until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


GITHUB = "/googly-mingto/ML2023HW4/releases/download/data/Dataset.tar.gz.part"
LATEST = "/MachineLearningHW/ML_HW4_Dataset/releases/latest/download/Dataset.tar.gz.part"
THIRD = "/hsushuai/ml2023spring-hw/releases/download/dataset/ml2023spring-hw4.tar.gz.part-"


@pytest.fixture
def github(server, monkeypatch, tmp_path_factory):
    """The course's releases, with the loopback server in GitHub's place and a disk that has 8 GB free."""
    monkeypatch.delenv("SPEAKER_DATA_URL")
    commands = tmp_path_factory.mktemp("commands")
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    stand_in(commands / "curl", f'exec {shutil.which("curl")} "${{@/https:\\/\\/github.com/{server.root}}}"')
    stand_in(commands / "df", "echo Filesystem 1024-blocks Used Available; echo /dev/disk 9000000 1000000 8000000")
    return commands


def stand_in(command: Path, text: str) -> None:
    command.write_text(f"#!/usr/bin/env bash\n{text}\n")
    command.chmod(0o755)


@pytest.mark.parametrize("prefix", [GITHUB, LATEST])
def test_the_releases_of_the_course_have_four_parts(server, github, archive, tmp_path, prefix):
    server.files = parts(archive, prefix, ("aa", "ab", "ac", "ad"))
    done = download(tmp_path / "Dataset")
    assert done.returncode == 0 and f"needs 7 GB of disk, and {tmp_path} has 8 GB free" in done.stdout
    assert server.asked == [GITHUB + "aa"] * (prefix != GITHUB) + list(server.files)


def test_the_next_mirror_begins_anew_where_one_breaks_off(server, github, archive, tmp_path):
    # The index files come first in this archive: what is left of it would look like a data set.
    other = packed(write_corpus(tmp_path / "corpus"), "Another name")
    shutil.rmtree(tmp_path / "corpus")
    server.files = parts(other, GITHUB, ("aa", "ab", "ac", "ad")) | parts(archive, THIRD)
    server.cut = {GITHUB + "ad"}
    done = download(tmp_path / "Dataset")
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert "partad did not arrive whole" in lines[0] and "partaa cannot be had: the server answered 404" in lines[1]
    assert len(lines) == 2 and server.asked[-4:] == [THIRD + suffix for suffix in ("aa", "ab", "ac", "ad")]
    assert list(tmp_path.iterdir()) == [tmp_path / "Dataset"] and len(Corpus.open(tmp_path / "Dataset").labelled) == 24


def test_without_any_mirror_the_last_line_says_what_to_do(github, tmp_path):
    done = download(tmp_path / "Dataset")
    assert done.returncode == 1 and list(tmp_path.iterdir()) == []
    assert len(done.stderr.splitlines()) == 4 and "see data/README.md for other ways" in done.stderr.splitlines()[-1]


def test_too_little_room_is_noticed_first(server, github, tmp_path):
    stand_in(github / "df", "echo Filesystem 1024-blocks Used Available; echo /dev/disk 9000000 4000000 5000000")
    assert "too little room" in failure(tmp_path / "Dataset")
    assert server.asked == [] and list(tmp_path.iterdir()) == []


@pytest.fixture
def lesson_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPEAKER_PROFILE", "laptop")
    return tmp_path


def test_a_lesson_can_fetch_its_data(server, archive, lesson_folder, monkeypatch, capsys):
    monkeypatch.setattr("speaker_lib.preflight.seconds_per_step", lambda *_: 0.1)  # how fast it trains is not the question
    server.files = parts(archive)
    lesson = preflight(DOWNLOAD)
    assert lesson.corpus.folder.samefile(lesson_folder / "data" / "Dataset") and len(lesson.corpus.labelled) == 24
    assert "24 labelled utterances of 3 speakers" in capsys.readouterr().out


def test_a_lesson_says_that_its_data_cannot_be_fetched(lesson_folder, capfd):
    with pytest.raises(CorpusError, match="see the line above"):
        preflight(DOWNLOAD)
    assert "partaa cannot be had: the server answered 404" in capfd.readouterr().err
    assert list((lesson_folder / "data").iterdir()) == []
