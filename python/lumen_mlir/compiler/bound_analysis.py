# SPDX-License-Identifier: Apache-2.0
"""Finds the ``bounds`` of the public functions of a module at the ``fused`` stage.

Every op of the dialect says what it asks of its operands. What a function asks of its own arguments follows
from its ops and from the functions that it calls, each of which is looked at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lumen_mlir import formats, ir
from lumen_mlir.compiler.bounds import (
    MAX_POSITION,
    AtMost,
    Bound,
    Count,
    Elements,
    Equal,
    Groups,
    Ring,
    Symbol,
    WeightBytes,
)
from lumen_mlir.compiler.signature import Signature
from lumen_mlir.errors import LumenError

# More than any model has; modules could be written that have more than anyone can wait for.
_MOST_BOUNDS = 10_000


@dataclass(frozen=True)
class Tensor:
    """What is known of a tensor.

    Attributes:
      sizes: of its dimensions.
      argument: the number of the argument that it is, or None.
      limit: whole numbers that a function computes are less than this, and not negative.
      groups: a function computes it as ``groups`` for so many rows.
    """

    sizes: tuple[Count, ...]
    argument: int | None = None
    limit: Count | None = None
    groups: Count | None = None

    @property
    def rows(self) -> Count:
        """The size of the first dimension."""
        return self.sizes[0]


@dataclass(frozen=True)
class Summary:
    """What callers need of a function, in terms of its own arguments: ``bounds`` and its results."""

    bounds: tuple[Bound, ...]
    results: tuple[Tensor | Count | None, ...]


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
        self._analysis, self._name = analysis, name
        self._block = _block_of(op)
        self._values: dict[ir.Value, Tensor | Count | None] = {}
        # As keys, for the order in which they are found.
        self._bounds: dict[Bound, None] = {}

    def summary(self) -> Summary:
        for number, argument in enumerate(self._block.arguments):
            self._values[argument] = self._argument(number, argument.type)
        results: tuple[Tensor | Count | None, ...] = ()
        for op in self._block.operations:
            op = op.operation
            if op.name == "func.return":
                results = tuple(self._values[value] for value in op.operands)
                break
            self._follow(op)
        return Summary(tuple(self._bounds), results)

    def _argument(self, number: int, type_: ir.Type) -> Tensor | Count | None:
        if not ir.RankedTensorType.isinstance(type_):
            return Count.of((number, None)) if str(type_) == "index" else None
        tensor = ir.RankedTensorType(type_)
        sizes = [
            Count.of((number, i)) if tensor.is_dynamic_dim(i) else Count(tensor.get_dim_size(i))
            for i in range(tensor.rank)
        ]
        return Tensor(tuple(sizes), number)

    # --- asking ---------------------------------------------------------------------------------------------

    def _ask(self, bound: Bound) -> None:
        if len(self._bounds) >= _MOST_BOUNDS:
            raise LumenError(f"'{self._name}' asks more than {_MOST_BOUNDS} things of its arguments")
        self._bounds[bound] = None

    def _at_most(self, low: Count | int, high: Count | int, text: str) -> None:
        low, high = _count(low), _count(high)
        gap = high - low
        if gap.terms:
            self._ask(AtMost(low, high, text))
        elif gap.constant < 0:
            raise LumenError(f"'{self._name}': {text.format(low=low.constant, high=high.constant)}")

    def _equal(self, first: Count, second: Count, text: str) -> None:
        gap = first - second
        if gap.terms:
            self._ask(Equal(first, second, text))
        elif gap.constant:
            raise LumenError(f"'{self._name}': {text.format(first=first.constant, second=second.constant)}")

    def _elements(self, tensor: Tensor, limit: Count, what: str) -> None:
        if tensor.argument is not None:
            self._ask(Elements(tensor.argument, limit, what))
        elif tensor.limit is None:
            raise LumenError(f"'{self._name}': numbers of {what} are computed in a way that nothing bounds")
        else:
            self._at_most(tensor.limit, limit, f"numbers up to {{low}} of {{high}} {what}")

    # --- following ------------------------------------------------------------------------------------------

    def _follow(self, op: ir.Operation) -> None:
        operands = [self._values.get(value) for value in op.operands]
        if op.name == "func.call":
            results: Sequence[Any] = self._call(op, operands)
        elif op.name in _ARITHMETIC:
            results = [_ARITHMETIC[op.name](op, operands)]
        else:
            results = self._kernel_op(op, operands)
        for value, known in zip(op.results, results, strict=True):
            self._values[value] = self._fitted(value.type, known)

    def _fitted(self, type_: ir.Type, known: Tensor | Count | None) -> Tensor | Count | None:
        """What is known of a value, if sizes that its type says are those."""
        if not isinstance(known, Tensor):
            return known
        tensor = ir.RankedTensorType(type_)
        for i, size in enumerate(known.sizes):
            if not tensor.is_dynamic_dim(i):
                self._equal(size, Count(tensor.get_dim_size(i)), "{first} rows where there must be {second}")
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
        return [_replaced(result, symbols, operands) for result in summary.results]

    def _pass_on(self, bound: Bound, symbols: dict[Symbol, Count], operands: list[Any]) -> None:
        """Asks of the own arguments what a function that is called asks of its."""
        try:
            match bound:
                case AtMost(low, high, text):
                    self._at_most(low.replaced(symbols), high.replaced(symbols), text)
                case Equal(first, second, text):
                    self._equal(first.replaced(symbols), second.replaced(symbols), text)
                case Elements(argument, limit, what):
                    self._elements(operands[argument], limit.replaced(symbols), what)
                case Groups(argument, limit):
                    self._groups(operands[argument], limit.replaced(symbols))
                case _:
                    # Weights are always arguments.
                    numbers = [value.argument if isinstance(value, Tensor) else -1 for value in operands]
                    self._ask(bound.replaced(symbols, numbers))
        except KeyError:
            raise LumenError(
                f"'{self._name}' computes what it calls another function with in a way that nothing bounds"
            ) from None

    def _groups(self, tensor: Tensor, limit: Count) -> None:
        if tensor.argument is not None:
            self._ask(Groups(tensor.argument, limit))
        elif tensor.groups is None:
            raise LumenError(f"'{self._name}': groups are computed in a way that nothing bounds")
        else:
            self._equal(tensor.groups, limit, "groups of {first} rows for {second} rows")

    def _kernel_op(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        name = op.name.removeprefix("lumen.")
        follow = _OPS.get(name) if op.name.startswith("lumen.") else None
        if follow is None:
            return [None] * len(op.results)
        missing = [value.type for value, known in zip(op.operands, operands, strict=True) if known is None]
        if missing:
            raise LumenError(
                f"'{self._name}': {op.name} is given a value ({missing[0]}) that is neither an argument nor "
                "a sum or difference of arguments and constants"
            )
        for operand in operands:
            if isinstance(operand, Tensor) and name != "pack":
                self._check_sizes(op, operand)
        return follow(self, op, operands)

    def _check_sizes(self, op: ir.Operation, operand: Tensor) -> None:
        """Kernels are written for sizes that are known, but for rows, tokens, and pages of caches."""
        rank = len(operand.sizes)
        free = 2 if rank > 2 else 0 if rank == 2 or op.name == "lumen.embedding" else None
        for i, size in enumerate(operand.sizes):
            if size.terms and i != free:
                raise LumenError(
                    f"'{self._name}': {op.name} is given a size that is not known: only rows, the pages of "
                    "caches and the shape of a weight to be packed may be chosen by a call"
                )

    def _rows_alike(self, op: ir.Operation, tensors: Iterable[Tensor]) -> Count:
        first, *others = tensors
        for other in others:
            self._equal(other.rows, first.rows, f"{{first}} rows beside {{second}} ({op.name})")
        return first.rows

    def _like(self, op: ir.Operation, rows: Count) -> list[Tensor]:
        """Results of ``rows`` rows, whose other sizes their types say."""
        results = []
        for value in op.results:
            tensor = ir.RankedTensorType(value.type)
            sizes = [Count(tensor.get_dim_size(i)) for i in range(1, tensor.rank)]
            results.append(Tensor((rows, *sizes)))
        return results

    def _embedding(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        tokens, table = operands
        self._elements(tokens, table.rows, "rows of the table")
        return self._like(op, tokens.rows)

    def _last_rows(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        x, first = operands
        self._at_most(0, first, "rows from {high} on")
        self._at_most(first, x.rows, "{low} of {high} rows cannot be left out")
        return self._like(op, x.rows - first)

    def _alike(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        """Ops on rows, of which all two-dimensional operands have equally many."""
        return self._like(op, self._rows_alike(op, (x for x in operands if len(x.sizes) == 2)))

    def _first_alike(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        return self._like(op, operands[0].rows)

    def _rope(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        x, table, position = operands
        self._at_most(0, position, "a position of {high}")
        self._at_most(position + x.rows, table.rows, "positions up to {low} in a rotary table of {high}")
        return self._like(op, x.rows)

    def _layer(self, cache: Tensor, layer: Count) -> None:
        self._at_most(0, layer, "a layer of {high}")
        self._at_most(layer + 1, cache.rows, "{low} layers in a cache of {high}")

    def _kv_append(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        cache, x, layer, position = operands
        self._layer(cache, layer)
        self._at_most(0, position, "a position of {high}")
        self._at_most(1, cache.sizes[2], "a cache of {high} pages")
        self._at_most(position + x.rows, MAX_POSITION, "positions up to {low} of {high}")
        self._at_most(x.rows, cache.sizes[2] * 16, "{low} rows in a cache of {high}")
        return [cache]

    def _attention(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        q, k, v, layer, position = operands
        for cache in (k, v):
            self._layer(cache, layer)
        self._at_most(0, position, "a position of {high}")
        self._equal(v.sizes[2], k.sizes[2], "values have {first} pages, but keys {second}")
        end, pages = position + q.rows, k.sizes[2]
        if "window" in op.attributes:
            self._at_most(1, pages, "a cache of {high} pages")
            span = q.rows + (op.attributes["window"].value - 1)
            self._ask(Ring(end, span, pages))
        else:
            self._at_most(end, pages * 16, "positions up to {low} in a cache of {high}")
        return self._like(op, q.rows)

    def _route(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        experts, weights = self._like(op, operands[0].rows)
        return [Tensor(experts.sizes, limit=operands[0].sizes[1]), weights]

    def _group_tokens(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        (experts,) = operands
        groups = ir.RankedTensorType(op.results[2].type)
        self._elements(experts, Count(groups.get_dim_size(0) - 1), "experts")
        pairs = experts.rows * experts.sizes[1].constant
        sizes = tuple(Count(groups.get_dim_size(i)) for i in range(2))
        return [
            Tensor(experts.sizes, limit=experts.rows),
            Tensor(experts.sizes, limit=pairs),
            Tensor(sizes, groups=pairs),
        ]

    def _gather_rows(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        x, source = operands
        self._elements(source, x.rows, "rows")
        return self._like(op, self._rows_alike(op, operands))

    def _combine(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        place = operands[2]
        rows = self._rows_alike(op, operands)
        self._elements(place, rows * place.sizes[1].constant, "rows")
        return self._like(op, rows)

    def _pack(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        return [Tensor(operands[0].sizes)]

    def _qlinear(self, op: ir.Operation, operands: list[Any]) -> list[Any]:
        counts = op.attributes["operandSegmentSizes"]
        activations, weights, biases, groups = list(counts)
        inputs, used = operands[:activations], operands[activations : activations + weights]
        if any(size.terms for weight in used for size in weight.sizes):
            raise LumenError(f"'{self._name}': {op.name} is given a weight of a dynamic shape")
        rows = self._rows_alike(op, inputs)
        if groups:
            # Each row of the first activation holds as many as fit the columns of the weights.
            slots = inputs[0].sizes[1].constant // max(used[0].sizes[1].constant, 1)
            self._groups(operands[activations + weights + biases], rows * slots)
        return self._like(op, rows)


_OPS: dict[str, Callable[[_Function, ir.Operation, list[Any]], list[Any]]] = {
    "embedding": _Function._embedding,
    "last_rows": _Function._last_rows,
    "rms_norm": _Function._first_alike,
    "swiglu": _Function._alike,
    "add": _Function._alike,
    "scale": _Function._alike,
    "gate": _Function._alike,
    "quantize": _Function._alike,
    "rope": _Function._rope,
    "kv_append": _Function._kv_append,
    "attention": _Function._attention,
    "route": _Function._route,
    "group_tokens": _Function._group_tokens,
    "gather_rows": _Function._gather_rows,
    "combine": _Function._combine,
    "pack": _Function._pack,
    "qlinear": _Function._qlinear,
}


def _constant(op: ir.Operation, operands: list[Any]) -> Count | None:
    value = op.attributes["value"]
    return Count(value.value) if isinstance(value, ir.IntegerAttr) else None


def _sum(factor: int) -> Callable[[ir.Operation, list[Any]], Count | None]:
    def follow(op: ir.Operation, operands: list[Any]) -> Count | None:
        left, right = operands
        return left + right * factor if isinstance(left, Count) and isinstance(right, Count) else None

    return follow


_ARITHMETIC = {"arith.constant": _constant, "arith.addi": _sum(1), "arith.subi": _sum(-1)}


def _count(value: Count | int) -> Count:
    return value if isinstance(value, Count) else Count(value)


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


def _block_of(function: ir.Operation) -> ir.Block | None:
    """The first block of a function with a body."""
    blocks = list(function.regions[0].blocks)
    return blocks[0] if blocks else None


# --- public functions ---------------------------------------------------------------------------------------


def find_bounds(analysis: BoundAnalysis, signatures: Iterable[Signature]) -> dict[str, tuple[Bound, ...]]:
    """The bounds of public functions, by name, in terms of the arguments of their ``signatures``.

    These were read from what was made of the module that was analyzed. Raises ``LumenError`` where the
    arguments of a function cannot be bounded.
    """
    return {signature.name: _Public(analysis, signature).bounds() for signature in signatures}


class _Public:
    """Says in terms of buffers what a function asks of its tensors."""

    def __init__(self, analysis: BoundAnalysis, signature: Signature):
        self._analysis, self._signature = analysis, signature
        self._summary = analysis.of(signature.name)
        self._types = analysis.types(signature.name)
        self._symbols: dict[Symbol, Count] = {}
        self._numbers: list[int] = []
        self._next = 0
        self._weights: list[Bound] = []

    def bounds(self) -> tuple[Bound, ...]:
        inputs, results = self._types
        for number, type_ in enumerate(inputs):
            self._add_argument(number, type_)
        found = [bound.replaced(self._symbols, self._numbers) for bound in self._summary.bounds]
        for number, (type_, result) in enumerate(zip(results, self._summary.results, strict=True)):
            outs = (i for i, a in enumerate(self._signature.arguments) if a.out and a.result == number)
            for out in outs:
                if isinstance(result, Tensor) and self._is_dynamic_weight(out, type_):
                    sizes = [size.replaced(self._symbols) for size in result.sizes]
                    self._add_weight(out, type_, sizes)
        return (*self._weights, *dict.fromkeys(found))

    def _add_argument(self, number: int, type_: ir.Type) -> None:
        place = self._next
        self._numbers.append(place)
        self._next = place + 1
        if not ir.RankedTensorType.isinstance(type_):
            self._symbols[number, None] = Count.of((place, None))
            return
        tensor = ir.RankedTensorType(type_)
        dynamic = [i for i in range(tensor.rank) if tensor.is_dynamic_dim(i)]
        if self._is_dynamic_weight(place, type_):
            # The dimensions that are not known follow as numbers.
            for i in dynamic:
                self._symbols[number, i] = Count.of((self._next, None))
                self._next += 1
            sizes = [
                self._symbols[number, i] if i in dynamic else Count(tensor.get_dim_size(i))
                for i in range(tensor.rank)
            ]
            self._add_weight(place, type_, sizes)
            return
        free = {1: 0 if str(tensor.element_type) == "i32" else None, 2: 0, 4: 2, 5: 2}.get(tensor.rank)
        for i in dynamic:
            if i != free:
                raise LumenError(
                    f"{self._signature.describe(place)} has a size that is not known ({tensor}): only rows, "
                    "the pages of caches and the shape of a weight may be chosen by a call"
                )
            self._symbols[number, i] = Count.of((place, i))

    def _is_dynamic_weight(self, place: int, type_: ir.Type) -> bool:
        tensor = ir.RankedTensorType(type_)
        shape = self._signature.arguments[place].shape
        return shape == (None,) and tensor.rank == 2

    def _add_weight(self, place: int, type_: ir.Type, sizes: list[Count]) -> None:
        tensor = ir.RankedTensorType(type_)
        name = str(tensor.element_type).removeprefix("!lumen.q<@").removesuffix(">")
        description = self._analysis.description(name)
        tile = re.fullmatch(r"#lumen\.packed<rows = (\d+)>", str(tensor.encoding))
        self._weights.append(WeightBytes(place, name, description, int(tile[1]) if tile else None, *sizes))
