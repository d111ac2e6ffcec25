# SPDX-License-Identifier: Apache-2.0
"""Many threads on one scheduler: each gets its own text, whoever leads, and whatever ends early."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from parrot import Bytes, Parrot

import lumen_mlir
from lumen_mlir.data import embedded_model_path
from lumen_mlir.errors import LumenError
from lumen_mlir.generate.cost_curve import CostCurve
from lumen_mlir.generate.generation import Generation
from lumen_mlir.generate.request import Late
from lumen_mlir.generate.sampling import Sampler

TEXT = "오늘 본 영화는 정말 재미있었다. " * 4


def generation(batcher, **options) -> Generation:
    return Generation(batcher, Bytes(), Sampler(temperature=0.0), (1,), **options)


@pytest.fixture
def parrot():
    return Parrot(TEXT.encode())


def test_threads(parrot):
    batcher, texts = parrot.batcher(), []
    # However late some threads get a processor, all texts of a round are there before one is written.
    all_are_there = threading.Barrier(12)

    def work():
        for _ in range(20):
            run = generation(batcher)
            all_are_there.wait()
            texts.append(run.text())

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [TEXT] * 240 and parrot.open_sequences == 0
    # Steps were shared: how many, depends on when threads get a processor to read what is written.
    assert parrot.calls < 240 * len(TEXT.encode())


def test_one_thread_reads_many(parrot):
    """More than there is room for at a time, a piece of each in turn."""
    batcher = parrot.batcher()
    runs = [generation(batcher) for _ in range(30)]
    texts = [""] * len(runs)
    left = set(range(len(runs)))
    while left:
        for number in sorted(left):
            piece = next(runs[number], None)
            if piece is None:
                left.remove(number)
            else:
                texts[number] += piece
    assert texts == [TEXT] * 30 and parrot.open_sequences == 0
    # Steps were shared.
    assert parrot.calls < 30 * len(TEXT.encode()) / 2


def test_who_does_not_read_is_not_written_for(parrot):
    batcher = parrot.batcher()
    slow, fast = generation(batcher), generation(batcher)
    next(slow)
    assert fast.text() == TEXT
    assert len(slow.request.unread) == 4 and len(slow.request.ids) < 12
    assert slow.text() == TEXT[1:] and slow.output == TEXT


def test_polling(parrot):
    batcher = parrot.batcher()
    run = generation(batcher)
    assert run.poll() == "" and run.finish_reason is None
    run.begin()
    text = ""
    while run.finish_reason is None:
        batcher.wait(lambda: run.request.is_ready)
        text += run.poll()
    assert text == TEXT and run.poll() == "" and run.finish_reason == "end"


def test_closing_and_dropping(parrot):
    batcher = parrot.batcher()
    closed, dropped, last = (generation(batcher) for _ in range(3))
    for run in (closed, dropped):
        next(run)
    assert parrot.open_sequences == 2
    closed.close()
    assert list(closed) == [] and closed.finish_reason == "closed" and closed.output == TEXT[0]
    del dropped, run
    gc.collect()
    assert last.text() == TEXT and parrot.open_sequences == 0
    never = generation(batcher)
    never.close()
    assert never.text() == ""


def test_closing_what_another_thread_waits_for(parrot):
    """It stops within a step, although it would never end."""
    parrot.script = [*b"x" * 10_000_000]
    batcher = parrot.batcher()
    run, pieces = generation(batcher), []
    thread = threading.Thread(target=lambda: pieces.extend(run))
    thread.start()
    while not pieces:
        time.sleep(0.001)
    run.close()
    thread.join(5)
    assert not thread.is_alive() and run.finish_reason == "closed" and pieces


def test_timeouts(parrot):
    parrot.script = [*b"x" * 10_000_000]
    batcher = parrot.batcher()
    run = generation(batcher, timeout=0.05)
    with pytest.raises(Late, match="the request was not done in time"):
        run.text()
    assert set(run.output) == {"x"} and parrot.open_sequences == 0
    with pytest.raises(LumenError, match="timeout is -1; a number above 0 was expected"):
        generation(batcher, timeout=-1)


def test_errors_of_steps(parrot, monkeypatch):
    batcher = parrot.batcher()
    runs = [generation(batcher) for _ in range(3)]
    for run in runs:
        run.begin()
    with monkeypatch.context() as patch:
        patch.setattr(parrot, "run", lambda parts: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            next(runs[0])
    # They were in the same step.
    with pytest.raises(ZeroDivisionError):
        next(runs[1])
    assert generation(batcher).text() == TEXT and parrot.open_sequences == 0


def test_the_end_of_a_model(parrot):
    batcher = parrot.batcher()
    run = generation(batcher)
    next(run)
    error = LumenError("the model is closed")
    batcher.close(error)
    with pytest.raises(LumenError, match="the model is closed"):
        run.text()
    with pytest.raises(LumenError, match="the model is closed"):
        generation(batcher).text()
    batcher.close(error)
    assert parrot.open_sequences == 0


def test_closing_while_others_read(parrot):
    parrot.script = [*b"x" * 10_000_000]
    batcher, ends = parrot.batcher(), []

    def work():
        try:
            generation(batcher).text()
        except LumenError as error:
            ends.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while parrot.calls < 100:
        time.sleep(0.001)
    batcher.close(LumenError("over"))
    for thread in threads:
        thread.join(5)
    assert ends == ["over"] * 4


def test_waiting_for_something_else(parrot):
    """Of no text: another thread brings it about, and others are served meanwhile."""
    batcher, event, texts = parrot.batcher(), threading.Event(), []
    waiter = threading.Thread(target=lambda: batcher.wait(event.is_set))
    waiter.start()
    other = threading.Thread(target=lambda: texts.append(generation(batcher).text()))
    other.start()
    other.join(10)
    assert texts == [TEXT] and waiter.is_alive()
    event.set()
    waiter.join(5)
    assert not waiter.is_alive()


def test_not_from_within_a_step(parrot):
    batcher = parrot.batcher()
    run = generation(batcher)
    run.request.draw = lambda logits: generation(batcher).text()
    with pytest.raises(LumenError, match="was asked for a text in the middle of a step"):
        run.text()
    assert generation(batcher).text() == TEXT


INTERRUPTED = """
import os, random, signal, sys, threading, time
from parrot import Bytes, Parrot
import lumen_mlir
from lumen_mlir.generate.generation import Generation
import lumen_mlir
from lumen_mlir.generate.sampling import Sampler

