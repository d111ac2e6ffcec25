# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C beside other threads: an interrupt never leaves a lock of Python's library held.

Many locks of ``threading`` and ``concurrent.futures`` are written in Python. An interrupt can raise its
exception after such a lock is taken and before the statement that would release it: whoever takes it next
then waits for ever.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


# The thread that holds interrupts, and those that wait.
_held: tuple[int, list[tuple]] | None = None


@contextmanager
def interrupts_held() -> Iterator[list[tuple]]:
    """Inside, SIGINT waits; its handler is called at the end of the outermost block. For what takes no time.

    The list is empty as long as none waits.
    """
    global _held
    if _held is not None and _held[0] == threading.get_ident():
        # To exchange handlers takes longer than much that is done inside.
        yield _held[1]
        return
    came: list[tuple] = []
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield came
        return
    signal.signal(signal.SIGINT, lambda *what: came.append(what))
    try:
        _held = threading.get_ident(), came
        yield came
    finally:
        _held = None
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(*came[0])


class Job(Generic[T]):
    """A function that a thread of ``pool`` calls, which the main thread may wait for."""

    def __init__(self, pool: Executor, function: Callable[[], T]):
        # Its lock is not written in Python.
        self._ended: queue.SimpleQueue = queue.SimpleQueue()
        self._over = False
        with interrupts_held():
            self._future = pool.submit(function)
            self._future.add_done_callback(self._ended.put)

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until it has ended, but at most so long; whether it has."""
        if not self._over:
            try:
                self._ended.get(timeout=seconds)
                self._over = True
            except queue.Empty:
                pass
        return self._over

    def result(self) -> T:
        """What the function returned, when it has; its exception is raised."""
        self.wait()
        with interrupts_held():
            return self._future.result()
