import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from speaker_lib.utils.errors import ConfigError, SpeakerError
from speaker_lib.utils.parallel import parallel_map
from speaker_lib.utils.signals import stop_on_interrupt

from .conftest import wait_for

REPO = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers):
    assert list(parallel_map(abs, [-3, 1, -2], "Count", "number", workers)) == [3, 1, 2]


def test_a_worker_that_dies_is_a_sentence():
    with pytest.raises(SpeakerError, match="fewer workers"):
        list(parallel_map(os._exit, [1, 1], "Die", "worker", 2))


def test_at_least_one_worker_is_needed():
    with pytest.raises(ConfigError, match="workers is 0"):
        list(parallel_map(abs, [1], "Count", "number", 0))


def test_two_threads_may_each_have_a_pool(monkeypatch):
    main, barrier = sys.modules["__main__"], threading.Barrier(2)
    monkeypatch.setitem(sys.modules, "__main__", main)  # put back, should this fail

    def count() -> None:
        barrier.wait()
        list(parallel_map(abs, range(8), "Count", "number", workers=2))

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sys.modules["__main__"] is main


def test_a_handler_that_python_did_not_set_is_left_alone(monkeypatch):
    """`signal.signal` returns None for such a one, and None cannot be set again."""
    put_back = signal.signal
    monkeypatch.setattr(signal, "signal", lambda number, handler: put_back(number, handler) if handler is None else None)
    with stop_on_interrupt() as interrupted:
        assert not interrupted()


def test_after_an_interruption_nothing_new_begins(tmp_path):
    results = parallel_map(Path.touch, [tmp_path / str(i) for i in range(12)], "Work", "piece", workers=2, ahead=0)
    next(results)
    results.close()
    for worker in multiprocessing.active_children():
        worker.join(timeout=120)  # it ends when it has nothing left to do
    assert multiprocessing.active_children() == []
    assert 1 <= len(list(tmp_path.iterdir())) <= 3


def linger(path: Path) -> None:
    path.touch()
    time.sleep(600)


def test_no_worker_outlives_a_killed_parent(tmp_path):
    script = (
        "import sys; from tests.test_parallel import Path, linger, parallel_map\n"
        "list(parallel_map(linger, [Path(path) for path in sys.argv[1:]], 'Wait', 'worker', 2))"
    )
    paths = [tmp_path / "one", tmp_path / "two"]
    parent = subprocess.Popen([sys.executable, "-c", script, *map(str, paths)], stdout=subprocess.PIPE, cwd=REPO)
    try:
        wait_for(lambda: all(path.exists() for path in paths), parent)
    finally:
        parent.kill()
    parent.communicate(timeout=60)  # it ends when no process is left that could write to it
