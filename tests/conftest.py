"""What many tests share: small corpora, real speech where it is at hand, the command line."""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from speaker_lib import Corpus, CorpusWriter, Run, train
from speaker_lib.cli.main import main
from speaker_lib.simulation.corpus import Simulation, simulate

from .runs import PRESET

SHARED = Path(__file__).resolve().parents[2] / "shared"  # beside the checkout, where it exists
SMALL = Simulation(speakers=4, utterances=10, test_utterances=2, sessions=3, seed=1)


def pytest_configure() -> None:
    # A shell starts what it runs in the background deaf to Ctrl-C, and that is inherited: no test of an interruption would end.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def write_corpus(out: Path, n_speakers: int = 3, n_utterances: int = 8, n_test: int = 4, shortest: int = 90) -> Path:
    """A corpus of random features whose speakers differ in their mean spectrum: quick to make, easy to learn."""
    rng = np.random.default_rng(0)
    spectra = rng.normal(-3.0, 2.0, (n_speakers, 40))
    with CorpusWriter(out, "random numbers") as writer:
        for i in range(n_speakers * n_utterances + n_test):
            speaker, n_frames = i % n_speakers, shortest + 37 * i % 200
            mel = rng.normal(spectra[speaker], 1.0, (n_frames, 40)).astype(np.float32)
            if i < n_speakers * n_utterances:
                writer.add(mel, f"speaker{speaker}", session=f"day {i // n_speakers % 4}")
            else:
                writer.add_test(mel)
    return out


@pytest.fixture
def corpus_folder(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus")


@pytest.fixture
def corpus(corpus_folder: Path) -> Corpus:
    return Corpus.open(corpus_folder)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of `PRESET` over the data of `corpus`, from the first step to the last; tests only read it."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    corpus = Corpus.open(write_corpus(folder / "corpus"))
    train(run := Run.create(folder / "run", PRESET, corpus), corpus)
    return run


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four simulated voices; tests only read it."""
    out = tmp_path_factory.mktemp("simulated") / "voices"
    simulate(out, SMALL, workers=1)
    return out


@pytest.fixture(scope="session")
def speech() -> Path:
    return _shared("speech")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True
    )
    if not made or made.returncode:
        pytest.skip("a full disk cannot be tried here: mounting a small tmpfs is not allowed")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"real speech is not at hand: no ../shared/{name} beside the checkout")
    return folder


def command(*arguments: object, **options: object) -> subprocess.CompletedProcess:
    """Runs ``python -m speaker_lib`` as a user would, in a process of its own."""
    return subprocess.run(command_line(*arguments), capture_output=True, text=True, timeout=600, **options)


def call(*arguments: object) -> subprocess.CompletedProcess:
    """What `command` returns, from this process: no Python has to start and load PyTorch."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors) for errors in ("strict", "backslashreplace"))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(map(str, arguments)))
        except SystemExit as end:  # argparse's own
            code = end.code
        out.flush(), err.flush()
    return subprocess.CompletedProcess(arguments, code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode())


def command_line(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "speaker_lib", *map(str, arguments)]


def wait_for(happened: Callable[[], bool], process: subprocess.Popen) -> None:
    """Until ``happened()`` is true; fails if ``process``, which is to bring it about, ends or takes two minutes."""
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, "the process ended too early"
        assert time.monotonic() < deadline, "waited two minutes in vain"
        time.sleep(0.02)
