# SPDX-License-Identifier: Apache-2.0
"""What a packed weight keeps of scales and minima: the narrowest values that they follow from.

A scale such as ``2 * nibble + 1`` or ``f32(d) * 0.125`` need not be kept as it is used. Behind every factor
the graph is searched for the values through which all of it passes, by elementwise operations with constants
alone; the combination of fewest bits is kept (what two factors share, once), and the rest of the way, the
factor's completion, is gone where the factor is used. In IR the kept values are marked by ``lumen.stored``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from . import graph
from .bounds import Interval, intervals
from .graph import DType, Expression, bitcast, convert, i32, reachable, u8, u16

_ELEMENTWISE = {
    "and", "or", "xor", "add", "sub", "mul", "shl", "shr", "neg", "eq", "lt", "where", "convert", "bitcast",
}  # fmt: skip
_ARITHMETIC = {"and", "or", "xor", "add", "sub", "mul", "shl", "shr"}


@dataclass(frozen=True, eq=False)
class Stored:
    """One value that a packed weight keeps.

    Attributes:
      name: "scale.super", "scale.sub", "min.super" or "min.sub": the first factor that uses it.
      value: the value, of the narrowest type that holds ``bits``.
      bits: significant bits; signed integers have all bits of their type.
      level: "row", "block" or "group": how many weights share it.
      leaf: what stands for it in completions: an expression ``stored`` with this name.
    """

    name: str
    value: Expression
    bits: int
    level: str
    leaf: Expression


def _constant(node: Expression) -> np.ndarray | None:
    """The value of a constant that is the same in all elements."""
    if node.operation == "broadcast":
        return _constant(node.operands[0])
    if node.operation != "constant":
        return None
    values = np.atleast_1d(node.payload)
    return values[:1] if np.all(values == values[0]) else None


def _is_elementwise(node: Expression) -> bool:
    return node.operation in _ELEMENTWISE and all(operand.length == node.length for operand in node.operands)


def _passes(root: Expression, cut: Expression) -> bool:
    """All of ``root`` that is not constant passes through ``cut``."""
    pending = [root]
    while pending:
        node = pending.pop()
        if node is cut or _constant(node) is not None:
            continue
        if not _is_elementwise(node):
            return False
        pending.extend(node.operands)
    return True


def _candidates(root: Expression) -> list[Expression]:
    """The values that ``root`` follows from, the nearest first."""
    found, pending = [], [root]
    while pending:
        node = pending.pop(0)
        if node in found or _constant(node) is not None:
            continue
        found.append(node)
        if _is_elementwise(node):
            pending.extend(node.operands)
    return [node for node in found if node.dtype is not None and _passes(root, node)] or [root]


def _key(node: Expression, memo: dict[int, int], numbers: dict[tuple, int]) -> int:
    """A number that is the same for equal expressions; ``memo``: of those seen, ``numbers``: by content."""
    for each in reachable([node]):
        if id(each) not in memo:
            payload = each.payload
            payload = (payload.shape, payload.tobytes()) if isinstance(payload, np.ndarray) else str(payload)
            operands = tuple(memo[id(operand)] for operand in each.operands)
            key = (each.operation, str(each.dtype), each.length, payload, operands)
            memo[id(each)] = numbers.setdefault(key, len(numbers) + 1)
    return memo[id(node)]


def _bits(node: Expression, interval: Interval) -> int:
    if node.dtype.kind == "f" or interval[0].min() < 0:
        return node.dtype.bits
    return max(1, int(interval[1].max()).bit_length())


def _narrow(node: Expression, bits: int) -> Expression:
    """``node`` in the smallest type that holds ``bits``."""
    if node.dtype.kind != "f" and bits <= 16 and node.dtype.bits > max(8, bits):
        return convert(node, u8 if bits <= 8 else u16)
    return node


def _level(node: Expression, header: set[str]) -> str:
    if node.length is not None:
        return "group"
    fields = {each.payload for each in reachable([node]) if each.operation == "field"}
    return "row" if fields and fields <= header else "block"


def choose(factors: dict[str, Expression], header: set[str]) -> tuple[list[Stored], list[Expression]]:
    """What to keep of factors, and the factors as completions of it, in order.

    Args:
      factors: by name ("scale.super", …).
      header: the names of the fields that stand once per row.
    """
    names, parts = list(factors), list(factors.values())
    ranges, wrapped = intervals(parts)
    memo: dict[int, int] = {}
    numbers: dict[tuple, int] = {}
    stored: dict[int, Stored] = {}
    completions = list(parts)
    for vectors in (False, True):
        # Only factors of one length can share.
        members = [i for i, part in enumerate(parts) if (part.length is not None) == vectors]
        options = [
            [
                (node, _key(node, memo, numbers), _bits(node, ranges[id(node)]), far)
                for far, node in enumerate(_candidates(parts[i]))
            ]
            for i in members
        ]

        def cost(choice) -> tuple[int, int]:
            return sum({key: bits for _, key, bits, _ in choice}.values()), sum(far for *_, far in choice)

        for i, (node, key, bits, _) in zip(members, min(product(*options), key=cost), strict=True):
            if key not in stored:
                value = _narrow(node, bits)
                if value.dtype.kind == "f" or ranges[id(node)][0].min() < 0:
                    bits = value.dtype.bits
                leaf = Expression("stored", value.dtype, value.length, (), names[i])
                stored[key] = Stored(names[i], value, bits, _level(node, header), leaf)
            kept = stored[key]
            completions[i] = _complete(parts[i], node, kept.leaf, ranges, wrapped)
    order = {name: i for i, name in enumerate(names)}
    return sorted(stored.values(), key=lambda each: order[each.name]), completions


def _complete(
    root: Expression, cut: Expression, leaf: Expression, ranges: dict[int, Interval], wrapped: set[int]
) -> Expression:
    """``root`` with ``leaf`` in place of ``cut``, its integers in 32 bits where that changes no value.

    Vector units have no shifts of bytes, and what comes next is a conversion to f32.
    """
    memo: dict[int, Expression] = {}

    def wide(node: Expression) -> Expression:
        made = build(node)
        return made if made.dtype is None or made.dtype.kind == "f" else convert(made, i32)

    def narrow(node: Expression) -> Expression:
        return convert(build(node), node.dtype) if node.dtype is not None else build(node)

    def fits(node: Expression) -> bool:
        return (node is cut or id(node) not in wrapped) and ranges[id(node)][1].max(initial=0) < 1 << 31

    def build(node: Expression) -> Expression:
        if id(node) not in memo:
            memo[id(node)] = make(node)
        return memo[id(node)]

    def literal(node: Expression, dtype: DType) -> Expression:
        return graph.constant(_constant(node)[0], dtype, node.length)

    def make(node: Expression) -> Expression:
        if node is cut:
            return leaf
        if _constant(node) is not None:
            number = _constant(node)[0]
            is_small = node.dtype.kind != "f" and -(1 << 31) <= int(number) < 1 << 31
            return literal(node, i32 if is_small else node.dtype)
        kind, operands = node.dtype.kind if node.dtype is not None else None, node.operands
        integers = [o for o in operands if o.dtype is not None and o.dtype.kind != "f"]
        fitting = all(fits(o) for o in integers)
        if kind is not None and kind != "f":
            if node.operation in _ARITHMETIC and fitting and fits(node):
                return Expression(node.operation, i32, node.length, [wide(o) for o in operands], node.payload)
            if node.operation == "convert" and fitting and fits(node):
                return wide(operands[0])
            if (
                node.operation == "bitcast"
                and integers
                and fitting
                and fits(node)
                and (ranges[id(operands[0])][0].min() >= 0 and ranges[id(node)][0].min() >= 0)
            ):
                return wide(operands[0])
            if node.operation == "where" and all(fits(o) for o in operands[1:]):
                values = [wide(o) for o in operands[1:]]
                return Expression("where", i32, node.length, [build(operands[0]), *values])
        if node.operation in ("eq", "lt") and fitting:
            return Expression(node.operation, None, node.length, [wide(o) for o in operands])
        if node.operation == "convert" and integers and fitting and node.dtype.name == "f32":
            return convert(wide(operands[0]), node.dtype)
        if node.operation == "bitcast":
            return bitcast(narrow(operands[0]), node.dtype)
        if node.operation == "convert":
            return convert(narrow(operands[0]), node.dtype)
        narrowed = [narrow(o) for o in operands]
        return Expression(node.operation, node.dtype, node.length, narrowed, node.payload)

    return wide(root)
