# SPDX-License-Identifier: Apache-2.0
"""Packed weights, the layout that kernels read: where everything lies, and packing and unpacking with NumPy.

``dialect/layout/`` says where the components of a packed weight lie (docs/packed-layout.md describes it);
this module shows them as arrays. ``lumen_mlir.reference.packed`` decodes packed weights without it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import LumenError
from .components import (
    Component,
    from_lanes,
    pack_codes,
    pack_factor,
    to_lanes,
    unpack_codes,
    unpack_factor,
)
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
      signed_codes: codes that take a byte are stored less by 128, as signed bytes.
      whole_codes: codes of 3, 5, 6 and 7 bits lie whole in the lower bits of bytes, not in planes.
    """

    rows: int
    step: int
    signed_codes: bool = False
    whole_codes: bool = False

    @staticmethod
    def of(fmt: Format, rows: int, step: int | None = None, *codes: bool) -> Tile:
        """Tiles of ``rows`` rows; ``step``: None for the step that kernels take in this format.

        ``codes``: ``signed_codes`` and ``whole_codes``.
        """
        return Tile(rows, _bound().step_size(fmt.is_float) if step is None else step, *codes)

    @staticmethod
    def parse(text: str) -> Tile | None:
        """The first ``#lumen.packed`` in the text of a type or an attribute; None where there is none."""
        found = re.search(
            r"#lumen\.packed<rows = (\d+)(?:, k = (\d+))?(, signed_codes = true)?(, whole_codes = true)?>",
            text,
        )
        return Tile(int(found[1]), int(found[2] or 1), bool(found[3]), bool(found[4])) if found else None

    def __str__(self) -> str:
        named = ("signed_codes", self.signed_codes), ("whole_codes", self.whole_codes)
        codes = "".join(f", {name} = true" for name, value in named if value)
        return f"#lumen.packed<rows = {self.rows}, k = {self.step}{codes}>"


def alignment() -> int:
    """Bytes of which streams, and weights and arenas in memory, begin at multiples."""
    return _bound().ALIGNMENT


def align(size: int) -> int:
    """``size`` rounded up to a multiple of ``alignment()``."""
    return _bound().align(size)


def _text(fmt: Format) -> str | None:
    return None if fmt.is_float else emit_format(fmt)


@lru_cache(maxsize=1024)
def _layout(fmt: Format, tile: Tile) -> PackedLayout:
    return _bound().PackedLayout(_text(fmt), fmt.name, *tile)


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


def components(
    fmt: Format, n: int, k: int, rows: int, step: int | None = None, *codes: bool
) -> list[Component]:
    """The components of a packed weight [n, k] in tiles of ``rows`` rows, in buffer order.

    ``step``: consecutive columns that lie together; None: as many as kernels take.
    ``codes``: ``signed_codes`` and ``whole_codes`` of ``Tile``, here and below.
    """
    found, result = _asked("components", fmt, n, k, rows, step, codes), []
    for part in found:
        name, kept, dtype = part.kind, None, np.dtype(np.uint8)
        if part.kind == "codes":
            dtype = np.dtype(np.int8 if part.signed else np.uint8)
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
        pieces = tuple(map(tuple, _bound().code_pieces(part.bits))) if part.whole else ()
        low, bits = part.bit_offset, part.bits
        result.append(Component(name, part.offset, shape, strides, dtype, low, bits, kept, pieces))
    return result


def _asked(
    question: str, fmt: Format, n: int, k: int, rows: int, step: int | None, codes: tuple[bool, ...]
) -> Any:
    """What the layout of weights [n, k] answers; ``question`` is a method of it."""
    if rows < 1 or n < 1 or k < 1:
        raise LumenError(f"cannot pack a weight of {n} x {k} in tiles of {rows} rows")
    fmt.row_bytes(k)
    if max(n, k) > _MOST:
        raise LumenError(f"there is no weight of {n} x {k}")
    try:
        return getattr(_layout(fmt, Tile.of(fmt, rows, step, *codes)), question)(n, k)
    except ValueError as error:
        raise LumenError(f"cannot pack a weight of {n} x {k} of {fmt.name}: {error}") from error


