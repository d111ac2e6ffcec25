# SPDX-License-Identifier: Apache-2.0
"""What the ops of a kernel of tensors ask of sizes, and the sizes of what they give."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, MutableMapping
from itertools import combinations, count
from typing import Any

from lumen_mlir import ir
from lumen_mlir.compiler.bounds import Count, Symbol
from lumen_mlir.compiler.demands import Demands, Tensor, Value
from lumen_mlir.errors import LumenError

_numbers = count(1)


def _unknown() -> Count:
    """A number of which nothing is known but that it equals itself."""
    return Count.of((-next(_numbers), None))


def limit_sizes(asked: Demands, size: Count, most: int) -> None:
    """Every size of an argument that ``size`` is computed from is at most ``most``."""
    for symbol, _ in size.terms:
        asked.at_most(
            Count.of(symbol),
            most,
            "a size of {left} where the module is compiled for at most {right} (lumen.max_tokens)",
        )


class TensorSizes:
    """Follows the ops of a kernel: ``values`` has what is known of their operands.

    Offsets are kept inside of tensors by the code itself. Raises ``LumenError`` where sizes cannot be
    compared.
    """

    def __init__(self, asked: Demands, values: MutableMapping[ir.Value, Value], most: int):
        self._asked, self._values, self._most = asked, values, most
        self._simple = True
        self._used: dict[Symbol, None] = {}

    def follow_all(self, block: Any) -> None:
        """Follows all ops of the kernel."""
        names = [op.operation.name for op in block.operations]
        computing = [name for name in names if name not in _FREE]
        self._simple = computing == ["linalg.generic"]
        self._follow_block(block)
        # The memory for what lies between the loops is counted in the largest of sizes.
        for symbol in () if self._simple else self._used:
            limit_sizes(self._asked, Count.of(symbol), self._most)

    def _follow_block(self, block: Any) -> None:
        for op in block.operations:
            self._follow(op.operation)

    def _follow(self, op: ir.Operation) -> None:
        rule = _RULES.get(op.name)
        if rule is None and op.name.startswith(("linalg.", "tensor.")) and op.name not in _HARMLESS:
            for value in (*op.operands, *op.results):
                if _has_open_sizes(value.type):
                    raise LumenError(f"{op.name} on tensors of open sizes ({value.type}) cannot be checked")
        known = rule(self, op) if rule else [self._plain(value) for value in op.results]
        for value, sizes in zip(op.results, known, strict=True):
            self._values[value] = sizes
            if isinstance(sizes, Tensor):
                for size in sizes.sizes:
                    self._used.update((symbol, None) for symbol, _ in size.terms if symbol[0] >= 0)

    def _plain(self, value: ir.Value) -> Value:
        """A value of which the type says all that is known."""
        if not ir.RankedTensorType.isinstance(value.type):
            return _unknown() if str(value.type) == "index" else None
        type_ = ir.RankedTensorType(value.type)
        return Tensor(
            tuple(
                _unknown() if type_.is_dynamic_dim(i) else Count(type_.get_dim_size(i))
                for i in range(type_.rank)
            )
        )

    def sizes(self, value: ir.Value) -> tuple[Count, ...]:
        """The sizes of a tensor."""
        known = self._values.get(value) or self._plain(value)
        assert isinstance(known, Tensor)
        return known.sizes

    def number(self, value: ir.Value) -> Count:
        """An index."""
        known = self._values.get(value)
        return known if isinstance(known, Count) else _unknown()

    def equal(self, op: ir.Operation, left: Count, right: Count) -> None:
        """Two sizes must be the same."""
        self._asked.equal(left, right, f"a size of {{left}} where {{right}} is needed ({op.name})")

    def at_most(self, op: ir.Operation, left: Count, right: Count) -> None:
        """What is read must be there."""
        self._asked.at_most(left, right, f"{{left}} elements are read of {{right}} ({op.name})")

    def typed(self, value: ir.Value, sizes: tuple[Count, ...], op: ir.Operation) -> Tensor:
        """A tensor of these sizes, those of which that its type knows are demanded."""
        type_ = ir.RankedTensorType(value.type)
        for i, size in enumerate(sizes):
            if not type_.is_dynamic_dim(i):
                self.equal(op, size, Count(type_.get_dim_size(i)))
        return Tensor(
            tuple(
                size if type_.is_dynamic_dim(i) else Count(type_.get_dim_size(i))
                for i, size in enumerate(sizes)
            )
        )


def _has_open_sizes(type_: ir.Type) -> bool:
    if not ir.RankedTensorType.isinstance(type_):
        return False
    tensor = ir.RankedTensorType(type_)
    return any(tensor.is_dynamic_dim(i) for i in range(tensor.rank))


def _generic(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    maps = [_parse_map(str(each)) for each in op.attributes["indexing_maps"]]
    extents: dict[str, Count] = {}
    tensors = [
        (expressions, sizes.sizes(value))
        for expressions, value in zip(maps, op.operands, strict=True)
        if ir.RankedTensorType.isinstance(value.type)
    ]
    for expressions, found in tensors:
        for expression, size in zip(expressions, found, strict=True):
            if len(expression) == 1 and expression.get(next(iter(expression))) == 1:
                (loop,) = expression
                if loop == "":
                    continue
                if loop in extents:
                    sizes.equal(op, size, extents[loop])
                else:
                    extents[loop] = size
    for expressions, found in tensors:
        for expression, size in zip(expressions, found, strict=True):
            _check_place(sizes, op, expression, size, extents)
    outs = list(op.operands)[len(op.operands) - len(op.results) :]
    return [Tensor(sizes.sizes(out)) for out in outs]


def _check_place(
    sizes: TensorSizes, op: ir.Operation, expression: dict[str, int], size: Count, extents: dict[str, Count]
) -> None:
    """All places that an expression has are inside of a dimension of this size."""
    if len(expression) == 1 and "" not in expression and expression[next(iter(expression))] == 1:
        return
    first = last = Count(expression.get("", 0))
    for loop, factor in expression.items():
        if loop == "":
            continue
        if loop not in extents:
            raise LumenError(f"{op.name}: nothing says how far the loop {loop} goes")
        reach = (extents[loop] - 1) * factor
        first, last = (first + reach, last) if factor < 0 else (first, last + reach)
    sizes.at_most(op, last + 1, size)
    sizes.at_most(op, Count(0), first)


_MAP = re.compile(r"affine_map<\((?P<loops>[^)]*)\)(?:\[[^]]*\])? -> \((?P<results>.*)\)>")


def _parse_map(text: str) -> list[dict[str, int]]:
    """The results of an affine map: factors of its loops, and a constant under an empty name."""
    match = _MAP.fullmatch(text)
    if match is None:
        raise LumenError(f"a map that is not understood: {text}")
    results = match["results"].strip()
    if not results:
        return []
    try:
        parsed = ast.parse(f"({results},)", mode="eval").body
    except SyntaxError:
        raise LumenError(f"only sums and multiples of loops can be followed, not {text}") from None
    assert isinstance(parsed, ast.Tuple)
    return [_linear(each, text) for each in parsed.elts]


def _linear(node: ast.expr, text: str) -> dict[str, int]:
    match node:
        case ast.Name(name):
            return {name: 1}
        case ast.Constant(int(value)):
            return {"": value}
        case ast.UnaryOp(ast.USub(), operand):
            return _scaled(_linear(operand, text), -1)
        case ast.BinOp(left, ast.Add() | ast.Sub() as kind, right):
            sign = 1 if isinstance(kind, ast.Add) else -1
            total = dict(_linear(left, text))
            for loop, factor in _scaled(_linear(right, text), sign).items():
                total[loop] = total.get(loop, 0) + factor
            return total
        case ast.BinOp(left, ast.Mult(), right):
            one, other = _linear(left, text), _linear(right, text)
            if set(one) <= {""}:
                one, other = other, one
            if set(other) <= {""}:
                return _scaled(one, other.get("", 0))
    raise LumenError(f"only sums and multiples of loops can be followed, not {text}")


def _scaled(linear: dict[str, int], factor: int) -> dict[str, int]:
    return {loop: value * factor for loop, value in linear.items()}


def _empty(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    return [_mixed_type(sizes, op.results[0], list(op.operands))]


def _mixed_type(sizes: TensorSizes, value: ir.Value, dynamic: list[ir.Value]) -> Tensor:
    """A tensor whose open sizes are these numbers, in order."""
    type_ = ir.RankedTensorType(value.type)
    numbers = iter(dynamic)
    return Tensor(
        tuple(
            sizes.number(next(numbers)) if type_.is_dynamic_dim(i) else Count(type_.get_dim_size(i))
            for i in range(type_.rank)
        )
    )


def _dim(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    dimension = sizes.number(op.operands[1])
    found = sizes.sizes(op.operands[0])
    if dimension.terms or not 0 <= dimension.constant < len(found):
        return [_unknown()]
    return [found[dimension.constant]]


def _cast(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    return [sizes.typed(op.results[0], sizes.sizes(op.operands[0]), op)]


def _segments(op: ir.Operation) -> list[list[ir.Value]]:
    """The operands of an op of slices: the tensors, offsets, sizes and strides."""
    lengths = [int(number) for number in _integers(op, "operandSegmentSizes")]
    operands, result = list(op.operands), []
    for length in lengths:
        result.append(operands[:length])
        operands = operands[length:]
    return result


def _integers(op: ir.Operation, name: str) -> list[int]:
    """The numbers of an array of them, as it is printed: ``array<i64: 1, 2>``."""
    text = str(op.attributes[name])
    return [int(number) for number in re.findall(r"-?\d+", text.partition(":")[2])]


_DYNAMIC = -(2**63)


def _mixed(sizes: TensorSizes, fixed: list[int], dynamic: list[ir.Value]) -> list[Count]:
    numbers = iter(dynamic)
    return [sizes.number(next(numbers)) if each == _DYNAMIC else Count(each) for each in fixed]


def _check_slice(
    sizes: TensorSizes, op: ir.Operation, of: tuple[Count, ...], parts: list[list[ir.Value]]
) -> list[Count]:
    """The sizes of a slice, which must be inside of what it is a slice ``of``."""
    offsets, lengths, strides = (
        _mixed(sizes, _integers(op, f"static_{name}"), part)
        for name, part in zip(("offsets", "sizes", "strides"), parts[-3:], strict=True)
    )
    fixed = _integers(op, "static_offsets")
    for number, (offset, length, stride, size) in enumerate(zip(offsets, lengths, strides, of, strict=True)):
        if stride.terms or stride.constant < 1:
            raise LumenError(f"{op.name}: steps of a slice must be known and at least 1")
        span = (length - 1) * stride.constant + 1
        # Where an offset is not known, the code keeps it inside.
        sizes.at_most(op, span if fixed[number] == _DYNAMIC else span + offset, size)
    return lengths


def _extract_slice(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    parts = _segments(op)
    lengths = _check_slice(sizes, op, sizes.sizes(parts[0][0]), parts)
    return [sizes.typed(op.results[0], _dropped(lengths, op.results[0]), op)]


def _dropped(lengths: list[Count], value: ir.Value) -> tuple[Count, ...]:
    """The sizes of a slice, without those of 1 that its type does not have."""
    type_ = ir.RankedTensorType(value.type)
    ones = [number for number, length in enumerate(lengths) if length == Count(1)]
    for left_out in combinations(ones, len(lengths) - type_.rank):
        kept = tuple(length for number, length in enumerate(lengths) if number not in left_out)
        if all(
            type_.is_dynamic_dim(i) or size.terms or size.constant == type_.get_dim_size(i)
            for i, size in enumerate(kept)
        ):
            return kept
    raise LumenError(f"a slice of other sizes than its type says: {value.type}")


def _insert_slice(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    parts = _segments(op)
    source, target = parts[0][0], parts[1][0]
    lengths = _check_slice(sizes, op, sizes.sizes(target), parts)
    wanted = [length for length in lengths if length != Count(1)]
    given = [size for size in sizes.sizes(source) if size != Count(1)]
    if len(wanted) != len(given):
        raise LumenError(f"{op.name}: a slice of other sizes than what is put there")
    for one, other in zip(given, wanted, strict=True):
        sizes.equal(op, one, other)
    return [Tensor(sizes.sizes(target))]


def _expand_shape(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    source = sizes.sizes(op.operands[0])
    result = _mixed(sizes, _integers(op, "static_output_shape"), list(op.operands)[1:])
    for size, group in zip(source, _groups(op), strict=True):
        factor, open_ = 1, None
        for number in group:
            if not result[number].terms:
                factor *= result[number].constant
            elif open_ is None:
                open_ = number
            else:
                raise LumenError(f"{op.name}: two sizes of a group are not known")
        product = Count(factor) if open_ is None else result[open_] * factor
        # The size that is open may be any that divides the whole.
        if open_ is not None and any(symbol[0] < 0 for symbol, _ in result[open_].terms) and factor == 1:
            result[open_] = size
        else:
            sizes.equal(op, product, size)
    return [Tensor(tuple(result))]


def _collapse_shape(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    source = sizes.sizes(op.operands[0])
    result = []
    for group in _groups(op):
        product: Count = Count(1)
        for number in group:
            size = source[number]
            if not size.terms:
                product = product * size.constant
            elif not product.terms:
                product = size * product.constant
            else:
                product = _unknown()
        result.append(product)
    return [sizes.typed(op.results[0], tuple(result), op)]


def _groups(op: ir.Operation) -> list[list[int]]:
    text = str(op.attributes["reassociation"])
    return [[int(n) for n in re.findall(r"\d+", part)] for part in re.findall(r"\[([^\[\]]*)\]", text)] or []


def _like_first(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    return [Tensor(sizes.sizes(op.operands[0]))]


def _like_second(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    return [Tensor(sizes.sizes(op.operands[1]))]


def _materialize(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    for one, other in zip(sizes.sizes(op.operands[0]), sizes.sizes(op.operands[1]), strict=True):
        sizes.equal(op, one, other)
    return _like_second(sizes, op)


def _splat(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    return [_mixed_type(sizes, op.results[0], list(op.operands)[1:])]


def _loop(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    block = op.regions[0].blocks[0]
    starts = list(op.operands)[3:]
    sizes._values[block.arguments[0]] = _unknown()
    known: list[Value] = []
    for argument, start in zip(list(block.arguments)[1:], starts, strict=True):
        if ir.RankedTensorType.isinstance(start.type):
            sizes._values[argument] = Tensor(sizes.sizes(start))
        else:
            sizes._values[argument] = _unknown() if str(start.type) == "index" else None
        known.append(sizes._values[argument])
    sizes._follow_block(block)
    ends = list(block.operations)[-1].operation.operands
    for start, end in zip(starts, ends, strict=True):
        if ir.RankedTensorType.isinstance(start.type):
            for one, other in zip(sizes.sizes(end), sizes.sizes(start), strict=True):
                sizes.equal(op, one, other)
    return [_unknown() if isinstance(each, Count) else each for each in known]


def _branch(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    ends = []
    for region in op.regions:
        blocks = list(region.blocks)
        if blocks:
            sizes._follow_block(blocks[0])
            ends.append(list(list(blocks[0].operations)[-1].operation.operands))
    result: list[Value] = []
    for number, value in enumerate(op.results):
        if not ir.RankedTensorType.isinstance(value.type):
            result.append(sizes._plain(value))
            continue
        first, second = (sizes.sizes(end[number]) for end in ends)
        for one, other in zip(first, second, strict=True):
            sizes.equal(op, one, other)
        result.append(Tensor(first))
    return result


def _constant(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    value = op.attributes["value"]
    if isinstance(value, ir.IntegerAttr) and str(op.results[0].type) == "index":
        return [Count(value.value)]
    return [sizes._plain(op.results[0])]


def _sum(factor: int) -> Callable[[TensorSizes, ir.Operation], list[Value]]:
    def follow(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
        if str(op.results[0].type) != "index":
            return [sizes._plain(op.results[0])]
        return [sizes.number(op.operands[0]) + sizes.number(op.operands[1]) * factor]

    return follow


def _product(sizes: TensorSizes, op: ir.Operation) -> list[Value]:
    if str(op.results[0].type) == "index":
        one, other = sizes.number(op.operands[0]), sizes.number(op.operands[1])
        if not one.terms:
            return [other * one.constant]
        if not other.terms:
            return [one * other.constant]
    return [sizes._plain(op.results[0])]


_RULES: dict[str, Callable[[TensorSizes, ir.Operation], list[Value]]] = {
    "arith.addi": _sum(1),
    "arith.constant": _constant,
    "arith.muli": _product,
    "arith.subi": _sum(-1),
    "bufferization.materialize_in_destination": _materialize,
    "linalg.generic": _generic,
    "scf.for": _loop,
    "scf.if": _branch,
    "tensor.cast": _cast,
    "tensor.collapse_shape": _collapse_shape,
    "tensor.dim": _dim,
    "tensor.empty": _empty,
    "tensor.expand_shape": _expand_shape,
    "tensor.extract_slice": _extract_slice,
    "tensor.insert": _like_second,
    "tensor.insert_slice": _insert_slice,
    "tensor.splat": _splat,
}

_HARMLESS = {"linalg.index", "linalg.yield", "tensor.extract", "tensor.from_elements", "tensor.yield"}
"""Ops that ask nothing of sizes."""

_FREE = {"arith.constant", "tensor.empty", "tensor.dim", "func.return"}
"""Ops that take no memory."""
