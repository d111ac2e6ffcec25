# SPDX-License-Identifier: Apache-2.0
"""The sets of values that codes and factors can take, and rounding to the nearest of them.

Every grid has ``low`` and ``high``, the values that the greatest weights shall take; ``end_step``, the
distance between the one of greater magnitude and its neighbour; and ``nearest``, from float32 to float32.
Integers and tables saturate; floats become infinite past their end, so that a scale that does not fit is
noticed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .arrays import from_float32, to_float32
from .graph import DType


class IntegerGrid:
    """All integers from ``low`` to ``high``."""

    def __init__(self, low: int, high: int):
        self.low, self.high = np.float32(low), np.float32(high)
        self.end_step = np.float32(1)

    def nearest(self, values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        out = np.rint(values, out=out)
        return np.clip(out, self.low, self.high, out=out)


class TableGrid:
    """A few integers from -128 to 127."""

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
    """Every value of a float type. Its precision is relative, so the greatest weights may as well take 1."""

    low, high, end_step = np.float32(-1), np.float32(1), np.float32(0)

    def __init__(self, dtype: DType):
        self._dtype = dtype

    def nearest(self, values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return _into(out, to_float32(from_float32(values, self._dtype), self._dtype))


class ListedGrid:
    """Some float32 values."""

    def __init__(self, values: np.ndarray):
        self._points = np.unique(values)
        self.low, self.high = self._points[0], self._points[-1]
        self._middles = self._points[1:] / 2 + self._points[:-1] / 2
        first, last = np.ptp(self._points[:2]), np.ptp(self._points[-2:])
        self.end_step = first if -self.low >= self.high else last
        # What lies a step past the end does not fit. Not so where the grid ends above or at 0: a scale that
        # is too small has the smallest one as its nearest.
        self._least = self.low - first if self.low < 0 else -np.inf
        self._most = self.high + last

    def nearest(self, values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        rounded = self._points[np.searchsorted(self._middles, values)]
        rounded = np.where(values < self._least, np.float32(-np.inf), rounded)
        return _into(out, np.where(values > self._most, np.float32(np.inf), rounded))


def _into(out: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    if out is None:
        return values
    out[...] = values
    return out


Grid = IntegerGrid | TableGrid | FloatGrid | ListedGrid


def of_values(values: np.ndarray) -> Grid:
    """The grid of finite float32 ``values``; integers without a gap make an ``IntegerGrid``."""
    points = np.unique(values)
    if np.array_equal(points, points[0] + np.arange(len(points))):
        return IntegerGrid(int(points[0]), int(points[-1]))
    return ListedGrid(points)
