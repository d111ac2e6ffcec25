# SPDX-License-Identifier: Apache-2.0
"""NumPy meaning of ``lumen.pack``: the layout that kernels read.

A packed weight is one buffer. Its components hold tiles of R rows, lane by lane, with zero lanes past the
last row. Codes of b bits are split into planes of 4, 2 and 1 bits (8 stay whole), low bits first. Each span
of 32 codes is 8 steps of 4; a plane of width w packs the steps p*(8/w) + s of a span into byte [r][k4] of
load p, at bit s*w. What is kept of scales and minima follows (see ``stored``), as whole elements or in planes
whose bytes hold neighbouring groups. Floats are stored transposed, [tile][K][R].

Components that go by at the same pace are a stream, in whose units they lie in the order in which a kernel
reads them: the planes and then the factors of a span, the factors of a block, those of a row. The planes of
a span lie by halves of its steps: first planes of one load, then for either half the loads of the others,
fewest first. Factors of which every span has as many are with the span if it then still fills whole cache
lines of 64 bytes, to which streams are aligned, and with the block otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ..errors import LumenError
from .quantized import Decoded

if TYPE_CHECKING:
    from .floats import FloatFormat
    from .quantized import QuantFormat

    Format = FloatFormat | QuantFormat

ALIGNMENT = 64
SPAN = 32
# How much a block may grow, in percent, where factors of fewer than 8 bits are kept in whole bytes, which
# kernels need not take apart.
GROWTH = 3
PLANES = {1: (1,), 2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1), 8: (8,)}


@dataclass(frozen=True)
class Component:
    """One array inside a packed weight.

    Attributes:
      name: "codes.0" (plane with the lowest bits), "codes.1", …; what is kept of the factors by the name of
        its first use, "scale.super", "scale.sub", "min.super" or "min.sub", and ".0", ".1", … for planes of
        it; "values" for float weights.
      offset: bytes from the start of the buffer.
      shape, dtype: of the array, [tile][unit] and what a unit holds; bf16 is uint16.
      strides: in bytes.
    """

    name: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype

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


@dataclass
class _Part:
    """What a unit of a stream holds of a component, from byte ``offset`` of the unit on."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int = 0
    # Bytes to the second half of what it holds, where that is apart.
    half: int = 0

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        steps = [prod(self.shape[i + 1 :]) * self.dtype.itemsize for i in range(len(self.shape))]
        return (self.half, *steps[1:]) if self.half else tuple(steps)


def align(size: int) -> int:
    """``size`` rounded up to a multiple of ``ALIGNMENT``."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _plane_shape(width: int) -> tuple[int, ...]:
    """The x, y, z of a step that remain separate loads; the others share a byte."""
    return (2,) * (width.bit_length() - 1)


def factor_planes(fmt: QuantFormat) -> list[tuple[int, ...] | None]:
    """For each value kept of the factors: the widths of its planes, or None for whole elements."""
    groups = fmt.block // fmt.group
    counts = [{"row": 0, "block": 1, "group": groups}[kept.level] for kept in fmt.stored]
    codes = fmt.block * fmt.bits
    whole = codes + sum(n * kept.value.dtype.bits for n, kept in zip(counts, fmt.stored, strict=True))
    exact = codes + sum(
        n * (kept.bits if kept.level == "group" else kept.value.dtype.bits)
        for n, kept in zip(counts, fmt.stored, strict=True)
    )
    planes: list[tuple[int, ...] | None] = []
    for kept in fmt.stored:
        widths = PLANES.get(kept.bits, ())
        # A byte never holds groups of two blocks.
        split = (
            whole * 100 > exact * (100 + GROWTH)
            and kept.level == "group"
            and kept.bits < 8
            and groups % (8 // widths[-1]) == 0
        )
        planes.append(widths if split else None)
    return planes


def components(fmt: Format, n: int, k: int, rows: int) -> list[Component]:
    """The components of a packed weight [n, k] in tiles of ``rows`` rows, in buffer order."""
    if rows < 1 or n < 1 or k < 1:
        raise LumenError(f"cannot pack a weight of {n} x {k} in tiles of {rows} rows")
    tiles = -(-n // rows)
    result, begin = [], 0
    for units, parts in _streams(fmt, k, rows):
        unit = sum(part.bytes for part in parts)
        for part in parts:
            shape, strides = (tiles, units, *part.shape), (units * unit, unit, *part.strides)
            result.append(Component(part.name, begin + part.offset, shape, strides, part.dtype))
        begin += align(tiles * units * unit)
    return result


def stream_bytes(fmt: Format, k: int, rows: int) -> list[int]:
    """The bytes that a tile has in each stream; every stream begins at the next multiple of ``ALIGNMENT``."""
    return [units * sum(part.bytes for part in parts) for units, parts in _streams(fmt, k, rows)]


def _streams(fmt: Format, k: int, rows: int) -> list[tuple[int, list[_Part]]]:
    """The units that a tile has in each stream, and what a unit holds."""
    if fmt.is_float:
        return [(k, [_Part("values", (rows,), fmt.dtype.numpy)])]
    fmt.row_bytes(k)
    spans, blocks, whole = _parts(fmt, rows)
    return [(k // SPAN, spans), (k // fmt.block, blocks), (1, whole)]


def _parts(fmt: QuantFormat, rows: int) -> tuple[list[_Part], list[_Part], list[_Part]]:
    """What spans, blocks and rows hold in tiles of ``rows`` rows, placed."""
    byte = np.dtype(np.uint8)
    spans = [_Part(f"codes.{i}", (*_plane_shape(w), rows, 4), byte) for i, w in enumerate(PLANES[fmt.bits])]
    used, half = 0, sum(part.bytes // 2 for part in spans if len(part.shape) > 2)
    for part in reversed(spans):
        part.offset = used
        part.half = half if len(part.shape) > 2 else 0
        used += part.bytes // 2 if part.half else part.bytes
    blocks, whole = [], []
    for kept, widths in zip(fmt.stored, factor_planes(fmt), strict=True):
        count = fmt.block // fmt.group if kept.level == "group" else 1
        planes = [(f"{kept.name}.{i}", count * width // 8, byte) for i, width in enumerate(widths or ())]
        for name, entries, dtype in planes or [(kept.name, count, kept.value.dtype.numpy)]:
            part = _Part(name, (entries, rows), dtype)
            (whole if kept.level == "row" else blocks).append(part)
    in_block = fmt.block // SPAN
    of_spans = [part for part in blocks if part.shape[0] % in_block == 0]
    if (used + sum(part.bytes for part in of_spans) // in_block) % ALIGNMENT == 0:
        blocks = [part for part in blocks if part not in of_spans]
        spans += [replace(part, shape=(part.shape[0] // in_block, rows)) for part in of_spans]
    for parts in (spans, blocks, whole):
        used = 0
        for part in parts:
            if not part.name.startswith("codes"):
                part.offset = used
            used += part.bytes
    return spans, blocks, whole


def packed_bytes(fmt: Format, n: int, k: int, rows: int) -> int:
    """Size of the packed weight's buffer in bytes."""
    return max(align(component.end) for component in components(fmt, n, k, rows))


