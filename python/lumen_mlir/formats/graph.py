# SPDX-License-Identifier: Apache-2.0
"""The expression graph that ``decode`` builds when it is traced, and the types of its values.

Every value is a scalar or a 1-D vector of one block. Nodes are immutable; each operation has a meaning in
NumPy (``evaluate``), in IR (``emit``) and on intervals (``bounds``). Types and values make one another:
``u8[16]`` declares a storage field, ``u16(x)`` converts a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from ..errors import LumenError

Literal = int | float | Sequence[int] | np.ndarray
Indices = Sequence[int] | np.ndarray
Operand = Union["Expression", Literal]


@dataclass(frozen=True)
class DType:
    """An element type. ``u8[16]`` declares a storage field; ``u16(x)`` converts an expression.

    Attributes:
      name: the name used in descriptions ("u8", "f16", …).
      kind: "u", "i" or "f" (unsigned, signed, floating point).
      bits: width.
      numpy: little-endian NumPy type of the storage; bf16, which NumPy lacks, is held as its 16 bits.
      mlir: the MLIR type; MLIR integers are signless.
    """

    name: str
    kind: str
    bits: int
    numpy: np.dtype
    mlir: str

    def __getitem__(self, length: int) -> Field:
        if not isinstance(length, int) or length < 1:
            raise LumenError(f"a field of {self.name} needs a positive length, not {length!r}")
        return Field(self, length)

    def __call__(self, expression: Operand) -> Expression:
        return convert(expression, self)

    def __repr__(self) -> str:
        return self.name

    @property
    def bytes(self) -> int:
        return self.bits // 8

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value of an integer type."""
        if self.kind == "u":
            return 0, (1 << self.bits) - 1
        return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1


@dataclass(frozen=True)
class Field:
    """The type of one storage field: a scalar (``length`` None) or a vector; see ``per_row``."""

    dtype: DType
    length: int | None = None
    in_header: bool = False

    def __str__(self) -> str:
        return self.dtype.name if self.length is None else f"{self.dtype.name}[{self.length}]"

    @property
    def bytes(self) -> int:
        return self.dtype.bytes * (self.length or 1)

    @property
    def mlir(self) -> str:
        return self.dtype.mlir if self.length is None else f"vector<{self.length}x{self.dtype.mlir}>"


def per_row(kind: DType | Field) -> Field:
    """Declares a storage field that stands once at the start of every row: ``d: per_row(f32)``."""
    kind = Field(kind) if isinstance(kind, DType) else kind
    if not isinstance(kind, Field):
        raise LumenError(f"per_row takes a field's type, such as f32 or f16[4], not {kind!r}")
    return Field(kind.dtype, kind.length, in_header=True)


def _dtype(name: str, numpy: str, mlir: str) -> DType:
    bits = int(name.lstrip("uifb"))
    return DType(name, "f" if name == "bf16" else name[0], bits, np.dtype(numpy), mlir)


u8, u16, u32 = _dtype("u8", "<u1", "i8"), _dtype("u16", "<u2", "i16"), _dtype("u32", "<u4", "i32")
i8, i16, i32 = _dtype("i8", "<i1", "i8"), _dtype("i16", "<i2", "i16"), _dtype("i32", "<i4", "i32")
f16, f32, bf16 = _dtype("f16", "<f2", "f16"), _dtype("f32", "<f4", "f32"), _dtype("bf16", "<u2", "bf16")


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

    operation: str
    # Narrower where one knows which operation it is.
    dtype: Any
    length: Any
    operands: tuple[Expression, ...]
    payload: Any

    def __init__(
        self,
        operation: str,
        dtype: DType | None,
        length: int | None,
        operands: Iterable[Expression] = (),
        payload: Any = None,
    ):
        self.operation, self.dtype, self.length = operation, dtype, length
        self.operands, self.payload = tuple(operands), payload

    def __and__(self, other: Operand) -> Expression:
        return binary("and", self, other)

    def __or__(self, other: Operand) -> Expression:
        return binary("or", self, other)

    def __xor__(self, other: Operand) -> Expression:
        return binary("xor", self, other)

    def __lshift__(self, other: Operand) -> Expression:
        return binary("shl", self, other)

    def __rshift__(self, other: Operand) -> Expression:
        return binary("shr", self, other)

    def __add__(self, other: Operand) -> Expression:
        return binary("add", self, other)

    def __sub__(self, other: Operand) -> Expression:
        return binary("sub", self, other)

    def __mul__(self, other: Operand) -> Expression:
        return binary("mul", self, other)

    def __lt__(self, other: Operand) -> Expression:
        return compare("lt", self, other)

    __radd__, __rmul__, __rand__, __ror__, __rxor__ = __add__, __mul__, __and__, __or__, __xor__

    def __rsub__(self, other: Operand) -> Expression:
        return binary("sub", _operand(other, self), self)

    def __neg__(self) -> Expression:
        if self.dtype is None or self.dtype.kind != "f":
            raise LumenError("only floating-point values can be negated; write 0 - x for integers")
        return Expression("neg", self.dtype, self.length, [self])

    def __len__(self) -> int:
        if self.length is None:
            raise LumenError("a scalar has no length")
        return self.length

    def __getitem__(self, key: int | slice) -> Expression:
        if isinstance(key, slice):
            return take(self, range(*key.indices(len(self))))
        if not -len(self) <= key < len(self):
            raise LumenError(f"index {key} is outside a vector of {len(self)}")
        return Expression("extract", self.dtype, None, [self], key % len(self))

    def __iter__(self) -> Iterator[Expression]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
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


def _operand(value: Operand, like: Expression) -> Expression:
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


def binary(name: str, left: Expression, right: Operand) -> Expression:
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


def compare(name: str, left: Expression, right: Operand) -> Expression:
    left, right = _match(name, left, _operand(right, left))
    if left.dtype.kind == "f":
        raise LumenError("comparisons are defined on integers only")
    return Expression(name, None, left.length, [left, right])


def equal(left: Expression, right: Operand) -> Expression:
    """Elementwise comparison, for ``where``; ``<`` is the other one."""
    return compare("eq", left, right)


def where(condition: Expression, yes: Operand, no: Operand) -> Expression:
    """Elementwise choice; ``yes`` or ``no`` may be a literal."""
    if not isinstance(condition, Expression) or condition.dtype is not None:
        raise LumenError("where needs a comparison as its condition: a < b or equal(a, b)")
    if not isinstance(yes, Expression):
        if not isinstance(no, Expression):
            raise LumenError("where of two literals has no type; write one of them as u8(0)")
        yes = _operand(yes, no)
    yes, no = _match("where", yes, _operand(no, yes))
    if yes.length != condition.length:
        raise LumenError(f"where: condition is a {_shape(condition.length)}, values a {_shape(yes.length)}")
    return Expression("where", yes.dtype, yes.length, [condition, yes, no])


def broadcast(value: Expression, length: int) -> Expression:
    return Expression("broadcast", value.dtype, length, [value])


def convert(value: Operand, dtype: DType) -> Expression:
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


def shuffle(parts: Sequence[Expression], indices: Indices) -> Expression:
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


def take(value: Expression, indices: Indices) -> Expression:
    return shuffle([value], indices)


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
