# SPDX-License-Identifier: Apache-2.0
"""What each op of the dialect asks of its operands, and what is known of its results."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from lumen_mlir import ir
from lumen_mlir.compiler.bounds import Count, Pages, Runs
from lumen_mlir.compiler.demands import Demands, Tensor, Value
from lumen_mlir.errors import LumenError
from lumen_mlir.formats.kv_cache import BLOCK, PAGE


def follow(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Value]:
    """What is known of the results of ``op``, whose demands are added to ``asked``.

    Of ops of other dialects that is nothing. Ops on rows of one type need no rule of their own. Raises
    ``LumenError`` where an operand of an op that asks for something cannot be followed.
    """
    rule = _OPS.get(op.name) or (_alike if _is_elementwise(op) else None)
    if rule is None:
        return [None] * len(op.results)
    missing = [value.type for value, known in zip(op.operands, operands, strict=True) if known is None]
    if missing:
        raise LumenError(
            f"'{asked.name}': {op.name} is given a value ({missing[0]}) that is neither an argument nor "
            "a sum or difference of arguments and constants"
        )
    for number, operand in enumerate(operands):
        if isinstance(operand, Tensor) and op.name != "lumen.pack":
            _check_sizes(asked, op, number, operand)
    return rule(asked, op, operands)


def _is_elementwise(op: ir.Operation) -> bool:
    """Whether an op of the dialect takes and gives rows of one type only: it reads no other places."""
    types = {str(value.type) for value in (*op.operands, *op.results)}
    return op.name.startswith("lumen.") and len(types) == 1 and bool(_ROWS.fullmatch(types.pop()))


_ROWS = re.compile(r"tensor<[?\d]+x[?\d]+xf32>")


def _check_sizes(asked: Demands, op: ir.Operation, number: int, operand: Tensor) -> None:
    """Kernels are written for sizes that are known, but for rows, numbers, and pages."""
    type_ = ir.RankedTensorType(op.operands[number].type)
    free = free_dimensions(type_)
    if len(free) > 1 and op.name != "lumen.attention":
        free = {0}
    for i, size in enumerate(operand.sizes):
        if size.terms and i not in free:
            raise LumenError(
                f"'{asked.name}': {op.name} is given a size that is not known: only rows, pages and the "
                "shape of a weight to be packed may be chosen by a call"
            )


def free_dimensions(type_: ir.RankedTensorType) -> set[int]:
    """The dimensions that calls may choose of a tensor that is no weight to be packed."""
    is_number = str(type_.element_type) == "i32"
    match type_.rank:
        case 1:
            return {0} if is_number else set()
        case 2:
            return {0, 1} if is_number else {0}
    # Caches.
    return {2}


def _rows_alike(asked: Demands, op: ir.Operation, tensors: Iterable[Tensor]) -> Count:
    first, *others = tensors
    for other in others:
        asked.equal(other.rows, first.rows, f"{{left}} rows beside {{right}} ({op.name})")
    return first.rows


def _like(op: ir.Operation, rows: Count) -> list[Tensor]:
    """Results of ``rows`` rows, whose other sizes their types say."""
    results = []
    for value in op.results:
        tensor = ir.RankedTensorType(value.type)
        sizes = [Count(tensor.get_dim_size(i)) for i in range(1, tensor.rank)]
        results.append(Tensor((rows, *sizes)))
    return results


def _embedding(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    tokens, table = operands
    asked.elements(tokens, table.rows, "rows of the table")
    return _like(op, tokens.rows)


def _select_rows(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    x, rows = operands
    asked.elements(rows, x.rows, "rows")
    return _like(op, rows.rows)


def _alike(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    """Ops on rows, of which all two-dimensional operands have equally many."""
    return _like(op, _rows_alike(asked, op, (x for x in operands if len(x.sizes) == 2)))


def _first_alike(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    return _like(op, operands[0].rows)


def _rope(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    x, table, positions = operands
    asked.elements(positions, table.rows, "positions in the rotary table")
    return _like(op, _rows_alike(asked, op, (x, positions)))


def _layer(asked: Demands, cache: Tensor, layer: Count) -> None:
    asked.at_most(0, layer, "a layer of {right}")
    asked.at_most(layer + 1, cache.rows, "{left} layers in a cache of {right}")


def _kv_append(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    cache, x, layer, places = operands
    _layer(asked, cache, layer)
    _rows_alike(asked, op, (x, places))
    asked.elements(places, cache.sizes[2] * BLOCK, "places in the cache")
    return [cache]


def _attention(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    q, k, v, layer, positions, pages, runs = operands
    for cache in (k, v):
        _layer(asked, cache, layer)
    asked.equal(v.sizes[2], k.sizes[2], "values have {left} blocks, but keys {right}")
    rows = _rows_alike(asked, op, (q, positions))
    asked.elements(positions, pages.sizes[1] * PAGE, "positions on the pages of a sequence")
    numbers = [tensor.argument for tensor in (pages, runs, positions)]
    if None in numbers:
        raise LumenError(f"'{asked.name}': the pages and runs of {op.name} must be arguments")
    asked.ask(Pages(numbers[0], k.sizes[2]))
    asked.ask(Runs(numbers[1], numbers[2], rows, pages.rows))
    return _like(op, rows)


def _route(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    experts, weights = _like(op, operands[0].rows)
    return [Tensor(experts.sizes, limit=operands[0].sizes[1]), weights]


def _group_tokens(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    (experts,) = operands
    groups = ir.RankedTensorType(op.results[2].type)
    asked.elements(experts, Count(groups.get_dim_size(0) - 1), "experts")
    pairs = experts.rows * experts.sizes[1].constant
    sizes = tuple(Count(groups.get_dim_size(i)) for i in range(2))
    return [
        Tensor(experts.sizes, limit=experts.rows),
        Tensor(experts.sizes, limit=pairs),
        Tensor(sizes, groups=pairs),
    ]


def _group_keys(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    return _like(op, operands[0].rows)


def _largest_groups(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    x, keys, rows, ranks = operands
    _rows_alike(asked, op, (x, keys))
    _rows_alike(asked, op, (rows, ranks))
    asked.elements(rows, x.rows, "rows")
    values, numbers = _like(op, rows.rows)
    asked.elements(ranks, Count(-(-x.sizes[1].constant // values.sizes[1].constant)), "groups")
    return [values, numbers]


def _gather_rows(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    x, source = operands
    asked.elements(source, x.rows, "rows")
    return _like(op, _rows_alike(asked, op, operands))


def _combine(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    place = operands[2]
    rows = _rows_alike(asked, op, operands)
    asked.elements(place, rows * place.sizes[1].constant, "rows")
    return _like(op, rows)


def _pack(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    return [Tensor(operands[0].sizes)]


def _qlinear(asked: Demands, op: ir.Operation, operands: list[Any]) -> list[Any]:
    counts = op.attributes["operandSegmentSizes"]
    activations, weights, biases, groups = list(counts)
    inputs, used = operands[:activations], operands[activations : activations + weights]
    if any(size.terms for weight in used for size in weight.sizes):
        raise LumenError(f"'{asked.name}': {op.name} is given a weight of a dynamic shape")
    rows = _rows_alike(asked, op, inputs)
    if groups:
        # Each row of the first activation holds as many as fit the columns of the weights.
        slots = inputs[0].sizes[1].constant // max(used[0].sizes[1].constant, 1)
        asked.groups(operands[activations + weights + biases], rows * slots)
    return _like(op, rows)


_OPS: dict[str, Callable[[Demands, ir.Operation, list[Any]], list[Value]]] = {
    "lumen.embedding": _embedding,
    "lumen.select_rows": _select_rows,
    "lumen.rms_norm": _first_alike,
    "lumen.gate": _alike,
    "lumen.quantize": _alike,
    "lumen.to_bf16": _alike,
    "lumen.rope": _rope,
    "lumen.kv_append": _kv_append,
    "lumen.attention": _attention,
    "lumen.route": _route,
    "lumen.group_tokens": _group_tokens,
    "lumen.group_keys": _group_keys,
    "lumen.largest_groups": _largest_groups,
    "lumen.gather_rows": _gather_rows,
    "lumen.combine": _combine,
    "lumen.pack": _pack,
    "lumen.qlinear": _qlinear,
}