def _to_lanes(array: np.ndarray, rows: int) -> np.ndarray:
    """[n, columns] -> [tiles, columns, rows], zero past row n."""
    tiles = -(-len(array) // rows)
    padded = np.zeros((tiles * rows, array.shape[1]), dtype=array.dtype)
    padded[: len(array)] = array
    return padded.reshape(tiles, rows, -1).swapaxes(1, 2)


def _from_lanes(array: np.ndarray, n: int) -> np.ndarray:
    """The inverse of ``_to_lanes``."""
    return array.swapaxes(1, 2).reshape(-1, array.shape[1])[:n]


def _from_units(array: np.ndarray, n: int) -> np.ndarray:
    """[tiles, units, …, rows] -> [n, columns]."""
    return _from_lanes(array.reshape(len(array), -1, array.shape[-1]), n)


def _pack_plane(codes: np.ndarray, offset: int, width: int, rows: int) -> np.ndarray:
    """Bits [offset, offset + width) of codes [n, k] -> [tiles, spans, loads, rows, 4]."""
    field = (codes >> offset) & ((1 << width) - 1)
    lanes = _to_lanes(field, rows)
    tiles, k, _ = lanes.shape
    # [tile, span, load, step in byte, k4, row]
    steps = lanes.reshape(tiles, k // SPAN, width, 8 // width, 4, rows)
    plane = np.zeros((tiles, k // SPAN, width, 4, rows), dtype=np.uint8)
    for s in range(8 // width):
        plane |= steps[:, :, :, s] << (s * width)
    return plane.swapaxes(-1, -2)


def _unpack_plane(plane: np.ndarray, offset: int, width: int, n: int) -> np.ndarray:
    """The inverse of ``_pack_plane``: codes [n, k] with only these bits set."""
    tiles, spans, rows = plane.shape[0], plane.shape[1], plane.shape[-2]
    loads = plane.reshape(tiles, spans, width, 1, rows, 4)
    shifts = (np.arange(8 // width, dtype=np.uint8) * width).reshape(-1, 1, 1)
    field = (loads >> shifts) & ((1 << width) - 1)
    lanes = field.swapaxes(-1, -2).reshape(tiles, spans * SPAN, rows)
    return _from_lanes(lanes, n) << offset


def _pack_factor(array: np.ndarray, offset: int, width: int) -> np.ndarray:
    """Bits [offset, offset + width) of factors [n, entries] -> bytes [n, entries * width / 8]."""
    field = (array.astype(np.uint8) >> offset) & ((1 << width) - 1)
    parts = field.reshape(len(field), -1, 8 // width)
    return np.bitwise_or.reduce(parts << (np.arange(8 // width, dtype=np.uint8) * width), axis=-1)


def _unpack_factor(array: np.ndarray, offset: int, width: int) -> np.ndarray:
    """The inverse of ``_pack_factor``: factors [n, entries] with only these bits set."""
    parts = array[..., None] >> (np.arange(8 // width, dtype=np.uint8) * width)
    return (parts & ((1 << width) - 1)).reshape(len(array), -1) << offset


def pack(fmt: Format, raw: np.ndarray, rows: int) -> np.ndarray:
    """Packs a weight.

    Args:
      fmt: the format or float type of ``raw``.
      raw: rows of the file, uint8 [N, row_bytes(K)].
      rows: rows per tile (R).

    Returns uint8 [packed_bytes]; see the module's description for the layout.
    """
    if raw.ndim != 2:
        raise LumenError(f"pack expects rows of bytes, not an array of shape {raw.shape}")
    n = len(raw)
    if fmt.is_float:
        values = fmt.elements(raw)
        arrays, k = {"values": _to_lanes(values, rows)}, values.shape[1]
    else:
        decoded = fmt.decode_codes(raw)
        k, offset, arrays = decoded.codes.shape[1], 0, {}
        for i, width in enumerate(PLANES[fmt.bits]):
            arrays[f"codes.{i}"] = _pack_plane(decoded.codes, offset, width, rows)
            offset += width
        for kept, widths, array in zip(fmt.stored, factor_planes(fmt), fmt.decode_stored(raw), strict=True):
            if widths is None:
                arrays[kept.name] = _to_lanes(array, rows)
            for i, width in enumerate(widths or ()):
                plane = _pack_factor(array, sum(widths[:i]), width)
                arrays[f"{kept.name}.{i}"] = _to_lanes(plane, rows)
    buffer = np.zeros(packed_bytes(fmt, n, k, rows), dtype=np.uint8)
    for component in components(fmt, n, k, rows):
        component.view(buffer)[:] = arrays[component.name].reshape(component.shape)
    return buffer


def unpack(fmt: Format, packed: np.ndarray, n: int, k: int, rows: int) -> Decoded | np.ndarray:
    """The inverse of ``pack``: the decoded rows of a weight [n, k], or stored elements for a float type."""
    expected = packed_bytes(fmt, n, k, rows)
    if packed.dtype != np.uint8 or packed.shape != (expected,):
        raise LumenError(f"a packed {fmt.name} weight of {n} x {k} has {expected} bytes, not {packed.shape}")
    arrays = {component.name: component.view(packed) for component in components(fmt, n, k, rows)}
    if fmt.is_float:
        return _from_units(arrays["values"], n)
    codes, offset = np.zeros((n, k), dtype=np.uint8), 0
    for i, width in enumerate(PLANES[fmt.bits]):
        codes |= _unpack_plane(arrays[f"codes.{i}"], offset, width, n)
        offset += width
    stored = []
    for kept, widths in zip(fmt.stored, factor_planes(fmt), strict=True):
        if widths is None:
            stored.append(_from_units(arrays[kept.name], n))
            continue
        planes = [_from_units(arrays[f"{kept.name}.{i}"], n) for i in range(len(widths))]
        parts = [_unpack_factor(plane, sum(widths[:i]), widths[i]) for i, plane in enumerate(planes)]
        stored.append(np.bitwise_or.reduce(parts).astype(kept.value.dtype.numpy))
    return Decoded(codes, *fmt.complete(stored, k))


# The bits of infinity; those of what is no number are larger, without the sign.
_INFINITIES = {"f16": 0x7C00, "bf16": 0x7F80, "f32": 0x7F800000}


def find_nonfinite(fmt: Format, packed: np.ndarray, n: int, k: int, rows: int) -> tuple[int, str] | None:
    """The first row of a packed weight [n, k] that holds an infinity or no number, and what that is.

    8-bit products could lose it. What is read are the floats: of quantized weights the factors of blocks.
    """
    for component in components(fmt, n, k, rows):
        values = component.view(packed)
        if fmt.is_float:
            name, what, is_bad = fmt.name, "weight", None
        else:
            kept = next((each for each in fmt.stored if each.name == component.name), None)
            if kept is None:
                continue
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
        at = tuple(places[np.lexsort((places[:, 1], row_of))[0]])
        column = int(at[1]) * (k // values.shape[1])
        where = f"in column {column}" if fmt.is_float else f"of block {column // fmt.block}"
        is_nan = name in _INFINITIES and int(values.view(unsigned)[at]) & (top - 1) != infinity
        return int(at[0] * rows + at[-1]), f"the {what} {where} is {'nan' if is_nan else 'inf'}"
    return None


def dequantize_packed(fmt: Format, packed: np.ndarray, n: int, k: int, rows: int) -> np.ndarray:
    """float32 [n, k] of a packed weight."""
    unpacked = unpack(fmt, packed, n, k, rows)
    if fmt.is_float:
        return fmt.dequantize(np.ascontiguousarray(unpacked).view(np.uint8))
    return fmt.dequantize_decoded(unpacked)
