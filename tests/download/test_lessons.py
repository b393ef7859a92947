"""What data a lesson chooses: people where there is a network and nothing else is at hand."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from speaker_lib import Corpus
from speaker_lib.course.lesson import open_lesson
from speaker_lib.data.audio import utterance_audio
from speaker_lib.data.recordings import prepare
from speaker_lib.data.splits import can_hold_out_sessions
from speaker_lib.sound.features import log_mel

from ..conftest import write_corpus
from .conftest import SCRIPT, SPEAKERS, USAGE
from .server import PartServer, packed


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    """An empty folder on Kaggle."""
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setenv("SPEAKER_PROFILE", "laptop")
    (tmp_path / "working").mkdir()
    monkeypatch.chdir(tmp_path / "working")
    return tmp_path / "working"


@pytest.fixture(scope="module")
def prepared(library, tmp_path_factory) -> Path:
    """What a lesson on people leaves in its folder ``data``."""
    data = tmp_path_factory.mktemp("prepared") / "data"
    shutil.copytree(library, data / "LibriSpeech")
    prepare(data / "LibriSpeech" / "dev-clean", data / "dev-clean", 4.0, workers=1)
    return data


def test_on_colab_and_kaggle_a_lesson_is_on_people(speech, server, hosted, capsys):
    lesson = open_lesson()
    said = capsys.readouterr().out
    assert "Recordings of people are fetched: LibriSpeech: 40 readers" in said
    assert lesson.corpus.speakers == tuple(sorted(map(str, SPEAKERS)))
    assert lesson.corpus.source == "LibriSpeech dev-clean (Panayotov et al. 2015, CC BY 4.0)"
    assert can_hold_out_sessions(lesson.corpus.labelled)
    server.asked.clear()
    assert open_lesson().corpus.digest == lesson.corpus.digest and server.asked == [] and capsys.readouterr().out == ""


def test_the_voices_of_a_lesson_on_people_are_theirs(prepared, hosted):
    shutil.copytree(prepared, hosted / "data")
    lesson = open_lesson()
    (name, sound), (other, _) = lesson.voices()
    assert {name, other} <= set(lesson.corpus.speakers) and name != other
    assert len(sound) <= 3 * 16_000 and abs(sound).max() > 0.05
    for i in range(len(lesson.corpus.labelled)):  # each sound is that of the utterance's features
        heard, mel = utterance_audio(lesson.corpus, i), lesson.corpus.labelled.mel(i)
        assert abs(log_mel(heard)[5:-5] - mel[5 : len(log_mel(heard)) - 5]).max() < 0.02
    shutil.rmtree(hosted / "data" / "LibriSpeech")  # the data set is whole without its recordings, but cannot be played
    assert utterance_audio(lesson.corpus, 0) is None
    assert [name for name, _ in lesson.voices()] == ["sim0003", "sim0010"]


def serve_strangers(server: PartServer, library: Path, name: str) -> None:
    content = server.files["/test-clean.tar.gz"] = packed(library / "dev-clean", f"LibriSpeech/{name}")
    line = f"test-clean.tar.gz {len(content)} {hashlib.sha256(content).hexdigest()}\n"
    Path(os.environ["SPEAKER_SPEECH_EXPECT"]).write_text(line)


def test_strangers_are_people_if_the_known_ones_are(speech, server, library, prepared, hosted, capsys):
    shutil.copytree(prepared, hosted / "data")
    lesson = open_lesson()
    write_corpus(hosted / "data" / "strangers-50-seed1")
    capsys.readouterr()
    serve_strangers(server, library, "something-else")
    assert lesson.unseen_speakers().folder.name == "strangers-50-seed1"
    assert "holds no recordings in LibriSpeech/test-clean" in capsys.readouterr().out.splitlines()[-1]
    serve_strangers(server, library, "test-clean")
    assert lesson.unseen_speakers().source.startswith("LibriSpeech test-clean")


def test_where_no_server_can_be_reached_one_sentence_says_so(speech, server, hosted, capsys):
    write_corpus(hosted / "data" / "simulated")
    server.files = {}
    assert open_lesson().corpus.folder.name == "simulated"
    (sentence,) = capsys.readouterr().out.splitlines()
    assert sentence.startswith("No server of dev-clean can be reached: ") and "100 simulated voices (not people)" in sentence
    assert not (hosted / "data" / "LibriSpeech").exists()


def test_the_smoke_profile_and_other_machines_ask_no_server(speech, server, hosted, monkeypatch):
    monkeypatch.setenv("SPEAKER_PROFILE", "smoke")
    write_corpus(hosted / "data" / "simulated-6")
    assert open_lesson().corpus.folder.name == "simulated-6"
    monkeypatch.setenv("SPEAKER_PROFILE", "laptop")
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE")
    write_corpus(hosted / "data" / "simulated")
    assert open_lesson().corpus.folder.name == "simulated" and server.asked == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_course_data_fetches_prepares_and_names_the_data(speech, tmp_path):
    """`make course DATA=dev-clean`, in a clone."""
    for name in ("speaker_lib", "tools"):
        shutil.copytree(SCRIPT.parents[1] / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "requirements.txt", "constraints.txt", "pyproject.toml"):
        shutil.copy(SCRIPT.parents[1] / name, tmp_path)
    plan = ["make", "--no-print-directory", "-n", "course", "DATA=dev-clean"]  # within `make test` it would name its folder
    planned = subprocess.run(plan, cwd=tmp_path, capture_output=True, text=True, check=True)
    first, then = planned.stdout.splitlines()[-2:]
    assert first.endswith("-m tools.data dev-clean") and then.endswith("-m tools.course")
    done = subprocess.run([sys.executable, *first.split()[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert Corpus.open(tmp_path / "data" / "dev-clean").n_speakers == len(SPEAKERS)
    done = subprocess.run([sys.executable, "-m", "tools.data", "dev-claen"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == USAGE and "choose one of hw4, dev-clean" in done.stderr
