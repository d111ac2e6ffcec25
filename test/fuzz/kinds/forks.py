# SPDX-License-Identifier: Apache-2.0
"""Programs that load a model and then fork workers, as pre-forking servers do.

An input is one to four workers at the same time, of a team of one to three threads, perhaps while a thread of
the parent is inside a step, or while another team is set. Every worker generates what it would alone; a
worker that hangs, dies or writes another text is a fault, and so is another text of the parent afterwards.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lumen_mlir import LLM
from lumen_mlir.storage.cache import Cache

GOAL = 1_000
SMOKE = 5
SECONDS = 20.0
MEMORY = None

PROMPTS = ("이 영화", "배우들의 연기", "음악이", "감독이 " * 30)
TOKENS = 8


@dataclass
class State:
    """A model, and what it writes behind each prompt."""

    llm: LLM
    texts: dict[str, str]


def generate(llm: LLM, prompt: str) -> str:
    llm.forget()
    return llm.generate(prompt, max_tokens=TOKENS, temperature=0, ignore_eos=True).text()


def prepare(folder: Path) -> State:
    llm = LLM(cache=Cache(folder / "cache"), threads=1, context=256)
    return State(llm, {prompt: generate(llm, prompt) for prompt in PROMPTS})


def worker(state: State, prompt: str, threads: int | None, deeper: bool) -> int:
    """Starts a worker; its process id. It ends with 0 if its text is right, and with 1 if it is not."""
    child = os.fork()
    if child:
        return child
    # (The alarm's own action ends the process.)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(SECONDS))
    code = 3
    try:
        if threads is not None:
            state.llm.set_threads(threads)
        code = 0 if generate(state.llm, prompt) == state.texts[prompt] else 1
        if deeper and not code:
            code = ended([worker(state, PROMPTS[0], None, False)])[0]
    finally:
        os._exit(code)


def ended(children: list[int]) -> list[int]:
    """Exit codes; of signals their number, negative."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def amid_steps(state: State, work: Callable[[], None]) -> None:
    """Runs ``work`` while another thread runs one step after the other."""
    stop, stepper = threading.Event(), state.llm.stepper()

    def steps() -> None:
        while not stop.is_set():
            stepper.step([1] * 100, 0, 99)

    thread = threading.Thread(target=steps)
    thread.start()
    try:
        work()
    finally:
        stop.set()
        thread.join()
        stepper.close()


def attempt(state: State, rng: random.Random) -> str:
    state.llm.set_threads(rng.choice((1, 1, 2, 3)))
    prompts = [rng.choice(PROMPTS) for _ in range(rng.randrange(1, 5))]
    children: list[int] = []

    def start() -> None:
        for prompt in prompts:
            threads = rng.choice((None, None, None, 1, 2))
            children.append(worker(state, prompt, threads, rng.random() < 0.1))

    busy = rng.random() < 0.4
    if busy:
        amid_steps(state, start)
    else:
        start()
    codes = ended(children)
    assert not any(codes), f"workers ended with {codes} (1: another text, -14: it hung)"
    prompt = rng.choice(PROMPTS)
    assert generate(state.llm, prompt) == state.texts[prompt], "another text in the parent"
    return f"{'busy' if busy else 'idle'} parent"
