# SPDX-License-Identifier: Apache-2.0
"""Sessions and engines that several threads of Python and forked processes use."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import lumen_mlir
from lumen_mlir.models import Model
from lumen_mlir.reference import ReferenceSession
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.storage.cache import Cache
from lumen_mlir.support.locks import turn_lock
from lumen_mlir.testing.synthetic import Shape, write_synthetic

ODD = Shape(96, 2, 3, 1, 32, 160, 301, 1024, False)
LENGTHS = (1, 3, 16, 50)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    path = tmp_path_factory.mktemp("models") / "odd.gguf"
    write_synthetic(path, ODD, "q8_0", seed=3)
    return Model.open(path)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def session(model, cache, threads=2) -> Stepper:
    return Stepper(model, SessionOptions(threads=threads, context=64, chunk=64), cache=cache)


def prompt(length: int) -> list[int]:
    return [(7 * i + length) % ODD.vocabulary for i in range(length)]


def in_child(work: Callable[[], object], seconds: float = 60) -> int:
    """Starts a child that runs ``work``; its process id. It ends with 0 if ``work`` does, and never hangs."""
    child = os.fork()
    if child:
        return child
    # (The alarm's own action ends the process.)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(seconds))
    try:
        work()
    except BaseException as error:
        os.write(2, repr(error).encode())
        os._exit(1)
    os._exit(0)


def wait(children: list[int]) -> list[int]:
    return [os.waitpid(child, 0)[1] for child in children]


@pytest.fixture
def fast_switches():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def at_once(works: list[Callable[[], None]]) -> None:
    """Runs all of them in threads, and raises what one of them raised."""
    failures = []

    def run(work):
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_of_several_threads(model, cache, threads, fast_switches):
    """Every thread finds its own logits, in memory of its own or in an array that it gave."""
    run = session(model, cache, threads)
    expected = {length: run.step(prompt(length), 0).copy() for length in LENGTHS}

    def work(length: int, given: bool) -> None:
        out = np.empty_like(expected[length]) if given else None
        for _ in range(20):
            logits = run.step(prompt(length), 0, out=out)
            time.sleep(0)
            np.testing.assert_array_equal(logits, expected[length])

    at_once([lambda n=n, given=given: work(n, given) for n in LENGTHS for given in (False, True)])


def test_reference_steps_of_several_threads(model):
    run = ReferenceSession(model, context=16)
    expected = {length: run.step(prompt(length), 0).copy() for length in (1, 3)}

    def work(length: int) -> None:
        for _ in range(3):
            np.testing.assert_allclose(run.step(prompt(length), 0), expected[length], rtol=1e-6)

    at_once([lambda n=n: work(n) for n in expected])


def test_teams_change_while_steps_run(model, cache, fast_switches):
    run = session(model, cache)
    expected = run.step(prompt(16), 0).copy()

    def steps():
        for _ in range(50):
            np.testing.assert_array_equal(run.step(prompt(16), 0), expected)

    def teams():
        for i in range(50):
            run.set_threads(1 + i % 3)

    at_once([steps, steps, teams])


ADD = """
func.func @f(%x: tensor<?x32xf32>, %y: tensor<?x32xf32>) -> tensor<?x32xf32> {
  %z = lumen.add %x, %y : tensor<?x32xf32>
  return %z : tensor<?x32xf32>
}"""


def test_a_call_that_several_threads_set(fast_switches):
    """Its arguments always fit together while it runs, and stay alive."""
    engine = lumen_mlir.compile(ADD, threads=2, use_cache=False)
    call = engine.bind("f", *[np.ones((8, 32), np.float32)] * 2)
    failures = []

    def work(value: float) -> None:
        for _ in range(300):
            call.set(0, np.full((8, 32), value, np.float32))
            call.run()
            # A copy: the other thread may run it again.
            if not np.isin(call.results[0].copy(), (2, 3)).all():
                failures.append(value)

    at_once([lambda: work(1), lambda: work(2)])
    assert not failures


@pytest.mark.parametrize("threads", [1, 3])
def test_forked_workers(model, cache, threads):
    """Workers that run at the same time share nothing that is written."""
    run = session(model, cache, threads)
    expected = {length: run.step(prompt(length), 0).copy() for length in LENGTHS}

    def work(length: int) -> None:
        for _ in range(20):
            np.testing.assert_array_equal(run.step(prompt(length), 0), expected[length])

    children = [in_child(lambda n=n: work(n)) for n in LENGTHS for _ in range(2)]
    work(3)
    assert wait(children) == [0] * len(children)
    # And a worker's worker, which begins with the threads that the worker started.
    (status,) = wait([in_child(lambda: (work(1), wait([in_child(lambda: work(16))]) == [0] or os._exit(2)))])
    assert status == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_fork_while_another_thread_steps(model, cache, threads):
    run = session(model, cache, threads)
    expected = {length: run.step(prompt(length), 0).copy() for length in (3, 50)}
    stop = threading.Event()

    def keep_stepping():
        while not stop.is_set():
            run.step(prompt(50), 0)

    def work():
        np.testing.assert_array_equal(run.step(prompt(3), 0), expected[3])
        run.set_threads(2)
        np.testing.assert_array_equal(run.step(prompt(50), 0), expected[50])

    thread = threading.Thread(target=keep_stepping)
    thread.start()
    try:
        children = []
        for _ in range(20):
            time.sleep(0.002)
            children.append(in_child(work))
        assert wait(children) == [0] * len(children)
    finally:
        stop.set()
        thread.join()
    np.testing.assert_array_equal(run.step(prompt(3), 0), expected[3])


def test_locks_after_a_fork():
    """Free, unless the thread that forks holds them."""
    mine, theirs = turn_lock(), turn_lock()
    held, release = threading.Event(), threading.Event()

    def hold():
        with theirs:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()

    def check():
        assert theirs.acquire(timeout=1)
        # It is this thread's still: releasing it is no error.
        mine.release()

    with mine:
        (status,) = wait([in_child(check)])
        assert not theirs.acquire(blocking=False)
    release.set()
    thread.join()
    assert status == 0


def test_an_interrupt_leaves_all_in_order(model, cache):
    """Ctrl-C at any moment: the next steps are as ever, and no lock is held."""
    run = session(model, cache)
    expected = {length: run.step(prompt(length), 0).copy() for length in LENGTHS}
    reader, writer = os.pipe()

    def work():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupts = 0
        for round_ in range(200):
            try:
                os.write(writer, b"x")
                while True:
                    run.step(prompt(LENGTHS[round_ % 4]), 0)
            except KeyboardInterrupt:
                interrupts += 1
            length = LENGTHS[(round_ + 1) % 4]
            np.testing.assert_array_equal(run.step(prompt(length), 0), expected[length])
        thread = threading.Thread(target=run.step, args=([1], 0))
        thread.start()
        thread.join(10)
        assert interrupts == 200 and not thread.is_alive()

    child = in_child(work)
    for i in range(200):
        assert select.select([reader], [], [], 60)[0]
        os.read(reader, 1)
        time.sleep(0.0001 * (i % 20))
        os.kill(child, signal.SIGINT)
    assert wait([child]) == [0]
