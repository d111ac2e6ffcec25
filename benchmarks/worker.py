# SPDX-License-Identifier: Apache-2.0
"""How a benchmark talks to an engine: one line of JSON asks for a run, one answers.

A worker is a process that has a model open and waits between runs, so that engines can take turns every few
seconds and neither pays for opening the model again. Workers run in environments of their own and use nothing
but the standard library besides their engine.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol


class Engine(Protocol):
    """What a worker needs of an engine."""

    vocabulary: int

    def set_threads(self, count: int) -> None: ...

    def step(self, tokens: list[int], position: int, logits: int) -> None:
        """Runs tokens at ``position`` behind what was run before it, with logits for the last ``logits``."""

    def info(self) -> dict[str, Any]:
        """What is told once, such as the version."""


class Runner:
    """Carries out the tests of ``rows.Test`` with an engine."""

    CHUNK = 512

    def __init__(self, engine: Engine):
        self._engine = engine
        self._state = 12345
        self._threads = 0
        self._filled = 0

    def run(self, threads: int, prompt: int, generate: int, depth: int, batch: int) -> dict[str, Any]:
        """Nanoseconds of one run; the depth is filled before, unless an earlier run has done that."""
        if threads != self._threads:
            self._engine.set_threads(threads)
            self._threads, self._filled = threads, 0
            self._prompt(64, 0)
            for position in range(64, 68):
                self._engine.step(self._tokens(1), position, 1)
        if self._filled < depth:
            self._prompt(depth, 0)
            self._filled = depth
        start = time.perf_counter_ns()
        if prompt:
            self._prompt(prompt, depth)
        else:
            for index in range(generate):
                self._engine.step(self._tokens(batch), depth + index * batch, batch)
        taken = time.perf_counter_ns() - start
        # What lies behind the depth is written over by the next run.
        self._filled = max(depth, prompt + depth if prompt else 0)
        return {"ns": taken}

    def _prompt(self, count: int, position: int) -> None:
        for first in range(0, count, self.CHUNK):
            size = min(self.CHUNK, count - first)
            self._engine.step(self._tokens(size), position + first, int(first + size == count))

    def _tokens(self, count: int) -> list[int]:
        """Random tokens, the same for every engine with as many in its vocabulary."""
        tokens = []
        for _ in range(count):
            self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
            tokens.append((self._state >> 33) % self._engine.vocabulary)
        return tokens


def serve(open_engine: Callable[[], Engine]) -> None:
    """Opens an engine and answers what comes on standard input until it ends."""
    # Libraries print what they like: answers have a stream of their own.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    engine = open_engine()
    runner = Runner(engine)
    print(json.dumps(engine.info()), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        more = getattr(engine, "extra", lambda request: {})
        result = runner.run(**request)
        print(json.dumps(result | more(request)), file=answers)
