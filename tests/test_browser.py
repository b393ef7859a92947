"""The lessons as a reader meets them: JupyterLab in a real browser, its menu, its pictures, its slider, button and microphone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import pytest
import scipy.signal
import soundfile
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from speaker_lib import Corpus
from speaker_lib.course.quizzes import explain, questions
from speaker_lib.simulation.corpus import Simulation, simulated_recording
from speaker_lib.sound.reading import read_audio

from .browser import Lab, Page, chromium, jupyterlab, photographed
from .conftest import SHARED
from .test_enrolment import untrained
from .test_own_voice import likeness

LESSON = Path(__file__).parents[1] / "notebooks" / "01_baseline.py"
# Every picture that is ever in the cell, once, in the order in which they came.
WATCH_PICTURES = """
const cell = arguments[0], pictures = window.pictures = [];
new MutationObserver(() => {
    for (const image of cell.querySelectorAll('.jp-RenderedImage img'))
        if (image.src && !pictures.includes(image.src)) pictures.push(image.src);
}).observe(cell, {subtree: true, childList: true, attributes: true});
"""
LONG_TRAINING = [
    """
from dataclasses import replace
from speaker_lib import PRESETS, Corpus, train
from speaker_lib.training.run import Run
from speaker_lib.simulation.corpus import Simulation, simulate
from speaker_lib.course.widgets import LivePlot
simulate("voices", Simulation(speakers=3, utterances=8, test_utterances=1, sessions=2), workers=1)
corpus, preset = Corpus.open("voices"), PRESETS["laptop_baseline"]
steps = {"total_steps": 1_000_000, "valid_steps": 10, "save_steps": 500_000, "warmup_steps": 10}
preset = replace(preset, train=replace(preset.train, batch_size=8, segment_len=64, **steps))
run = Run.create("run", preset, corpus)
""",
    "live = LivePlot(run)\ntrain(run, corpus, callbacks=[live], stop=live.stop)",
    'print("resume.pt saved:", (run.folder / "resume.pt").exists())',
]

OWN_VOICE = """
import torch
from pathlib import Path
from speaker_lib import Corpus, Run
from speaker_lib.course import OwnVoice
from speaker_lib.course.lesson import Lesson
from speaker_lib.course.profiles import PROFILES
from speaker_lib.evaluation import make_reference
corpus, run, device = Corpus.open("own/corpus"), Run.open("own/run"), torch.device("cpu")
lesson = Lesson(PROFILES["smoke"], corpus, device, Path("own/runs"))
own = OwnVoice(lesson, run, make_reference(run, corpus, device), seconds=2)
own.show()
"""

# A student edition in small: an exercise that was not begun, a quiz, a guess, and a lesson later the guess again.
STUDENT = [
    """
from pathlib import Path
from speaker_lib.course import check, quiz
from speaker_lib.course.guesses import guess, stored_guess

def pool(frames, weights):
    raise NotImplementedError("sum the frames, each times its weight.")

