# SPDX-License-Identifier: Apache-2.0
"""How long steps take by the number of their tokens and by what these attend to, as it was measured."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

# How much a new measurement counts, and how many times as long as expected it counts as at most: a step may
# have waited for something else.
_SHARE, _MOST = 0.2, 2.0
# What was measured so many steps ago is forgotten, as the machine may have had more to do then. For sizes
# above this one, which only prompts have, it is kept.
_KEPT, _SMALL = 200, 16
# A step whose tokens attend to fewer positions each says little of what that costs.
_LEAST_DEPTH = 64
# What a guess adds to a step where no longer one was measured, as a part of it.
_GUESSED = 0.1
# The least part of a step that is not for what its tokens attend to.
_LEAST_ALONE = 0.1


@dataclass(slots=True)
class _Average:
    """Seconds of steps of ``size`` tokens, of which number ``step`` was the last one."""

    size: int
    seconds: float
    step: int


class CostCurve:
    """Seconds of steps of 1 to 8, 16, 32, … tokens, each an average that follows what is measured.

    Tokens of a prompt attend to all positions before them, which takes time of its own: in proportion to the
    pairs of a token and a position.

    Args:
      most: tokens of the longest step.
      begins_cold: the first step touches weights for the first time, so a short one says nothing of others.
    """

    def __init__(self, most: int, begins_cold: bool = False):
        self._cold = begins_cold
        self._sizes = [*range(1, min(most, 7) + 1), *(1 << i for i in range(3, most.bit_length()))]
        # By size, and these sizes.
        self._known: list[_Average] = []
        self._known_sizes: list[int] = []
        self._steps = 0
        self._pair = 0.0

    def add(self, tokens: int, seconds: float, pairs: float = 0) -> None:
        """Counts a step of so many tokens, of which those of prompts attend to so many positions in all."""
        cold, self._cold = self._cold, False
        if cold and tokens <= _SMALL:
            return
        self._steps += 1
        size = self._size_of(tokens)
        number = bisect_right(self._known_sizes, size)
        before = self._known[number - 1] if number and self._known[number - 1].size == size else None
        if before is not None and pairs >= _LEAST_DEPTH * tokens:
            # What the step took beyond one without them is theirs.
            expected = self.seconds(tokens) or 0.0
            self._pair += _SHARE * (max(seconds - expected, 0.0) / pairs - self._pair)
        # As long as the step of the size that stands for it would have taken, were all its tokens equal.
        scaled = max(seconds - self._pair * pairs, _LEAST_ALONE * seconds) * size / tokens
        if before is None:
            self._known.insert(number, _Average(size, scaled, self._steps))
            self._known_sizes.insert(number, size)
        else:
            before.seconds += _SHARE * (min(scaled, _MOST * before.seconds) - before.seconds)
            before.step = self._steps
        old = next((each for each in self._known if self._steps - each.step > _KEPT), None)
        if old is not None and old.size <= _SMALL:
            self._known.remove(old)
            self._known_sizes.remove(old.size)

    def seconds(self, tokens: int, pairs: float = 0) -> float | None:
        """What a step of so many tokens takes; None where nothing was measured yet.

        Between sizes that were measured it is a straight line, beyond them proportional.
        """
        if not self._known:
            return None
        number = bisect_right(self._known_sizes, tokens)
        above = self._known[number] if number < len(self._known) else None
        if number == 0:
            alone = self._known[0].seconds
        else:
            below = self._known[number - 1]
            if above is None:
                alone = below.seconds * tokens / below.size
            else:
                slope = (above.seconds - below.seconds) / (above.size - below.size)
                alone = below.seconds + slope * (tokens - below.size)
        return alone + self._pair * pairs

    def has_measured(self, tokens: int) -> bool:
        """True where a step of about so many tokens was measured."""
        return self._size_of(tokens) in self._known_sizes

    def reaches(self, tokens: int) -> bool:
        """True where a step of so many tokens or more was measured."""
        return bool(self._known) and self._known[-1].size >= self._size_of(tokens)

    def with_guesses(self, tokens: int, guesses: int) -> float:
        """What a step takes with so many guesses besides its tokens; 0 where nothing was measured yet.

        Of steps that were not measured it is the least that can be: what is not tried is never known. They
        take no less than a shorter one, and a token of them no less than one of a longer one.
        """
        alone = self.seconds(tokens)
        if alone is None:
            return 0.0
        wanted = tokens + guesses
        number = bisect_right(self._known_sizes, wanted)
        below = self._known[number - 1] if number else None
        if below is not None and below.size == self._size_of(wanted):
            return self.seconds(wanted) or 0.0
        least = alone if below is None else max(alone, below.seconds)
        if number < len(self._known):
            above = self._known[number]
            return max(least, above.seconds * wanted / above.size)
        if below is None or below.size <= tokens:
            return (1 + _GUESSED * guesses) * alone
        return alone + max(below.seconds - alone, 0.0) / (below.size - tokens) * guesses

    def most_within(
        self, seconds: float, least: int, most: int, others: int = 0, pairs: float = 0, position: int = 0
    ) -> int:
        """The most tokens, from ``least`` to ``most``, whose step takes no longer.

        They stand from ``position`` on, beside ``others`` that attend to ``pairs`` positions.
        """
        low, high = least, most
        while low < high:
            middle = (low + high + 1) // 2
            expected = self.seconds(others + middle, pairs + pairs_of(middle, position))
            if expected is not None and expected <= seconds:
                low = middle
            else:
                high = middle - 1
        return low

    def _size_of(self, tokens: int) -> int:
        """The size that stands for so many tokens."""
        return self._sizes[bisect_right(self._sizes, tokens) - 1]


def pairs_of(tokens: int, position: int) -> float:
    """Pairs of a token of a prompt and a position that it attends to."""
    return tokens * (position + tokens / 2)
