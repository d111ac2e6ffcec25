# SPDX-License-Identifier: Apache-2.0
"""The engines as the scheduler sees them: sequences, and steps over several of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lumen_mlir.generate.request import Stored
from lumen_mlir.run.pages import NoRoomError

if TYPE_CHECKING:
    from lumen_mlir.reference import ReferenceSession
    from lumen_mlir.run.ask import Ask
    from lumen_mlir.run.executor import Executor


class CompiledSteps:
    """Those of ``run.executor.Executor``."""

    def __init__(self, executor: Executor):
        # Imported only where there is one.
        from lumen_mlir.run.executor import LogitsMemory, Part

        self._executor, self._part = executor, Part
        self.chunk, self.context = executor.options.chunk, executor.context
        self.capacity, self.row_width = executor.capacity, executor.model.row_width
        self.selects = executor.selects
        self._logits = LogitsMemory(self.row_width)
        self.team = executor.engine.team
        # Those that are computed at a time.
        self._open: list[Any] = []

    def open(self) -> Stored:
        """See ``Steps.open``."""
        self._open = [sequence for sequence in self._open if not sequence.closed]
        if len(self._open) == self._executor.options.sequences:
            raise NoRoomError(f"{len(self._open)} texts are computed at a time")
        self._open.append(self._executor.open())
        return self._open[-1]

    def forget(self) -> None:
        """See ``Steps.forget``."""
        self._open = []
        self._executor.forget()

    def run(
        self, parts: Sequence[tuple[Any, np.ndarray, int, int]], asks: Sequence[Ask | None] = ()
    ) -> np.ndarray:
        """See ``Steps.run``."""
        logits = self._logits.rows(sum(len(tokens) - first for _, tokens, _, first in parts))
        self._executor.run([self._part(*part) for part in parts], logits, asks)
        return logits


class ReferenceSteps:
    """Those of ``reference.ReferenceSession``, which has one sequence."""

    selects = False

    def __init__(self, session: ReferenceSession, chunk: int):
        self._session = session
        self.chunk, self.context, self.capacity = chunk, session.context, session.context
        self.row_width = session.model.row_width
        self._current: _OnlySequence | None = None
        # What the caches hold.
        self.held: list[int] = []

    def open(self) -> Stored:
        """See ``Steps.open``."""
        if self._current is not None:
            raise NoRoomError("the reference computes one sequence at a time")
        self._current = _OnlySequence(self)
        return self._current

    def forget(self) -> None:
        """Makes the caches count as empty."""
        self._current, self.held = None, []

    def team(self) -> None:
        """It has no threads."""
        return None

    def close(self, sequence: _OnlySequence) -> None:
        """Lets another sequence begin, with what this one has computed."""
        if sequence is self._current:
            self._current, self.held = None, sequence.tokens

    def run(
        self, parts: Sequence[tuple[Any, np.ndarray, int, int]], asks: Sequence[Ask | None] = ()
    ) -> np.ndarray:
        """See ``Steps.run``."""
        ((sequence, tokens, position, first),) = parts
        self.held = []
        logits = self._session.step(tokens, position, first)
        sequence.tokens[position:] = tokens.tolist()
        return logits


class _OnlySequence:
    def __init__(self, steps: ReferenceSteps):
        self.tokens: list[int] = []
        self._steps = steps

    def adopt(self, tokens: Sequence[int]) -> int:
        held, most = self._steps.held, len(tokens) - 1
        known = next((i for i in range(min(len(held), most)) if held[i] != tokens[i]), min(len(held), most))
        self.tokens = list(tokens[:known])
        return known

    def can_resume(self, position: int) -> bool:
        return position <= len(self.tokens)

    def truncate(self, length: int) -> None:
        del self.tokens[length:]

    def close(self) -> None:
        self._steps.close(self)


def steps_of(engine: Any, chunk: int) -> CompiledSteps | ReferenceSteps:
    """Those of an executor, or of the reference."""
    return CompiledSteps(engine) if hasattr(engine, "open") else ReferenceSteps(engine, chunk)
