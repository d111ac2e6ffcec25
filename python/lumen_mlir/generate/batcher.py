# SPDX-License-Identifier: Apache-2.0
"""Lets any number of threads use one scheduler.

There is no thread in the background. Of the threads that wait for a token, one leads: it runs steps, for all
requests, until it has its own token. Then another one that still waits leads. So a single text is written
without any change of threads, and many texts share every step.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.request import DONE, Request
from lumen_mlir.generate.scheduler import Scheduler
from lumen_mlir.support.interrupts import interrupts_held
from lumen_mlir.support.locks import turn_lock

# Between two looks at what to do, where there is nothing.
_IDLE_SECONDS = 0.001

_batchers: weakref.WeakSet[Batcher] = weakref.WeakSet()


class Batcher:
    """Requests of many threads, computed together.

    Interrupts (Ctrl-C) are held back while a thread leads, at most for a step: no step is left half-done.

    Args:
      scheduler: which nobody else uses.
    """

    def __init__(self, scheduler: Scheduler):
        self._scheduler = scheduler
        # What other threads want of the scheduler, until the one that leads sees to it.
        self._inbox: SimpleQueue[Request] = SimpleQueue()
        # Held for an instant, while the three below change.
        self._mutex = turn_lock()
        self._leader: int | None = None
        self._waiting: list[SimpleQueue[None]] = []
        self._closed: LumenError | None = None
        _batchers.add(self)

    @property
    def context(self) -> int:
        """Most tokens of a text."""
        return self._scheduler.steps.context

    def submit(self, request: Request) -> None:
        """Takes a request on. Raises ``LumenError`` where it can never be computed."""
        if self._closed is not None:
            raise self._closed
        self._scheduler.check(request)
        self._inbox.put(request)

    def cancel(self, request: Request) -> None:
        """Gives a request up, at the next step. May be called at any time, also by a finalizer."""
        self._scheduler.cancel(request)

    def wait(self, is_ready: Callable[[], bool]) -> None:
        """Returns when ``is_ready``: when a request has a token that nobody has read, say, or is done."""
        while not is_ready():
            with interrupts_held() as came:
                news = self._lead_or_join(is_ready, came)
            if news is not None:
                news.get()

    def compute(self, request: Request) -> None:
        """Submits a request and waits for its end. Raises what has ended it, if it was no end of its own."""
        self.submit(request)
        try:
            self.wait(lambda: request.state == DONE)
        except BaseException:
            self.cancel(request)
            raise
        if request.error is not None:
            raise request.error

    def close(self, error: LumenError) -> None:
        """Ends all requests, and refuses new ones, with ``error``."""
        self._closed = error
        # Done by whoever leads: this thread, unless another one does.
        end = Request([0], lambda logits: None, most=2, cancelled=True)
        self._inbox.put(end)
        self.wait(lambda: end.state == DONE)

    def forget(self) -> None:
        """Empties the KV cache; requests that are computed go on, and compute their texts once more."""
        with interrupts_held():
            while True:
                with self._mutex:
                    news = self._take_lead()
                if news is None:
                    break
                news.get()
            try:
                self._scheduler.restart()
                self._scheduler.forget()
            finally:
                self._leave()

    # --- leading --------------------------------------------------------------------------------------------

    def _take_lead(self) -> SimpleQueue[None] | None:
        """None where this thread leads from now on; else what tells of news. With ``_mutex``."""
        if self._leader == threading.get_ident():
            raise LumenError("the model was asked for a text in the middle of a step")
        if self._leader is not None:
            news: SimpleQueue[None] = SimpleQueue()
            self._waiting.append(news)
            return news
        self._leader = threading.get_ident()
        return None

    def _lead_or_join(self, is_ready: Callable[[], bool], came: list) -> SimpleQueue[None] | None:
        with self._mutex:
            news = self._take_lead()
        if news is not None:
            return news
        try:
            while not came:
                self._read_inbox()
                if is_ready():
                    break
                if not self._scheduler.step():
                    # What this thread waits for is not to be computed: another one has to bring it about.
                    time.sleep(_IDLE_SECONDS)
                self._tell()
        finally:
            self._leave()
        return None

    def _leave(self) -> None:
        with self._mutex:
            self._leader = None
        # One of them leads from now on.
        self._tell()

    def _tell(self) -> None:
        """Wakes all that wait."""
        with self._mutex:
            waiting, self._waiting = self._waiting, []
        for news in waiting:
            news.put(None)

    def _read_inbox(self) -> None:
        while not self._inbox.empty():
            request = self._inbox.get()
            if self._closed is not None:
                request.error, request.state = self._closed, DONE
                continue
            try:
                self._scheduler.submit(request)
            except LumenError as error:
                request.error, request.state = error, DONE
        if self._closed is not None:
            self._scheduler.end(self._closed)

    def _begin_again_in_child(self) -> None:
        """After a fork: of the threads, only this one is left."""
        self._waiting = []
        if self._leader not in (None, threading.get_ident()):
            # The fork came in the middle of a step, of which nothing can be said.
            self._leader = None
            self._scheduler.abandon(LumenError("the process was forked while another thread computed"))


def _after_fork() -> None:
    for batcher in list(_batchers):
        batcher._begin_again_in_child()


# Functions run in the order in which they are registered: behind the one that frees locks.
os.register_at_fork(after_in_child=_after_fork)
