# SPDX-License-Identifier: Apache-2.0
"""Packed weights, the layout that kernels read: where everything lies, and packing and unpacking with NumPy.

``dialect/layout/`` says where the components of a packed weight lie (docs/packed-layout.md describes it);
this module shows them as arrays. ``lumen_mlir.reference.packed`` decodes packed weights without it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import LumenError
from .emit import emit_format
from .quantized import Decoded

if TYPE_CHECKING:
    from lumen_mlir._mlir.layout import PackedLayout

    from .floats import FloatFormat
    from .quantized import QuantFormat

    Format = FloatFormat | QuantFormat

# Rows or columns of a weight: what 64 bits hold for sure.
_MOST = 1 << 48


def _bound() -> ModuleType:
    """The compiler's layout, loaded where it is first asked for: formats are described without it."""
    from lumen_mlir._mlir import layout

    return layout


class Tile(NamedTuple):
    """The attribute ``#lumen.packed``: how a weight is cut.

    Attributes:
      rows: of a tile; they lie side by side.
      step: consecutive columns of a row that lie together: those that one step of a product takes (``k``).
    """

    rows: int
    step: int

    @staticmethod
    def of(fmt: Format, rows: int, step: int | None = None) -> Tile:
        """Tiles of ``rows`` rows; ``step``: None for the step that kernels take in this format."""
        return Tile(rows, _bound().step_size(fmt.is_float) if step is None else step)

    @staticmethod
    def parse(text: str) -> Tile | None:
        """The first ``#lumen.packed`` in the text of a type or an attribute; None where there is none."""
        found = re.search(r"#lumen\.packed<rows = (\d+)(?:, k = (\d+))?>", text)
        return Tile(int(found[1]), int(found[2] or 1)) if found else None

    def __str__(self) -> str:
        return f"#lumen.packed<rows = {self.rows}, k = {self.step}>"


@dataclass(frozen=True)
class Component:
    """One array inside a packed weight.

    Attributes:
      name: "codes.0" (plane with the lowest bits), "codes.1", …; what is kept of the factors by the name of
        its first use, "scale.super", "scale.sub", "min.super" or "min.sub", and ".0", ".1", … for planes of
        it; "values" for float weights.
      offset: bytes from the start of the buffer.
      shape, dtype: of the array, [tile][unit] and what a unit holds: codes [2]… [row][step], by the bits that
        number a load; factors [entry][row]; floats [row][step]. bf16 is uint16.
      strides: in bytes.
      low, bits: it holds the bits [low, low + bits) of codes or factors.
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


def alignment() -> int:
    """Bytes of which streams, and weights and arenas in memory, begin at multiples."""
    return _bound().ALIGNMENT


def align(size: int) -> int:
    """``size`` rounded up to a multiple of ``alignment()``."""
    return _bound().align(size)


def _text(fmt: Format) -> str | None:
    return None if fmt.is_float else emit_format(fmt)


@lru_cache(maxsize=1024)
def _layout(fmt: Format, rows: int, step: int | None) -> PackedLayout:
    return _bound().PackedLayout(_text(fmt), fmt.name, *Tile.of(fmt, rows, step))


@lru_cache(maxsize=1024)
def tile_of(fmt: Format, target: str) -> Tile:
    """How weights of this format are packed for ``target``, the text of a ``#lumen.target``."""
    return Tile(*_bound().tile(target, _text(fmt), fmt.name))


@lru_cache(maxsize=256)
def described_bytes(description: str, n: int, k: int, tile: Tile | None) -> int:
    """The bytes of a weight [n, k] in a format that is given as the text of a ``lumen.format``.

    ``tile``: how it is packed; None: in the layout of files.
    """
    try:
        if tile is None:
            return _bound().raw_bytes(description, n, k)
        return _bound().PackedLayout(description, "", *tile).bytes(n, k)
    except ValueError as error:
        raise LumenError(str(error)) from error


def components(fmt: Format, n: int, k: int, rows: int, step: int | None = None) -> list[Component]:
    """The components of a packed weight [n, k] in tiles of ``rows`` rows, in buffer order.

    ``step``: consecutive columns that lie together; None: as many as kernels take.
    """
    found, result = _asked("components", fmt, n, k, rows, step), []
    for part in found:
        name, kept, dtype = part.kind, None, np.dtype(np.uint8)
        if part.kind == "codes":
            name = f"codes.{sum(each.kind == 'codes' for each in found[: len(result)])}"
        elif part.kind == "values":
            dtype = fmt.dtype.numpy
        else:
            kept = part.factor
            name, dtype = fmt.stored[kept].name, fmt.stored[kept].value.dtype.numpy
            if part.bits < 8:
                planes = sum(each.kept == kept for each in result)
                name, dtype = f"{name}.{planes}", np.dtype(np.uint8)
        shape, strides = tuple(part.shape), tuple(part.strides)
        result.append(Component(name, part.offset, shape, strides, dtype, part.bit_offset, part.bits, kept))
    return result


