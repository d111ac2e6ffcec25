# SPDX-License-Identifier: Apache-2.0
"""A plain decoder of packed weights, written from docs/packed-layout.md: what the tests hold the layout to.

It shares nothing with ``dialect/layout/``, which kernels and ``formats.packing`` follow: it walks through the
bytes of every unit in the order that the page tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lumen_mlir.formats import Format
    from lumen_mlir.formats.quantized import QuantFormat

PLANES = {1: (1,), 2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1), 8: (8,)}
"""The widths of the planes of codes of so many bits, low bits first."""

_LINE = 64


def loads_of(width: int, step: int) -> int:
    """Loads of a plane in a span of 32 codes: as many as its bits fill, at least one."""
    return max(1, 32 * width // 8 // step)


def kept_planes(fmt: QuantFormat) -> list[tuple[int, ...]]:
    """For each value kept of the factors the widths of its planes; (8,) or more bits: whole elements."""
    groups = fmt.block // fmt.group
    whole = exact = fmt.block * fmt.bits
    for kept in fmt.stored:
        count = {"row": 0, "block": 1, "group": groups}[kept.level]
        whole += count * kept.value.dtype.bits
        exact += count * (kept.bits if kept.level == "group" else kept.value.dtype.bits)
    result = []
    for kept in fmt.stored:
        planes = PLANES[kept.bits] if kept.bits < 8 else ()
        split = kept.level == "group" and planes and whole > 1.03 * exact
        fits = split and groups * planes[-1] % 8 == 0
        result.append(planes if fits else (kept.value.dtype.bits,))
    return result


class _Units:
    """The units of a stream, uint8 [n, bytes], read from their beginning."""

    def __init__(self, data: np.ndarray):
        self._data, self._at = data, 0

    def take(self, rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
        """The next [n, rows, columns] elements."""
        size = rows * columns * dtype.itemsize
        part = np.ascontiguousarray(self._data[:, self._at : self._at + size])
        self._at += size
        return part.view(dtype).reshape(len(part), rows, columns)


class _Streams:
    """The streams of a packed weight, one behind the other at multiples of 64 bytes."""

    def __init__(self, data: np.ndarray):
        self._data, self._at = data, 0

    def take(self, units: int, size: int) -> _Units:
        """The next stream, of so many units of ``size`` bytes."""
        begin = self._at
        self._at = -(-(begin + units * size) // _LINE) * _LINE
        return _Units(self._data[begin : begin + units * size].reshape(units, size))


def _rows(parts: list[np.ndarray], tiles: int) -> np.ndarray:
    """What units hold, [tiles * units, rows, columns] each, side by side -> [all rows, all columns]."""
    joined = np.concatenate(parts, axis=2)
    units, rows, columns = joined.shape
    return joined.reshape(tiles, units // tiles, rows, columns).swapaxes(1, 2).reshape(tiles * rows, -1)


def _fields(values: np.ndarray, width: int, count: int) -> np.ndarray:
    """``count`` numbers of ``width`` bits in every byte, low bits first: one more dimension."""
    shifts = np.arange(count, dtype=np.uint8) * np.uint8(width % 8)
    return (values[..., None] >> shifts) & np.uint8((1 << width) - 1)


def decode(
    fmt: Format,
    packed: np.ndarray,
    n: int,
    columns: int,
    rows: int,
    step: int,
    signed_codes: bool = False,
    whole_codes: bool = False,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Codes and what is kept of the factors of a packed weight [n, columns].

    Args:
      packed: uint8, the whole weight.
      rows, step, signed_codes, whole_codes: of ``#lumen.packed``.

    Returns the codes, uint8, or the stored floats, [tiles * rows, columns]; and an array for each value of
    ``fmt.stored``, [tiles * rows, 1 or blocks or groups]. Rows past the last are there, too.
    """
    tiles, streams = -(-n // rows), _Streams(packed)
    if fmt.is_float:
        dtype = fmt.dtype.numpy
        units = -(-columns // step)
        data = streams.take(tiles * units, rows * step * dtype.itemsize)
        return _rows([data.take(rows, step, dtype)], tiles)[:, :columns], []
    byte, widths = np.dtype(np.uint8), PLANES[fmt.bits]
    # (number of the value, width, first bit, entries of a block, dtype)
    factors = []
    for number, (kept, planes) in enumerate(zip(fmt.stored, kept_planes(fmt), strict=True)):
        count = fmt.block // fmt.group if kept.level == "group" else 1
        for i, width in enumerate(planes):
            small = width < 8
            entries = count * width // 8 if small else count
            dtype = byte if small else kept.value.dtype.numpy
            factors.append((number, width, sum(planes[:i]), entries, dtype))
    spans = fmt.block // 32
    of_rows = [f for f in factors if fmt.stored[f[0]].level == "row"]
    of_spans = [f for f in factors if f not in of_rows and f[3] % spans == 0]
    code_bytes = sum(loads_of(width, step) for width in widths) * rows * step
    size = code_bytes + sum(f[3] // spans * f[4].itemsize for f in of_spans) * rows
    if size % _LINE:
        of_spans, size = [], code_bytes
    of_blocks = [f for f in factors if f not in of_rows and f not in of_spans]

    found: dict[tuple[int, int], np.ndarray] = {}

    def read(data: _Units, parts: list, share: int) -> None:
        for number, width, low, entries, dtype in parts:
            values = _rows([data.take(entries // share, rows, dtype).swapaxes(1, 2)], tiles)
            if width < 8:
                values = _fields(values, width, 8 // width).reshape(len(values), -1)
            found[number, low] = values

    span = streams.take(tiles * columns // 32, size)
    if whole_codes and fmt.bits not in PLANES[fmt.bits]:
        codes = _whole_codes(span, fmt.bits, rows, tiles)
    else:
        codes = _codes(span, widths, rows, step, tiles)
    if signed_codes and fmt.bits == 8:
        codes = codes + np.uint8(128)
    read(span, of_spans, spans)
    if of_blocks:
        block = streams.take(
            tiles * columns // fmt.block, sum(f[3] * f[4].itemsize for f in of_blocks) * rows
        )
        read(block, of_blocks, 1)
    if of_rows:
        read(streams.take(tiles, sum(f[4].itemsize for f in of_rows) * rows), of_rows, 1)
    stored = []
    for number, kept in enumerate(fmt.stored):
        planes = {low: values for (i, low), values in found.items() if i == number}
        joined = planes.pop(0)
        for low, values in planes.items():
            joined = joined | values << np.uint8(low)
        stored.append(joined.astype(kept.value.dtype.numpy))
    return codes, stored


def _codes(span: _Units, widths: tuple[int, ...], rows: int, step: int, tiles: int) -> np.ndarray:
    """The codes of spans: first planes of one load, then by halves the loads of the others, fewest first."""
    loads: dict[int, list[np.ndarray]] = {width: [] for width in widths}
    counts = {width: loads_of(width, step) for width in sorted(widths)}
    order = [width for width, count in counts.items() if count == 1]
    order += [width for width, count in counts.items() for _ in range(count // 2)] * 2
    for width in order:
        loads[width].append(span.take(rows, step, np.dtype(np.uint8)))
    codes, low = 0, 0
    for width in widths:
        count = 32 // step // counts[width]
        # [unit, row, column in the step, step in the load] of every load, steps in order.
        steps = [
            _fields(load, width, count).swapaxes(2, 3).reshape(len(load), rows, -1) for load in loads[width]
        ]
        codes = codes | _rows(steps, tiles) << np.uint8(low)
        low += width
    return codes


# Where whole codes of steps 0 to 7 of a span lie, by the bits of a code: its pieces from the upper bits on,
# each the number of a load and the bits of its bytes, "upper:lower".
WHOLE = {
    3: "0.2:0 0.5:3 1.2:0 1.5:3 2.2:0 2.5:3 0.7:6,1.7:7 2.7:6,1.6:6",
    5: "0.4:0 1.4:0 2.4:0 3.4:0 4.4:0 0.7:5,1.7:6 2.7:5,3.7:6 4.7:5,1.5:5,3.5:5",
    6: "0.5:0 1.5:0 2.5:0 0.7:6,1.7:6,2.7:6 3.5:0 4.5:0 5.5:0 3.7:6,4.7:6,5.7:6",
    7: "0.6:0 1.6:0 2.6:0 3.6:0 4.6:0 5.6:0 6.6:0 0.7:7,1.7:7,2.7:7,3.7:7,4.7:7,5.7:7,6.7:7",
}


def _whole_codes(span: _Units, bits: int, rows: int, tiles: int) -> np.ndarray:
    """The codes of spans in steps of 4 that are not in planes."""
    loads = [span.take(rows, 4, np.dtype(np.uint8)) for _ in range(bits)]
    steps = []
    for pieces in WHOLE[bits].split():
        code = np.zeros_like(loads[0])
        for piece in pieces.split(","):
            load, _, field = piece.partition(".")
            upper, lower = map(int, field.split(":"))
            width = upper - lower + 1
            code = code << np.uint8(width) | loads[int(load)] >> np.uint8(lower) & np.uint8((1 << width) - 1)
        steps.append(code)
    return _rows(steps, tiles)
