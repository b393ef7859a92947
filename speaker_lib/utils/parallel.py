"""An ordered map over several processes, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

import torch

from .errors import ConfigError, SpeakerError
from .progress import progress_bar

Item, Result = TypeVar("Item"), TypeVar("Result")
_MAIN_HIDDEN = threading.Lock()  # two threads that hide the user's script at once would lose it


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    description: str,
    unit: str,
    workers: int | None = None,
    ahead: int = 64,
) -> Iterator[Result]:
    """Yields what `parallel_results` does, with a bar that counts the items."""
    with progress_bar(len(items), description, unit) as bar:
        for result in parallel_results(function, items, workers, ahead):
            bar.update()
            yield result


def parallel_results(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None, ahead: int = 64
) -> Iterator[Result]:
    """Yields ``function(item)`` for each item, in order, from ``workers`` processes (default: one per core).

    Besides the items in work, ``ahead`` more are queued.  After an interruption queued items are still worked on, because no
    pool takes back what it has been given: queue none where an item takes long.

    ``function`` must be importable by name, so that a fresh process can find it. Raises ConfigError for less than one worker.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}: choose a whole number from 1 up.")
    workers = min(workers or available_cores(), len(items))
    if workers <= 1:
        yield from map(function, items)
        return
    # A forked copy of a process that runs PyTorch threads can hang; a fresh one cannot.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool:
        try:
            waiting = iter(items)
            running = deque(_submit(pool, function, item) for item in islice(waiting, workers + ahead))
            while running:
                result = running.popleft().result()
                running.extend(_submit(pool, function, item) for item in islice(waiting, 1))
                yield result
        except BrokenProcessPool:
            raise SpeakerError("a worker process was ended, likely for lack of memory: try it with fewer workers.") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def available_cores() -> int:
    """The cores this process may use, which on a shared machine are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin_worker() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without it, a worker whose parent was killed, as notebook kernels are, would wait for work for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _submit(pool: ProcessPoolExecutor, function: Callable[[Item], Result], item: Item) -> Future[Result]:
    """Submits an item, which may start a process, without that process running the user's script again.

    Python would run it to find functions in it, and a script without ``if __name__ == "__main__"`` would end in an error.
    What runs in parallel here is defined in modules.
    """
    with _MAIN_HIDDEN:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            return pool.submit(function, item)
        finally:
            sys.modules["__main__"] = main
