"""`download dev-clean` and its like, with a small archive of LibriSpeech's layout on a server on loopback."""

import os
import re
import signal
import subprocess
import sys

import pytest

from speaker_lib import Corpus
from speaker_lib.download.sources import SOURCES, table

from ..conftest import call
from .conftest import (
    ARCHIVE,
    CHAPTERS,
    DISK,
    IN_THE_WAY,
    NETWORK,
    PATH,
    SCRIPT,
    SPEAKERS,
    USAGE,
    big_disk,
    download,
    failing,
    fetch,
    until,
)  # fmt: skip


def test_an_archive_becomes_a_data_set_of_which_whole_chapters_are_held_out(speech, server, library, tmp_path):
    """As README says: download, prepare, train with ``split=session``, evaluate."""
    done = fetch("dev-clean", "--to", tmp_path / "data")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    (command,) = re.findall(r"^Next: python -m speaker_lib (.*)$", done.stdout, re.MULTILINE)
    assert {path.name for path in (tmp_path / "data" / "LibriSpeech").iterdir()} == {
        "dev-clean", "dev-clean.listing", "SPEAKERS.TXT"
    }  # fmt: skip
    done = call(*command.split(), "--workers", 1)
    assert done.returncode == 0, done.stderr
    data, run = tmp_path / "data" / "dev-clean", tmp_path / "run"
    corpus = Corpus.open(data)
    assert corpus.speakers == tuple(sorted(map(str, SPEAKERS)))
    assert set(corpus.labelled.sessions) == {str(speaker + chapter) for speaker in SPEAKERS for chapter in CHAPTERS}
    sizes = "d_model=16 segment_len=64 total_steps=4 valid_steps=2 save_steps=2 warmup_steps=1"
    settings = [f"{'model' if size.startswith('d_') else 'train'}.{size}" for size in sizes.split()]
    sets = [word for setting in (*settings, "train.split=session") for word in ("--set", setting)]
    done = call("train", "--data", data, "--preset", "laptop_baseline", "--run", run, *sets)
    assert done.returncode == 0, done.stderr
    done = call("evaluate", "--data", data, "--run", run)
    assert done.returncode == 0 and "full" in done.stdout, done.stderr


def test_the_same_call_again_says_that_it_is_complete_and_finds_damage(speech, server, tmp_path):
    assert fetch("dev-clean", "--to", tmp_path).returncode == 0
    server.asked.clear()
    done = fetch("dev-clean", "--to", tmp_path, "--deep")
    assert done.returncode == 0 and "nothing was fetched" in done.stdout and server.asked == []
    one, two, *_ = sorted(tmp_path.rglob("*.flac"))
    right = one.read_bytes()
    one.write_bytes(bytes(len(right)))
    assert fetch("dev-clean", "--to", tmp_path).returncode == 0
    assert f"the content of {'/'.join(one.parts[-3:])}" in failing(IN_THE_WAY, "dev-clean", "--to", tmp_path, "--deep")
    two.unlink()
    assert f"{two.name} is missing" in failing(IN_THE_WAY, "dev-clean", "--to", tmp_path)
    done = fetch("dev-clean", "--to", tmp_path, "--repair", "--deep")
    assert done.returncode == 0 and "2 files were put back" in done.stdout and one.read_bytes() == right and two.exists()
    listing = tmp_path / "LibriSpeech" / "dev-clean.listing"
    whole = listing.read_text()
    listing.write_text(whole[:-9])
    assert "dev-clean.listing beside it is damaged" in failing(IN_THE_WAY, "dev-clean", "--to", tmp_path)
    assert fetch("dev-clean", "--to", tmp_path, "--repair").returncode == 0 and listing.read_text() == whole


