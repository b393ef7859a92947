"""The lessons as a reader meets them: JupyterLab in a real browser, its menu, its pictures, its slider and its button."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jupytext
import nbformat
import pytest
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from speaker_lib.course.quizzes import explain, questions

LESSON = Path(__file__).parents[1] / "notebooks" / "01_baseline.py"
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1400,2000"
)
# A reader's JupyterLab but for two things: nothing is fetched, and cells out of sight are on the page as well.
LAB_SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
# A notebook without a kernel is called idle, too.
IDLE = """
const status = document.querySelector('.jp-Notebook-ExecutionIndicator'), kernel = document.querySelector('.jp-KernelName');
return status?.dataset.status == 'idle' && !['', 'No Kernel', undefined].includes(kernel?.innerText);
"""
CELLS = ".jp-Notebook .jp-CodeCell"
RED = ".jp-Notebook [data-mime-type$='.error'], .jp-Notebook [data-mime-type$='.stderr']"  # to a reader both are errors
PROMPTS = f"return [...document.querySelectorAll('{CELLS} .jp-InputPrompt')].map(prompt => prompt.innerText.trim())"
# Every picture that is ever in the cell, once, in the order in which they came.
WATCH_PICTURES = """
const cell = arguments[0], pictures = window.pictures = [];
new MutationObserver(() => {
    for (const image of cell.querySelectorAll('.jp-RenderedImage img'))
        if (image.src && !pictures.includes(image.src)) pictures.push(image.src);
}).observe(cell, {subtree: true, childList: true, attributes: true});
"""
# The pixels, not the address: a widget's picture gets a new address whenever it is set, to the same picture, too.
PICTURE = """
const image = arguments[0].querySelector('.jp-OutputArea-output img'), canvas = document.createElement('canvas');
if (!image?.complete) return null;
[canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
canvas.getContext('2d').drawImage(image, 0, 0);
return {width: canvas.width, pixels: canvas.toDataURL()};
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


class Lab(NamedTuple):
    url: str
    token: str
    folder: Path  # that it shows


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with jupyterlab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@contextlib.contextmanager
def jupyterlab(home: Path) -> Iterator[Lab]:
    """A server of its own, with its files in an empty folder."""
    token, root, log = secrets.token_hex(), home / "root", home / "server.log"
    root.mkdir(parents=True)
    for name, values in LAB_SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    own = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "IPYTHONDIR": str(home / "ipython"), "JUPYTER_TOKEN": token}
    environment = {**os.environ, **own, "SPEAKER_PROFILE": "smoke"}
    environment.pop("SPEAKER_DATA", None)
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", f"--ServerApp.root_dir={root}"]
    command = [sys.executable, "-m", "jupyterlab", *options]
    with log.open("w") as file, subprocess.Popen(command, env=environment, stdout=file, stderr=file) as server:
        try:
            yield Lab(url_of(server, home / "runtime", log), token, root)
        finally:
            server.terminate()  # and it ends its kernels
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()


def url_of(server: subprocess.Popen, runtime: Path, log: Path) -> str:
    """Where the server listens: it chose the port itself."""
    info, end = runtime / f"jpserver-{server.pid}.json", time.monotonic() + 60
    while not (info.exists() and info.read_text().endswith("}")):
        assert server.poll() is None and time.monotonic() < end, f"JupyterLab does not start:\n{log.read_text()}"
        time.sleep(0.1)
    return json.loads(info.read_text())["url"]


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as chrome:
        yield chrome


@contextlib.contextmanager
def chromium(home: Path, *flags: str) -> Iterator[Chrome]:
    """A browser of its own, with its files in an empty folder."""
    browser, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = browser
    for flag in [*FLAGS.split(), *flags, f"--user-data-dir={home}"]:
        options.add_argument(flag)
    with Chrome(options, ChromeService(driver)) as chrome:
        yield chrome


class Page:
    """A notebook in the browser."""

    def __init__(self, chrome: Chrome, lab: Lab, name: str, notebook: nbformat.NotebookNode) -> None:
        self.chrome = chrome
        self.sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, lab.folder / name)
        chrome.get(f"{lab.url}lab/tree/{name}?token={lab.token}&reset")
        self.wait(60, "all cells are there", lambda: len(chrome.execute_script(PROMPTS)) == len(self.sources))
        self.wait(60, "the kernel is ready", lambda: chrome.execute_script(IDLE))

    def cell(self, code: str) -> WebElement:
        """The first cell with that in its source; an editor keeps only the lines in sight on the page."""
        index = next(i for i, source in enumerate(self.sources) if code in source)
        return self.chrome.find_elements(By.CSS_SELECTOR, CELLS)[index]

    def run_all(self) -> None:
        self.click(".lm-MenuBar-itemLabel", "Run")
        self.click(".lm-Menu-itemLabel", "Run All Cells")

    def click(self, selector: str, text: str) -> None:
        def found() -> WebElement | None:
            elements = self.chrome.find_elements(By.CSS_SELECTOR, selector)
            return next((element for element in elements if element.text.strip() == text and element.is_displayed()), None)

        self.wait(30, f"there is {text!r} to click on", found).click()

    def wait_for_the_end(self, seconds: float) -> None:
        """Of all cells, or of the one with an error."""

        def ended() -> bool:
            prompts = self.chrome.execute_script(PROMPTS)
            return "[1]:" in prompts and "[*]:" not in prompts and self.chrome.execute_script(IDLE)

        self.wait(seconds, "every cell has run", ended)
        red = self.chrome.find_elements(By.CSS_SELECTOR, RED)
        assert [output.text for output in red] == []
        assert re.fullmatch(r"\[\d+\]:", self.chrome.execute_script(PROMPTS)[-1])

    def picture(self, cell: WebElement) -> dict[str, object]:
        """The first picture that a cell shows now: its width and its pixels."""
        return self.wait(30, "the cell shows a picture", lambda: self.chrome.execute_script(PICTURE, cell))

    def wait(self, seconds: float, what: str, condition: Callable[[], Any]) -> Any:
        wait = WebDriverWait(self.chrome, seconds, 0.1, [StaleElementReferenceException])  # the page may be changing
        return wait.until(lambda _: condition(), f"not in {seconds} s: {what}")


@contextlib.contextmanager
def photographed(chrome: Chrome, file: Path) -> Iterator[None]:
    """A failure inside leaves a picture of the page, and says where."""
    try:
        yield
    except (AssertionError, WebDriverException) as error:
        chrome.save_screenshot(str(file))
        raise AssertionError(f"{error}\nthe page at that moment: {file}") from error


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


def test_button_stops_training_with_the_run_saved(chrome, lab, tmp_path):
    with photographed(chrome, tmp_path / "button.png"):
        cells = [nbformat.v4.new_code_cell(code.strip()) for code in LONG_TRAINING]
        page = Page(chrome, lab, "button.ipynb", nbformat.v4.new_notebook(cells=cells))
        chrome.execute_script(WATCH_PICTURES, page.cell("LivePlot("))
        page.run_all()
        page.wait(120, "the curves were redrawn", lambda: len(chrome.execute_script("return pictures")) > 2)
        page.click("button.jupyter-button", "Stop training")
        page.wait_for_the_end(30)
        assert "resume.pt saved: True" in page.cell("resume.pt").text


def test_quiz_explains_a_click_and_guess_stores_it(chrome, lab, tmp_path):
    with photographed(chrome, tmp_path / "quiz.png"):
        cells = [nbformat.v4.new_code_cell(code.strip()) for code in STUDENT]
        page = Page(chrome, lab, "student.ipynb", nbformat.v4.new_notebook(cells=cells))
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
