# SPDX-License-Identifier: Apache-2.0
"""Runs modules at the ``lumen`` and ``fused`` stages with NumPy: what the compiled code is tested against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lumen_mlir import formats, ir
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import packing
from lumen_mlir.reference import ops
from lumen_mlir.reference.blocks import BlockFormat
from lumen_mlir.reference.weights import Budget, Weight

_DTYPES = {
    "f32": np.dtype("<f4"), "f16": np.dtype("<f2"), "i8": np.dtype("i1"), "i16": np.dtype("<i2"),
    "i32": np.dtype("<i4"), "i64": np.dtype("<i8"), "index": np.dtype("<i8"),
}  # fmt: skip

Step = Callable[..., Any]


@dataclass(frozen=True)
class Function:
    """A function made ready: values are numbered in order, arguments first.

    Attributes:
      arguments, results: types.
      steps: (meaning, numbers of the operands, how many results) of each operation.
      returned: numbers of the values returned.
    """

    arguments: list[ir.Type]
    results: list[ir.Type]
    steps: list[tuple[Step, list[int], int]]
    returned: list[int]


def _floats(weight: Weight | np.ndarray) -> np.ndarray:
    return weight.values() if isinstance(weight, Weight) else weight


class Interpreter:
    """The reference meaning of a module.

    Args:
      module: at the ``lumen`` or ``fused`` stage.
      activations: "exact", or "int8" to compute every ``linear`` of a dequantized weight with 8-bit
        activations, as the fused form of the module would.
      cache_bytes: how much memory decoded weights may take.
    """

    def __init__(self, module: ir.Module, *, activations: str = "exact", cache_bytes: int = 4 << 30):
        if activations not in ("exact", "int8"):
            raise LumenError(f"activations are '{activations}'; 'exact' or 'int8' was expected")
        self._int8 = activations == "int8"
        # Told of every product of a weight: (weight, activations float32 [T, K]).
        self.observer: Callable[[Weight, np.ndarray], None] | None = None
        self._module = module
        self._budget = Budget(cache_bytes)
        self._weights: dict[tuple, Weight] = {}
        self._formats: dict[str, BlockFormat] = {}
        self._functions: dict[str, Function] = {}
        self._operations: dict[str, ir.Operation] = {}
        for op in module.body.operations:
            if op.name == "lumen.format":
                fmt = BlockFormat(op)
                self._formats[fmt.name] = fmt
            elif op.name == "func.func":
                self._operations[op.attributes["sym_name"].value] = op

    def call(self, name: str, *arguments: Any) -> tuple:
        """Calls the function ``name``.

        Tensors are arrays of the argument's shape and element type (bits in uint16 for bf16); an index is an
        int. A weight matrix is given in the file's own layout, as bytes (uint8) or, for float types, as
        floats; also where the module takes it packed, for packing changes no value. KV caches are changed in
        place and returned as well.
        Weights are told apart by their memory: it must not change between calls.

        Returns the results: arrays, and uint8 bytes for packed weights.
        """
        if name not in self._operations:
            raise LumenError(f"the module has no function '{name}'; it has {', '.join(self._operations)}")
        function = self._function(name)
        if len(arguments) != len(function.arguments):
            raise LumenError(f"'{name}' takes {len(function.arguments)} arguments, not {len(arguments)}")
        values = [
            self._argument(f"argument {i} of '{name}'", value, kind)
            for i, (value, kind) in enumerate(zip(arguments, function.arguments, strict=True))
        ]
        results = self._run(function, values)
        return tuple(self._result(r, kind) for r, kind in zip(results, function.results, strict=True))

    def weight_names(self, name: str) -> list[str | None]:
        """For each argument of the function, the tensor that feeds it (``lumen.name``), or None."""
        attributes = self._operations[name].attributes
        if "arg_attrs" not in attributes:
            return [None] * len(self._function(name).arguments)
        lists = attributes["arg_attrs"]
        return [lists[i]["lumen.name"].value if "lumen.name" in lists[i] else None for i in range(len(lists))]

    # --- values ---------------------------------------------------------------------------------------------

    def _argument(self, where: str, value: Any, kind: ir.Type) -> Any:
        if not ir.RankedTensorType.isinstance(kind):
            return int(value)
        element, shape, array = str(kind.element_type), kind.shape, np.asarray(value)
        dynamic = ir.ShapedType.get_dynamic_size()
        # Rows of activations, of which any number may come.
        is_bf16 = element == "bf16" and len(shape) == 2 and shape[0] == dynamic != shape[1]
        is_weight = len(shape) == 2 and (element not in _DTYPES or array.dtype == np.uint8) and not is_bf16
        if is_weight or (len(shape) == 2 and kind.has_static_shape):
            return self._weight(where, array, kind)
        fits = array.ndim == len(shape) and all(
            want in (dynamic, got) for want, got in zip(shape, array.shape, strict=True)
        )
        if not fits or array.dtype != (np.uint16 if is_bf16 else _DTYPES[element]):
            raise LumenError(f"{where} is {array.dtype} {list(array.shape)}; expected {kind}")
        return array

    def _weight(self, where: str, array: np.ndarray, kind: ir.Type) -> Weight:
        # The layout is left out: a table may be asked for as the file has it and packed.
        key = (array.__array_interface__["data"][0], array.shape, tuple(kind.shape), str(kind.element_type))
        if key not in self._weights:
            element = self._element(kind)
            rows, columns = kind.shape
            if not kind.has_static_shape:
                rows = len(array)
                columns = array.nbytes // rows
                if isinstance(element, BlockFormat):
                    columns = columns // element.bytes * element.block
                else:
                    columns //= 4 if element == "f32" else 2
            self._weights[key] = Weight(array, (rows, columns), element, self._budget, where)
        return self._weights[key]

    def _element(self, kind: ir.Type) -> str | BlockFormat:
        text = str(kind.element_type)
        if not text.startswith("!lumen.q<@"):
            return text
        name = text.removeprefix("!lumen.q<@").removesuffix(">")
        if name not in self._formats:
            raise LumenError(f"the module has no lumen.format '{name}'")
        return self._formats[name]

    def _result(self, value: Any, kind: ir.Type) -> Any:
        if not isinstance(value, Weight):
            return value
        if kind.encoding is None:
            return value.values()
        name = value.element if isinstance(value.element, str) else value.element.name
        raw = np.ascontiguousarray(value.data).view(np.uint8)
        return packing.pack(formats.get(name), raw, *packing.Tile.parse(str(kind.encoding)))

    # --- functions ------------------------------------------------------------------------------------------

    def _function(self, name: str) -> Function:
        if name not in self._functions:
            op = self._operations[name]
            kind = op.attributes["function_type"].value
            block = op.regions[0].blocks[0]
            numbers = {value: i for i, value in enumerate(block.arguments)}
            *body, end = block.operations
            steps = []
            for step in body:
                steps.append((self._prepare(step), [numbers[v] for v in step.operands], len(step.results)))
                for value in step.results:
                    numbers[value] = len(numbers)
            returned = [numbers[value] for value in end.operands]
            self._functions[name] = Function(list(kind.inputs), list(kind.results), steps, returned)
        return self._functions[name]

    def _run(self, function: Function, values: list) -> tuple:
        for step, operands, results in function.steps:
            result = step(*[values[i] for i in operands])
            if results == 1:
                values.append(result)
            else:
                values.extend(result)
        return tuple(values[i] for i in function.returned)

    def _prepare(self, op: ir.Operation) -> Step:
        """The meaning of an operation, with its attributes read once."""
        attributes = op.attributes

        def number(name: str) -> int | float:
            return attributes[name].value

        match op.name:
            case "func.call":
                callee, single = number("callee"), len(op.results) == 1
                results = slice(0, 1) if single else slice(None)

                def call(*arguments):
                    values = self._run(self._function(callee), list(arguments))[results]
                    return values[0] if single else values

                return call
            case "arith.constant":
                value = number("value")
                return lambda: value
            case "lumen.dequantize" | "lumen.pack":
                # Values do not change; a linear or the caller decodes what it needs.
                return lambda weight: weight
            case "lumen.embedding":
                return self._embedding
            case "lumen.linear":
                return self._linear
            case "lumen.largest_groups":
                group = op.results[0].type.shape[1]
                return lambda *operands: ops.largest_groups(*operands, group)
            case "lumen.route":
                gating, normalized, scale = number("gating"), number("normalized"), number("scale")
                used = op.results[0].type.shape[1]
                return lambda logits, bias=None: ops.route(logits, bias, used, gating, normalized, scale)
            case "lumen.group_tokens":
                experts = op.results[2].type.shape[0] - 1
                return lambda chosen: ops.group_tokens(chosen, experts)
            case "lumen.expert_linear":
                return lambda x, weight, groups: self._experts(self._linear, x, weight, groups)
            case "lumen.quantize":
                defaults = {"group": 32, "sum_group": 32, "bias": -1}
                chosen = {
                    name: attributes[name].value if name in attributes else default
                    for name, default in defaults.items()
                }
                sums = _DTYPES[str(op.results[3].type.element_type)]

                def quantize(x):
                    *others, totals = ops.quantize(x, **chosen)
                    return *others, totals.astype(sums)

                return quantize
            case "lumen.qlinear":
                *segments, _ = attributes["operandSegmentSizes"]
                return lambda *operands: self._qlinear(operands, *segments)
        if op.name.startswith("lumen.") and (meaning := ops.MEANINGS.get(op.name.removeprefix("lumen."))):
            return partial(meaning, **{name: number(name) for name in attributes})
        raise LumenError(f"the reference interpreter does not know '{op.name}'")

    # --- products -------------------------------------------------------------------------------------------

    def _embedding(self, tokens: np.ndarray, table: Weight | np.ndarray) -> np.ndarray:
        rows = len(table) if isinstance(table, np.ndarray) else table.shape[0]
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < rows:
            raise LumenError(f"token ids {tokens.min()} to {tokens.max()} are not below {rows}")
        return table[tokens] if isinstance(table, np.ndarray) else table.rows(tokens)

    def _linear(
        self, x: np.ndarray, weight: Weight | np.ndarray, bias: np.ndarray | None = None
    ) -> np.ndarray:
        if self.observer is not None and isinstance(weight, Weight):
            self.observer(weight, x)
        if not (self._int8 and isinstance(weight, Weight) and weight.is_quantized):
            return ops.linear(x, _floats(weight), bias)
        fmt = weight.element
        activations = ops.quantize(x, ops.activation_group(fmt.block), min(fmt.group, 32))
        return self._product(activations, weight, bias)

    def _product(
        self, activations: tuple, weight: Weight | np.ndarray, bias: np.ndarray | None
    ) -> np.ndarray:
        if len(activations) == 1:
            (x,) = activations
            return ops.linear(ops.from_bf16(x) if x.dtype == np.uint16 else x, _floats(weight), bias)
        codes, scales, _, sums = activations
        form = weight.integer()
        size = form.values.shape[1]
        if form.minima is not None and sums.shape[1] * size != codes.shape[1]:
            # The activation serves weights of several group sizes; the sums come at the finest.
            sums = codes.reshape(len(codes), -1, size).sum(axis=-1, dtype=np.int32).astype(np.float32)
        y = ops.integer_product(codes, scales, sums, form.values, form.scales, form.minima)
        return y if bias is None else y + bias

    @staticmethod
    def _experts(product: Callable, x: Any, weight: Weight | np.ndarray, groups: np.ndarray) -> np.ndarray:
        """``product(rows, matrix)`` for the rows and the matrix of every group; ``x``: one array or more."""
        arrays, experts = x if isinstance(x, tuple) else (x,), len(groups) - 1
        tokens, columns = len(arrays[0]), weight.shape[1]
        slots = arrays[0].shape[1] // columns
        rows = [array.reshape(tokens * slots, -1) for array in arrays]
        size = weight.shape[0] // experts
        result = np.zeros((tokens * slots, size), np.float32)
        for (expert, begin), (_, end) in zip(groups[:-1].tolist(), groups[1:].tolist(), strict=True):
            if begin == end:
                continue
            part = slice(expert * size, (expert + 1) * size)
            matrix = weight.part(part) if isinstance(weight, Weight) else weight[part]
            taken = tuple(array[begin:end] for array in rows)
            result[begin:end] = product(taken if isinstance(x, tuple) else taken[0], matrix)
        return result.reshape(tokens, slots * size)

    def _qlinear(self, operands: tuple, activations: int, weights: int, biases: int) -> Any:
        given = operands[:activations]
        matrices = operands[activations : activations + weights]
        others = operands[activations + weights :]
        vectors = others[:biases] or [None] * weights
        if len(others) > biases:
            product = lambda x, matrix: self._product(x, matrix, None)  # noqa: E731
            results = [self._experts(product, given, w, others[-1]) for w in matrices]
        else:
            results = [self._product(given, w, b) for w, b in zip(matrices, vectors, strict=True)]
        return results[0] if weights == 1 else results
