# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C at any moment leaves no lock held that another thread waits for."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lumen_mlir.support.interrupts import Job, interrupts_held


class _Interrupted(ThreadPoolExecutor):
    """Ctrl-C comes while a job is handed over."""

    def submit(self, *arguments, **named):
        signal.raise_signal(signal.SIGINT)
        return super().submit(*arguments, **named)


def test_an_interrupt_waits():
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_held():
        signal.raise_signal(signal.SIGINT)
        done.append("all")
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_handler_that_was_there_is_called():
    calls = []
    before = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert calls == []
        assert calls == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_where_interrupts_are_ignored_they_stay_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_hold_nothing():
    seen = []

    def work():
        with interrupts_held():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_a_job_is_handed_over_whole():
    begun, go_on = threading.Event(), threading.Event()

    def work():
        begun.set()
        go_on.wait(60)

    with _Interrupted(1) as pool:
        with pytest.raises(KeyboardInterrupt):
            Job(pool, work)
        assert begun.wait(60), "the job is lost"
        go_on.set()


def test_jobs():
    go_on = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        job = Job(pool, lambda: go_on.wait(60))
        assert not job.wait(0.01)
        go_on.set()
        assert job.wait(60) and job.wait() and job.result() and job.result()
        with pytest.raises(ZeroDivisionError):
            Job(pool, lambda: 1 / 0).result()


def test_blocks_within_blocks():
    """An interrupt waits for the end of the outermost one, which the others tell of."""
    reached = []
    with pytest.raises(KeyboardInterrupt), interrupts_held() as outer:
        with interrupts_held() as inner:
            signal.raise_signal(signal.SIGINT)
            reached.append(len(inner))
        reached.append(len(outer))
    assert reached == [1, 1]
    with interrupts_held() as came:
        assert not came
