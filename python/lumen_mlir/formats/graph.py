# SPDX-License-Identifier: Apache-2.0
"""The expression graph that ``decode`` builds when it is traced.

Every value is a scalar or a 1-D vector of one block. Nodes are immutable; the operations below are the
whole vocabulary; each has a meaning in NumPy (``evaluate``), in IR (``emit``) and on intervals (``bounds``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import LumenError
from .types import DType, Field, i32, u8, u32

Literal = int | float | Sequence[int] | np.ndarray


class Expression:
    """One value of the graph: ``operation`` applied to ``operands``.

    Attributes:
      dtype: element type, or None for the result of a comparison.
      length: vector length, or None for a scalar.
      payload: what the operation needs besides operands (constant values, indices, table, field name).
    """

    __slots__ = ("dtype", "length", "operands", "operation", "payload")
    # Keeps NumPy arrays on the left of an operator from taking the expression apart.
    __array_ufunc__ = None

    def __init__(self, operation, dtype, length, operands=(), payload=None):
        self.operation, self.dtype, self.length = operation, dtype, length
        self.operands, self.payload = tuple(operands), payload

    def __and__(self, other):
        return binary("and", self, other)

    def __or__(self, other):
        return binary("or", self, other)

    def __xor__(self, other):
        return binary("xor", self, other)

    def __lshift__(self, other):
        return binary("shl", self, other)

    def __rshift__(self, other):
        return binary("shr", self, other)

    def __add__(self, other):
        return binary("add", self, other)

    def __sub__(self, other):
        return binary("sub", self, other)

    def __mul__(self, other):
        return binary("mul", self, other)

    def __lt__(self, other):
        return compare("lt", self, other)

    __radd__, __rmul__, __rand__, __ror__, __rxor__ = __add__, __mul__, __and__, __or__, __xor__

    def __rsub__(self, other):
        return binary("sub", _operand(other, self), self)

    def __neg__(self):
        if self.dtype is None or self.dtype.kind != "f":
            raise LumenError("only floating-point values can be negated; write 0 - x for integers")
        return Expression("neg", self.dtype, self.length, [self])

    def __len__(self) -> int:
        if self.length is None:
            raise LumenError("a scalar has no length")
        return self.length

    def __getitem__(self, key):
        if isinstance(key, slice):
            return take(self, range(*key.indices(len(self))))
        if not -len(self) <= key < len(self):
            raise LumenError(f"index {key} is outside a vector of {len(self)}")
        return Expression("extract", self.dtype, None, [self], key % len(self))

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self):
        raise LumenError("decode is traced once, so it cannot branch on values; use where(condition, a, b)")


def _shape(length: int | None) -> str:
    return "scalar" if length is None else f"vector of {length}"


def constant(values: Literal, dtype: DType, length: int | None = None) -> Expression:
    """A constant scalar or vector of ``dtype``; integer values must fit the type."""
    array = np.asarray(values)
    if array.ndim > 1:
        raise LumenError(f"constants are scalars or 1-D, not of shape {array.shape}")
    if dtype.kind != "f":
        low, high = dtype.range
        if array.dtype.kind not in "iu" or array.size and (array.min() < low or array.max() > high):
            raise LumenError(f"constant {values!r} does not fit {dtype.name}")
    if array.ndim == 1:
        length = len(array)
    elif length is not None:
        array = np.full(length, array)
    return Expression("constant", dtype, length, (), array.astype(dtype.numpy))


def _operand(value, like: Expression) -> Expression:
    return value if isinstance(value, Expression) else constant(value, like.dtype, like.length)


def _match(name: str, a: Expression, b: Expression) -> tuple[Expression, Expression]:
    if a.dtype is not b.dtype:
        raise LumenError(f"{name} of {a.dtype} and {b.dtype}: convert one, for instance {a.dtype}(x)")
    if a.length is None and b.length is not None:
        a = broadcast(a, b.length)
    elif b.length is None and a.length is not None:
        b = broadcast(b, a.length)
    if a.length != b.length:
        raise LumenError(f"{name} of a {_shape(a.length)} and a {_shape(b.length)}")
    return a, b


def binary(name: str, left: Expression, right) -> Expression:
    """An elementwise operation on two values of one type; scalars broadcast, integers wrap."""
    if left.dtype is None:
        raise LumenError(f"{name} of a comparison; use where(condition, a, b)")
    left, right = _match(name, left, _operand(right, left))
    if left.dtype.kind == "f" and (name not in ("add", "sub", "mul") or left.dtype.name == "bf16"):
        raise LumenError(f"{name} is not defined on {left.dtype}")
    if name in ("shl", "shr"):
        amount = right.payload if right.operation == "constant" else None
        if amount is None or np.any((amount < 0) | (amount >= left.dtype.bits)):
            raise LumenError(f"shifts of {left.dtype} must be constants from 0 to {left.dtype.bits - 1}")
    return Expression(name, left.dtype, left.length, [left, right])


def compare(name: str, left: Expression, right) -> Expression:
    left, right = _match(name, left, _operand(right, left))
    if left.dtype.kind == "f":
        raise LumenError("comparisons are defined on integers only")
    return Expression(name, None, left.length, [left, right])


def equal(left: Expression, right) -> Expression:
    """Elementwise comparison, for ``where``; ``<`` is the other one."""
    return compare("eq", left, right)


def where(condition: Expression, yes, no) -> Expression:
    """Elementwise choice; ``yes`` or ``no`` may be a literal."""
    if not isinstance(condition, Expression) or condition.dtype is not None:
        raise LumenError("where needs a comparison as its condition: a < b or equal(a, b)")
    if not isinstance(yes, Expression):
        yes = _operand(yes, no)
    yes, no = _match("where", yes, _operand(no, yes))
    if yes.length != condition.length:
        raise LumenError(f"where: condition is a {_shape(condition.length)}, values a {_shape(yes.length)}")
    return Expression("where", yes.dtype, yes.length, [condition, yes, no])


def broadcast(value: Expression, length: int) -> Expression:
    return Expression("broadcast", value.dtype, length, [value])


def convert(value: Expression, dtype: DType) -> Expression:
    """Converts by value: integers are extended, truncated or become floats; f16, bf16 and f32 convert."""
    if not isinstance(value, Expression):
        return constant(value, dtype)
    if value.dtype is dtype:
        return value
    if value.dtype is None or (value.dtype.kind == "f" and dtype.kind != "f"):
        raise LumenError(f"cannot convert {value.dtype or 'a comparison'} to {dtype}")
    if dtype.name == "bf16":
        raise LumenError("cannot convert to bf16; build its bits and bitcast")
    return Expression("convert", dtype, value.length, [value])


def bitcast(value: Expression, dtype: DType) -> Expression:
    """The same bits, little-endian, as another type; a vector's length changes with the width."""
    if value.length is None:
        if value.dtype.bits != dtype.bits:
            raise LumenError(f"bitcast of a scalar {value.dtype} to {dtype}: the widths differ")
        return Expression("bitcast", dtype, None, [value])
    length, rest = divmod(value.length * value.dtype.bits, dtype.bits)
    if rest:
        raise LumenError(f"bitcast of {value.length} x {value.dtype} to {dtype} leaves part of an element")
    return Expression("bitcast", dtype, length, [value])


