# SPDX-License-Identifier: Apache-2.0
"""Evaluates the region of a ``lumen.format`` on many blocks at once.

A scalar of the region is an array [blocks, 1], a vector an array [blocks, length]. MLIR's integers are
signless; they are held unsigned and viewed as signed where an operation says so. bf16, which NumPy lacks, is
held as its 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lumen_mlir import ir
from lumen_mlir.errors import LumenError

# Weights decoded at once: the intermediate arrays of a batch stay in the cache.
_BATCH = 1 << 18

_DTYPES = {
    "i1": np.dtype(np.bool_), "i8": np.dtype("<u1"), "i16": np.dtype("<u2"), "i32": np.dtype("<u4"),
    "i64": np.dtype("<u8"), "index": np.dtype("<i8"), "f16": np.dtype("<f2"), "bf16": np.dtype("<u2"),
    "f32": np.dtype("<f4"), "f64": np.dtype("<f8"),
}  # fmt: skip
_COMPARE = (
    "equal", "not_equal", "less", "less_equal", "greater", "greater_equal",
    "less", "less_equal", "greater", "greater_equal",
)  # fmt: skip
_FIRST_UNSIGNED_COMPARE = 6
_BINARY = {
    "arith.andi": np.bitwise_and, "arith.ori": np.bitwise_or, "arith.xori": np.bitwise_xor,
    "arith.addi": np.add, "arith.subi": np.subtract, "arith.muli": np.multiply,
    "arith.shli": np.left_shift, "arith.shrui": np.right_shift,
    "arith.addf": np.add, "arith.subf": np.subtract, "arith.mulf": np.multiply, "arith.divf": np.divide,
}  # fmt: skip

Step = Callable[..., np.ndarray]


def element_of(kind: ir.Type) -> str:
    """The element type of a scalar, vector or tensor type, as text."""
    return str(kind.element_type) if ir.ShapedType.isinstance(kind) else str(kind)


def to_float32(values: np.ndarray, element: str) -> np.ndarray:
    """Converts stored values; integers count as signed."""
    if element == "bf16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return (values if element[0] == "f" else _signed(values)).astype(np.float32)


def _length(kind: ir.Type) -> int:
    return kind.shape[0] if ir.ShapedType.isinstance(kind) else 1


def _signed(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "u":
        return values
    return np.ascontiguousarray(values).view(f"<i{values.dtype.itemsize}")


def _constant(op: ir.Operation) -> Step:
    value, kind = op.attributes["value"], op.result.type
    dtype = _DTYPES[element_of(kind)]
    if ir.DenseElementsAttr.isinstance(value):
        array = np.array(value)
        bits = array if array.dtype.kind != "b" else array.astype(np.bool_)
        array = bits.astype(dtype, copy=False) if dtype.kind in "bf" else bits.view(dtype)
    else:
        array = np.array([value.value]).astype(dtype)
    # A table keeps its shape; scalars and vectors get the axis of the blocks.
    array = array if "tensor" in str(kind) else array.reshape(1, -1)
    return lambda: array


def _convert(op: ir.Operation) -> Step:
    source, target = element_of(op.operands[0].type), element_of(op.result.type)
    dtype, name = _DTYPES[target], op.name
    if name == "arith.extf":
        return lambda x: to_float32(x, source).astype(dtype)
    if name in ("arith.extsi", "arith.sitofp"):
        return lambda x: _signed(x).astype(dtype)
    if target == "bf16":
        raise LumenError("the reference interpreter cannot round to bf16")
    return lambda x: x.astype(dtype)


def _gather(op: ir.Operation) -> Step:
    def gather(table, offset, indices, mask, rest):
        found = np.take(table, _signed(indices).astype(np.int64) + offset, mode="clip")
        return np.where(mask, found, rest)

    return gather


def _prepare(op: ir.Operation) -> Step:
    """The meaning of one operation, its attributes read once."""
    name = op.name
    if name in _BINARY:
        return _BINARY[name]
    dtype = _DTYPES[element_of(op.result.type)]
    length = _length(op.result.type)
    match name:
        case "arith.constant":
            return _constant(op)
        case "arith.shrsi":
            return lambda x, y: (_signed(x) >> _signed(y)).view(x.dtype)
        case "arith.negf":
            return np.negative
        case "arith.extui" | "arith.extsi" | "arith.trunci" | "arith.uitofp" | "arith.sitofp" \
                | "arith.extf" | "arith.truncf":  # fmt: skip
            return _convert(op)
        case "arith.cmpi":
            predicate = op.attributes["predicate"].value
            compare = getattr(np, _COMPARE[predicate])
            if predicate < 2 or predicate >= _FIRST_UNSIGNED_COMPARE:
                return compare
            return lambda x, y: compare(_signed(x), _signed(y))
        case "arith.select":
            return np.where
        case "arith.bitcast" | "vector.bitcast":
            return lambda x: np.ascontiguousarray(x).view(dtype)
        case "vector.broadcast":
            return lambda x: np.broadcast_to(x, (len(x), length))
        case "vector.extract":
            index = op.attributes["static_position"][0]
            return lambda x: x[:, index : index + 1]
        case "vector.shuffle":
            mask = np.array([max(0, i) for i in op.attributes["mask"]])
            return lambda x, y: np.take(_joined(x, y), mask, axis=1)
        case "vector.gather":
            return _gather(op)
        case "lumen.stored":
            return lambda x: x
        case "lumen.lookup":
            table = np.array(list(op.attributes["table"]), dtype=np.int8).astype(dtype)
            return lambda x: table[x]
    raise LumenError(f"the reference interpreter does not know '{name}' in a lumen.format")


def _joined(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    count = max(len(x), len(y))
    return np.concatenate([np.broadcast_to(part, (count, part.shape[1])) for part in (x, y)], axis=1)


@dataclass(frozen=True)
class Decoded:
    """Blocks of a format: codes uint8 [n, block], scale and minimum f32 [n, groups] (minimum may be None)."""

    codes: np.ndarray
    scale: np.ndarray
    minimum: np.ndarray | None


class BlockFormat:
    """A ``lumen.format`` of a module, ready to decode blocks.

    Attributes:
      name, block, group: as in the operation.
      values: f32 [2**bits]: what each code stands for.
      bytes: bytes per block.
      header: bytes at the start of every row, before its blocks.
    """

    def __init__(self, op: ir.Operation):
        attributes = op.attributes
        self.name: str = attributes["sym_name"].value
        self.block: int = attributes["block"].value
        self.group: int = attributes["group"].value
        bits, bias = attributes["bits"].value, attributes["bias"].value if "bias" in attributes else 0
        self.values = np.zeros(1 << bits, dtype=np.float32)
        if "table" in attributes:
            table = list(attributes["table"])
            self.values[: len(table)] = table
        else:
            self.values[:] = np.arange(1 << bits) + bias
        body = op.regions[0].blocks[0]
        self._fields = [(_DTYPES[element_of(a.type)], _length(a.type)) for a in body.arguments]
        sizes = [dtype.itemsize * length for dtype, length in self._fields]
        in_header = attributes["header"].value if "header" in attributes else 0
        self.header, self.bytes = sum(sizes[:in_header]), sum(sizes[in_header:])
        numbers = {value: i for i, value in enumerate(body.arguments)}
        self._steps: list[tuple[Step, list[int]]] = []
        *operations, decoded = body.operations
        for step in operations:
            self._steps.append((_prepare(step), [numbers[value] for value in step.operands]))
            numbers[step.result] = len(numbers)
        sizes = list(decoded.attributes["operandSegmentSizes"])
        results = [(numbers[value], element_of(value.type)) for value in decoded.operands]
        self._codes = results[0][0]
        self._scale = results[1 : 1 + sizes[1]]
        self._minimum = results[1 + sizes[1] :]

    def _decode(self, blocks: np.ndarray) -> Decoded:
        values, offset = [], 0
        for dtype, length in self._fields:
            size = dtype.itemsize * length
            values.append(np.ascontiguousarray(blocks[:, offset : offset + size]).view(dtype))
            offset += size
        with np.errstate(all="ignore"):
            for step, operands in self._steps:
                values.append(step(*(values[i] for i in operands)))

        def factor(parts: list[tuple[int, str]]) -> np.ndarray:
            product = np.ones((len(blocks), self.block // self.group), dtype=np.float32)
            with np.errstate(all="ignore"):
                for number, element in parts:
                    product = product * to_float32(values[number], element)
            return product

        codes = np.broadcast_to(values[self._codes], (len(blocks), self.block))
        return Decoded(codes, factor(self._scale), factor(self._minimum) if self._minimum else None)

    def row_bytes(self, columns: int) -> int:
        """Bytes of a row of ``columns`` weights, a multiple of the block."""
        return self.header + columns // self.block * self.bytes

    def _blocks(self, raw: np.ndarray) -> np.ndarray:
        """Rows of bytes, uint8 [..., row bytes], as blocks with the row's header in front."""
        if not self.header:
            return raw.reshape(-1, self.bytes)
        rows = raw.reshape(-1, raw.shape[-1])
        count = (raw.shape[-1] - self.header) // self.bytes
        header = np.repeat(rows[:, : self.header], count, axis=0)
        return np.concatenate([header, rows[:, self.header :].reshape(-1, self.bytes)], axis=1)

    def decode(self, raw: np.ndarray) -> Decoded:
        """Decodes rows of bytes, uint8 [..., row bytes]."""
        blocks = self._blocks(raw)
        step = max(1, _BATCH // self.block)
        parts = [self._decode(blocks[i : i + step]) for i in range(0, max(1, len(blocks)), step)]
        minimum = None
        if parts[0].minimum is not None:
            minimum = np.concatenate([part.minimum for part in parts])
        codes = np.concatenate([part.codes for part in parts])
        return Decoded(codes, np.concatenate([part.scale for part in parts]), minimum)

    def dequantize(self, raw: np.ndarray) -> np.ndarray:
        """float32 [blocks, block] of rows of bytes: scale * value(code) - minimum."""
        blocks = self._blocks(raw)
        weights = np.empty((len(blocks), self.block // self.group, self.group), dtype=np.float32)
        step = max(1, _BATCH // self.block)
        with np.errstate(all="ignore"):
            for start in range(0, len(blocks), step):
                part = self._decode(blocks[start : start + step])
                groups = self.values[part.codes].reshape(len(part.codes), -1, self.group)
                groups = groups * part.scale[..., None]
                if part.minimum is not None:
                    groups -= part.minimum[..., None]
                weights[start : start + step] = groups
        return weights.reshape(len(blocks), self.block)
