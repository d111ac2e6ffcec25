# SPDX-License-Identifier: Apache-2.0
"""Draws with asks: those that are answered are finished, the others get their rows, in their order."""

from __future__ import annotations

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.asked_draw import ask_of, finish_or_draw
from lumen_mlir.generate.request import Request, draw_in_turn
from lumen_mlir.generate.scheduler import Scheduler


class Answered:
    wanted = 1

    def __init__(self, token, fails=False):
        self.token, self.fails = token, fails

    def take(self, values, numbers):
        return self.token is not None

    def finish(self):
        if self.fails:
            raise LumenError("it fails")
        return self.token + 100


class AskingDraw:
    """A draw that asks; from all logits it draws the first one."""

    def __init__(self, answer=None):
        self.answer, self.rows = answer, 0

    def ask(self, vocabulary):
        assert vocabulary == 2
        return self.answer

    def __call__(self, logits):
        self.rows += 1
        return int(logits[0])


def test_each_gets_its_own():
    draws = [AskingDraw() for _ in range(5)]
    asks = [Answered(1), None, Answered(None), Answered(2, fails=True), Answered(3)]
    logits = np.array([[10, 0], [11, 0], [12, 0], [13, 0], [14, 0]], np.float32)
    drawn = finish_or_draw(draws, asks, logits, draw_in_turn)
    assert drawn[:3] == [101, 11, 12] and isinstance(drawn[3], LumenError) and drawn[4] == 103
    assert [draw.rows for draw in draws] == [0, 1, 1, 0, 0]
    # All logits for all, and for none.
    assert finish_or_draw(draws[:2], [None, Answered(None)], logits[:2], draw_in_turn) == [10, 11]
    assert finish_or_draw(draws[:1], asks[:1], logits[:1], None) == [101]
    assert ask_of(lambda logits: None, 2) is None and ask_of(AskingDraw(asks[0]), 2) is asks[0]


class Sequence:
    def __init__(self):
        self.tokens = []

    def adopt(self, tokens):
        return 0

    def can_resume(self, position):
        return True

    def truncate(self, length):
        del self.tokens[length:]

    def close(self):
        pass


class SelectingSteps:
    """Notes what is asked of each step. The logits of a row are how many rows there were before."""

    chunk, context, capacity, row_width, selects = 8, 64, 64, 2, True

    def __init__(self):
        self.asked = []

    def open(self):
        return Sequence()

    def forget(self):
        pass

    def run(self, parts, asks=()):
        self.asked.append(list(asks))
        for sequence, tokens, position, _ in parts:
            sequence.tokens[position:] = tokens.tolist()
        rows = sum(len(tokens) - first for _, tokens, _, first in parts)
        return np.repeat(np.arange(rows, dtype=np.float32), 2).reshape(-1, 2)


def test_a_step_is_asked_for_the_rows_that_are_drawn_from():
    """Those of whole texts of which nobody wants all logits: they come first."""
    steps = SelectingSteps()
    scheduler = Scheduler(steps)
    answered, received = Answered(7), []
    first = Request([1], AskingDraw(answered), 2)
    second = Request([1], AskingDraw(), 2)
    third = Request([1, 2], AskingDraw(Answered(8)), 3, receive=lambda logits: received.append(len(logits)))
    for request in (first, second, third):
        scheduler.submit(request)
    while scheduler.step():
        pass
    assert steps.asked[0] == [answered, None] and received == [2]
    assert [request.ids[-1] for request in (first, second, third)] == [107, 1, 3]
    assert not any(request.error for request in (first, second, third))
