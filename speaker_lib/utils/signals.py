"""Ctrl-C and SIGTERM stop training after the current step, so that what is saved is complete."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

STOP = threading.Event()  # set in a worker process whose parent was interrupted, maybe before the worker began to train


@contextlib.contextmanager
def stop_on_interrupt(n_processes: int = 1) -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether Ctrl-C or SIGTERM arrived, or ``STOP`` is set. A second one interrupts at once.

    With several processes a second one does nothing: for one Ctrl-C the terminal and ``torchrun`` each send a signal.
    """
    pressed = threading.Event()

    def remember(signum: int, frame: object) -> None:
        if pressed.is_set() and n_processes == 1:
            raise KeyboardInterrupt
        pressed.set()

    if threading.current_thread() is not threading.main_thread():
        yield STOP.is_set  # Python handles signals in the main thread only
        return
    previous = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: pressed.is_set() or STOP.is_set()
    finally:
        for number, handler in previous.items():
            if handler is not None:  # None: set by a C library, so Python cannot restore it
                signal.signal(number, handler)
