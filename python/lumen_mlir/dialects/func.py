# SPDX-License-Identifier: Apache-2.0
"""Builders of the few ``func`` operations that models are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lumen_mlir import ir


def func(
    name: str,
    inputs: Sequence[ir.Type],
    results: Sequence[ir.Type],
    *,
    visibility: str | None = None,
    argument_attributes: Sequence[Mapping[str, ir.Attribute]] | None = None,
) -> ir.Block:
    """A ``func.func`` at the current insertion point; returns its (empty) entry block."""
    attributes = {
        "sym_name": ir.StringAttr.get(name),
        "function_type": ir.TypeAttr.get(ir.FunctionType.get(list(inputs), list(results))),
    }
    if visibility is not None:
        attributes["sym_visibility"] = ir.StringAttr.get(visibility)
    if argument_attributes is not None:
        attributes["arg_attrs"] = ir.ArrayAttr.get([ir.DictAttr.get(dict(a)) for a in argument_attributes])
    function = ir.Operation.create("func.func", attributes=attributes, regions=1)
    return function.regions[0].blocks.append(*inputs)


def call(name: str, results: Sequence[ir.Type], arguments: Sequence[ir.Value]) -> list[ir.Value]:
    """A call of the function ``name`` of the module; returns its results."""
    attributes = {"callee": ir.FlatSymbolRefAttr.get(name)}
    call_op = ir.Operation.create("func.call", list(results), list(arguments), attributes)
    return list(call_op.results)


def return_(values: Sequence[ir.Value]) -> None:
    """Ends the function."""
    ir.Operation.create("func.return", operands=list(values))


def index_constant(value: int) -> ir.Value:
    """An ``arith.constant`` of type index."""
    attribute = ir.IntegerAttr.get(ir.IndexType.get(), value)
    return ir.Operation.create("arith.constant", [ir.IndexType.get()], attributes={"value": attribute}).result
