# SPDX-License-Identifier: Apache-2.0
"""A loaded model and one sequence, ready to step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lumen_mlir.models import Model
from lumen_mlir.run.executor import Executor, LogitsMemory, Part
from lumen_mlir.run.program import Program
from lumen_mlir.run.session_options import Progress, SessionOptions, Timings, silent
from lumen_mlir.run.step_arguments import place, token_ids, whole_number
from lumen_mlir.run.tuning import Tuning
from lumen_mlir.storage.cache import Cache


class Stepper:
    """Runs the steps of a model for one sequence.

    Attributes:
      executor: what runs them.
      target: what the code is compiled for.
      context: tokens that the KV cache holds.
      timings: how long opening took.
      tuning, tuning_keys: how products are cut, and what ``lumen tune`` keeps that under.

    Args:
      model: an open model.
      options: how to run it.
      cache: where code and packed weights are kept.
      progress: told of the work that the cache does not save.
      timings: filled in.
      tuned: how products are cut; None for what ``lumen tune`` has found for this model, if it has.
    """

    def __init__(
        self,
        model: Model,
        options: SessionOptions | None = None,
        *,
        cache: Cache | None = None,
        progress: Progress = silent,
        timings: Timings | None = None,
        tuned: Tuning | None = None,
    ):
        self._open(Executor(model, options, cache=cache, progress=progress, timings=timings, tuned=tuned))

    @staticmethod
    def on(executor: Executor) -> Stepper:
        """Steps of one more sequence of an executor."""
        stepper = Stepper.__new__(Stepper)
        stepper._open(executor)
        return stepper

    def _open(self, executor: Executor) -> None:
        self.executor = executor
        self.model, self.options, self.timings = executor.model, executor.options, executor.timings
        self.context, self.target = executor.context, executor.target
        self.tuning, self.tuning_keys = executor.tuning, executor.tuning_keys
        self._sequence = executor.open()
        self._logits = LogitsMemory(executor.model.row_width)

    def __enter__(self) -> Stepper:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the pages of the sequence back."""
        self._sequence.close()

    @property
    def threads(self) -> int:
        """Threads of the team."""
        return self.executor.threads

    def set_threads(self, count: int) -> None:
        """Goes on with another team of threads; results do not depend on it."""
        self.executor.set_threads(count)

    @property
    def program(self) -> Program:
        """The compiled code."""
        return self.executor.engine.program

    @property
    def kernel_times(self) -> np.ndarray:
        """``Engine.kernel_times`` of the compiled code."""
        return self.executor.engine.kernel_times

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights."""
        return self.executor.packed_bytes

    @property
    def arena_bytes(self) -> int:
        """Bytes for the intermediates of a step."""
        return self.executor.engine.arena_bytes

    @property
    def kernels(self) -> str:
        """What was chosen for this CPU: target, dot product, rows x tokens of a register tile."""
        return self.executor.kernels

    def step(
        self, tokens: Sequence[int] | np.ndarray, position: int, first: int = 0, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Runs ``tokens`` at ``position``, ``position`` + 1, … on top of what the KV cache holds before it.

        Returns the logits of the tokens from number ``first`` on: float32 [len(tokens) - first, vocabulary],
        written to ``out`` or to memory that the next step of the same thread uses again. ``LumenError`` where
        the tokens do not fit a step or the context, or are none of the vocabulary. Steps of several threads
        run one after the other, on the same KV cache.
        """
        ids = token_ids(tokens, self.model.config.vocabulary, self.options.chunk)
        position, first = place(position, first, len(ids), self.context)
        if out is None:
            out = self._logits.rows(len(ids) - first)
        self.executor.run([Part(self._sequence, ids, position, first)], out)
        return out

    def can_resume(self, position: int) -> bool:
        """True where the KV cache still holds all that a step at ``position`` attends to.

        That is so for every position written to, except that the pages behind a sliding window are given
        back.
        """
        return self._sequence.can_resume(whole_number("position", position))
