# SPDX-License-Identifier: Apache-2.0
"""Interval analysis of the integer part of an expression graph, element by element.

It proves at definition that codes stay inside their declared bits and lookups inside their tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import LumenError
from .graph import Expression, reachable

Interval = tuple[np.ndarray, np.ndarray]


def _next_mask(value: np.ndarray) -> np.ndarray:
    """The smallest 2^n - 1 that is at least ``value`` (non-negative)."""
    for shift in (1, 2, 4, 8, 16, 32):
        value = value | (value >> shift)
    return value


def _corners(operation: Callable[..., np.ndarray], a: Interval, b: Interval) -> Interval:
    products = [operation(x, y) for x in a for y in b]
    return np.minimum.reduce(products), np.maximum.reduce(products)


def _bitwise(name: str, a: Interval, b: Interval) -> Interval | None:
    zero = np.zeros_like(a[0])
    if name == "and":
        candidates = [x[1] for x in (a, b) if np.all(x[0] >= 0)]
        return (zero, np.minimum.reduce(candidates)) if candidates else None
    if np.any(a[0] < 0) or np.any(b[0] < 0):
        return None
    high = np.minimum(_next_mask(np.maximum(a[1], b[1])), a[1] + b[1])
    return (np.maximum(a[0], b[0]) if name == "or" else zero), high


def _transfer(node: Expression, arguments: list[Interval]) -> Interval | None:
    """The interval of ``node``, or None where nothing better than the type's range is known."""
    match node.operation:
        case "constant":
            values = np.atleast_1d(node.payload).astype(np.int64)
            return values, values
        case "and" | "or" | "xor":
            return _bitwise(node.operation, *arguments)
        case "add":
            return arguments[0][0] + arguments[1][0], arguments[0][1] + arguments[1][1]
        case "sub":
            return arguments[0][0] - arguments[1][1], arguments[0][1] - arguments[1][0]
        case "mul" if max(a.max() for pair in arguments for a in map(np.abs, pair)) < 1 << 31:
            return _corners(np.multiply, *arguments)
        case "shl":
            return _corners(np.left_shift, *arguments)
        case "shr":
            return _corners(np.right_shift, *arguments)
        case "convert":
            return arguments[0]
        case "bitcast" if node.operands[0].dtype.bits == node.dtype.bits:
            return arguments[0]
        case "where":
            (_, yes, no) = arguments
            return np.minimum(yes[0], no[0]), np.maximum(yes[1], no[1])
        case "broadcast":
            low, high = arguments[0]
            return np.repeat(low, node.length), np.repeat(high, node.length)
        case "extract":
            low, high = (side[node.payload : node.payload + 1] for side in arguments[0])
            return low, high
        case "shuffle":
            return tuple(np.concatenate([a[i] for a in arguments])[node.payload] for i in (0, 1))
        case "lookup":
            return _lookup(node, arguments[0])
    return None


def _lookup(node: Expression, index: Interval) -> Interval:
    table = node.payload
    if index[0].min() < 0 or index[1].max() >= len(table):
        raise LumenError(
            f"a lookup index may reach {index[1].max()}, outside its table of {len(table)} entries; mask it"
        )
    low, high = table.min(axis=0).astype(np.int64), table.max(axis=0).astype(np.int64)
    return np.tile(low, len(index[0])), np.tile(high, len(index[0]))


def intervals(roots: Sequence[Expression]) -> tuple[dict[int, Interval], set[int]]:
    """Intervals of all integer nodes behind ``roots`` by id, and the nodes whose operation may wrap."""
    found: dict[int, Interval] = {}
    wrapped: set[int] = set()
    empty = np.zeros(0, dtype=np.int64)
    for node in reachable(roots):
        if node.dtype is None or node.dtype.kind == "f":
            found[id(node)] = (empty, empty)
            continue
        if node.operands and node.operands[0].dtype is not None and node.operands[0].dtype.kind == "f":
            interval = None
        else:
            interval = _transfer(node, [found[id(operand)] for operand in node.operands])
        low, high = node.dtype.range
        if interval is None or interval[0].min() < low or interval[1].max() > high:
            # Unknown, or the operation may wrap.
            if interval is not None or node.operands:
                wrapped.add(id(node))
            length = node.length or 1
            interval = np.full(length, low, dtype=np.int64), np.full(length, high, dtype=np.int64)
        found[id(node)] = interval
    return found, wrapped


def bounds(root: Expression) -> Interval:
    """Smallest and largest value of each element of an integer expression, as two int64 arrays."""
    return intervals([root])[0][id(root)]
