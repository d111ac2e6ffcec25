# SPDX-License-Identifier: Apache-2.0
"""How long steps take by the number of their tokens and by what these attend to, as it was measured."""

from __future__ import annotations

# How much a new measurement counts.
_SHARE = 0.2
# A step whose tokens attend to fewer positions each says little of what that costs.
_LEAST_DEPTH = 64


class CostCurve:
    """Seconds of steps of 1, 2, 4, … tokens, each an average that follows what is measured.

    Tokens of a prompt attend to all positions before them, which takes time of its own: in proportion to the
    pairs of a token and a position.

    Args:
      most: tokens of the longest step.
      rise: how much a measurement counts that is above the average.
    """

    def __init__(self, most: int, rise: float = _SHARE):
        self._rise = rise
        self._sizes = [1 << i for i in range(most.bit_length())]
        self._seconds: list[float | None] = [None] * len(self._sizes)
        self._pair = 0.0

    def add(self, tokens: int, seconds: float, pairs: float = 0) -> None:
        """Counts a step of so many tokens, of which those of prompts attend to so many positions in all."""
        number = tokens.bit_length() - 1
        before = self._seconds[number]
        if before is not None and pairs >= _LEAST_DEPTH * tokens:
            # What the step took beyond one without them is theirs.
            expected = self.seconds(tokens) or 0.0
            self._pair += _SHARE * (max(seconds - expected, 0.0) / pairs - self._pair)
        seconds = max(seconds - self._pair * pairs, 0.0)
        # As long as the step of the size that stands for it would have taken, were all its tokens equal.
        scaled = seconds * self._sizes[number] / tokens if number else seconds
        if before is not None:
            scaled = before + (self._rise if scaled > before else _SHARE) * (scaled - before)
        self._seconds[number] = scaled

    def seconds(self, tokens: int, pairs: float = 0) -> float | None:
        """What a step of so many tokens takes; None where nothing was measured yet.

        Between sizes that were measured it is a straight line, beyond them proportional.
        """
        alone = self._alone(tokens)
        return None if alone is None else alone + self._pair * pairs

    def _alone(self, tokens: int) -> float | None:
        known = [(s, t) for s, t in zip(self._sizes, self._seconds, strict=True) if t is not None]
        if not known:
            return None
        below = [pair for pair in known if pair[0] <= tokens]
        above = [pair for pair in known if pair[0] > tokens]
        if not below:
            return above[0][1]
        size, time = below[-1]
        if not above:
            return time * tokens / size
        next_size, next_time = above[0]
        return time + (next_time - time) * (tokens - size) / (next_size - size)

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


def pairs_of(tokens: int, position: int) -> float:
    """Pairs of a token of a prompt and a position that it attends to."""
    return tokens * (position + tokens / 2)
