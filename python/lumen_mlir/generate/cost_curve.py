# SPDX-License-Identifier: Apache-2.0
"""How long steps take by the number of their tokens, as it was measured."""

from __future__ import annotations

# How much a new measurement counts.
_SHARE = 0.2


class CostCurve:
    """Seconds of steps of 1, 2, 4, … tokens, each an average that follows what is measured.

    Args:
      most: tokens of the longest step.
    """

    def __init__(self, most: int):
        self._sizes = [1 << i for i in range(most.bit_length())]
        self._seconds: list[float | None] = [None] * len(self._sizes)

    def add(self, tokens: int, seconds: float) -> None:
        """Counts a step of so many tokens."""
        number = tokens.bit_length() - 1
        # As long as the step of the size that stands for it would have taken, were all its tokens equal.
        scaled = seconds * self._sizes[number] / tokens if number else seconds
        before = self._seconds[number]
        self._seconds[number] = scaled if before is None else before + _SHARE * (scaled - before)

    def seconds(self, tokens: int) -> float | None:
        """What a step of so many tokens takes; None where nothing was measured yet.

        Between sizes that were measured it is a straight line, beyond them proportional.
        """
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

    def most_within(self, seconds: float, least: int, most: int) -> int:
        """The most tokens, from ``least`` to ``most``, whose step takes no longer."""
        low, high = least, most
        while low < high:
            middle = (low + high + 1) // 2
            expected = self.seconds(middle)
            if expected is not None and expected <= seconds:
                low = middle
            else:
                high = middle - 1
        return low
