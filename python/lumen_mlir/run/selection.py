# SPDX-License-Identifier: Apache-2.0
"""Asking a step on a GPU for the largest logits of rows (``run.ask``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lumen_mlir.run.ask import Ask, logit_group
from lumen_mlir.run.engine import Call, address_of


class Selection:
    """The arguments of a step's call by which groups are asked for, and given.

    Args:
      call: of the step, which is held.
      rows: the number of the argument that says of which row of logits each group is; the next one says
        which group, by rank.
      logits: the number of the argument for all logits; the next two are for the groups.
      vocabulary: logits of a row.
    """

    def __init__(self, call: Call, rows: int, logits: int, vocabulary: int):
        self._call, self._logits, self._vocabulary = call, logits, vocabulary
        self._inputs = [call.words(rows), call.words(rows + 1)]
        self._outs = [call.words(logits + 1), call.words(logits + 2)]
        group = logit_group(vocabulary)
        self._groups = -(-vocabulary // group)
        self._counts: list[int] = []
        self._rows, self._ranks = np.empty(0, np.int32), np.empty(0, np.int32)
        self._values, self._numbers = np.empty((0, group), np.float32), np.empty((0, 1), np.int32)

    @staticmethod
    def inputs() -> list[np.ndarray]:
        """What asks for one group, with which a call is checked."""
        return [np.zeros(1, np.int32), np.zeros(1, np.int32)]

    @staticmethod
    def outs(vocabulary: int) -> list[np.ndarray]:
        """Room for one group."""
        return [np.empty((1, logit_group(vocabulary)), np.float32), np.empty((1, 1), np.int32)]

    def ask(self, asks: Sequence[Ask | None]) -> None:
        """Asks for the groups of the first rows, and of no others, in the next run."""
        self._counts = [0 if ask is None else min(ask.wanted, self._groups) for ask in asks]
        total = sum(self._counts)
        if total > len(self._rows):
            self._rows, self._ranks = np.empty(total, np.int32), np.empty(total, np.int32)
            self._values = np.empty((total, self._values.shape[1]), np.float32)
            self._numbers = np.empty((total, 1), np.int32)
        begin = 0
        for row, count in enumerate(self._counts):
            self._rows[begin : begin + count] = row
            self._ranks[begin : begin + count] = np.arange(count)
            begin += count
        arrays = (self._rows, self._ranks, self._values, self._numbers)
        for words, array in zip([*self._inputs, *self._outs], arrays, strict=True):
            words[:] = address_of(array), total

    def answer(self, asks: Sequence[Ask | None], out: np.ndarray) -> None:
        """Gives what was asked for, after the run, and copies the rows of logits to ``out`` that are needed.

        ``out``: float32 [rows, vocabulary], all rows of the run.
        """
        total = sum(self._counts)
        self._read(self._logits + 1, 0, self._values[:total])
        self._read(self._logits + 2, 0, self._numbers[:total])
        needed = np.ones(len(out), bool)
        begin = 0
        for row, (ask, count) in enumerate(zip(asks, self._counts, strict=True)):
            end = begin + count
            groups = self._values[begin:end], self._numbers[begin:end, 0]
            needed[row] = ask is None or not ask.take(*groups)
            begin = end
        # Neighbours come in one piece.
        edges = np.flatnonzero(np.diff(needed, prepend=False, append=False))
        for first, behind in edges.reshape(-1, 2).tolist():
            self._read(self._logits, 4 * self._vocabulary * first, out[first:behind])

    def _read(self, number: int, place: int, array: np.ndarray) -> None:
        if array.size:
            self._call.read_held(number, [(place, array.data.cast("B"))])
