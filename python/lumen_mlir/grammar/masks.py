# SPDX-License-Identifier: Apache-2.0
"""Which tokens may follow in several texts at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np

from lumen_mlir.grammar.grammar import GrammarError
from lumen_mlir.grammar.state import GrammarState

# Where all together take longer, each is timed by itself the next time.
_SLOW = 0.02


class Masks:
    """Computes them in threads of its own, which begin when there are several.

    Args:
      words: of 32 tokens each, of a mask.
      threads: at most so many.
    """

    def __init__(self, words: int, threads: int):
        self._words, self._threads = words, threads
        self._executor: Any = None
        self._process = 0
        self._one_by_one = False

    def of(self, states: Sequence[GrammarState]) -> list[np.ndarray | GrammarError]:
        """For each text, int32 [words] as ``Sampler.sample`` takes it, or why it cannot go on."""
        rows = np.empty((len(states), self._words), np.int32)
        together = len(states) > 1 and self._threads > 1 and not self._one_by_one
        begin = perf_counter()
        if together:
            matchers = [(state.matcher, number) for number, state in enumerate(states)]
            row = rows[0].nbytes
            self._pool().unsafe_compute_mask_ptr(matchers, rows.ctypes.data, row, len(states))
        found: list[np.ndarray | GrammarError] = []
        for state, row in zip(states, rows, strict=True):
            try:
                if not together or state.matcher.is_error():
                    state.fill(row)
                found.append(row)
            except GrammarError as error:
                found.append(error)
        self._one_by_one = perf_counter() - begin > _SLOW
        return found

    def _pool(self) -> Any:
        # (Threads do not live on in a forked process.)
        if self._executor is None or self._process != os.getpid():
            import llguidance

            self._executor, self._process = llguidance.LLExecutor(self._threads), os.getpid()
        return self._executor
