# SPDX-License-Identifier: Apache-2.0
"""Weights of the reference interpreter: the file's bytes, with decoded forms kept as memory allows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.reference.blocks import BlockFormat, to_float32

_FLOATS = {"f32": np.dtype("<f4"), "f16": np.dtype("<f2"), "bf16": np.dtype("<u2")}


class Budget:
    """Bytes that decoded weights may still take."""

    def __init__(self, limit: int):
        self.left = limit

    def take(self, *arrays: np.ndarray | None) -> bool:
        """True, and the bytes are taken, where the arrays fit."""
        size = sum(array.nbytes for array in arrays if array is not None)
        if size > self.left:
            return False
        self.left -= size
        return True


@dataclass(frozen=True)
class IntegerForm:
    """A quantized weight for integer products: values f32 [G, g, N]; scales, minima f32 [G, N]."""

    values: np.ndarray
    scales: np.ndarray
    minima: np.ndarray | None


class Weight:
    """A matrix [N, K] of floats or of blocks of a format.

    Args:
      data: uint8 bytes in the file's layout, or an array of floats.
      shape: (N, K).
      element: "f32", "f16", "bf16" or the ``BlockFormat``.
      budget: what decoded forms may take; those that do not fit are made again at each use.
      name: for error messages.
    """

    def __init__(
        self, data: np.ndarray, shape: tuple[int, int], element: str | BlockFormat, budget: Budget, name: str
    ):
        self.shape = shape
        self.element = element
        self._budget = budget
        self._values: np.ndarray | None = None
        self._integer: IntegerForm | None = None
        self._parts: dict[tuple[int, int], Weight] = {}
        self._name = name
        rows, columns = shape
        if isinstance(element, str):
            dtype = _FLOATS[element]
            array = data.reshape(-1).view(dtype) if data.dtype == np.uint8 else np.asarray(data, dtype)
            found, expected = array.size, rows * columns
        else:
            if data.dtype != np.uint8 or columns % element.block:
                raise LumenError(
                    f"{name}: expected the bytes of {rows} x {columns} weights in blocks of {element.block} "
                    f"({element.name}), got {data.dtype}"
                )
            array, found, expected = data, data.size, rows * element.row_bytes(columns)
        if found != expected:
            raise LumenError(f"{name}: expected {expected} elements for {rows} x {columns}, got {found}")
        self.data = array.reshape(rows, -1)

    @property
    def is_quantized(self) -> bool:
        return not isinstance(self.element, str)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """float32 [len(indices), K]: some rows; the others are not decoded."""
        data = self.data[indices]
        if not self.is_quantized:
            return to_float32(data, self.element)
        return self.element.dequantize(np.ascontiguousarray(data)).reshape(len(indices), -1)

    def part(self, rows: slice) -> Weight:
        """Some rows as a weight of its own; the others are not decoded."""
        key = (rows.start, rows.stop)
        if key not in self._parts:
            shape = (rows.stop - rows.start, self.shape[1])
            data = self.data[rows]
            self._parts[key] = Weight(data, shape, self.element, self._budget, self._name)
        return self._parts[key]

    def values(self) -> np.ndarray:
        """float32 [N, K]."""
        if self._values is not None:
            return self._values
        if not self.is_quantized:
            values = to_float32(self.data, self.element)
        else:
            values = self.element.dequantize(self.data).reshape(self.shape)
        if self._budget.take(values):
            self._values = values
        return values

    def integer(self) -> IntegerForm:
        """The form that ``ops.integer_product`` takes, with groups of at most 32."""
        if self._integer is not None:
            return self._integer
        rows, columns = self.shape
        fmt = self.element
        decoded = fmt.decode(self.data)
        size = min(fmt.group, 32)
        values = fmt.values[decoded.codes].reshape(rows, columns // size, size)

        def spread(factor: np.ndarray | None) -> np.ndarray | None:
            if factor is None:
                return None
            per_group = factor.reshape(rows, columns // fmt.group)
            return np.ascontiguousarray(np.repeat(per_group, fmt.group // size, axis=1).T)

        form = IntegerForm(
            np.ascontiguousarray(values.transpose(1, 2, 0)), spread(decoded.scale), spread(decoded.minimum)
        )
        if self._budget.take(form.values, form.scales, form.minima):
            self._integer = form
        return form
