"""`download` against a real HTTP server on loopback: the whole data set or nothing, and a sentence that says why."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from speaker_lib.course import start as preflight_module
from speaker_lib.course.lesson import DOWNLOAD
from speaker_lib.course.start import preflight
from speaker_lib.download.sources import HW4_EXPECTED
from speaker_lib.utils.errors import CorpusError

from .conftest import ARCHIVE, BUSY, NETWORK, SCRIPT, USAGE, assert_complete, big_disk, download, failure, until
from .server import PREFIX, SUFFIXES, PartServer, packed, parts


def test_help_names_the_source_the_size_the_licence_the_citation_and_the_exit_codes():
    text = download("--help").stdout
    words = (
        "TARGET",
        "SPEAKER_DATA_URL",
        "7.1 GB",
        "CC BY 4.0",
        "Chung, Nagrani & Zisserman",
        "--repair",
        "--deep",
        "Exit codes",
    )
    assert all(word in text for word in words)


@pytest.mark.parametrize("arguments", ["one two", "--mirror 2019", "--mirror file:///x", "--describe /nowhere", "dev-claen"])
def test_wrong_arguments_are_one_sentence(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failure(USAGE, *arguments.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", ["--fast", "--mirror", "hw4 --to"])
def test_an_option_that_is_none_is_wrong_usage(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert download(*arguments.split()).returncode == USAGE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["speakers 3\n", "speakers three\n", None])
def test_what_is_expected_must_be_readable(tmp_path, monkeypatch, content):
    path = tmp_path / "mine.expected"
    monkeypatch.setenv("SPEAKER_DATA_EXPECT", str(path))
    if content:
        path.write_text(content)
    assert str(path) in failure(USAGE, tmp_path / "Dataset")


def test_hw4_is_what_is_expected_otherwise(server, archive, tmp_path, monkeypatch, environment):
    facts = dict(line.split(" ", 1) for line in HW4_EXPECTED.splitlines())
    assert facts["speakers"] == "600" and facts["features"].startswith("64666 6846000926 bb28537c")
    assert facts["metadata.json"].startswith("7731814 bf4e0aa4") and facts["testdata.json"].startswith("960912 b41c02c4")
    monkeypatch.delenv("SPEAKER_DATA_EXPECT")
    server.files = parts(archive)
    big_disk(environment)
    assert "SHA-256" in failure(ARCHIVE, tmp_path / "Dataset") and list(tmp_path.iterdir()) == []


def test_a_description_holds_the_digest_of_all_features(source, expected):
    listing = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(source.glob("uttr-*.pt"))
    )
    assert expected.read_text().rstrip().endswith(hashlib.sha256(listing.encode()).hexdigest())
    assert "features 28 " in expected.read_text() and "speakers 3\n" in expected.read_text()


def test_a_data_set_arrives_whole_and_once(server, archive, tmp_path):
    server.files = parts(archive)
    target = tmp_path / "new" / "hw4 data"
    done = download(target)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.endswith(f"{target} is complete.\n") and "of disk" in done.stdout  # no credit: these are other data
    assert list(target.parent.iterdir()) == [target]
    assert_complete(target)
    assert server.asked == [(PREFIX + suffix, None) for suffix in (*SUFFIXES, "ad")]

    for options in ([], ["--deep"], ["--repair"]):
        done = download(*options, target)
        assert done.returncode == 0 and "nothing was fetched" in done.stdout
    assert len(server.asked) == 4 and list(target.parent.iterdir()) == [target]


def test_an_archive_without_a_folder_and_an_empty_target_are_fine(server, source, tmp_path):
    server.files = parts(packed(source, "."), suffixes=("aa",))
    target = tmp_path / "target"
    target.mkdir()
    assert download("--deep", target).returncode == 0
    assert_complete(target)


def test_the_data_go_beside_the_script_where_no_target_is_named(server, archive, expected, tmp_path, monkeypatch):
    """In a clone without .venv: a bare Python is enough. The table there expects the small data set."""
    server.files = parts(archive)
    shutil.copytree(SCRIPT.parents[1] / "speaker_lib", tmp_path / "speaker_lib", ignore=shutil.ignore_patterns("__pycache__"))
    table = tmp_path / "speaker_lib" / "download" / "sources.py"
    table.write_text(table.read_text().replace(HW4_EXPECTED, expected.read_text()))
    (tmp_path / "data").mkdir()
    shutil.copy(SCRIPT, tmp_path / "data")
    monkeypatch.delenv("SPEAKER_DATA_EXPECT")
    done = subprocess.run(["sh", "data/download.sh"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "CC BY 4.0; cite Chung, Nagrani & Zisserman" in done.stdout, done.stderr
    assert (tmp_path / "data" / "Dataset" / "mapping.json").exists()


def test_it_needs_no_package(tmp_path):
    bare = [sys.executable, "-S", "-m", "speaker_lib", "download", "hw4", "--to", tmp_path / "Dataset"]
    done = subprocess.run(bare, cwd=SCRIPT.parents[1], capture_output=True, text=True)
    assert done.returncode == NETWORK and "partaa cannot be had: the server answered 404" in done.stderr


def test_a_part_that_breaks_off_goes_on_where_it_was(server, archive, tmp_path, environment):
    server.files = parts(archive)
    server.cut[PREFIX + "ab"], server.busy[PREFIX + "ac"] = 2, 2
    assert download(tmp_path / "Dataset").returncode == 0
    assert_complete(tmp_path / "Dataset")
    size = len(server.files[PREFIX + "ab"])
    half, rest = size // 2, size // 2 + (size - size // 2) // 2
    ranges = [found for path, found in server.asked if path == PREFIX + "ab"]
    assert ranges == [None, f"bytes={half}-", f"bytes={rest}-"]
    assert server.paths.count(PREFIX + "ac") == 3
    assert (environment / "pauses").read_text().split() == ["1", "1", "1", "2"]  # longer where nothing new came


def test_a_server_that_cannot_go_on_in_the_middle_is_asked_anew(server, archive, tmp_path):
    server.files, server.ranges = parts(archive), False
    server.cut[PREFIX + "ab"] = 1
    done = download(tmp_path / "Dataset")
    assert done.returncode == 0 and "partab begins anew" in done.stderr
    assert_complete(tmp_path / "Dataset")


@pytest.mark.parametrize("etags", [True, False], ids=["by its ETag", "by its length"])
def test_a_part_that_changes_on_the_server_begins_anew(server, archive, source, tmp_path, etags):
    server.files, server.etags, server.stuck = parts(archive), etags, {PREFIX + "ab"}
    process = subprocess.Popen(["sh", SCRIPT, tmp_path / "Dataset"], stdout=subprocess.DEVNULL)
    partial_there(server, tmp_path)
    process.kill()
    process.wait()
    changed = parts(packed(source, "Another name for it all"))
    assert changed[PREFIX + "aa"] != server.files[PREFIX + "aa"]
    (kept,) = tmp_path.rglob("aa")
    kept.write_bytes(changed[PREFIX + "aa"])  # as if it had changed before
    server.files, server.stuck = changed, set()
    server.end.set()
    done = download(tmp_path / "Dataset")
    assert done.returncode == 0 and "partab begins anew, because it has changed" in done.stderr
    assert_complete(tmp_path / "Dataset")


def no_part(server: PartServer) -> str:
    server.files = {}
    return "partaa cannot be had: the server answered 404"


def cut_each_time(server: PartServer) -> str:
    server.cut[PREFIX + "ab"], server.ranges = 99, False
    return "partab did not arrive whole"


def busy_at_the_end(server: PartServer) -> str:
    server.busy[PREFIX + "ad"] = 99  # the archive is whole, but nobody could know
    return "partad cannot be had: the server answered 503"


def nobody_there(server: PartServer) -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        os.environ["SPEAKER_DATA_URL"] = f"http://127.0.0.1:{unused.getsockname()[1]}{PREFIX}"  # a fixture puts it back
    return "partaa cannot be reached"


@pytest.mark.parametrize("trouble", [no_part, cut_each_time, busy_at_the_end, nobody_there])
def test_where_the_network_fails_what_came_is_kept(server, archive, tmp_path, trouble):
    server.files = parts(archive)
    said = trouble(server)
    error = failure(NETWORK, tmp_path / "Dataset")
    assert said in error and "correct SPEAKER_DATA_URL" in error
    assert not (tmp_path / "Dataset").exists()
    kept = list(tmp_path.rglob("a[abc]"))
    assert bool(kept) == (f"is kept in {tmp_path}/Dataset.parts" in error)
    if kept and trouble is not nobody_there:
        server.cut.clear(), server.busy.clear(), server.asked.clear()
        assert download(tmp_path / "Dataset").returncode == 0
        assert not {PREFIX + path.name for path in kept} & set(server.paths)
        assert_complete(tmp_path / "Dataset")


@pytest.mark.parametrize("everybody", [True, False], ids=["Ctrl-C", "SIGTERM to the script alone"])
def test_an_interrupted_download_keeps_its_parts_and_goes_on(server, archive, tmp_path, everybody):
    server.files, server.stuck = parts(archive), {PREFIX + "ab"}
    process = subprocess.Popen(["sh", SCRIPT, tmp_path / "Dataset"], start_new_session=True, stdout=subprocess.DEVNULL)
    partial_there(server, tmp_path)
    if everybody:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    assert process.wait(timeout=20) == (130 if everybody else 143)
    goes_on(server, tmp_path)


def partial_there(server: PartServer, folder: Path) -> None:
    assert server.reached.wait(20)
    until(lambda: any(path.stat().st_size for path in folder.rglob("ab.partial")))


def goes_on(server: PartServer, folder: Path) -> None:
    """The next run fetches only what is not there."""
    assert not (folder / "Dataset").exists()
    server.stuck, server.asked[:] = set(), []
    server.end.set()
    until(lambda: download(folder / "Dataset").returncode != BUSY)  # a curl that was orphaned still writes
    assert_complete(folder / "Dataset")
    assert PREFIX + "aa" not in server.paths
    assert all(found for path, found in server.asked if path == PREFIX + "ab")


@pytest.mark.parametrize("everybody", [True, False], ids=["all processes", "the script alone"])
def test_a_killed_download_goes_on(server, archive, tmp_path, everybody):
    server.files, server.stuck = parts(archive), {PREFIX + "ab"}
    process = subprocess.Popen(["sh", SCRIPT, tmp_path / "Dataset"], start_new_session=True, stdout=subprocess.DEVNULL)
    partial_there(server, tmp_path)
    os.killpg(process.pid, signal.SIGKILL) if everybody else process.kill()
    process.wait()
    goes_on(server, tmp_path)


def test_a_download_killed_while_it_unpacks_goes_on(server, archive, tmp_path, environment):
    server.files = parts(archive)
    (environment / "stall").touch()
    process = subprocess.Popen(["sh", SCRIPT, tmp_path / "Dataset"], start_new_session=True, stdout=subprocess.DEVNULL)
    until((environment / "now").exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob("Dataset.parts/unpacked/*")) and not (tmp_path / "Dataset").exists()
    (environment / "stall").unlink()
    server.asked.clear()
    assert download(tmp_path / "Dataset").returncode == 0 and server.asked == []
    assert_complete(tmp_path / "Dataset")


def test_two_downloads_at_once_do_not_meet(server, archive, tmp_path):
    server.files, server.stuck = parts(archive), {PREFIX + "ab"}
    first = subprocess.Popen(["sh", SCRIPT, tmp_path / "Dataset"], stdout=subprocess.DEVNULL)
    partial_there(server, tmp_path)
    assert "another run is fetching" in failure(BUSY, tmp_path / "Dataset")
    server.end.set()
    server.stuck = set()
    first.wait(timeout=30)
    download(tmp_path / "Dataset")
    assert_complete(tmp_path / "Dataset")


def test_a_data_set_of_one_s_own_is_packed_and_fetched_as_the_help_says(server, source, tmp_path, monkeypatch):
    monkeypatch.delenv("SPEAKER_DATA_URL")
    shutil.copytree(source, tmp_path / "data" / "mine")
    made = subprocess.run(["tar", "-cz", "-C", tmp_path / "data", "mine"], capture_output=True, check=True)
    server.files = {"/mine.tar.gz.aa": made.stdout}
    url = f"{server.root}/mine.tar.gz."
    done = download("--mirror", url, tmp_path / "copy")
    assert done.returncode == 0, done.stderr
    assert_complete(tmp_path / "copy")
    assert server.paths == ["/mine.tar.gz.aa", "/mine.tar.gz.ab"]


GITHUB = "/googly-mingto/ML2023HW4/releases/download/data/Dataset.tar.gz.part"
LATEST = "/MachineLearningHW/ML_HW4_Dataset/releases/latest/download/Dataset.tar.gz.part"
THIRD = "/hsushuai/ml2023spring-hw/releases/download/dataset/ml2023spring-hw4.tar.gz.part-"


@pytest.fixture
def github(server, monkeypatch, environment) -> Path:
    """The course's releases, with the loopback server in GitHub's place."""
    monkeypatch.delenv("SPEAKER_DATA_URL")
    (environment / "github").write_text(server.root)
    return environment


@pytest.mark.parametrize(("name", "prefix"), [("2023", GITHUB), ("2022", LATEST), ("copy", THIRD)])
def test_one_release_or_the_next_gives_the_data(server, github, archive, tmp_path, name, prefix):
    server.files = parts(archive, prefix, ("aa", "ab", "ac", "ad"))
    assert download(tmp_path / "Dataset").returncode == 0
    assert_complete(tmp_path / "Dataset")
    before = [GITHUB, LATEST, THIRD].index(prefix)
    assert server.paths[:before] == [mirror + "aa" for mirror in (GITHUB, LATEST)][:before]
    server.asked.clear()
    assert download("--mirror", name, tmp_path / "again").returncode == 0
    assert {path[: len(prefix)] for path in server.paths} == {prefix}


def test_the_next_mirror_is_tried_where_one_is_damaged(server, github, archive, source, tmp_path):
    server.files = parts(archive, GITHUB, ("aa", "ab", "ac", "ad")) | parts(packed(source, "Another name"), THIRD)
    server.files[GITHUB + "ac"] = server.files[GITHUB + "ac"][:-9]
    done = download(tmp_path / "Dataset")
    assert done.returncode == 0
    first, second = done.stderr.splitlines()
    assert (
        "its archive is damaged" in first and "was deleted" in first and "partaa cannot be had: the server answered 404" in second
    )
    assert_complete(tmp_path / "Dataset")


def test_without_any_mirror_the_last_line_says_what_to_do(github, tmp_path):
    assert "see data/README.md for other ways" in failure(NETWORK, tmp_path / "Dataset")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def lesson_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPEAKER_PROFILE", "laptop")
    return tmp_path


def test_a_lesson_can_fetch_its_data(server, archive, lesson_folder, monkeypatch, capsys):
    monkeypatch.setattr(preflight_module, "seconds_per_step", lambda *_: 0.1)  # how fast it trains is not the question
    server.files = parts(archive)
    lesson = preflight(DOWNLOAD)
    assert lesson.corpus.folder.samefile(lesson_folder / "data" / "Dataset") and len(lesson.corpus.labelled) == 24
    assert "24 labelled utterances of 3 speakers" in capsys.readouterr().out


def test_a_lesson_says_that_its_data_cannot_be_fetched(lesson_folder):
    with pytest.raises(CorpusError, match=r"choose .* to go on without it: .*partaa cannot be had: the server answered 404"):
        preflight(DOWNLOAD)
    assert list((lesson_folder / "data").iterdir()) == []
