# SPDX-License-Identifier: Apache-2.0
"""A text to be continued, as the scheduler sees it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.formats.kv_cache import PAGE
from lumen_mlir.generate.cost_curve import CostCurve

WAITING, RUNNING, DONE = "waiting", "running", "done"

Draw = Callable[[np.ndarray], "int | None"]
"""The next token for its logits, or None where the text ends."""

# A text is written no further than so many tokens ahead of who reads it.
_AHEAD = 4


class Stored(Protocol):
    """The keys and values of a sequence."""

    tokens: list[int]

    def adopt(self, tokens: Sequence[int]) -> int:
        """Begins with those of a prefix that are there already, but of the last token; returns its length."""

    def can_resume(self, position: int) -> bool:
        """True where a step at ``position`` finds all that it attends to."""

    def truncate(self, length: int) -> None:
        """Forgets those from number ``length`` on."""

    def close(self) -> None:
        """Gives them up."""


class Guess(Protocol):
    """Says what may come next in a text.

    Attributes:
      look: it is not asked before the text has so many tokens.
    """

    look: int

    @property
    def proposed(self) -> int:
        """Tokens so far."""

    @property
    def right(self) -> int:
        """Those of them that were what came."""

    def propose(self, ids: Sequence[int], most: int, total: int, costs: CostCurve) -> list[int]:
        """At most ``most`` tokens that may follow ``ids``, where it pays to compute them along.

        ``total``: tokens of the step without them.
        """

    def learn(self, proposed: int, right: int) -> None:
        """Of so many tokens, so many were what came."""

    def release(self) -> None:
        """Gives up what it has computed; it may be asked again."""


class Guesser(Protocol):
    """Says what may come next in the texts of a step, for all of them together."""

    def propose(
        self,
        asked: Sequence[tuple[Request, int]],
        total: int,
        room: int,
        costs: CostCurve,
        limit: Callable[[], float | None],
    ) -> list[list[int]]:
        """For each request, at most so many tokens that may follow, where it pays to compute them along.

        ``total``: tokens of the step without them. ``room``: tokens that there may be besides. ``limit``
        gives the seconds that those wait at most who wait for the step; None where nobody waits for it.
        """

    def forget(self) -> None:
        """Gives up all that it has computed, of every text."""


class Cancelled(LumenError):
    """The request was given up by who made it."""


class Late(LumenError):
    """The request was not done at its deadline."""


@dataclass(eq=False)
class Request:
    """A text to be continued.

    Attributes:
      ids: the prompt, and what was drawn since.
      draw: draws the next token. What it raises ends the request.
      most: tokens that ``ids`` may become.
      priority: requests of higher ones go first.
      deadline: the time (of the scheduler's clock) at which it is given up.
      receive: given all logits from those of token ``first_logits`` on, float32 [rows, vocabulary], as they
        are computed; they are valid during the call.
      first_logits: the first token whose logits are not received yet.
      guess: proposes tokens that are computed before they are drawn.
      state: "waiting", "running" or "done".
      unread: tokens that were drawn and that nobody has taken yet.
      error: what has ended it, other than its end.
      known: tokens of the prompt that did not have to be computed.
      preempted: how often it had to begin again.
      cancelled: it is given up at the next step.
      number, since: its place among all requests, and the step at which it came.
      stored: its keys and values, while it runs.
      patient: nobody waits for one token after the other, but for the whole text.
      leader, shared: it waits for another request, which reads the tokens that both begin with: so many.
    """

    ids: list[int]
    draw: Draw
    most: int
    priority: int = 0
    deadline: float | None = None
    receive: Callable[[np.ndarray], None] | None = None
    first_logits: int = 0
    guess: Guess | None = None
    state: str = WAITING
    unread: deque[int] = field(default_factory=deque)
    error: BaseException | None = None
    known: int = 0
    preempted: int = 0
    cancelled: bool = False
    number: int = 0
    since: int = 0
    stored: Stored | None = field(default=None, repr=False)
    read_ahead: int = _AHEAD
    patient: bool = False
    leader: Request | None = field(default=None, repr=False)
    shared: int = 0

    @property
    def wanted(self) -> int:
        """The first token whose logits are wanted."""
        last = len(self.ids) - 1
        return last if self.receive is None else min(self.first_logits, last)

    @property
    def is_ready(self) -> bool:
        """True where there is something to read: a token, or that the request is done."""
        return bool(self.unread) or self.state == DONE

    @property
    def is_ahead(self) -> bool:
        """True where so many tokens are unread that the next step can do without it."""
        return len(self.unread) >= self.read_ahead and not self.cancelled

    @property
    def sequence(self) -> Stored:
        """Its keys and values, while it runs."""
        assert self.stored is not None
        return self.stored

    @property
    def computed(self) -> int:
        """Tokens whose keys and values are there."""
        return len(self.stored.tokens) if self.stored is not None else 0

    def release(self) -> None:
        """Gives up its keys and values, and those of its guesses."""
        stored, self.stored = self.stored, None
        if stored is not None:
            stored.close()
        if self.guess is not None:
            self.guess.release()


def draw_in_turn(draws: Sequence[Draw], logits: np.ndarray) -> list[int | None | Exception]:
    """What each of ``draws`` draws from its row of ``logits``, or what it raises."""
    drawn: list[int | None | Exception] = []
    for draw, row in zip(draws, logits, strict=True):
        try:
            drawn.append(draw(row))
        except Exception as error:
            drawn.append(error)
    return drawn


def common_blocks(ids: Sequence[int], other: Sequence[int], most: int) -> int:
    """How many tokens two texts begin with alike, at most ``most`` of them, in whole pages."""
    begin = 0
    while begin + PAGE <= most and ids[begin : begin + PAGE] == other[begin : begin + PAGE]:
        begin += PAGE
    return begin