def test_an_archive_with_another_hash_is_never_unpacked(speech, server, tmp_path):
    other = bytearray(speech)
    other[-1] ^= 1
    server.files = {PATH: bytes(other)}
    said = failing(ARCHIVE, "dev-clean", "--to", tmp_path)
    assert "SHA-256" in said and "was deleted" in said and list(tmp_path.iterdir()) == []
    server.files = {PATH: speech + b"more"}  # its length says so before it is fetched
    assert f"has {len(speech) + 4:,} bytes" in failing(ARCHIVE, "dev-clean", "--to", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_table_of_one_s_own_the_archive_must_be_librispeech_s(speech, tmp_path, monkeypatch, environment):
    monkeypatch.delenv("SPEAKER_SPEECH_EXPECT")
    big_disk(environment)
    assert "not 337,926,286" in failing(ARCHIVE, "dev-clean", "--to", tmp_path)
    big_disk(environment, free=500_000_000)
    assert "too little room" in failing(DISK, "dev-clean", "--to", tmp_path)


def test_one_mirror_goes_on_where_another_stopped(speech, server, tmp_path, monkeypatch):
    server.stuck = {PATH}
    command = [sys.executable, "-m", "speaker_lib", "download", "dev-clean", "--to", str(tmp_path)]
    process = subprocess.Popen(command, cwd=SCRIPT.parents[1], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert server.reached.wait(20)
    until(lambda: any(path.stat().st_size for path in tmp_path.rglob("*.partial")))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and b"the same command goes on from here" in said
    server.stuck, server.asked[:] = set(), []
    server.end.set()
    server.files["/elsewhere" + PATH] = speech
    done = fetch("dev-clean", "--to", tmp_path, "--mirror", f"{server.root}/elsewhere/")
    assert done.returncode == 0, done.stderr
    ((path, asked),) = server.asked
    assert path == "/elsewhere" + PATH and asked.startswith("bytes=")


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no pseudo-terminals")
def test_in_a_terminal_a_bar_says_how_far_it_is(speech, tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-m", "speaker_lib", "download", "dev-clean", "--to", str(tmp_path)]
    subprocess.run(command, cwd=SCRIPT.parents[1], stdout=subprocess.DEVNULL, stderr=theirs, check=True, timeout=60)
    said = os.read(ours, 100_000).decode()
    os.close(ours), os.close(theirs)
    assert "Fetch dev-clean.tar.gz" in said and "100%" in said


def test_the_script_takes_a_name_too(speech, tmp_path):
    done = download("dev-clean", tmp_path / "here")
    assert done.returncode == 0 and (tmp_path / "here" / "LibriSpeech" / "dev-clean" / "84").is_dir(), done.stderr


def test_what_lies_there_already_is_left_alone(speech, server, tmp_path):
    folder = tmp_path / "LibriSpeech" / "dev-clean"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    assert "is no empty folder" in failing(IN_THE_WAY, "dev-clean", "--to", tmp_path)
    (folder / "1.flac").touch()
    assert "it holds 1 recordings" in failing(IN_THE_WAY, "dev-clean", "--to", tmp_path)
    assert server.asked == []


def test_nobody_there_and_names_that_are_none(speech, server, tmp_path):
    server.files = {}
    said = failing(NETWORK, "dev-clean", "--to", tmp_path)
    assert "the server answered 404: correct SPEAKER_SPEECH_URL" in said and list(tmp_path.iterdir()) == []
    assert "choose one of hw4, dev-clean, test-clean" in failing(USAGE, "dev-claen")


def test_an_expectation_that_does_not_tell_of_the_archive_is_refused(speech, tmp_path, monkeypatch):
    path = tmp_path / "mine.expected"
    monkeypatch.setenv("SPEAKER_SPEECH_EXPECT", str(path))
    for content in (None, "dev-clean.tar.gz 12\n", f"test-clean.tar.gz 12 {'0' * 64}\n"):
        if content:
            path.write_text(content)
        assert str(path) in failing(USAGE, "dev-clean", "--to", tmp_path / "data")


def test_the_table_in_the_data_folder_s_page_is_the_module_s():
    page = (SCRIPT.parent / "README.md").read_text(encoding="utf-8")
    assert table() in page
    for source in SOURCES.values():
        assert source.citation in page
        assert all(prefix.removeprefix("https://").split("/")[0] in page for prefix in source.mirrors.values())
