# SPDX-License-Identifier: Apache-2.0
"""Guesses of a second, smaller model: the draft.

It reads the same texts as the model and writes a few tokens on, which the model then computes in one step.
Steps of the draft are shared by all texts, as those of the model are.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lumen_mlir.generate.cost_curve import CostCurve
from lumen_mlir.generate.draft_guess import DraftGuess
from lumen_mlir.generate.draft_plan import Plan, Text
from lumen_mlir.generate.draft_steps import MeasuredSteps
from lumen_mlir.generate.request import Request
from lumen_mlir.generate.speculation import MOST, Chances, EachGuesses
from lumen_mlir.run.pages import NoRoomError

if TYPE_CHECKING:
    from lumen_mlir.generate.scheduler import Steps

logger = logging.getLogger(__name__)

# The draft says itself how likely its tokens are. How often those of about the same likelihood are right is
# learned: levels between these bounds, and their chances before anything is known.
_BOUNDS = (0.2, 0.4, 0.6, 0.8, 0.9, 0.97)
_CHANCES = (0.15, 0.3, 0.5, 0.65, 0.8, 0.9, 0.95)
# The chance of a token before the draft has computed it.
_MEAN = 0.6
# How much each guess teaches of all texts, and how much is forgotten where there is none.
_ALL = (0.04, 0.01)
# Where the draft does not pay, it is looked at again so many steps later.
_LOOK = 8
# Where it has paid before, twice the first number of steps later, then after twice as many, and so on up to
# the second; as at first where it has paid for as many as the third in between.
_TRIES = (4, 64, 16)
# So many tokens that the draft has not read are read along with its next guess.
_FEW = 8


class DraftModel:
    """A ``Guesser`` that asks the draft, where that pays. All guesses are ``DraftGuess``.

    Attributes:
      chances, mean: see ``DraftGuess``: of all texts so far.

    Args:
      steps: those of the draft.
      vocabulary: so many tokens are the same as the model's.
      ends: tokens that end a text: nothing is guessed behind them.
      clock: seconds.
    """

    def __init__(
        self,
        steps: Steps,
        vocabulary: int,
        ends: frozenset[int] = frozenset(),
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.chances, self.mean = Chances(_CHANCES, *_ALL), Chances((_MEAN,), *_ALL)
        self._steps, self._timed = steps, MeasuredSteps(steps, clock)
        self._vocabulary, self._ends = vocabulary, ends
        self._ngrams = EachGuesses()
        # The number of this step, of the one at which the draft is looked at again, of the one at which it
        # began to pay, if it does; and for how many it is left when it does not.
        self._step = self._look = 0
        self._failed = False
        self._began: int | None = None
        self._left = _TRIES[0]

    @property
    def costs(self) -> CostCurve:
        """What steps of the draft take."""
        return self._timed.costs

    def guess(self) -> DraftGuess:
        """Of a new text."""
        return DraftGuess(self.chances, self.mean)

    def propose(
        self,
        asked: Sequence[tuple[Request, int]],
        total: int,
        room: int,
        costs: CostCurve,
        limit: Callable[[], float | None],
    ) -> list[list[int]]:
        """See ``Guesser.propose``."""
        self._step += 1
        found = self._ngrams.propose(asked, total, room, costs, limit)
        texts = []
        for number, (request, most) in enumerate(asked):
            guess, ids = request.guess, request.ids
            most = min(most, self._steps.context - len(ids))
            # (Who waits for the first token does not wait for the draft.)
            waits = len(ids) - request.computed > 1
            if not isinstance(guess, DraftGuess) or waits or guess.resume > len(ids):
                continue
            if most > 0 and guess.knows(ids, self._vocabulary):
                texts.append(Text(number, ids, guess, most))
            else:
                guess.release()
        if self._step < self._look and not any(text.guess.is_new for text in texts):
            return found
        if not texts or room < 1 or costs.seconds(total) is None or not costs.has_measured(total):
            return found
        try:
            for text in self._drafted(texts, found, total, room, costs, limit):
                if text.drafts:
                    found[text.number] = text.drafts
                    text.guess.levels = text.levels
        except Exception as error:
            # Guesses are never worth an error. (Where there is no room, there may be later.)
            if not isinstance(error, NoRoomError) and not self._failed:
                self._failed = True
                logger.warning("the draft fails: %s", error)
            for text in texts:
                text.guess.pause(len(text.ids))
        return found

    def forget(self) -> None:
        """See ``Guesser.forget``."""
        self._steps.forget()

    def _drafted(
        self,
        texts: list[Text],
        found: list[list[int]],
        total: int,
        room: int,
        costs: CostCurve,
        limit: Callable[[], float | None],
    ) -> list[Text]:
        """Those of the texts that the draft goes on with, and what it says."""
        self._timed.refresh(costs.seconds(total) or 0.0)
        plan = Plan(self.costs, costs, total, room)
        chosen = plan.that_pay(texts)
        depth, rate = plan.depth(chosen)
        # What stood there before costs nothing.
        chosen = [text for text in chosen if not found[text.number] or text.guess.ngrams.rate < rate]
        ready: list[Text] = []
        reads = False
        if depth and chosen:
            kept = sum(map(len, found)) - sum(len(found[text.number]) for text in chosen)
            plan = Plan(self.costs, costs, total + kept, room - kept)
            ready, reads = self._ready(chosen, plan, rate, limit())
            self._write(ready, plan)
        for text in texts:
            text.guess.is_new = False
        if plan.steps:
            self._began = self._step if self._began is None else self._began
            for text in texts if self._step % _LOOK == 0 else ():
                if text not in ready:
                    text.guess.forget()
        elif not depth or chosen and not reads:
            self._stop(texts)
        return ready

    def _stop(self, texts: list[Text]) -> None:
        """It does not pay: it is left for some steps, and a part of what was learned is forgotten."""
        self.mean.forget()
        for text in texts:
            text.guess.forget()
        self._look = self._step + _LOOK
        if self._began is not None:
            lasted, self._began = self._step - self._began, None
            self._left = _TRIES[0] if lasted >= _TRIES[2] else min(2 * self._left, _TRIES[1])
            self._look = self._step + self._left

    # --- what the draft computes ----------------------------------------------------------------------------

    def _ready(
        self, texts: list[Text], plan: Plan, rate: float, limit: float | None
    ) -> tuple[list[Text], bool]:
        """Those that can be written on now. It goes on to read one of the others: True where there is one."""
        ready: list[Text] = []
        reads, left = False, self._steps.chunk
        seconds = None if limit is None else limit - plan.alone
        for text in texts:
            try:
                missing = self._missing(text)
            except NoRoomError:
                text.guess.pause(len(text.ids))
                continue
            if missing <= min(_FEW, left):
                text.feed = list(text.ids[text.guess.agreed :])
                ready.append(text)
                left -= missing
            elif missing > _FEW and plan.pays_to_read(text, missing, rate):
                reads = True
                if seconds is None or seconds > 0:
                    self._read(text, missing, seconds)
                    seconds = 0.0
        return ready, reads

    def _missing(self, text: Text) -> int:
        """How many tokens of a text the draft has not read, at least 1. It has a sequence from now on."""
        guess, ids = text.guess, text.ids
        missing = guess.follow(ids)
        if guess.stored is not None and not guess.stored.can_resume(guess.agreed):
            guess.release()
        if guess.stored is None:
            guess.stored = self._steps.open()
            guess.agreed = guess.sequence.adopt(ids)
            missing = guess.follow(ids)
        guess.sequence.truncate(guess.agreed)
        return missing

    def _read(self, text: Text, missing: int, seconds: float | None) -> None:
        """Reads what is missing of a text, as far as the time allows."""
        guess, most = text.guess, min(missing - 1, self._steps.chunk)
        if seconds is not None:
            most = self.costs.most_within(seconds, 0, most, position=guess.agreed)
        if most:
            tokens = text.ids[guess.agreed : guess.agreed + most]
            self._timed.run([(guess.sequence, np.array(tokens, np.int32), guess.agreed, most)], reads=True)

    def _write(self, texts: list[Text], plan: Plan) -> None:
        """Writes the texts on, a token of each in a step, as long as that pays."""
        while texts and plan.depth(texts)[0]:
            parts = []
            for text in texts:
                position = len(text.ids) + len(text.drafts) - len(text.feed)
                part = np.array(text.feed, np.int32)
                parts.append((text.guess.sequence, part, position, len(part) - 1))
            rows, going = self._timed.run(parts), []
            plan.steps, plan.spent = plan.steps + 1, plan.spent + (self.costs.seconds(len(texts)) or 0.0)
            for text, row in zip(texts, rows, strict=True):
                token, likely = _likeliest(row[: self._vocabulary])
                level = bisect_right(_BOUNDS, likely)
                chance = text.guess.chances[level]
                text.guess.mean.learn(0, chance)
                self.mean.learn(0, chance)
                text.chance *= chance
                if token not in self._ends and plan.takes(text):
                    text.drafts.append(token)
                    text.levels.append(level)
                    text.feed = [token]
                    if len(text.drafts) < min(text.most, MOST):
                        going.append(text)
            texts = going[: max(plan.room - plan.rows, 0)]


def _likeliest(logits: np.ndarray) -> tuple[int, float]:
    """The likeliest token and its probability. Overwrites the logits."""
    token = int(logits.argmax())
    logits -= logits[token]
    np.exp(logits, out=logits)
    return token, 1.0 / float(logits.sum())
