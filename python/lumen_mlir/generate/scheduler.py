# SPDX-License-Identifier: Apache-2.0
"""Which tokens a step computes, where many requests share a model.

Every step computes one token of each text that is being written, and some of the prompts that are not read
yet. How many of these follows from how long steps take: who waits for a token waits no longer than three
times what a step without prompts takes.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.cost_curve import CostCurve

# A step with prompts takes at most so many times what one without them takes.
_PATIENCE = 3.0
# Tokens of prompts that a step computes in any case: a prompt must come to its end.
_LEAST_PROMPT = 16
# Tokens of an answer for which room is kept before a request begins. Some need more, but not all at once.
_RESERVED = 256
# A request that has waited so many steps counts as one of the next higher priority.
_AGING = 1000

WAITING, RUNNING, DONE = "waiting", "running", "done"


class Stored(Protocol):
    """The keys and values of a sequence."""

    tokens: list[int]

    def adopt(self, tokens: Sequence[int]) -> int:
        """Begins with those of a prefix that are there already; returns its length."""

    def close(self) -> None:
        """Gives them up."""


class Steps(Protocol):
    """What runs steps: ``run.executor.Executor`` in a coat, or what tests put in its place."""

    chunk: int
    """Most tokens of a step."""
    context: int
    """Most tokens of a sequence."""
    capacity: int
    """Tokens of all sequences that there is room for."""

    def open(self) -> Stored:
        """A sequence without tokens."""

    def run(self, parts: Sequence[tuple[Stored, np.ndarray, int, int]]) -> np.ndarray:
        """Runs (sequence, tokens, position, first) of each part; the logits that were asked for.

        Raises ``LumenError`` where there is no room, and has changed nothing then.
        """


@dataclass(eq=False)
class Request:
    """A text to be continued.

    Attributes:
      ids: the prompt, and what was drawn since.
      draw: the next token for its logits, or None where the text ends. What it raises ends the request.
      most: tokens that ``ids`` may become.
      priority: requests of higher ones go first.
      deadline: the time (of the scheduler's clock) at which it is given up.
      state: "waiting", "running" or "done".
      error: what has ended it, other than its end.
      known: tokens of the prompt that did not have to be computed.
      preempted: how often it had to begin again.
    """

    ids: list[int]
    draw: Callable[[np.ndarray], int | None]
    most: int
    priority: int = 0
    deadline: float | None = None
    state: str = WAITING
    error: BaseException | None = None
    known: int = 0
    preempted: int = 0
    cancelled: bool = False
    _number: int = 0
    _since: int = 0
    _sequence: Stored | None = field(default=None, repr=False)

    @property
    def sequence(self) -> Stored:
        """Its keys and values, while it runs."""
        assert self._sequence is not None
        return self._sequence

    @property
    def computed(self) -> int:
        """Tokens whose keys and values are there."""
        return len(self._sequence.tokens) if self._sequence is not None else 0


class Cancelled(LumenError):
    """The request was given up by who made it."""


class Late(LumenError):
    """The request was not done at its deadline."""


class Scheduler:
    """Requests that share the steps of a model. One thread at a time may use it.

    Args:
      steps: what runs them.
      clock: seconds.
    """

    def __init__(self, steps: Steps, clock: Callable[[], float] = time.monotonic):
        self._steps, self._clock = steps, clock
        self._waiting: list[Request] = []
        self._running: list[Request] = []
        self._numbers = itertools.count()
        self._steps_done = 0
        self._costs = CostCurve(steps.chunk)

    @property
    def waiting(self) -> int:
        """Requests that have no room yet."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests that have."""
        return len(self._running)

    def submit(self, request: Request) -> None:
        """Takes a request on. Raises ``LumenError`` where it can never be computed."""
        if not request.ids:
            raise LumenError("the prompt is empty: there is nothing to continue")
        limit = min(self._steps.context, self._steps.capacity)
        if len(request.ids) > limit:
            raise LumenError(f"the prompt is {len(request.ids)} tokens long, but there is room for {limit}")
        if len(request.ids) >= request.most:
            request.state = DONE
            return
        request._number, request._since = next(self._numbers), self._steps_done
        self._waiting.append(request)

    def cancel(self, request: Request) -> None:
        """Gives a request up, at the next step."""
        request.cancelled = True

    def step(self) -> bool:
        """Runs a step; False where there is nothing to do."""
        self._give_up()
        self._admit()
        while self._running:
            plan = self._plan()
            parts = [
                (request.sequence, np.array(request.ids[begin : begin + count], np.int32), begin, first)
                for request, begin, count, first in plan
            ]
            start = self._clock()
            try:
                logits = self._steps.run(parts)
            except LumenError as error:
                if not self._make_room(error):
                    return True
                continue
            self._costs.add(sum(count for _, _, count, _ in plan), self._clock() - start)
            self._steps_done += 1
            rows = iter(logits)
            for request, _, count, first in plan:
                if first < count:
                    self._draw(request, next(rows))
            return True
        return bool(self._waiting)

    # --- what is next ---------------------------------------------------------------------------------------

    def _order(self, request: Request) -> tuple[int, int]:
        """Those of high priority first, then those that came first."""
        aged = request.priority + (self._steps_done - request._since) // _AGING
        return -aged, request._number

    def _give_up(self) -> None:
        now = self._clock()
        for request in [*self._waiting, *self._running]:
            if request.cancelled:
                self._finish(request, Cancelled("the request was cancelled"))
            elif request.deadline is not None and now >= request.deadline:
                self._finish(request, Late("the request was not done in time"))

    def _admit(self) -> None:
        """Lets requests begin that there is room for, in their order."""
        for request in sorted(self._waiting, key=self._order):
            taken = sum(self._need(other) for other in self._running)
            if self._running and taken + self._need(request) > self._steps.capacity:
                return
            try:
                sequence = self._steps.open()
            except LumenError:
                return
            request._sequence = sequence
            known = sequence.adopt(request.ids)
            if not request.preempted:
                request.known = known
            request.state = RUNNING
            self._waiting.remove(request)
            self._running.append(request)

    def _need(self, request: Request) -> int:
        return min(max(len(request.ids) + _RESERVED, request.computed), request.most)

    def _plan(self) -> list[tuple[Request, int, int, int]]:
        """What the next step computes: (request, position, tokens, first of them whose logits are wanted)."""
        chunk = self._steps.chunk
        order = sorted(self._running, key=self._order)
        writing = [request for request in order if len(request.ids) - request.computed == 1][:chunk]
        plan = [(request, len(request.ids) - 1, 1, 0) for request in writing]
        left = self._budget(len(plan)) - len(plan)
        for request in order:
            missing = len(request.ids) - request.computed
            if missing == 1 or left < 1:
                continue
            count = min(missing, left)
            # Only the last token's logits are drawn from.
            plan.append((request, request.computed, count, count - (count == missing)))
            left -= count
        return plan

    def _budget(self, writing: int) -> int:
        """The most tokens of a step in which ``writing`` texts get a token each."""
        chunk = self._steps.chunk
        if not writing:
            return chunk
        least = min(writing + _LEAST_PROMPT, chunk)
        idle = self._costs.seconds(writing)
        return least if idle is None else self._costs.most_within(_PATIENCE * idle, least, chunk)

    # --- what has happened ----------------------------------------------------------------------------------

    def _make_room(self, error: LumenError) -> bool:
        """Lets the last of several requests begin again later; where there is only one, it fails: False."""
        last = max(self._running, key=self._order)
        if len(self._running) == 1:
            self._finish(last, error)
            return False
        self._release(last)
        self._running.remove(last)
        last.state, last.preempted = WAITING, last.preempted + 1
        self._waiting.append(last)
        return True

    def _draw(self, request: Request, logits: np.ndarray) -> None:
        try:
            token = request.draw(logits)
        except Exception as error:
            self._finish(request, error)
            return
        if token is None:
            self._finish(request)
            return
        request.ids.append(token)
        if len(request.ids) >= request.most:
            self._finish(request)

    def _finish(self, request: Request, error: BaseException | None = None) -> None:
        (self._running if request.state == RUNNING else self._waiting).remove(request)
        request.state, request.error = DONE, error
        self._release(request)

    @staticmethod
    def _release(request: Request) -> None:
        if request._sequence is not None:
            request._sequence.close()
            request._sequence = None
