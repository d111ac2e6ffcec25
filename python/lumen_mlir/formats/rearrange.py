# SPDX-License-Identifier: Apache-2.0
"""Vectors joined, repeated and taken apart, and tables looked up."""

from __future__ import annotations

import numpy as np

from ..errors import LumenError
from .graph import Expression, convert, i32, shuffle, take, u8, u32


def concat(*parts: Expression) -> Expression:
    return shuffle(parts, range(sum(p.length or 1 for p in parts)))


def repeat(value: Expression, times: int) -> Expression:
    """Each element ``times`` times: a a a b b b."""
    return take(value, np.arange(value.length or 1).repeat(times))


def tile(value: Expression, times: int) -> Expression:
    """The whole vector ``times`` times: a b a b."""
    return take(value, np.tile(np.arange(value.length or 1), times))


def interleave(*parts: Expression, chunk: int = 1) -> Expression:
    """Takes ``chunk`` elements of each part in turn; the parts have one length, a multiple of ``chunk``."""
    length = len(parts[0])
    if any(len(p) != length for p in parts) or length % chunk:
        raise LumenError(f"interleave needs parts of one length that is a multiple of the chunk, {chunk}")
    order = np.arange(len(parts) * length).reshape(len(parts), -1, chunk)
    return shuffle(parts, order.swapaxes(0, 1).ravel())


def unpack(value: Expression, bits: int, chunk: int | None = None) -> Expression:
    """Splits unsigned elements into fields of ``bits`` bits, low bits first.

    Of every ``chunk`` elements (default: all) first come the lowest fields of each element in order, then
    the second fields, and so on. chunk=1 is a plain little-endian bit stream.
    """
    if value.dtype is None or value.dtype.kind != "u" or value.dtype.bits % bits:
        raise LumenError(f"unpack to {bits} bits needs an unsigned type of a multiple of {bits} bits")
    length, fields = value.length or 1, value.dtype.bits // bits
    chunk = chunk or length
    if length % chunk:
        raise LumenError(f"unpack: the chunk {chunk} does not divide the length {length}")
    mask = (1 << bits) - 1
    if value.length is not None and fields <= 4:
        # Uniform shifts and one shuffle are cheaper than shifts that differ by element.
        parts = [value & mask, *((value >> (i * bits)) & mask for i in range(1, fields - 1))]
        return interleave(*parts, value >> ((fields - 1) * bits), chunk=chunk) if fields > 1 else value
    order = np.arange(length).reshape(-1, 1, chunk).repeat(fields, axis=1)
    shifts = np.broadcast_to(np.arange(fields)[:, None] * bits, order.shape)
    return (take(value, order.ravel()) >> shifts.ravel()) & mask


def lookup(table: np.ndarray, index: Expression) -> Expression:
    """Rows of a constant u8 table [entries, width], width 1, 2, 4 or 8: a u8 vector of len(index) * width."""
    entries = np.asarray(table)
    if entries.dtype.kind not in "iu" or not entries.size or entries.min() < 0 or entries.max() > 255:
        raise LumenError("lookup tables hold whole numbers from 0 to 255")
    table = np.ascontiguousarray(entries, dtype=np.uint8)
    table = table.reshape(len(table), -1)
    if table.shape[1] not in (1, 2, 4, 8):
        raise LumenError(f"lookup tables have 1, 2, 4 or 8 bytes per entry, not {table.shape[1]}")
    if index.dtype is None or index.dtype.kind == "f" or index.length is None:
        raise LumenError("lookup needs a vector of integers as its index")
    index = index if index.dtype in (u32, i32) else convert(index, u32)
    return Expression("lookup", u8, index.length * table.shape[1], [index], table)