def shuffle(parts: Sequence[Expression], indices: Sequence[int]) -> Expression:
    """The elements ``indices`` of the concatenation of ``parts`` (scalars count as one element)."""
    parts = [broadcast(p, 1) if p.length is None else p for p in parts]
    if len({p.dtype for p in parts}) != 1:
        raise LumenError(f"parts of different types: {', '.join(str(p.dtype) for p in parts)}")
    indices = np.asarray(indices, dtype=np.int64)
    total = sum(p.length for p in parts)
    if indices.ndim != 1 or not indices.size or indices.min() < 0 or indices.max() >= total:
        raise LumenError(f"shuffle indices must be a non-empty list of numbers from 0 to {total - 1}")
    if len(parts) == 1:
        source = parts[0]
        if source.operation == "shuffle":
            return shuffle(source.operands, source.payload[indices])
        if source.operation == "broadcast":
            return broadcast(source.operands[0], len(indices))
        if np.array_equal(indices, np.arange(total)):
            return source
    return Expression("shuffle", parts[0].dtype, len(indices), parts, indices)


def concat(*parts: Expression) -> Expression:
    return shuffle(parts, range(sum(p.length or 1 for p in parts)))


def take(value: Expression, indices: Sequence[int]) -> Expression:
    return shuffle([value], indices)


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


def field(name: str, kind: Field) -> Expression:
    return Expression("field", kind.dtype, kind.length, (), name)


def reachable(roots: Sequence[Expression]) -> list[Expression]:
    """The nodes that ``roots`` depend on, operands before users."""
    order: list[Expression] = []
    seen: set[int] = set()
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((operand, False) for operand in reversed(node.operands))
    return order
