# SPDX-License-Identifier: Apache-2.0
"""Guesses at what comes next in a text, which a step then computes along with its last token.

What is drawn does not change: a guess is used only as far as it is what would have been drawn. So a text that
repeats parts of itself, or of its prompt, is written several tokens a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lumen_mlir.generate.cost_curve import CostCurve
from lumen_mlir.generate.request import Request

# Most tokens guessed at a time.
MOST = 16
# How much each guess teaches, and how fast that is forgotten where nothing was guessed: a text may begin to
# repeat itself at any time.
_LEARNED, _FORGOTTEN = 0.25, 0.003
# What a step with guesses must gain over one without, and what each guess must add to that.
GAIN, RISK = 1.1, 0.01
# Where guesses of a level do not pay, the next ones are not looked at, as that may take a tenth of a step.
_PASSED_OVER = 7

# Tokens that are compared with those before an earlier place, of which at least two must agree, and how many
# places are looked at, the last ones first.
_COMPARED, _LOOKED_AT = 6, 8
# Looking takes some microseconds. So where a step takes less than so many seconds, only every fourth
# token is looked at, as long as nothing is repeated.
_SHORT, _EVERY = 1e-3, 4
# How likely a token is the next one, before anything is known, where so many before it agree with an earlier
# place. (With none or one: where the text has just left what it repeats.)
_CHANCES = (0.4, 0.5, 0.6, 0.7, 0.7, 0.8, 0.8, 0.8, 0.9)
# A text that has left what it repeats is expected back within so many tokens, at most so much farther on.
_AWAY, _NEAR = 4, 8


class Chances:
    """How likely guessed tokens are right, by levels, as it turned out so far.

    Args:
      first: before anything is known.
      learned, forgotten: how much each guess teaches, and how fast that is forgotten.
    """

    def __init__(self, first: Sequence[float], learned: float = _LEARNED, forgotten: float = _FORGOTTEN):
        self._first, self._now = first, list(first)
        self._learned, self._forgotten = learned, forgotten

    def part(self, learned: float, forgotten: float) -> Chances:
        """Those of a part of all guesses. It begins with what is known of all, and forgets back to that."""
        found = Chances(self._now, learned, forgotten)
        found._first = self._now
        return found

    def __getitem__(self, level: int) -> float:
        """Of a token at a level; the last one stands for all behind it."""
        return self._now[min(level, len(self._now) - 1)]

    def learn(self, level: int, right: float) -> None:
        """A token was right (1), or was not (0), or is so with a chance between the two."""
        level = min(level, len(self._now) - 1)
        self._now[level] += self._learned * (right - self._now[level])

    def forget(self, level: int = 0) -> None:
        """Of the levels from ``level`` on, a part of what was learned: there was no guess."""
        for number in range(min(level, len(self._now) - 1), len(self._now)):
            self._now[number] += self._forgotten * (self._first[number] - self._now[number])


class Controller:
    """Says how many guesses pay, from what steps cost and from how often guesses were right.

    Attributes:
      proposed, right: tokens so far.
      rate: how many times as fast the text is to come with the last guess; 1 without.

    Args:
      chances: of a token at each level, before anything is known. The tokens of a guess are of one level
        after the other.
    """

    def __init__(self, chances: Sequence[float]):
        self.proposed = self.right = 0
        self.rate = 1.0
        self._chances = Chances(chances)
        self._level = 0
        # By level, how many guesses are not looked at.
        self._passed_over = [0] * len(chances)

    def count(self, level: int, most: int, total: int, costs: CostCurve) -> int:
        """How many tokens, the first of ``level``, make the text come fastest; 0 where none does.

        ``total``: tokens of the step without them.
        """
        self.rate = 1.0
        kind = min(level, len(self._passed_over) - 1)
        if self._passed_over[kind]:
            self._passed_over[kind] -= 1
            return 0
        alone = costs.seconds(total)
        # Nothing is known of what is gained before a step without guesses was measured.
        if alone is None or not costs.has_measured(total):
            return 0
        best, best_rate = 0, GAIN
        expected = chance = 1.0
        for count in range(1, min(most, MOST) + 1):
            chance *= self._chances[level + count - 1]
            expected += chance
            if chance < 0.02:
                break
            # Of counts that gain about the same, the least.
            # The others of the step wait longer for it.
            rate = (total - 1 + expected) * alone / (costs.with_guesses(total, count) or alone)
            rate = (1 - RISK * count) * (1 + rate - total)
            if rate > best_rate:
                best, best_rate = count, rate
        self._level = level
        if best:
            self.rate = best_rate
        else:
            self._chances.forget(level)
            self._passed_over[kind] = _PASSED_OVER
        return best

    def learn(self, proposed: int, right: int) -> None:
        """See ``Guess.learn``."""
        self.proposed += proposed
        self.right += right
        self._passed_over = [0] * len(self._passed_over)
        for number in range(min(right + 1, proposed)):
            self._chances.learn(self._level + number, number < right)


class NgramGuess:
    """What stood behind the same tokens before, in the prompt or in what was written.

    A text that repeats another one with changes is followed through the changes: it is expected back near
    the place where it left.

    Attributes:
      look: see ``Guess``.
    """

    def __init__(self) -> None:
        self._controller = Controller(_CHANCES)
        # The place behind each two tokens (as one number) where they stood last, and for each place the one
        # before it that is behind the same two, or 0.
        self._places: dict[int, int] = {}
        self._earlier: list[int] = []
        # What is repeated: the place of the next token, and how many before it agree.
        self._place: int | None = None
        self._agreed = 0
        # Where the text left what it repeats, and the tokens since then.
        self._left: int | None = None
        self._away = 0
        self.look = 0

    @property
    def proposed(self) -> int:
        """See ``Guess``."""
        return self._controller.proposed

    @property
    def right(self) -> int:
        """See ``Guess``."""
        return self._controller.right

    @property
    def rate(self) -> float:
        """How many times as fast the text is to come with the last guess; 1 without."""
        return self._controller.rate

    def propose(self, ids: Sequence[int], most: int, total: int, costs: CostCurve) -> list[int]:
        """See ``Guess.propose``."""
        self._controller.rate = 1.0
        places, earlier = self._places, self._earlier
        for number in range(len(earlier), len(ids) + 1):
            if self._place is not None or self._left is not None:
                self._follow(ids, number - 1)
            if number > 1:
                pair = ids[number - 2] << 32 | ids[number - 1]
                earlier.append(places.get(pair, 0))
                places[pair] = number
            else:
                earlier.append(0)
        follows = self._place is not None or self._left is not None
        # (For most tokens of most texts, there is nothing to find.)
        place, agreed = self._find(ids) if follows or earlier[len(ids)] else (None, 0)
        if place is not None:
            count = self._controller.count(agreed, min(most, len(ids) - place), total, costs)
            if count:
                self._place, self._agreed = place, agreed
                return list(ids[place : place + count])
        is_short = (costs.seconds(total) or _SHORT) < _SHORT
        self.look = len(ids) + (_EVERY if is_short and not follows else 1)
        return []

    def learn(self, proposed: int, right: int) -> None:
        """See ``Guess.learn``."""
        self._controller.learn(proposed, right)

    def release(self) -> None:
        """See ``Guess.release``."""

    def _follow(self, ids: Sequence[int], number: int) -> None:
        """Compares a new token with what was to be repeated."""
        if self._place is not None and ids[self._place] == ids[number]:
            self._place, self._agreed = self._place + 1, self._agreed + 1
            if self._agreed > 1:
                self._left = None
            return
        if self._place is not None and self._left is None and self._agreed > 1:
            self._left, self._away = self._place, 0
        self._place, self._agreed = None, 0
        self._away += 1
        if self._away > _AWAY:
            self._left = None

    def _find(self, ids: Sequence[int]) -> tuple[int | None, int]:
        """The place of what may be repeated, and how many tokens before it agree."""
        place, found, longest = self._earlier[len(ids)], 0, self._agreed
        for _ in range(_LOOKED_AT):
            if not place or longest >= _COMPARED:
                break
            agreed = 2
            while agreed < min(_COMPARED, place) and ids[place - agreed - 1] == ids[-agreed - 1]:
                agreed += 1
            if agreed > longest:
                found, longest = place, agreed
            place = self._earlier[place]
        if found:
            return found, longest
        if self._place is not None or self._left is None:
            return self._place, self._agreed
        for place in range(self._left, min(self._left + _NEAR, len(ids) - 1)):
            if ids[place] == ids[-1]:
                return place + 1, 1
        # As if what is new had been put in.
        return self._left, 0


class EachGuesses:
    """A ``Guesser`` that asks the guess of each request, one after the other."""

    def propose(
        self,
        asked: Sequence[tuple[Request, int]],
        total: int,
        room: int,
        costs: CostCurve,
        limit: Callable[[], float | None],
    ) -> list[list[int]]:
        """See ``Guesser.propose``."""
        found = []
        for request, most in asked:
            assert request.guess is not None
            most = min(most, room)
            drafts = request.guess.propose(request.ids, most, total, costs) if most > 0 else []
            found.append(drafts)
            if drafts:
                total, room = total + len(drafts), room - len(drafts)
        return found

    def forget(self) -> None:
        """See ``Guesser.forget``."""
