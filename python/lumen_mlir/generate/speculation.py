# SPDX-License-Identifier: Apache-2.0
"""Guesses at what comes next in a text, which a step then computes along with its last token.

What is drawn does not change: a guess is used only as far as it is what would have been drawn. So a text that
repeats parts of itself, or of its prompt, is written several tokens a step.
"""

from __future__ import annotations

from collections.abc import Sequence

from lumen_mlir.generate.cost_curve import CostCurve

# Tokens that must agree with an earlier place, the most first.
_LENGTHS = (5, 3, 2)
# Most tokens guessed at a time.
_MOST = 16
# How likely a guessed token is right before anything is known, how much each guess teaches, and how fast that
# is forgotten where nothing was guessed: a text may begin to repeat itself at any time.
_FIRST, _LEARNED, _FORGOTTEN = 0.7, 0.2, 0.01
# What a step with guesses must gain over one without.
_GAIN = 1.05


class NgramGuess:
    """What stood behind the same tokens before, in the prompt or in what was written.

    Attributes:
      proposed, right: tokens so far.
    """

    def __init__(self) -> None:
        self.proposed = self.right = 0
        # For each length: where the tokens behind so many tokens begin, where they stood last.
        self._places: dict[int, dict[tuple[int, ...], int]] = {length: {} for length in _LENGTHS}
        self._read = 0
        self._chances = dict.fromkeys(_LENGTHS, _FIRST)
        self._length = _LENGTHS[0]

    def propose(self, ids: Sequence[int], most: int, total: int, costs: CostCurve) -> list[int]:
        """See ``Guess.propose``."""
        self._index(ids)
        for length in _LENGTHS:
            place = self._places[length].get(tuple(ids[-length:]))
            if place is None:
                continue
            count = self._count(length, min(most, _MOST, len(ids) - place), total, costs)
            if not count:
                self._chances[length] += _FORGOTTEN * (_FIRST - self._chances[length])
                return []
            self._length = length
            return list(ids[place : place + count])
        return []

    def learn(self, proposed: int, right: int) -> None:
        """See ``Guess.learn``."""
        self.proposed += proposed
        self.right += right
        for was_right in [1.0] * right + [0.0] * (right < proposed):
            self._chances[self._length] += _LEARNED * (was_right - self._chances[self._length])

    def _index(self, ids: Sequence[int]) -> None:
        """Reads what is new; the last token has nothing behind it yet."""
        for end in range(max(self._read, 1), len(ids)):
            for length in _LENGTHS:
                if end >= length:
                    self._places[length][tuple(ids[end - length : end])] = end
        self._read = len(ids)

    def _count(self, length: int, most: int, total: int, costs: CostCurve) -> int:
        """How many tokens make the text come fastest; 0 where guesses do not pay."""
        alone = costs.seconds(total)
        if alone is None:
            return 0
        best, best_rate = 0, _GAIN
        expected = chance = 1.0
        for count in range(1, most + 1):
            chance *= self._chances[length]
            expected += chance
            rate = expected * alone / (costs.seconds(total + count) or alone)
            if rate > best_rate:
                best, best_rate = count, rate
        return best