def _asked(question: str, fmt: Format, n: int, k: int, rows: int, step: int | None) -> Any:
    """What the layout of weights [n, k] answers; ``question`` is a method of it."""
    if rows < 1 or n < 1 or k < 1:
        raise LumenError(f"cannot pack a weight of {n} x {k} in tiles of {rows} rows")
    fmt.row_bytes(k)
    if max(n, k) > _MOST:
        raise LumenError(f"there is no weight of {n} x {k}")
    try:
        return getattr(_layout(fmt, rows, step), question)(n, k)
    except ValueError as error:
        raise LumenError(f"cannot pack a weight of {n} x {k} of {fmt.name}: {error}") from error


def stream_bytes(fmt: Format, k: int, rows: int, step: int | None = None) -> list[int]:
    """The bytes that a tile has in each stream; streams begin at multiples of ``alignment()``."""
    return _asked("stream_bytes", fmt, 1, k, rows, step)


def packed_bytes(fmt: Format, n: int, k: int, rows: int, step: int | None = None) -> int:
    """Size of the packed weight's buffer in bytes."""
    return _asked("bytes", fmt, n, k, rows, step)


def _to_lanes(array: np.ndarray, rows: int, step: int = 1) -> np.ndarray:
    """[n, columns] -> [tiles, steps, rows, step], zero past row n and past the last column."""
    tiles, steps = -(-len(array) // rows), -(-array.shape[1] // step)
    padded = np.zeros((tiles * rows, steps * step), dtype=array.dtype)
    padded[: len(array), : array.shape[1]] = array
    return padded.reshape(tiles, rows, steps, step).swapaxes(1, 2)


def _from_lanes(array: np.ndarray, n: int, k: int) -> np.ndarray:
    """The inverse of ``_to_lanes``: [tiles, steps, rows, step] -> [n, k]."""
    tiles, steps, rows, step = array.shape
    return array.swapaxes(1, 2).reshape(tiles * rows, steps * step)[:n, :k]


def _pack_plane(codes: np.ndarray, part: Component) -> np.ndarray:
    """The bits of codes [n, k] that a plane holds -> [tiles, spans, loads, rows, step]."""
    rows, step = part.shape[-2:]
    lanes = _to_lanes((codes >> part.low) & ((1 << part.bits) - 1), rows, step)
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
    return _from_lanes(steps.reshape(tiles, -1, rows, step), n, k) << part.low


def _pack_factor(array: np.ndarray, part: Component) -> np.ndarray:
    """Factors [n, entries] -> [tiles, entries, rows]; where it holds some bits of them, in shared bytes."""
    if part.bits < 8:
        field = (array.astype(np.uint8) >> part.low) & ((1 << part.bits) - 1)
        shared = field.reshape(len(field), -1, 8 // part.bits)
        array = np.bitwise_or.reduce(
            shared << (np.arange(8 // part.bits, dtype=np.uint8) * part.bits), axis=-1
        )
    return _to_lanes(array, part.shape[-1])


def _unpack_factor(values: np.ndarray, part: Component, n: int) -> np.ndarray:
    """The inverse of ``_pack_factor``: factors [n, entries] with only these bits set."""
    lanes = values.reshape(len(values), -1, part.shape[-1], 1)
    array = _from_lanes(lanes, n, lanes.shape[1])
    if part.bits >= 8:
        return array
    shared = array[..., None] >> (np.arange(8 // part.bits, dtype=np.uint8) * part.bits)
    return (shared & ((1 << part.bits) - 1)).reshape(n, -1) << part.low


def pack(fmt: Format, raw: np.ndarray, rows: int, step: int | None = None) -> np.ndarray:
    """Packs a weight.

    Args:
      fmt: the format or float type of ``raw``.
      raw: rows of the file, uint8 [N, row_bytes(K)].
      rows: rows per tile (R).
      step: consecutive columns that lie together; None: as many as kernels take.

    Returns uint8 [packed_bytes].
    """
    if raw.ndim != 2:
        raise LumenError(f"pack expects rows of bytes, not an array of shape {raw.shape}")
    n, stored = len(raw), []
    if fmt.is_float:
        values = fmt.elements(raw)
    else:
        values, stored = fmt.decode_codes(raw).codes, fmt.decode_stored(raw)
    k = values.shape[1]
    buffer = np.zeros(packed_bytes(fmt, n, k, rows, step), dtype=np.uint8)
    for part in components(fmt, n, k, rows, step):
        if part.kept is not None:
            array = _pack_factor(stored[part.kept], part)
        elif fmt.is_float:
            array = _to_lanes(values, *part.shape[-2:])
        else:
            array = _pack_plane(values, part)
        part.view(buffer)[:] = array.reshape(part.shape)
    return buffer


def unpack(
    fmt: Format, packed: np.ndarray, n: int, k: int, rows: int, step: int | None = None
) -> Decoded | np.ndarray:
    """The inverse of ``pack``: the decoded rows of a weight [n, k], or stored elements for a float type."""
    expected = packed_bytes(fmt, n, k, rows, step)
    if packed.dtype != np.uint8 or packed.shape != (expected,):
        raise LumenError(f"a packed {fmt.name} weight of {n} x {k} has {expected} bytes, not {packed.shape}")
    parts = [(part, part.view(packed)) for part in components(fmt, n, k, rows, step)]
    if fmt.is_float:
        return _from_lanes(parts[0][1], n, k)
    codes = [_unpack_plane(view, part, n, k) for part, view in parts if part.kept is None]
    stored = []
    for number, kept in enumerate(fmt.stored):
        planes = [_unpack_factor(view, part, n) for part, view in parts if part.kept == number]
        joined = planes[0] if len(planes) == 1 else np.bitwise_or.reduce(planes)
        stored.append(joined.astype(kept.value.dtype.numpy))
    return Decoded(np.bitwise_or.reduce(codes), *fmt.complete(stored, k))


# The bits of infinity; those of what is no number are larger, without the sign.
_INFINITIES = {"f16": 0x7C00, "bf16": 0x7F80, "f32": 0x7F800000}


def find_nonfinite(
    fmt: Format, packed: np.ndarray, n: int, k: int, rows: int, step: int | None = None
) -> tuple[int, str] | None:
    """The first row of a packed weight [n, k] that holds an infinity or no number, and what that is.

    8-bit products could lose it. What is read are the floats: of quantized weights the factors of blocks.
    """
    for component in components(fmt, n, k, rows, step):
        # [tile][unit][entry][row]
        values = component.view(packed)
        if fmt.is_float:
            values = values.swapaxes(-1, -2)
            name, what, is_bad = fmt.name, "weight", None
        else:
            if component.kept is None or component.bits < 8:
                continue
            kept = fmt.stored[component.kept]
            what = "minimum" if kept.name.startswith("min") else "scale"
            name, is_bad = kept.value.dtype.name, fmt.nonfinite_values(kept)
        if name in _INFINITIES:
            infinity, size = _INFINITIES[name], component.dtype.itemsize
            signed, unsigned, top = np.dtype(f"<i{size}"), np.dtype(f"<u{size}"), 1 << (8 * size - 1)
            # Two scans and no copy: the largest as signed bits is positive, the largest as unsigned negative.
            largest, smallest = values.view(signed).max(), values.view(unsigned).max()
            if largest < infinity and smallest < infinity | top:
                continue
            bad = (values.view(unsigned) & (top - 1)) >= infinity
        elif is_bad is None or not (bad := is_bad[values.astype(np.uint32)]).any():
            continue
        places = np.argwhere(bad)
        row_of = places[:, 0] * rows + places[:, -1]
        at = tuple(places[np.lexsort((places[:, 2], places[:, 1], row_of))[0]])
        if fmt.is_float:
            where = f"in column {int(at[1]) * values.shape[2] + int(at[2])}"
        else:
            where = f"of block {int(at[1]) * (k // values.shape[1]) // fmt.block}"
        is_nan = name in _INFINITIES and int(values.view(unsigned)[at]) & (top - 1) != infinity
        return int(at[0] * rows + at[-1]), f"the {what} {where} is {'nan' if is_nan else 'inf'}"
    return None


def dequantize_packed(
    fmt: Format, packed: np.ndarray, n: int, k: int, rows: int, step: int | None = None
) -> np.ndarray:
    """float32 [n, k] of a packed weight."""
    unpacked = unpack(fmt, packed, n, k, rows, step)
    if fmt.is_float:
        return fmt.dequantize(np.ascontiguousarray(unpacked).view(np.uint8))
    return fmt.dequantize_decoded(unpacked)
