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
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.asked_draw import LogitsAsk, ask_of, finish_or_draw
from lumen_mlir.generate.cost_curve import CostCurve, pairs_of
from lumen_mlir.generate.request import (
    DONE,
    RUNNING,
    WAITING,
    Cancelled,
    Draw,
    Drawn,
    Guesser,
    Late,
    Request,
    Run,
    Stored,
    common_blocks,
    draw_in_turn,
)
from lumen_mlir.generate.speculation import EachGuesses
from lumen_mlir.run.ask import Ask
from lumen_mlir.run.pages import NoRoomError

# A step with prompts is to take so many times what one without them takes. Some take longer than expected,
# but few of them three times as long.
_PATIENCE = 2.25
# Tokens of prompts that a step computes in any case: a prompt must come to its end.
_LEAST_PROMPT = 2
# Tokens of an answer for which room is kept before a request begins. Some need more, but not all at once.
_RESERVED = 256
# A request that has waited so many steps counts as one of the next higher priority.
_AGING = 1000
# Most logits of a step of which all are wanted (256 MB).
_LOGITS = 1 << 26


class Steps(Protocol):
    """What runs steps: ``generate.steps`` has some, and tests put others in their place."""

    chunk: int
    """Most tokens of a step."""
    context: int
    """Most tokens of a sequence."""
    capacity: int
    """Tokens of all sequences that there is room for."""
    row_width: int
    """Logits of a token, or what else a step makes of it."""

    def open(self) -> Stored:
        """A sequence without tokens. Raises ``NoRoomError`` where there are too many."""

    def forget(self) -> None:
        """Makes the KV cache empty. What sequences there are must not be used any more."""

    selects: bool
    """Whether the largest logits can be asked for instead of all (``run.selection``)."""

    def run(
        self, parts: Sequence[tuple[Stored, np.ndarray, int, int]], asks: Sequence[Ask | None] = ()
    ) -> np.ndarray:
        """Runs (sequence, tokens, position, first) of each part; the logits that were asked for.

        Where it ``selects``, ``asks`` are given the largest logits of the first rows. A row that one of them
        takes holds anything.

        Raises ``NoRoomError`` where there is no room, and has changed nothing then.
        """


def _reads(request: Request) -> bool:
    """True where it goes on to read its prompt."""
    return request.state == RUNNING and not request.is_written and not request.is_ahead


@dataclass
class _Planned:
    """What a step computes of a request.

    ``count`` tokens at ``position``, then ``drafts``, which are guesses; logits are wanted from number
    ``first`` on.
    """

    request: Request
    position: int
    count: int
    first: int
    drafts: list[int]

    @property
    def rows(self) -> int:
        """Rows of logits."""
        return self.count + len(self.drafts) - self.first

    def part(self) -> tuple[Stored, np.ndarray, int, int]:
        """As ``Steps.run`` takes it."""
        known = self.request.ids[self.position : self.position + self.count]
        return self.request.sequence, np.array([*known, *self.drafts], np.int32), self.position, self.first


def _has_one_row(planned: _Planned) -> bool:
    """True where the next token of a text is drawn from all of its logits, which nobody else wants."""
    request = planned.request
    is_last = planned.position + planned.count == len(request.ids)
    return is_last and planned.rows == 1 and request.receive is None


