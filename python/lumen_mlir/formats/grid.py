# SPDX-License-Identifier: Apache-2.0
"""The sets of values that codes and factors can take, and rounding to the nearest of them.

A grid has ``low`` and ``high``, its smallest and largest finite value, and ``nearest``, from float32 to float32.
Integers and tables saturate; floats become infinite past their end, so that a scale that does not fit is noticed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .types import DType, bf16, from_float32, to_float32


class IntegerGrid:
    """All integers from ``low`` to ``high``."""

    def __init__(self, low: int, high: int):
        self.low, self.high = np.float32(low), np.float32(high)
        self.end_step = np.float32(1)

    def nearest(self, values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        out = np.rint(values, out=out)
        return np.clip(out, self.low, self.high, out=out)


class TableGrid:
    """A few integers from -128 to 127.

    ``end_step`` is the distance between the value of greatest magnitude and its neighbour.
    """

    def __init__(self, values: Sequence[int]):
        points = np.unique(np.array(values, dtype=np.float32))
        self.low, self.high = points[0], points[-1]
        ends = points[:2] if -self.low >= self.high else points[-2:]
        self.end_step = np.float32(ends[-1] - ends[0]) or np.float32(1)
        # Midpoints are multiples of 1/2: between two of those the nearest value is the same.
        self._cells = np.float32(2) * (self.high - self.low)
        middles = self.low + np.arange(int(self._cells) + 1, dtype=np.float32) / 2 + np.float32(0.25)
        self._values = points[np.abs(middles[:, None] - points).argmin(axis=1)]

    def nearest(self, values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        cells = np.subtract(values, self.low, out=out)
        cells *= np.float32(2)
        np.clip(cells, np.float32(0), self._cells, out=cells)
        return np.take(self._values, cells.astype(np.intp), out=cells, mode="clip")


class FloatGrid:
    """Every value of a float type."""

    def __init__(self, dtype: DType):
        self._dtype = dtype
        largest = np.array(0x7F7F, "<u2") if dtype is bf16 else np.array(np.finfo(dtype.numpy).max)
        self.high = to_float32(largest.reshape(1), dtype)[0]
        self.low = -self.high

    def nearest(self, values: np.ndarray) -> np.ndarray:
        return to_float32(from_float32(values, self._dtype), self._dtype)


class ListedGrid:
    """Some float32 values."""

    def __init__(self, values: np.ndarray):
        self._points = np.unique(values)
        self.low, self.high = self._points[0], self._points[-1]
        self._middles = self._points[1:] / 2 + self._points[:-1] / 2
        # What is as far past the end as the last step is wide does not fit; below zero that is not so for
        # a grid without negative values, whose smallest scale may be too large but is the best there is.
        first, last = self._points[:2], self._points[-2:]
        self._least = self.low - (first[-1] - first[0]) if self.low < 0 else -np.inf
        self._most = self.high + (last[-1] - last[0])

    def nearest(self, values: np.ndarray) -> np.ndarray:
        rounded = self._points[np.searchsorted(self._middles, values)]
        rounded = np.where(values <= self._least, np.float32(-np.inf), rounded)
        return np.where(values >= self._most, np.float32(np.inf), rounded)


Grid = IntegerGrid | TableGrid | FloatGrid | ListedGrid


def of_values(values: np.ndarray) -> Grid:
    """The grid of finite float32 ``values``; integers without a gap make an ``IntegerGrid``."""
    points = np.unique(values)
    if np.array_equal(points, points[0] + np.arange(len(points))):
        return IntegerGrid(int(points[0]), int(points[-1]))
    return ListedGrid(points)
