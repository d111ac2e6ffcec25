# SPDX-License-Identifier: Apache-2.0
"""Sequences as the ops of the dialect take them: where their positions lie, and which rows are theirs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lumen_mlir.formats.kv_cache import PAGE, pages


def numbers(first: int, count: int) -> np.ndarray:
    """``first``, ``first`` + 1, …: int32 [count]."""
    return np.arange(first, first + count, dtype=np.int32)


class Sequences:
    """Sequences of some lengths on pages in a random order, some of which nobody has.

    Attributes:
      table: the pages of each, int32 [sequences, columns].
      count: pages that a cache must have.
    """

    def __init__(self, lengths: Sequence[int], spare: int = 2, seed: int = 0):
        needed = [pages(length) for length in lengths]
        self.count = sum(needed) + spare
        order = np.random.default_rng(seed).permutation(self.count).astype(np.int32)
        self.table = np.zeros((len(lengths), max(needed) + 1), np.int32)
        begin = 0
        for row, size in zip(self.table, needed, strict=True):
            row[:size] = order[begin : begin + size]
            begin += size

    def places(self, sequence: int, positions: np.ndarray) -> np.ndarray:
        """Where positions of a sequence lie in a cache."""
        return self.table[sequence][positions // PAGE] * PAGE + positions % PAGE


def rows_of(runs: Sequence[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """The positions and the ``runs`` of a step: (sequence, first position, tokens) one after the other."""
    positions = np.concatenate([numbers(position, tokens) for _, position, tokens in runs])
    begins = np.cumsum([0] + [tokens for *_, tokens in runs])
    found = [(begin, tokens, s) for begin, (s, _, tokens) in zip(begins.tolist(), runs, strict=False)]
    return positions, np.array(found, np.int32)