class Scheduler:
    """Requests that share the steps of a model. One thread at a time may use it.

    Args:
      steps: what runs them.
      clock: seconds.
      draw: draws the next tokens of several texts, as ``draw_in_turn`` does.
      guesser: says what may come next in texts that have a guess; by default each of these does.
    """

    def __init__(
        self,
        steps: Steps,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[Sequence[Draw], np.ndarray], list[Drawn | Exception]] = draw_in_turn,
        guesser: Guesser | None = None,
    ):
        self.steps = steps
        self._draw_all = draw
        self._guesser = EachGuesses() if guesser is None else guesser
        self.costs = CostCurve(steps.chunk, begins_cold=True)
        self._clock = clock
        self._waiting: list[Request] = []
        self._running: list[Request] = []
        self._numbers = itertools.count()
        self._steps_done = 0

    @property
    def waiting(self) -> int:
        """Requests that have no room yet."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests that have."""
        return len(self._running)

    @property
    def limit(self) -> int:
        """Most tokens of a prompt."""
        return min(self.steps.context, self.steps.capacity)

    def check(self, request: Request) -> None:
        """Raises ``LumenError`` where a request can never be computed."""
        if not request.ids:
            raise LumenError("the prompt is empty: there is nothing to continue")
        if len(request.ids) > self.limit:
            raise LumenError(
                f"the prompt is {len(request.ids)} tokens long, but there is room for {self.limit}"
            )

    def submit(self, request: Request) -> None:
        """Takes a request on. Raises ``LumenError`` where it can never be computed."""
        self.check(request)
        if len(request.ids) >= request.most:
            request.state = DONE
            return
        request.number, request.since = next(self._numbers), self._steps_done
        self._waiting.append(request)

    def cancel(self, request: Request) -> None:
        """Gives a request up, at the next step."""
        request.cancelled = True

    def step(self) -> bool:
        """Runs a step; False where there is nothing to do.

        What is not an ``Exception``, such as an interrupt, comes out; all requests go on at the next step.
        """
        try:
            return self._step()
        except BaseException:
            self.restart()
            raise

    def restart(self) -> None:
        """Gives up what has been computed, but no request: all of them wait again."""
        for request in self._running:
            request.release()
            request.state = WAITING
        self._waiting += self._running
        self._running = []

    def end(self, error: LumenError) -> None:
        """Ends all requests."""
        for request in [*self._waiting, *self._running]:
            self._finish(request, error)

    def abandon(self, error: LumenError) -> None:
        """Ends all requests, and makes the KV cache empty, whatever has become of the two."""
        requests, self._waiting, self._running = [*self._waiting, *self._running], [], []
        self.forget()
        for request in requests:
            request.stored, request.error, request.state = None, error, DONE

    def forget(self) -> None:
        """Makes the KV cache empty. No request may be running."""
        self.steps.forget()
        self._guesser.forget()

    def _step(self) -> bool:
        self._give_up()
        self._admit()
        guesses = True
        while plan := self._plan(guesses):
            parts = [each.part() for each in plan]
            asks = self._asks(plan)
            start = self._clock()
            try:
                logits = self.steps.run(parts, asks) if asks else self.steps.run(parts)
            except NoRoomError as error:
                # Guesses take nobody's room.
                if any(each.drafts for each in plan):
                    guesses = False
                elif not self._make_room(error):
                    return True
                continue
            except Exception as error:
                # Whoever takes part could be the reason.
                for each in plan:
                    self._finish(each.request, error)
                return True
            self._learn(plan, self._clock() - start)
            self._steps_done += 1
            self._use_all(plan, logits, asks)
            return True
        return False

    def _asks(self, plan: Sequence[_Planned]) -> list[LogitsAsk | None]:
        """What is asked of the rows of texts that are written without guesses, where it need not be all."""
        if not self.steps.selects:
            return []
        together = itertools.takewhile(_has_one_row, plan)
        return [ask_of(each.request.draw, self.steps.row_width) for each in together]

    def _learn(self, plan: Sequence[_Planned], seconds: float) -> None:
        """Notes how long a step took."""
        tokens = sum(each.count + len(each.drafts) for each in plan)
        self.costs.add(
            tokens, seconds, sum(pairs_of(each.count, each.position) for each in plan if each.count > 1)
        )

    # --- what is next ---------------------------------------------------------------------------------------

    def _order(self, request: Request) -> tuple[int, int]:
        """Those of high priority first, then those that came first."""
        aged = request.priority + (self._steps_done - request.since) // _AGING
        return -aged, request.number

    def _give_up(self) -> None:
        now = self._clock()
        for request in [*self._waiting, *self._running]:
            if request.cancelled:
                self._finish(request, Cancelled("the request was cancelled"))
            elif request.deadline is not None and now >= request.deadline:
                self._finish(request, Late("the request was not done in time"))

    def _admit(self) -> None:
        """Lets requests begin that there is room for, in their order."""
        for request in sorted((each for each in self._waiting if not each.is_ahead), key=self._order):
            if self._is_read_by_another(request):
                continue
            while not self._begin(request):
                # Those whose readers are behind do not need their place now.
                idle = [other for other in self._running if other.is_ahead]
                if not idle:
                    return
                self._preempt(max(idle, key=self._order))

    def _is_read_by_another(self, request: Request) -> bool:
        """True where one that comes first reads what this one begins with: then it is there soon.

        It is not waited for beyond what the two have in common.
        """
        leader = request.leader
        if leader is None or not _reads(leader):
            request.leader = None
            for other in self._running:
                if _reads(other) and self._order(other) < self._order(request):
                    shared = common_blocks(request.ids, other.ids, request.wanted)
                    if shared > other.computed:
                        request.leader, request.shared = other, shared
                        return True
            return False
        if leader.computed < request.shared:
            return True
        request.leader = None
        return False

    def _begin(self, request: Request) -> bool:
        taken = sum(self._need(other) for other in self._running)
        if self._running and taken + self._need(request) > self.steps.capacity:
            return False
        try:
            request.stored = self.steps.open()
        except NoRoomError:
            if not self._running:
                raise
            return False
        known = request.stored.adopt(request.ids[: request.wanted + 1])
        if not request.preempted:
            request.known = known
        request.state = RUNNING
        self._waiting.remove(request)
        self._running.append(request)
        return True

    def _need(self, request: Request) -> int:
        return min(max(len(request.ids) + _RESERVED, request.computed), request.most)

    def _plan(self, guesses: bool) -> list[_Planned]:
        """What the next step computes, with guesses or without."""
        chunk = self.steps.chunk
        order = sorted((each for each in self._running if not each.is_ahead), key=self._order)
        writing = [request for request in order if request.is_written]
        reading = [request for request in order if not request.is_written]
        plan, total, pairs = [], 0, 0.0
        for request in writing:
            position, count = request.computed, min(request.missing, chunk - total)
            if count < 1:
                break
            first = count - 1 if count == request.missing else count
            plan.append(_Planned(request, position, count, first, []))
            total += count
        del writing[len(plan) :]
        limit = self._limit(writing) if reading else None
        logits = max(_LOGITS // self.steps.row_width - len(plan), 1)
        for request in reading:
            missing, position = request.missing, request.computed
            count = min(missing, chunk - total)
            if limit is not None:
                least = min(max(len(writing) + _LEAST_PROMPT - total, 0), count)
                count = self.costs.most_within(limit, least, count, total, pairs, position)
            if count < 1 or logits < 1:
                break
            first = min(max(request.wanted - position, 0), count)
            count = min(count, first + logits)
            plan.append(_Planned(request, position, count, first, []))
            total, pairs = total + count, pairs + pairs_of(count, position)
            logits -= count - first
        if guesses:
            self._add_drafts(plan, writing)
        return plan

    def _add_drafts(self, plan: Sequence[_Planned], writing: Sequence[Request]) -> None:
        """Adds what may come next to texts that are being written, where it pays to compute it along."""
        ends, asked, total = [], [], 0
        for each in plan:
            request, total = each.request, total + each.count
            length = len(request.ids)
            if request.guess is None or length < request.guess.look or each.position + each.count < length:
                continue
            ends.append(each)
            asked.append((request, min(request.most - 1, self.steps.context) - length))
        if not ends:
            return
        limit = partial(self._limit, writing)
        found = self._guesser.propose(asked, total, self.steps.chunk - total, self.costs, limit)
        for each, drafts in zip(ends, found, strict=True):
            each.drafts = drafts

    def _limit(self, writing: Sequence[Request]) -> float | None:
        """Seconds of a step in which these get a token each; None where it may take any."""
        if all(request.patient for request in writing):
            return None
        return _PATIENCE * (self.costs.seconds(len(writing)) or 0.0)

    # --- what has happened ----------------------------------------------------------------------------------

    def _make_room(self, error: LumenError) -> bool:
        """Lets the last of several requests begin again later; where there is only one, it fails: False."""
        idle = [request for request in self._running if request.is_ahead]
        last = max(idle or self._running, key=self._order)
        if len(self._running) == 1:
            self._finish(last, error)
            return False
        self._preempt(last)
        return True

    def _preempt(self, request: Request) -> None:
        request.release()
        self._running.remove(request)
        request.state, request.preempted = WAITING, request.preempted + 1
        self._waiting.append(request)

    def _use_all(
        self, plan: Sequence[_Planned], logits: np.ndarray, asks: Sequence[LogitsAsk | None]
    ) -> None:
        """Uses the logits of a step. Texts that are written without guesses are drawn together."""
        together = list(itertools.takewhile(_has_one_row, plan))
        draws, rows = [each.request.draw for each in together], logits[: len(together)]
        drawn = finish_or_draw(draws, asks, rows, self._draw_all) if asks else self._draw_all(draws, rows)
        for each, token in zip(together, drawn, strict=True):
            if isinstance(token, Exception):
                self._finish(each.request, token)
            else:
                self._add(each.request, token)
        row = len(together)
        for each in plan[row:]:
            behind = row + each.rows
            self._use(each, logits[row:behind])
            row = behind

    def _use(self, planned: _Planned, logits: np.ndarray) -> None:
        """Hands out logits, and draws from the last ones of a text."""
        request = planned.request
        end = planned.position + planned.count
        try:
            if request.receive is not None and len(logits):
                request.receive(logits)
                request.first_logits += len(logits)
            if end == len(request.ids):
                rows = logits[len(logits) - 1 - len(planned.drafts) :]
                right = self._draw(request, rows, planned.drafts)
                if planned.drafts and request.guess is not None:
                    request.guess.learn(len(planned.drafts), right)
                if request.state == RUNNING:
                    request.sequence.truncate(min(end + right, len(request.ids) - 1))
        except Exception as error:
            self._finish(request, error)

    def _draw(self, request: Request, logits: np.ndarray, drafts: Sequence[int]) -> int:
        """Draws tokens as long as they are what was guessed; how many are."""
        right = 0
        while True:
            drawn = request.draw(logits[right])
            for token in self._add(request, drawn):
                if right == len(drafts) or token != drafts[right]:
                    return right
                right += 1
            if drawn is None or request.state != RUNNING:
                return right

    def _add(self, request: Request, drawn: Drawn) -> Sequence[int]:
        """Adds what was drawn to a text, which may end by it; the tokens."""
        tokens = () if drawn is None else drawn.tokens if isinstance(drawn, Run) else (drawn,)
        tokens = tokens[: request.most - len(request.ids)]
        request.ids.extend(tokens)
        request.unread.extend(tokens)
        request.behind = max(len(tokens) - 1, 0)
        ends = drawn is None or (isinstance(drawn, Run) and drawn.ends)
        if ends or len(request.ids) >= request.most:
            self._finish(request)
        return tokens

    def _finish(self, request: Request, error: BaseException | None = None) -> None:
        (self._running if request.state == RUNNING else self._waiting).remove(request)
        if request.stored is not None and request.computed > len(request.ids):
            request.stored.truncate(len(request.ids))
        request.release()
        request.error = error
        # Last: who reads the request may be another thread.
        request.state = DONE