text = "영화 " * 60
parrot = Parrot(text.encode())
batcher = parrot.batcher()
make = lambda: Generation(batcher, Bytes(), Sampler(temperature=0.0), (1,))
wrong, stop = [], threading.Event()

def work():
    while not stop.is_set():
        if make().text() != text:
            wrong.append(1)

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
rng, ready = random.Random(1), threading.Semaphore(0)
def interrupt():
    while ready.acquire() and not stop.is_set():
        time.sleep(rng.random() * 0.01)
        os.kill(os.getpid(), signal.SIGINT)
killer = threading.Thread(target=interrupt)
run = make()
killer.start()
for number in range(50):
    try:
        ready.release()
        while True:
            for piece in run:
                pass
            if run.output != text:
                wrong.append(2)
            run = make()
    except KeyboardInterrupt:
        pass
stop.set()
ready.release()
for thread in [*threads, killer]:
    thread.join()
print(len(wrong), parrot.open_sequences <= 1)
"""


def test_interrupts_at_random_moments():
    """A text that was interrupted is read on; those of other threads do not notice."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    assert (done.stdout, done.stderr) == ("0 True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("has_draft", [False, True])
def test_forks_of_a_compiled_model(has_draft, monkeypatch):
    """A child can use a model that other threads of its parent were using, and its draft."""
    draft = embedded_model_path() if has_draft else None
    llm, stop = lumen_mlir.LLM(sequences=4, threads=2, draft=draft), threading.Event()
    if has_draft:
        # As if guesses cost nothing.
        monkeypatch.setattr(CostCurve, "seconds", lambda self, *_: self is not llm.draft.guesser.costs)
    expected = llm.generate("오늘", 8, seed=3).text()

    def work():
        while not stop.is_set():
            llm.generate("영화는", 24, temperature=0).text()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    rng = random.Random(3)
    for _ in range(8):
        time.sleep(rng.random() * 0.02)
        child = os.fork()
        if not child:
            # (The handlers of fork have run by now.)
            signal.alarm(20)
            try:
                os._exit(llm.generate("오늘", 8, seed=3).text() != expected)
            except BaseException:
                os._exit(2)
        assert _status(child) == 0
    stop.set()
    for thread in threads:
        thread.join()
    llm.close()


def _status(child: int) -> int:
    """The status of a child's end, -1 where it does not come to it."""
    last = time.monotonic() + 20
    while time.monotonic() < last:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forks(parrot):
    """In a child, texts are written as in the parent, or end with a clear error."""
    batcher, stop = parrot.batcher(), threading.Event()

    def work():
        while not stop.is_set():
            assert generation(batcher).text() == TEXT

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    rng, own = random.Random(2), generation(batcher)
    next(own)
    for _ in range(20):
        time.sleep(rng.random() * 0.005)
        child = os.fork()
        if not child:
            signal.alarm(20)
            try:
                try:
                    right = TEXT.endswith(own.text())
                except LumenError as error:
                    right = "forked while another thread computed" in str(error)
                os._exit(0 if right and generation(batcher).text() == TEXT else 1)
            except BaseException:
                os._exit(2)
        assert _status(child) == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert own.text() == TEXT[1:]
