# SPDX-License-Identifier: Apache-2.0
"""The steps of a draft, and what they take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lumen_mlir.generate.cost_curve import CostCurve, pairs_of
from lumen_mlir.generate.request import Stored

if TYPE_CHECKING:
    from lumen_mlir.generate.scheduler import Steps

# Where no step of the draft is run, they are measured again after so many times what one of them takes, then
# after twice as long, and so on up to the second number. (Steps of the model count before which it is asked.)
_STALES = (16, 400)
# Tokens of the longer step that is measured before the draft is used.
_SAMPLE = 16


class MeasuredSteps:
    """Runs steps, and measures them: those that are run, and others where nothing is known or it is old.

    Attributes:
      costs: what they take.

    Args:
      steps: those of the draft.
      clock: seconds.
    """

    def __init__(self, steps: Steps, clock: Callable[[], float]):
        self.costs = CostCurve(steps.chunk)
        self._steps, self._clock = steps, clock
        # Seconds of the model's steps since the last one of the draft.
        self._idle, self._stale = 0.0, _STALES[0]

    def run(self, parts: Sequence[tuple[Stored, np.ndarray, int, int]], reads: bool = False) -> np.ndarray:
        """``Steps.run``; ``reads``: what is read of a text counts by what it attends to."""
        self._idle = 0.0
        start = self._clock()
        logits = self._steps.run(parts)
        tokens = sum(len(part) for _, part, _, _ in parts)
        pairs = sum(pairs_of(len(part), position) for _, part, position, _ in parts) if reads else 0.0
        self.costs.add(tokens, self._clock() - start, pairs)
        return logits

    def refresh(self, alone: float) -> None:
        """Sees to it that ``costs`` has something to say, before a step of the model of so many seconds."""
        self._idle += alone
        own = self.costs.seconds(1)
        if own is None or self._idle > self._stale * own:
            self._measure(alone)

    def _measure(self, alone: float) -> None:
        self._idle, self._stale = 0.0, min(2 * self._stale, _STALES[1])
        sequence, known = self._steps.open(), self.costs
        sample = min(_SAMPLE, self._steps.chunk, self._steps.context)

        def seconds(count: int) -> float:
            start = self._clock()
            self._steps.run([(sequence, np.zeros(count, np.int32), 0, count - 1)])
            return self._clock() - start

        try:
            before = known.seconds(1)
            if before is None:
                # Memory is touched for the first time.
                seconds(1)
            # What takes longer has waited for something else.
            now = min(seconds(1), seconds(1))
            self.costs = CostCurve(self._steps.chunk)
            self.costs.add(1, now)
            # (A draft that is slower than the model is of no use.)
            if now < alone and sample > 1:
                longer = known.seconds(sample) if known.reaches(sample) else None
                self.costs.add(sample, longer * now / before if longer and before else seconds(sample))
        finally:
            sequence.truncate(0)
            sequence.close()