def stream_bytes(fmt: Format, k: int, rows: int, step: int | None = None, *codes: bool) -> list[int]:
    """The bytes that a tile has in each stream; streams begin at multiples of ``alignment()``."""
    return _asked("stream_bytes", fmt, 1, k, rows, step, codes)


def packed_bytes(fmt: Format, n: int, k: int, rows: int, step: int | None = None, *codes: bool) -> int:
    """Size of the packed weight's buffer in bytes."""
    return _asked("bytes", fmt, n, k, rows, step, codes)


def pack(fmt: Format, raw: np.ndarray, rows: int, step: int | None = None, *codes: bool) -> np.ndarray:
    """Packs a weight.

    Args:
      fmt: the format or float type of ``raw``.
      raw: rows of the file, uint8 [N, row_bytes(K)].
      rows: rows per tile (R).
      step: consecutive columns that lie together; None: as many as kernels take.
      codes: ``signed_codes`` and ``whole_codes`` of ``Tile``.

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
    buffer = np.zeros(packed_bytes(fmt, n, k, rows, step, *codes), dtype=np.uint8)
    for part in components(fmt, n, k, rows, step, *codes):
        if part.kept is not None:
            array = pack_factor(stored[part.kept], part)
        elif fmt.is_float:
            array = to_lanes(values, *part.shape[-2:])
        else:
            array = pack_codes(values, part)
        part.view(buffer)[:] = array.reshape(part.shape)
    return buffer


def unpack(
    fmt: Format,
    packed: np.ndarray,
    n: int,
    k: int,
    rows: int,
    step: int | None = None,
    *codes: bool,
) -> Decoded | np.ndarray:
    """The inverse of ``pack``: the decoded rows of a weight [n, k], or stored elements for a float type."""
    expected = packed_bytes(fmt, n, k, rows, step, *codes)
    if packed.dtype != np.uint8 or packed.shape != (expected,):
        raise LumenError(f"a packed {fmt.name} weight of {n} x {k} has {expected} bytes, not {packed.shape}")
    parts = [(part, part.view(packed)) for part in components(fmt, n, k, rows, step, *codes)]
    if fmt.is_float:
        return from_lanes(parts[0][1], n, k)
    planes = [unpack_codes(view, part, n, k) for part, view in parts if part.kept is None]
    stored = []
    for number, kept in enumerate(fmt.stored):
        fields = [unpack_factor(view, part, n) for part, view in parts if part.kept == number]
        joined = fields[0] if len(fields) == 1 else np.bitwise_or.reduce(fields)
        stored.append(joined.astype(kept.value.dtype.numpy))
    return Decoded(np.bitwise_or.reduce(planes), *fmt.complete(stored, k))


# The bits of infinity; those of what is no number are larger, without the sign.
_INFINITIES = {"f16": 0x7C00, "bf16": 0x7F80, "f32": 0x7F800000}


def find_nonfinite(
    fmt: Format,
    packed: np.ndarray,
    n: int,
    k: int,
    rows: int,
    step: int | None = None,
    *codes: bool,
) -> tuple[int, str] | None:
    """The first row of a packed weight [n, k] that holds an infinity or no number, and what that is.

    8-bit products could lose it. What is read are the floats: of quantized weights the factors of blocks.
    """
    for component in components(fmt, n, k, rows, step, *codes):
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
    fmt: Format,
    packed: np.ndarray,
    n: int,
    k: int,
    rows: int,
    step: int | None = None,
    *codes: bool,
) -> np.ndarray:
    """float32 [n, k] of a packed weight."""
    unpacked = unpack(fmt, packed, n, k, rows, step, *codes)
    if fmt.is_float:
        return fmt.dequantize(np.ascontiguousarray(unpacked).view(np.uint8))
    return fmt.dequantize_decoded(unpacked)
