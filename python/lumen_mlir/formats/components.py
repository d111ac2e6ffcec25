# SPDX-License-Identifier: Apache-2.0
"""The arrays inside a packed weight, and how codes and factors become one and come back."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np


@dataclass(frozen=True)
class Component:
    """One array inside a packed weight.

    Attributes:
      name: "codes.0" (plane with the lowest bits, or whole codes), "codes.1", …; what is kept of the factors
        by the name of its first use, "scale.super", "scale.sub", "min.super" or "min.sub", and ".0", ".1", …
        for planes of it; "values" for float weights.
      offset: bytes from the start of the buffer.
      shape, dtype: of the array, [tile][unit] and what a unit holds: codes [2]… [row][step], by the bits that
        number a load; factors [entry][row]; floats [row][step]. bf16 is uint16, and int8 are codes less by
        128.
      strides: in bytes.
      low, bits: it holds the bits [low, low + bits) of codes or factors.
      pieces: of whole codes, for each step of a span (load, first bit, bits), upper bits first. Such a
        component is [tile][unit][load][row][step].
      kept: of a factor, its number in ``QuantFormat.stored``; None otherwise.
    """

    name: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    low: int
    bits: int
    kept: int | None
    pieces: tuple[tuple[tuple[int, int, int], ...], ...] = ()

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Bytes from the start of the buffer to behind the last element."""
        steps = [(size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)]
        return self.offset + sum(steps) + self.dtype.itemsize

    def view(self, buffer: np.ndarray) -> np.ndarray:
        """The component inside ``buffer`` (contiguous uint8), without copying."""
        return np.ndarray(self.shape, self.dtype, buffer.data, self.offset, self.strides)


def to_lanes(array: np.ndarray, rows: int, step: int = 1) -> np.ndarray:
    """[n, columns] -> [tiles, steps, rows, step], zero past row n and past the last column."""
    tiles, steps = -(-len(array) // rows), -(-array.shape[1] // step)
    padded = np.zeros((tiles * rows, steps * step), dtype=array.dtype)
    padded[: len(array), : array.shape[1]] = array
    return padded.reshape(tiles, rows, steps, step).swapaxes(1, 2)


def from_lanes(array: np.ndarray, n: int, k: int) -> np.ndarray:
    """The inverse of ``to_lanes``: [tiles, steps, rows, step] -> [n, k]."""
    tiles, steps, rows, step = array.shape
    return array.swapaxes(1, 2).reshape(tiles * rows, steps * step)[:n, :k]


def _pack_plane(codes: np.ndarray, part: Component) -> np.ndarray:
    """The bits of codes [n, k] that a plane holds -> [tiles, spans, loads, rows, step]."""
    rows, step = part.shape[-2:]
    lanes = to_lanes((codes >> part.low) & ((1 << part.bits) - 1), rows, step)
    tiles, loads = len(lanes), prod(part.shape[2:-2])
    # [tile, span, load, step in the load, row, column in the step]
    steps = lanes.reshape(tiles, part.shape[1], loads, -1, rows, step)
    shifts = np.arange(steps.shape[3], dtype=np.uint8) * part.bits
    return np.bitwise_or.reduce(steps << shifts.reshape(-1, 1, 1), axis=3)


def _unpack_plane(plane: np.ndarray, part: Component, n: int, k: int) -> np.ndarray:
    """The inverse of ``_pack_plane``: codes [n, k] with only these bits set."""
    tiles, spans, rows, step = *plane.shape[:2], *plane.shape[-2:]
    loads = plane.reshape(tiles, spans, -1, 1, rows, step)
    count = k // (spans * step * loads.shape[2])
    shifts = (np.arange(count, dtype=np.uint8) * part.bits).reshape(-1, 1, 1)
    steps = (loads >> shifts) & ((1 << part.bits) - 1)
    return from_lanes(steps.reshape(tiles, -1, rows, step), n, k) << part.low


def _pack_whole(codes: np.ndarray, part: Component) -> np.ndarray:
    """Codes [n, k] -> [tiles, spans, loads, rows, step]."""
    rows, step = part.shape[-2:]
    lanes = to_lanes(codes, rows, step)
    # [tile, span, step, row, column in the step]
    steps = lanes.reshape(len(lanes), part.shape[1], -1, rows, step)
    loads = np.zeros(part.shape, np.uint8)
    for number, pieces in enumerate(part.pieces):
        low = part.bits
        for load, bit, bits in pieces:
            low -= bits
            loads[:, :, load] |= (steps[:, :, number] >> low & ((1 << bits) - 1)) << bit
    return loads


def _unpack_whole(loads: np.ndarray, part: Component, n: int, k: int) -> np.ndarray:
    """The inverse of ``_pack_whole``."""
    steps = []
    for pieces in part.pieces:
        code = np.zeros_like(loads[:, :, 0])
        for load, bit, bits in pieces:
            code = code << bits | loads[:, :, load] >> bit & ((1 << bits) - 1)
        steps.append(code)
    lanes = np.stack(steps, axis=2)
    return from_lanes(lanes.reshape(len(lanes), -1, *part.shape[-2:]), n, k)


def pack_codes(codes: np.ndarray, part: Component) -> np.ndarray:
    """Codes [n, k], uint8, as the array that ``part`` has of them."""
    if part.pieces:
        return _pack_whole(codes, part)
    if part.dtype == np.int8:
        # What fills the last tile stays zero.
        return _pack_plane(codes ^ np.uint8(128), part).view(np.int8)
    return _pack_plane(codes, part)


def unpack_codes(loads: np.ndarray, part: Component, n: int, k: int) -> np.ndarray:
    """The inverse of ``pack_codes``: codes [n, k] with the bits that ``part`` has."""
    if part.pieces:
        return _unpack_whole(loads, part, n, k)
    if part.dtype == np.int8:
        return _unpack_plane(loads.view(np.uint8), part, n, k) ^ np.uint8(128)
    return _unpack_plane(loads, part, n, k)


def pack_factor(array: np.ndarray, part: Component) -> np.ndarray:
    """Factors [n, entries] -> [tiles, entries, rows]; where it holds some bits of them, in shared bytes."""
    if part.bits < 8:
        field = (array.astype(np.uint8) >> part.low) & ((1 << part.bits) - 1)
        shared = field.reshape(len(field), -1, 8 // part.bits)
        array = np.bitwise_or.reduce(
            shared << (np.arange(8 // part.bits, dtype=np.uint8) * part.bits), axis=-1
        )
    return to_lanes(array, part.shape[-1])


def unpack_factor(values: np.ndarray, part: Component, n: int) -> np.ndarray:
    """The inverse of ``pack_factor``: factors [n, entries] with only these bits set."""
    lanes = values.reshape(len(values), -1, part.shape[-1], 1)
    array = from_lanes(lanes, n, lanes.shape[1])
    if part.bits >= 8:
        return array
    shared = array[..., None] >> (np.arange(8 // part.bits, dtype=np.uint8) * part.bits)
    return (shared & ((1 << part.bits) - 1)).reshape(n, -1) << part.low
