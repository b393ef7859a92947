"""Own voices: recorded in a browser whose microphone plays a file, enrolled, recognised, deleted; and without a browser."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from speaker_lib import Corpus
from speaker_lib.course import OwnVoice
from speaker_lib.course.lesson import Lesson
from speaker_lib.course.own_voice import as_file
from speaker_lib.course.profiles import PROFILES
from speaker_lib.evaluation import make_reference
from speaker_lib.simulation.corpus import Simulation, simulated_recording
from speaker_lib.sound.reading import read_audio
from speaker_lib.utils.errors import ConfigError, SpeakerError

from .conftest import SHARED
from .test_browser import Page, chromium, jupyterlab, photographed
from .test_enrolment import data, record, untrained, voice  # noqa: F401, the first is a fixture

RATE = 44_100  # of the microphone
SECONDS = 2
CELL = f"""
import torch
from pathlib import Path
from speaker_lib import Corpus, Run
from speaker_lib.course import OwnVoice
from speaker_lib.course.lesson import Lesson
from speaker_lib.course.profiles import PROFILES
from speaker_lib.evaluation import make_reference
corpus, run, device = Corpus.open("corpus"), Run.open("run"), torch.device("cpu")
lesson = Lesson(PROFILES["smoke"], corpus, device, Path("runs"))
own = OwnVoice(lesson, run, make_reference(run, corpus, device), seconds={SECONDS})
own.show()
"""


@pytest.fixture
def own(data, tmp_path) -> OwnVoice:  # noqa: F811
    corpus, cpu = Corpus.open(data), torch.device("cpu")
    run = untrained(tmp_path / "run", corpus)
    lesson = Lesson(PROFILES["smoke"], corpus, cpu, tmp_path / "runs")
    return OwnVoice(lesson, run, make_reference(run, corpus, cpu))


def spoken() -> np.ndarray:
    """(samples,) at 16 kHz of somebody who speaks without long pauses: of a person where real speech is at hand."""
    files = sorted((SHARED / "speech").rglob("*.flac"))
    sound = read_audio(files[0]).samples if files else simulated_recording(Simulation(), 3, 0)  # (samples,)
    return 0.5 * sound[: 16_000 * 8] / np.abs(sound).max()


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """The highest normalised correlation of (samples,) with a part of the longer (samples,)."""
    products = scipy.signal.correlate(b, a, "valid", method="fft")  # (places,)
    sums = np.cumsum(np.pad(b**2, (1, 0)))  # (longer + 1,)
    energies = sums[len(a) :] - sums[: len(products)]  # (places,)
    return float((products / np.sqrt(energies * (a**2).sum())).max())


def test_a_voice_is_recorded_enrolled_recognised_and_deleted_in_the_browser(data, tmp_path):  # noqa: F811
    microphone = tmp_path / "microphone.wav"
    heard = spoken()  # (samples,)
    soundfile.write(microphone, scipy.signal.resample_poly(heard, 441, 160), RATE)
    fake = f"--use-fake-ui-for-media-stream --use-fake-device-for-media-stream --use-file-for-fake-audio-capture={microphone}"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.strip())])
    with jupyterlab(tmp_path / "lab") as lab, chromium(tmp_path / "chromium", *fake.split()) as chrome:
        shutil.copytree(data, lab.folder / "corpus")
        untrained(lab.folder / "run", Corpus.open(lab.folder / "corpus"))
        folder = lab.folder / "runs" / "own-voice"
        with photographed(chrome, tmp_path / "panel.png"):
            page = Page(chrome, lab, "own_voice.ipynb", notebook)
            page.run_all()
            page.wait_for_the_end(120)
            panel = page.cell("own.show()")

            def click(name: str, then: str) -> None:
                panel.find_element(By.CSS_SELECTOR, f".own-voice .{name}").send_keys(Keys.ENTER)
                page.wait(30, f"the panel says {then!r}", lambda: then in panel.text)

            page.wait(30, "the panel is there", lambda: panel.find_elements(By.CSS_SELECTOR, ".own-voice .ask"))
            click("ask", "nobody was recorded yet")
            click("record", "Type the name")
            panel.find_element(By.CSS_SELECTOR, ".own-voice .name").send_keys("ada <b>")
            click("record", "cannot be a name")
            panel.find_element(By.CSS_SELECTOR, ".own-voice .name").send_keys(Keys.BACKSPACE * 4)
            for count in ("1 recording, 2 s", "2 recordings, 4 s"):
                click("record", f"ada: {count}")
            for take in read_audio(folder / "ada" / "001.wav"), read_audio(folder / "ada" / "002.wav"):
                assert len(take.samples) == SECONDS * 16_000
                assert likeness(take.samples, np.tile(heard, 2)) > 0.9
            click("enrol", "Enrolled: ada.")
            click("ask", "score")
            answer = panel.find_element(By.CSS_SELECTOR, ".answer").text
            assert answer.startswith("ada\nscore ") and "of strangers would be accepted" in answer
            click("delete", "All recordings are deleted")
            assert not folder.exists() and "ada:" not in panel.text


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


def test_nothing_is_kept_on_google_drive(own):
    lesson = Lesson(PROFILES["smoke"], None, own.device, Path("/content/drive/MyDrive/speaker-course/runs/smoke/simulated"))
    assert OwnVoice(lesson, own.run, own.reference).folder == Path("runs/own-voice")