check.pool(pool)
""",
    "quiz(1)",
    'guess(Path("kept"), "Which of the four?", ["d_model", "nhead", "num_layers", "activation"])',
    'print("stored:", stored_guess(Path("kept"), "Which of the four?"))',
]

# What the explorer of mistakes plays now.
SOUNDS = "return [...arguments[0].querySelectorAll('audio source')].map(source => source.src)"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with jupyterlab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """What the microphone plays: a file at 44.1 kHz, and its (samples,) at 16 kHz. Of a person, if real speech is at hand."""
    files, wav = sorted((SHARED / "speech").rglob("*.flac")), tmp_path_factory.mktemp("microphone") / "heard.wav"
    sound = read_audio(files[0]).samples if files else simulated_recording(Simulation(), 3, 0)  # (samples,)
    sound = 0.5 * sound[: 8 * 16_000] / np.abs(sound).max()
    soundfile.write(wav, scipy.signal.resample_poly(sound, 441, 160), 44_100)
    return wav, sound


@pytest.fixture(scope="module")
def chrome(heard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    fake = "--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={heard[0]}"
    with chromium(tmp_path_factory.mktemp("chromium"), *fake) as chrome:
        yield chrome


def notebook_of(cells: Sequence[str]) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code.strip()) for code in cells])


def test_lesson_runs_draws_and_slides(chrome, lab, tmp_path):
    with photographed(chrome, tmp_path / "lesson.png"):
        page = Page(chrome, lab, "01_baseline.ipynb", jupytext.read(LESSON))
        training, slider = page.cell("LivePlot("), page.cell("explore(")
        chrome.execute_script(WATCH_PICTURES, training)
        page.run_all()
        page.wait_for_the_end(240)
        assert page.picture(training)["width"] > 100
        assert len(chrome.execute_script("return pictures")) > 2  # no curve yet, and more than one that grew

        before = page.picture(slider)
        assert before["width"] > 100
        slider.find_element(By.CSS_SELECTOR, ".noUi-handle").send_keys(Keys.ARROW_RIGHT * 5)
        page.wait(30, "the slider changes the picture", lambda: page.picture(slider)["pixels"] != before["pixels"])

        explorer = page.cell("explore_mistakes(")
        menu, before = Select(explorer.find_element(By.CSS_SELECTOR, "select")), page.picture(explorer)
        sounds = chrome.execute_script(SOUNDS, explorer)
        assert len(set(sounds)) == 3 and all(sound.startswith("data:audio/wav;base64,") for sound in sounds)
        assert re.fullmatch(r"sim\d{4} taken for sim\d{4}, 0\.\d\d", menu.first_selected_option.text)
        menu.select_by_index(1)
        page.wait(30, "the menu changes the picture", lambda: page.picture(explorer)["pixels"] != before["pixels"])
        page.wait(30, "the menu changes the sounds", lambda: chrome.execute_script(SOUNDS, explorer)[0] != sounds[0])
        assert len(chrome.execute_script(SOUNDS, explorer)) == 3


def test_button_stops_training_with_the_run_saved(chrome, lab, tmp_path):
    with photographed(chrome, tmp_path / "button.png"):
        page = Page(chrome, lab, "button.ipynb", notebook_of(LONG_TRAINING))
        chrome.execute_script(WATCH_PICTURES, page.cell("LivePlot("))
        page.run_all()
        page.wait(120, "the curves were redrawn", lambda: len(chrome.execute_script("return pictures")) > 2)
        page.click("button.jupyter-button", "Stop training")
        page.wait_for_the_end(30)
        assert "resume.pt saved: True" in page.cell("resume.pt").text


def test_a_voice_is_recorded_enrolled_recognised_and_deleted(chrome, lab, heard, simulated, tmp_path):
    shutil.copytree(simulated, lab.folder / "own" / "corpus")
    untrained(lab.folder / "own" / "run", Corpus.open(lab.folder / "own" / "corpus"))
    kept = lab.folder / "own" / "runs" / "own-voice"
    with photographed(chrome, tmp_path / "own_voice.png"):
        page = Page(chrome, lab, "own_voice.ipynb", notebook_of([OWN_VOICE]))
        page.run_all()
        page.wait_for_the_end(120)
        panel = page.cell("own.show()")

        def find(name: str) -> WebElement:
            return page.wait(30, f"there is {name!r}", lambda: panel.find_elements(By.CSS_SELECTOR, f".own-voice .{name}"))[0]

        def press(name: str, then: str) -> None:
            find(name).send_keys(Keys.ENTER)
            page.wait(30, f"the panel says {then!r}", lambda: then in panel.text)

        def allow(setting: str) -> None:
            microphone = {"permission": {"name": "microphone"}, "setting": setting}
            chrome.execute_cdp_cmd("Browser.setPermission", microphone)

        allow("denied")
        press("ask", "The microphone is refused: allow it for this page")
        allow("granted")
        press("record", "Type the name")
        find("name").send_keys("ada/")
        press("record", "cannot be a name here")
        find("name").send_keys(Keys.BACKSPACE)
        press("record", "ada: 1 recording, 2 s")
        find("add-file").click()
        find("file").send_keys(str(heard[0]))
        page.wait(30, "the file is added", lambda: "ada: 2 recordings, 10 s" in panel.text)
        recorded, chosen = (read_audio(kept / "ada" / f"{take:03}.wav").samples for take in (1, 2))  # (samples,) each
        assert len(recorded) == 2 * 16_000 and likeness(recorded, np.tile(heard[1], 2)) > 0.9
        assert len(chosen) == pytest.approx(8 * 16_000, abs=160) and likeness(chosen[8_000:-8_000], heard[1]) > 0.99

        press("enrol", "Enrolled: ada.")
        press("ask", "of strangers would be accepted")
        assert find("answer").text.startswith("ada\nscore ")
        press("delete", "All recordings are deleted")
        assert not kept.exists() and "ada:" not in panel.text


def test_quiz_explains_a_click_and_guess_stores_it(chrome, lab, tmp_path):
    with photographed(chrome, tmp_path / "quiz.png"):
        page = Page(chrome, lab, "student.ipynb", notebook_of(STUDENT))
        page.run_all()
        page.wait_for_the_end(120)
        assert "✗ Your turn: sum the frames, each times its weight." in page.cell("check.pool").text
        assert "stored: None" in page.cell("stored:").text

        quiz = page.cell("quiz(1)")
        asked = questions(1)
        assert all(question.text in quiz.text and choice.text in quiz.text for question in asked for choice in question.choices)
        for question in asked:
            for choice in question.choices:
                assert explain(choice) not in quiz.text
                page.click(".widget-radio-box label", choice.text)
                page.wait(30, "the choice is explained", lambda choice=choice: explain(choice) in quiz.text)

        page.click(".widget-radio-box label", "nhead")
        page.wait(30, "the guess is stored", lambda: "You said nhead. It is kept with the runs." in page.cell("guess(").text)
        assert json.loads((lab.folder / "kept" / "guesses.json").read_text()) == {"Which of the four?": "nhead"}
        page.run_all()
        page.wait(60, "the guess is read", lambda: "stored: nhead" in page.cell("stored:").text)
