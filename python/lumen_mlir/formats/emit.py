# SPDX-License-Identifier: Apache-2.0
"""Prints a traced format as a ``lumen.format`` operation.

The region uses the arith and vector dialects on scalars and 1-D vectors only. Lookups are a ``vector.gather``
from a constant tensor.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np

from .graph import DType, Expression, reachable
from .quantized import QuantFormat

_INTEGER = {
    "and": "arith.andi",
    "or": "arith.ori",
    "xor": "arith.xori",
    "shl": "arith.shli",
    "add": "arith.addi",
    "sub": "arith.subi",
    "mul": "arith.muli",
}
_FLOAT = {"add": "arith.addf", "sub": "arith.subf", "mul": "arith.mulf"}


def _type(dtype: DType | None, length: int | None) -> str:
    element = "i1" if dtype is None else dtype.mlir
    return element if length is None else f"vector<{length}x{element}>"


def type_of(node: Expression) -> str:
    return _type(node.dtype, node.length)


def _literal(values: np.ndarray, dtype: DType) -> str:
    """The values as an MLIR literal: a number, or dense<…> for a vector."""
    if dtype.kind == "f":
        texts = [f"0x{int(bits):0{dtype.bits // 4}X}" for bits in values.ravel().view(f"u{dtype.bytes}")]
    else:
        # MLIR integers are signless and printed as signed.
        texts = [str(int(v)) for v in values.ravel().view(f"i{dtype.bytes}")]
    if values.ndim == 0:
        return texts[0]
    return f"dense<{texts[0]}>" if len(set(texts)) == 1 else f"dense<[{', '.join(texts)}]>"


class _Printer:
    def __init__(self, indent: str):
        self.indent = indent
        self.lines: list[str] = []
        self.names: dict[int, str] = {}
        self.constants: dict[str, str] = {}
        self.stored: dict[str, str] = {}
        self.counter = 0

    def add(self, text: str) -> str:
        """Appends ``%n = text`` and returns the new value's name."""
        name = f"%{self.counter}"
        self.counter += 1
        self.lines.append(f"{self.indent}{name} = {text}")
        return name

    def constant(self, literal: str, kind: str) -> str:
        key = f"{literal} : {kind}"
        if key not in self.constants:
            self.constants[key] = self.add(f"arith.constant {key}")
        return self.constants[key]

    def node(self, node: Expression) -> None:
        operands = [self.names[id(operand)] for operand in node.operands]
        self.names[id(node)] = self._node(node, operands)

    def _node(self, node: Expression, operands: list[str]) -> str:
        kind = type_of(node)
        sources = [type_of(operand) for operand in node.operands]
        match node.operation:
            case "field":
                return f"%{node.payload}"
            case "stored":
                return self.stored[node.payload]
            case "constant":
                return self.constant(_literal(node.payload, node.dtype), kind)
            case "neg":
                return self.add(f"arith.negf {operands[0]} : {kind}")
            case "shr":
                operation = "arith.shrui" if node.dtype.kind == "u" else "arith.shrsi"
                return self.add(f"{operation} {operands[0]}, {operands[1]} : {kind}")
            case "eq" | "lt":
                signed = "s" if node.operands[0].dtype.kind == "i" else "u"
                predicate = "eq" if node.operation == "eq" else f"{signed}lt"
                return self.add(f"arith.cmpi {predicate}, {operands[0]}, {operands[1]} : {sources[0]}")
            case "where":
                condition = f"{sources[0]}, {kind}" if node.length is not None else kind
                return self.add(f"arith.select {', '.join(operands)} : {condition}")
            case "broadcast":
                return self.add(f"vector.broadcast {operands[0]} : {sources[0]} to {kind}")
            case "convert":
                return self._convert(node.operands[0].dtype, node.dtype, operands[0], sources[0], kind)
            case "bitcast":
                return self._bitcast(node, operands[0], sources[0], kind)
            case "extract":
                return self.add(f"vector.extract {operands[0]}[{node.payload}] : {kind} from {sources[0]}")
            case "shuffle":
                lengths = [operand.length for operand in node.operands]
                return self.shuffle(node.dtype, list(zip(operands, lengths, strict=True)), node.payload)
            case "lookup":
                return self._lookup(node, operands[0], sources[0])
        operation = (_FLOAT if node.dtype.kind == "f" else _INTEGER)[node.operation]
        return self.add(f"{operation} {operands[0]}, {operands[1]} : {kind}")

    def _convert(self, source: DType, target: DType, value: str, old: str, new: str) -> str:
        if source.kind == "f":
            operation = "arith.extf" if target.bits > source.bits else "arith.truncf"
        elif target.kind == "f":
            operation = "arith.uitofp" if source.kind == "u" else "arith.sitofp"
        elif target.bits == source.bits:
            return value
        elif target.bits < source.bits:
            operation = "arith.trunci"
        else:
            operation = "arith.extui" if source.kind == "u" else "arith.extsi"
        return self.add(f"{operation} {value} : {old} to {new}")

    def _bitcast(self, node: Expression, value: str, old: str, new: str) -> str:
        if old == new:
            return value
        elementwise = node.length == node.operands[0].length
        return self.add(f"{'arith' if elementwise else 'vector'}.bitcast {value} : {old} to {new}")

    def shuffle(self, dtype: DType, parts: list[tuple[str, int]], indices: Sequence[int]) -> str:
        """Joins (value, length) parts pairwise; the last shuffle also puts the elements in order."""
        if len(parts) <= 2:
            return self._shuffle_pair(dtype, parts[0], parts[-1], indices)
        joined = []
        for left, right in zip(parts[::2], [*parts[1::2], None], strict=False):
            if right is None:
                joined.append(left)
            else:
                length = left[1] + right[1]
                joined.append((self._shuffle_pair(dtype, left, right, range(length)), length))
        return self.shuffle(dtype, joined, indices)

    def _shuffle_pair(
        self, dtype: DType, left: tuple[str, int], right: tuple[str, int], indices: Iterable[int]
    ) -> str:
        (a, n), (b, m) = left, right
        indices = np.asarray(indices)
        size = max(n, m)
        # LLVM shuffles two vectors of one length: the shorter is extended by elements nobody reads.
        if n < size:
            a = self._shuffle_text(dtype, a, a, n, n, [*range(n), *[-1] * (size - n)])
            indices = np.where(indices >= n, indices - n + size, indices)
        elif m < size:
            b = self._shuffle_text(dtype, b, b, m, m, [*range(m), *[-1] * (size - m)])
        return self._shuffle_text(dtype, a, b, size, size, indices)

    def _shuffle_text(self, dtype: DType, a: str, b: str, n: int, m: int, indices: Iterable[int]) -> str:
        order = ", ".join(str(int(i)) for i in indices)
        return self.add(f"vector.shuffle {a}, {b} [{order}] : {_type(dtype, n)}, {_type(dtype, m)}")

    def _lookup(self, node: Expression, index: str, index_type: str) -> str:
        table = node.payload
        entries, width = table.shape
        count = node.operands[0].length
        element = f"i{8 * width}"
        words = ", ".join(str(int(v)) for v in table.view(f"<i{width}").ravel())
        source = self.constant(f"dense<[{words}]>", f"tensor<{entries}x{element}>")
        zero = self.constant("0", "index")
        mask = self.constant("dense<true>", f"vector<{count}xi1>")
        rest = self.constant("dense<0>", f"vector<{count}x{element}>")
        rows = self.add(
            f"vector.gather {source}[{zero}] [{index}], {mask}, {rest} : tensor<{entries}x{element}>, "
            f"{index_type}, vector<{count}xi1>, vector<{count}x{element}> into vector<{count}x{element}>"
        )
        if width == 1:
            return rows
        return self.add(f"vector.bitcast {rows} : vector<{count}x{element}> to {type_of(node)}")


