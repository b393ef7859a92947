"""An ordered map over several processes, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import TypeVar

import torch

from .errors import ConfigError, SpeakerError
from .progress import progress_bar
from .signals import STOP

T, R = TypeVar("T"), TypeVar("R")
_MAIN_HIDDEN = threading.Lock()  # two threads that replace ``__main__`` at once would lose it


def parallel_map(
    function: Callable[[T], R], items: Sequence[T], description: str, unit: str, workers: int | None = None, ahead: int = 64
) -> Iterator[R]:
    """`parallel_results` with a progress bar."""
    with progress_bar(len(items), description, unit) as bar:
        for result in parallel_results(function, items, workers, ahead):
            bar.update()
            yield result


def parallel_results(function: Callable[[T], R], items: Sequence[T], workers: int | None = None, ahead: int = 64) -> Iterator[R]:
    """Yields ``function(item)`` for each item, in order, from ``workers`` processes (default: one per core).

    ``function`` must be importable by name.  Each worker has one item, and ``ahead`` more are queued.  After an interruption
    the queued items are still processed, because a pool cannot cancel them: queue none if an item takes long.  Training stops
    in the workers, too, whether or not the signal reached them.

    Raises ConfigError for less than one worker, and SpeakerError if a worker is killed.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}: choose a whole number from 1 up.")
    workers = min(workers or available_cores(), len(items))
    if workers <= 1:
        yield from map(function, items)
        return
    # A fork of a process with PyTorch threads can hang; a fresh process cannot.
    context = multiprocessing.get_context("spawn")
    followed, held = context.Pipe(duplex=False)  # workers see its end when it is closed here, or when this process is killed
    with followed, held, ProcessPoolExecutor(workers, context, _begin_worker, (followed,)) as pool:
        try:
            waiting = iter(items)
            running = deque(_submit(pool, function, item) for item in islice(waiting, workers + ahead))
            while running:
                result = running.popleft().result()
                running.extend(_submit(pool, function, item) for item in islice(waiting, 1))
                yield result
        except BrokenProcessPool:
            raise SpeakerError("a worker process was killed, likely for lack of memory: use fewer workers.") from None
        except BaseException:
            held.close()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def available_cores() -> int:
    """The number of cores that this process may use; a shared machine has more."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin_worker(followed: Connection) -> None:
    """Ctrl-C reaches all processes of a terminal or a kernel: only the parent answers it, and workers that are training."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    torch.set_num_threads(1)
    threading.Thread(target=_follow_parent, args=(followed,), daemon=True).start()


def _follow_parent(followed: Connection) -> None:
    """Stops training when the parent is interrupted, and ends with it: after a kernel is killed, workers would wait forever."""
    wait([followed])
    STOP.set()
    multiprocessing.parent_process().join()
    os._exit(1)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C back. A process that starts meanwhile begins so, and prints no traceback while it still imports."""
    if not hasattr(signal, "pthread_sigmask"):  # as on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _submit(pool: ProcessPoolExecutor, function: Callable[[T], R], item: T) -> Future[R]:
    """Submits an item with ``__main__`` hidden, so that a process that starts now does not run the user's script again.

    A script without ``if __name__ == "__main__"`` would fail in it.  The functions here are all found in modules.
    """
    with _MAIN_HIDDEN, _uninterrupted():
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            return pool.submit(function, item)
        finally:
            sys.modules["__main__"] = main
