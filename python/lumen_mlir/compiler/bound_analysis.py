# SPDX-License-Identifier: Apache-2.0
"""Finds the ``bounds`` of the functions of a module at the ``fused`` stage, in terms of their arguments.

Every op of the dialect says what it asks of its operands (``op_bounds``). What a function asks of its own
arguments follows from its ops and from the functions that it calls, each of which is looked at once.
``public_bounds`` says the same of what callers pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lumen_mlir import formats, ir
from lumen_mlir.compiler import op_bounds
from lumen_mlir.compiler.bounds import Bound, Count, Elements, Groups, Relation, Symbol
from lumen_mlir.compiler.demands import Demands, Tensor, Value
from lumen_mlir.compiler.tensor_bounds import TensorSizes, limit_sizes
from lumen_mlir.errors import LumenError


@dataclass(frozen=True)
class Summary:
    """What callers need of a function, in terms of its own arguments: ``bounds`` and its results."""

    bounds: tuple[Bound, ...]
    results: tuple[Value, ...]


class BoundAnalysis:
    """The summaries of the functions of a module.

    Raises ``LumenError`` where what a function does with its arguments cannot be followed.
    """

    def __init__(self, module: ir.Module):
        operations = [op.operation for op in module.body.operations]
        self._functions = {
            op.attributes["sym_name"].value: op
            for op in operations
            if op.name == "func.func" and _block_of(op)
        }
        self._formats = {
            op.attributes["sym_name"].value: op for op in operations if op.name == "lumen.format"
        }
        self._known: dict[str, Summary | None] = {}
        self.has_tensors = any(map(_is_of_tensors, operations))
        attributes = module.operation.attributes
        self.max_tokens = attributes["lumen.max_tokens"].value if "lumen.max_tokens" in attributes else 512

    def check(self) -> None:
        """Raises ``LumenError`` where what some function does cannot be followed."""
        for name in self._functions:
            self.of(name)

    def of(self, name: str) -> Summary:
        """The summary of the function ``name``."""
        if name not in self._functions:
            raise LumenError(f"'{name}' is called but has no body")
        if name not in self._known:
            self._known[name] = None
            self._known[name] = _Function(self, name, self._functions[name]).summary()
        summary = self._known[name]
        if summary is None:
            raise LumenError(f"'{name}' calls itself")
        return summary

    def is_of_tensors(self, name: str) -> bool:
        """Whether the function ``name`` is a kernel of tensors."""
        return _is_of_tensors(self._functions[name])

    def types(self, name: str) -> tuple[list[ir.Type], list[ir.Type]]:
        """The types of the arguments and results of the function ``name``."""
        type_ = ir.FunctionType(self._functions[name].attributes["function_type"].value)
        return list(type_.inputs), list(type_.results)

    def description(self, name: str) -> str:
        """The description of a format, or nothing where it is the one that the package has."""
        op = self._formats.get(name)
        if op is None:
            return ""
        if formats.is_known(name):
            known = ir.Module.parse(formats.get(name).emit_ir(), op.context).body.operations[0].operation
            if str(known) == str(op):
                return ""
        return str(op)


class _Function:
    """Follows the ops of one function."""

    def __init__(self, analysis: BoundAnalysis, name: str, op: ir.Operation):
        self._analysis, self._asked = analysis, Demands(name)
        self._block = _block_of(op)
        self._is_of_tensors = _is_of_tensors(op)
        self._values: dict[ir.Value, Value] = {}
        self._calls = sum(op.operation.name == "func.call" for op in self._block.operations)

    def summary(self) -> Summary:
        for number, argument in enumerate(self._block.arguments):
            self._values[argument] = self._argument(number, argument.type)
        if self._is_of_tensors:
            TensorSizes(self._asked, self._values, self._analysis.max_tokens).follow_all(self._block)
        results: tuple[Value, ...] = ()
        for op in self._block.operations:
            op = op.operation
            if op.name == "func.return":
                results = tuple(self._values[value] for value in op.operands)
                break
            if not self._is_of_tensors:
                self._follow(op)
        return Summary(self._asked.bounds, results)

    def _argument(self, number: int, type_: ir.Type) -> Value:
        if not ir.RankedTensorType.isinstance(type_):
            return Count.of((number, None)) if str(type_) == "index" else None
        tensor = ir.RankedTensorType(type_)
        sizes = [
            Count.of((number, i)) if tensor.is_dynamic_dim(i) else Count(tensor.get_dim_size(i))
            for i in range(tensor.rank)
        ]
        return Tensor(tuple(sizes), number)

    def _follow(self, op: ir.Operation) -> None:
        operands = [self._values.get(value) for value in op.operands]
        if op.name == "func.call":
            results: Sequence[Any] = self._call(op, operands)
        elif op.name in _ARITHMETIC:
            results = [_ARITHMETIC[op.name](op, operands)]
        else:
            results = op_bounds.follow(self._asked, op, operands)
        for value, known in zip(op.results, results, strict=True):
            self._values[value] = self._fitted(value.type, known)

    def _fitted(self, type_: ir.Type, known: Value) -> Value:
        """What is known of a value, if sizes that its type says are those."""
        if not isinstance(known, Tensor):
            return known
        tensor = ir.RankedTensorType(type_)
        for i, size in enumerate(known.sizes):
            if not tensor.is_dynamic_dim(i):
                self._asked.equal(
                    size, Count(tensor.get_dim_size(i)), "{left} rows where there must be {right}"
                )
        return known

    def _call(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        summary = self._analysis.of(op.attributes["callee"].value)
        symbols: dict[Symbol, Count] = {}
        for number, operand in enumerate(operands):
            if isinstance(operand, Count):
                symbols[number, None] = operand
            elif isinstance(operand, Tensor):
                symbols.update({(number, i): size for i, size in enumerate(operand.sizes)})
        for bound in summary.bounds:
            self._pass_on(bound, symbols, operands)
        results = [_replaced(result, symbols, operands) for result in summary.results]
        # What lies between kernels has memory that is planned for the largest of sizes. (Rows that go
        # through ops of Lumen alone have attributes that say so.)
        if self._calls > 1 and self._analysis.is_of_tensors(op.attributes["callee"].value):
            for result in results:
                for size in result.sizes if isinstance(result, Tensor) else ():
                    limit_sizes(self._asked, size, self._analysis.max_tokens)
        return results

    def _pass_on(self, bound: Bound, symbols: dict[Symbol, Count], operands: list[Any]) -> None:
        """Asks of the own arguments what a function that is called asks of its."""
        try:
            match bound:
                case Relation(left, right):
                    own = replace(bound, left=left.replaced(symbols), right=right.replaced(symbols))
                    self._asked.relate(own)
                case Elements(argument, limit, what):
                    self._asked.elements(operands[argument], limit.replaced(symbols), what)
                case Groups(argument, limit):
                    self._asked.groups(operands[argument], limit.replaced(symbols))
                case _:
                    # Weights are always arguments.
                    numbers: list[Any] = [
                        value.argument if isinstance(value, Tensor) else -1 for value in operands
                    ]
                    self._asked.ask(bound.replaced(symbols, numbers))
        except KeyError:
            raise LumenError(
                f"'{self._asked.name}' computes what it calls another function with in a way that nothing "
                "bounds"
            ) from None


def _constant(op: ir.Operation, operands: list[Any]) -> Count | None:
    value = op.attributes["value"]
    return Count(value.value) if isinstance(value, ir.IntegerAttr) else None


def _sum(factor: int) -> Callable[[ir.Operation, list[Any]], Count | None]:
    def follow(op: ir.Operation, operands: list[Any]) -> Count | None:
        left, right = operands
        return left + right * factor if isinstance(left, Count) and isinstance(right, Count) else None

    return follow


def _product(op: ir.Operation, operands: list[Any]) -> Count | None:
    left, right = operands
    if not isinstance(left, Count) or not isinstance(right, Count) or (left.terms and right.terms):
        return None
    return right * left.constant if not left.terms else left * right.constant


def _size(op: ir.Operation, operands: list[Any]) -> Count | None:
    tensor, dimension = operands
    if not isinstance(tensor, Tensor) or not isinstance(dimension, Count) or dimension.terms:
        return None
    return tensor.sizes[dimension.constant] if 0 <= dimension.constant < len(tensor.sizes) else None


_ARITHMETIC = {
    "arith.constant": _constant,
    "arith.addi": _sum(1),
    "arith.subi": _sum(-1),
    "arith.muli": _product,
    "tensor.dim": _size,
}


def _replaced(result: Any, symbols: dict[Symbol, Count], operands: list[Any]) -> Any:
    """A result of a function in terms of the arguments of its caller; None where that is not known."""
    try:
        if isinstance(result, Count):
            return result.replaced(symbols)
        if not isinstance(result, Tensor):
            return None
        if result.argument is not None:
            return operands[result.argument]
        limit, groups = (None if x is None else x.replaced(symbols) for x in (result.limit, result.groups))
        return Tensor(tuple(size.replaced(symbols) for size in result.sizes), None, limit, groups)
    except KeyError:
        return None


def _is_of_tensors(function: ir.Operation) -> bool:
    """Whether a function is a kernel of tensors."""
    if "lumen.kernel" not in function.attributes:
        return False
    kind = function.attributes["lumen.kernel"]
    return isinstance(kind, ir.StringAttr) and kind.value == "tensor"


def _block_of(function: ir.Operation) -> Any:
    """The first block of a function with a body."""
    blocks = list(function.regions[0].blocks)
    return blocks[0] if blocks else None