def _decoded(fmt: QuantFormat, names: dict[int, str]) -> str:
    text = f"lumen.decoded codes({names[id(fmt.codes)]} : {type_of(fmt.codes)})"
    completions = iter(fmt.completions)
    for name, factor in fmt.factors:
        parts = [next(completions) for _ in factor.parts]
        values = ", ".join(names[id(part)] for part in parts)
        kinds = ", ".join(type_of(part) for part in parts)
        text += f" {name}({values} : {kinds})"
    return text


def emit_format(fmt: QuantFormat) -> str:
    """The ``lumen.format`` operation of ``fmt``, ready to stand in a module."""
    printer = _Printer("  ")
    for node in reachable([fmt.codes, *(stored.value for stored in fmt.stored)]):
        printer.node(node)
    for stored in fmt.stored:
        value, kind = printer.names[id(stored.value)], type_of(stored.value)
        printer.stored[stored.name] = printer.add(f"lumen.stored {value} bits({stored.bits}) : {kind}")
    for node in reachable(fmt.completions):
        printer.node(node)
    storage = ", ".join(json.dumps(name) for name in fmt.fields)
    arguments = ", ".join(f"%{name}: {kind.mlir}" for name, kind in fmt.fields.items())
    table = ""
    if fmt.table is not None:
        table = f" table([{', '.join(map(str, fmt.table))}])"
    header = f" header({len(fmt.header)})" if fmt.header else ""
    head = (
        f"lumen.format @{fmt.name} block({fmt.block}) group({fmt.group}) bits({fmt.bits}) bias({fmt.bias})"
        f"{table}{header} storage([{storage}]) {{"
    )
    body = [head, f"^bb0({arguments}):", *printer.lines, f"  {_decoded(fmt, printer.names)}", "}"]
    return "\n".join(body) + "\n"
