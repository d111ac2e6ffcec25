# SPDX-License-Identifier: Apache-2.0
"""The bounds of public functions in terms of what callers pass: buffers, their sizes, numbers."""

from __future__ import annotations

from collections.abc import Iterable

from lumen_mlir import ir
from lumen_mlir.compiler.bound_analysis import BoundAnalysis
from lumen_mlir.compiler.bounds import Bound, Count, Equal, Symbol, WeightBytes
from lumen_mlir.compiler.demands import Tensor, Value
from lumen_mlir.compiler.op_bounds import free_dimensions
from lumen_mlir.compiler.signature import Signature
from lumen_mlir.errors import LumenError
from lumen_mlir.formats.packing import Tile


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
                elif self._analysis.has_tensors:
                    found += self._sizes_of_out(out, result)
        return (*self._weights, *dict.fromkeys(found))

    def _sizes_of_out(self, out: int, result: Value) -> list[Bound]:
        """An out argument has the sizes of the result that it holds."""
        shape = self._signature.arguments[out].shape or ()
        try:
            sizes = (
                [size.replaced(self._symbols) for size in result.sizes] if isinstance(result, Tensor) else []
            )
        except KeyError:
            sizes = []
        if None in shape and not sizes:
            raise LumenError(
                f"{self._signature.describe(out)} is a result of a size that nobody can say before a call"
            )
        return [
            Equal(Count.of((out, i)), size, "a result has a size of {left}, not {right}")
            for i, size in enumerate(sizes)
            if shape[i] is None
        ]

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
        for i in dynamic:
            # Ops that need to know a size ask for it; kernels of tensors take any.
            if i not in free_dimensions(tensor) and not self._analysis.has_tensors:
                raise LumenError(
                    f"{self._signature.describe(place)} has a size that is not known ({tensor}): only rows, "
                    "pages and the shape of a weight may be chosen by a call"
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
        tile = Tile.parse(str(tensor.encoding))
        self._weights.append(WeightBytes(place, name, description, tile, *sizes))
