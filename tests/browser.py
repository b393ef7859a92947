"""A real browser and a JupyterLab for tests, and a notebook in them."""

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

import nbformat
import pytest
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tools.site import BROWSER

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
# The pixels, not the address: a widget's picture gets a new address whenever it is set, to the same picture, too.
PICTURE = """
const image = arguments[0].querySelector('.jp-OutputArea-output img'), canvas = document.createElement('canvas');
if (!image?.complete) return null;
[canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
canvas.getContext('2d').drawImage(image, 0, 0);
return {width: canvas.width, pixels: canvas.toDataURL()};
"""


class Lab(NamedTuple):
    url: str
    token: str
    folder: Path  # that it shows


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


@contextlib.contextmanager
def chromium(home: Path, *flags: str) -> Iterator[Chrome]:
    """A browser of its own, with its files in an empty folder."""
    driver = shutil.which("chromedriver")
    if BROWSER is None or driver is None:
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = BROWSER
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
