# SPDX-License-Identifier: Apache-2.0
"""What a step has to do, kernel by kernel: bytes to read and operations to carry out.

Read off the module of the fused stage, where a kernel still says what it computes. Only what no program could
avoid is counted: every weight and every cell of the KV cache once per step, and the products with them. Of
experts these are as many as the tokens have slots for, as far as there are so many; of a sliding window, the
cells that are in sight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from lumen_mlir import formats, ir
from lumen_mlir.compiler.signature import DTYPES
from lumen_mlir.formats import kv_cache, packing
from lumen_mlir.formats.packing import Tile


@dataclass(frozen=True)
class Work:
    """Of one kernel in one step or several.

    Attributes:
      calls: of the kernel.
      read: bytes of weights and KV cells.
      int8: operations of 8-bit products; a multiplication and an addition are two.
      float32: operations of products in floating point.
    """

    calls: int = 0
    read: float = 0.0
    int8: float = 0.0
    float32: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.calls + other.calls,
            self.read + other.read,
            self.int8 + other.int8,
            self.float32 + other.float32,
        )


@dataclass
class _Cost:
    """Of one call of a kernel, per unit of what its cost grows with."""

    read_fixed: float = 0.0
    read_row: float = 0.0
    read_cell: float = 0.0
    int8_row: float = 0.0
    float_row: float = 0.0
    int8_pair: float = 0.0
    float_pair: float = 0.0
    window: int | None = None
    # Bytes of one expert, how many there are, and how many a token is sent to.
    experts: list[tuple[float, int, int]] = field(default_factory=list)


class StepWork:
    """The work of the steps of a module of the fused stage, which has a function ``step``."""

    def __init__(self, module: ir.Module):
        operations = [op.operation for op in module.body.operations]
        functions = [op for op in operations if op.name == "func.func"]
        self._functions = {op.attributes["sym_name"].value: op for op in functions}
        kernels = {n: op for n, op in self._functions.items() if "lumen.kernel" in op.attributes}
        self._costs = {name: _cost(op) for name, op in kernels.items()}
        # (kernel, whether it works on the last rows only), once per call.
        self._calls = list(self._walk("step", set()))

    def of(self, tokens: int, position: int, first: int) -> dict[str, Work]:
        """The work of each kernel in a step of ``tokens`` tokens at ``position``, with logits from token
        ``first`` on. A token at position p attends to p + 1 cells, at most as many as its window.
        """
        result: dict[str, Work] = {}
        for name, last in self._calls:
            cost, rows = self._costs[name], tokens - first if last else tokens
            cells, pairs = _in_sight(tokens, position, cost.window)
            chosen = sum(size * min(count, slots * rows) for size, count, slots in cost.experts)
            work = Work(
                1,
                (cost.read_fixed if rows else 0) + chosen + cost.read_row * rows + cost.read_cell * cells,
                cost.int8_row * rows + cost.int8_pair * pairs,
                cost.float_row * rows + cost.float_pair * pairs,
            )
            result[name] = result.get(name, Work()) + work
        return result

    def _walk(self, name: str, last: set[int]) -> Iterator[tuple[str, bool]]:
        """The kernels that a function calls. ``last``: numbers of the arguments that hold last rows only."""
        block = self._functions[name].regions[0].blocks[0]
        cut = {block.arguments[i] for i in last}
        for op in block.operations:
            op = op.operation
            if op.name != "func.call":
                continue
            callee = op.attributes["callee"].value
            given = {i for i, operand in enumerate(op.operands) if operand in cut}
            if callee not in self._costs:
                yield from self._walk(callee, given)
                continue
            begins = any(inner.operation.name == "lumen.select_rows" for inner in self._body(callee))
            if given or begins:
                cut.update(op.results)
            yield callee, bool(given) or begins

    def _body(self, name: str) -> list[ir.Operation]:
        return self._functions[name].regions[0].blocks[0].operations


def _in_sight(tokens: int, position: int, window: int | None) -> tuple[int, float]:
    """KV cells that a step attends to, and pairs of a token and a cell."""
    seen = position + tokens
    pairs = tokens * position + tokens * (tokens + 1) / 2
    if window is None or seen <= window:
        return seen, pairs
    # From the token on that stands at ``window``, each sees one cell more than it may.
    outside, before = seen - window, max(position - window, 0)
    return min(seen, window + tokens - 1), pairs - (outside * (outside + 1) - before * (before + 1)) / 2


def _cost(function: ir.Operation) -> _Cost:
    cost = _Cost()
    for op in function.regions[0].blocks[0].operations:
        op = op.operation
        types = [operand.type for operand in op.operands]
        if op.name == "lumen.attention":
            keys = ir.RankedTensorType(types[1])
            kv_heads, block = keys.shape[1], math.prod(keys.shape[3:]) * _element_bytes(keys)
            cost.read_cell += 2 * kv_heads * block / kv_cache.BLOCK
            # Scores and weighted values, for every head; with codes in the cache they are integers.
            operations = 4 * ir.RankedTensorType(types[0]).shape[1]
            if str(keys.element_type) == "i8":
                cost.int8_pair += operations
            else:
                cost.float_pair += operations
            if "window" in op.attributes:
                cost.window = op.attributes["window"].value
        elif op.name == "lumen.embedding":
            rows, columns = ir.RankedTensorType(types[1]).shape
            cost.read_row += _format(types[1]).row_bytes(columns)
        else:
            for type_ in types:
                tile = Tile.parse(str(type_))
                if tile is None:
                    continue
                rows, columns = ir.RankedTensorType(type_).shape
                size = packing.packed_bytes(_format(type_), rows, columns, *tile)
                operations = 2 * rows * columns
                if op.name == "lumen.qlinear" and list(op.attributes["operandSegmentSizes"])[3]:
                    experts = ir.RankedTensorType(types[-1]).shape[0] - 1
                    slots = ir.RankedTensorType(types[0]).shape[1] // columns
                    cost.experts.append((size / experts, experts, slots))
                    operations = operations // experts * slots
                else:
                    cost.read_fixed += size
                # Codes come with scales, which exact activations do not have.
                if op.name == "lumen.qlinear" and str(types[0]).endswith("xi8>"):
                    cost.int8_row += operations
                else:
                    cost.float_row += operations
    return cost


def _format(type_: ir.Type) -> formats.Format:
    element = str(ir.RankedTensorType(type_).element_type)
    return formats.get(element.removeprefix("!lumen.q<@").removesuffix(">"))


def _element_bytes(type_: ir.RankedTensorType) -> int:
    return DTYPES[str(type_.element_type)].itemsize
