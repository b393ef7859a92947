"""Own voices without a browser: kept, enrolled, recognised, deleted. test_browser has the microphone and the panel."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch

from speaker_lib import Corpus
from speaker_lib.course import OwnVoice, own_voice
from speaker_lib.course.lesson import Lesson
from speaker_lib.course.own_voice import as_file
from speaker_lib.course.profiles import PROFILES
from speaker_lib.evaluation import make_reference
from speaker_lib.utils.errors import ConfigError, SpeakerError
from speaker_lib.utils.language import VARIABLE

from .test_enrolment import data, record, untrained, voice  # noqa: F401, the first is a fixture


@pytest.fixture
def own(data, tmp_path) -> OwnVoice:  # noqa: F811
    corpus, cpu = Corpus.open(data), torch.device("cpu")
    run = untrained(tmp_path / "run", corpus)
    lesson = Lesson(PROFILES["smoke"], corpus, cpu, tmp_path / "runs")
    return OwnVoice(lesson, run, make_reference(run, corpus, cpu))


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """The highest normalised correlation of (samples,) with a part of the longer (samples,)."""
    products = scipy.signal.correlate(b, a, "valid", method="fft")  # (places,)
    sums = np.cumsum(np.pad(b**2, (1, 0)))  # (longer + 1,)
    energies = sums[len(a) :] - sums[: len(products)]  # (places,)
    return float((products / np.sqrt(energies * (a**2).sum())).max())


def test_enrolled_people_are_recognised_and_a_stranger_is_nobody(own, tmp_path):
    sounds = [[record(tmp_path / "new" / f"{who}{take}.wav", 100 + who, take) for take in range(4)] for who in range(3)]
    for name, takes in zip(("ada", "小明"), sounds, strict=False):
        for take in takes[:3]:
            assert f"Recorded: {name}, 2.0 s" in own.add(take, f" {name} ")
    assert {name: len(paths) for name, paths in own.people().items()} == {"ada": 3, "小明": 3}
    with pytest.raises(SpeakerError, match="these recordings are not enrolled yet"):
        own.who_is_this(sounds[0][3])
    said = own.enrol()
    assert "Enrolled: ada, 小明." in said and "of strangers reach it in a book of 2 people by 3 recordings each" in said
    before = sorted(own.folder.rglob("*"))
    for takes, name in zip(sounds, ("ada", "小明", "nobody in the book"), strict=True):
        assert own.who_is_this(takes[3]).splitlines()[0] == name
    assert sorted(own.folder.rglob("*")) == before  # what is asked is not kept
    own.add(sounds[2][0], "bo")  # the book does not know this one
    with pytest.raises(SpeakerError, match="enrol, then ask again"):
        own.who_is_this(sounds[2][3])
    own.enrol()
    assert own.who_is_this(sounds[2][3]).startswith("bo\n")
    own.delete_all()
    assert not own.folder.exists() and own.people() == {}


def test_samples_of_any_rate_are_kept_as_they_sound(own):
    slow = voice(100, 0)  # (samples,) at 16 kHz
    with as_file(scipy.signal.resample_poly(slow, 3, 1), 48_000) as path:
        own.add(path, "ada")
    assert not path.exists()
    kept, rate = soundfile.read(own.people()["ada"][0])
    assert rate == 16_000 and len(kept) == len(slow) and likeness(kept, slow) > 0.99


def test_what_cannot_be_used_is_one_sentence(own, tmp_path):
    good = record(tmp_path / "good.wav", 100, 0)
    for name in ("", "a/b", "..", "x" * 41, "a\nb", "C:"):
        with pytest.raises(ConfigError, match=r"cannot be a name here: use letters, digits and spaces"):
            own.add(good, name)
    for samples, said in ((voice(100, 0, 0.6), r"0\.6. s of speech.* record at least 1 s"), (np.zeros(32_000), "no sound")):
        with pytest.raises(SpeakerError, match=f"^this recording holds {said}"), as_file(samples, 16_000) as path:
            own.add(path, "ada")
    for work in (own.enrol, lambda: own.who_is_this(good)):
        with pytest.raises(SpeakerError, match="record somebody"):
            work()
    assert not own.folder.exists()
    own.add(good, "ada")
    with pytest.raises(SpeakerError, match="is among the recordings of ada already: take another one"):
        own.add(good, "bo")


def test_without_anywidget_a_sentence_names_the_way_by_files(own, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    own.show()
    said = capsys.readouterr()
    assert "own.add('ada1.wav', 'ada')" in said.out
    assert "There is no panel: recording in the notebook needs the package anywidget: run `pip install anywidget`." in said.err


def test_where_the_notebook_is_only_read_a_still_picture_of_the_panel_stands_for_it(own, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    own.show()
    still, _ = shown[0]._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in still and still["text/html"].startswith("<fieldset disabled")
    labels = re.findall(r"<button>(.+?)</button>", still["text/html"])
    assert "● Record 10 s" in labels
    script = Path(own_voice.__file__).with_suffix(".js").read_text(encoding="utf-8").replace('{n} s", {', '10 s", {')
    assert all(label in script for label in labels) and still["text/html"].count("<button") == script.count("<button")


def test_the_panel_and_its_answers_are_in_the_readers_language(own, monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    monkeypatch.setenv(VARIABLE, "zh-TW")
    own.show()
    still, _ = shown[0]._repr_mimebundle_()
    assert "● 錄音 10 秒" in still["text/html"] and not re.search("[A-Za-z]{3,}", re.sub("<[^>]*>", "", still["text/html"]))
    assert shown[0].texts["Enrol"] == "登錄"
    own._clicked(shown[0], {"do": "enrol"}, [])
    assert shown[0].state["message"] == "沒有錄音可以登錄：請先錄音。"
    said = [own.add(record(tmp_path / f"{i}.wav", 100, i), "ada") for i in range(2)]
    said += [own.enrol(), own.who_is_this(record(tmp_path / "ask.wav", 100, 7)), own.delete_all()]
    assert not re.search("[A-Za-z]{3,} [a-z]{2,}", " ".join(said)), said


def test_nothing_is_kept_on_google_drive(own):
    lesson = Lesson(PROFILES["smoke"], None, own.device, Path("/content/drive/MyDrive/speaker-course/runs/smoke/simulated"))
    assert OwnVoice(lesson, own.run, own.reference).folder == Path("runs/own-voice")
