# SPDX-License-Identifier: Apache-2.0
"""Element types of storage fields and decoded values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import LumenError, shown


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

    def __call__(self, expression):
        from .graph import convert

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


def whole_length(length: int) -> int:
    """``length``, if it is the length of a row; ``LumenError`` otherwise."""
    if not isinstance(length, (int, np.integer)) or isinstance(length, bool) or length < 0:
        raise LumenError(f"the length of a row is a whole number of at least 0, not {shown(length)}")
    return int(length)


def float_array(weights: np.ndarray) -> np.ndarray:
    """``weights`` as an array of at least one dimension; ``LumenError`` where they are no numbers."""
    try:
        array = np.asarray(weights)
    except Exception:
        array = np.empty((), object)
    if array.dtype.kind not in "fiu" or not array.ndim:
        raise LumenError(f"weights are an array of floats, not {shown(weights)}")
    return array


def to_float32(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Converts stored values of any type to float32; bf16 comes as its 16 bits."""
    if dtype is bf16:
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.astype(np.float32)


def from_float32(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Rounds float32 values to a float type, to the nearest even; bf16 as its 16 bits."""
    if dtype is not bf16:
        with np.errstate(over="ignore"):
            return values.astype(dtype.numpy)
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype(np.uint16)
