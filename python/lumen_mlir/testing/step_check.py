# SPDX-License-Identifier: Apache-2.0
"""Steps of a model kernel by kernel: every compiled kernel beside NumPy, both with the same inputs.

Logits alone cannot tell an error from a rounding. Where an activation lies half-way between two 8-bit codes,
or a key between two float16 values, a difference of 1e-7 decides which one it becomes, and one code moves the
logits by up to 1 %. Here NumPy goes on with what the compiled kernels have made: nothing adds up, a kernel
may differ by rounding alone, and a code may move only where it was half-way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lumen_mlir import formats, ir
from lumen_mlir.compiler.driver import Compiler, CompilerOptions
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import kv_cache, packing
from lumen_mlir.formats.packing import Tile
from lumen_mlir.models import Model
from lumen_mlir.reference import Interpreter, ReferenceSession, ops
from lumen_mlir.reference.weights import Weight
from lumen_mlir.run.device import place_of
from lumen_mlir.run.engine import Engine, aligned_empty, compile
from lumen_mlir.run.session_options import SessionOptions

# What sums of up to 10,000 float32 products in another order may differ by, as a part of the row's norm.
TOLERANCE = 1e-5
# And what of it a code sees, which is at most 127.
_HALF_WAY = 127 * TOLERANCE


@dataclass(frozen=True)
class KernelCheck:
    """How far a call of a kernel is from NumPy.

    Attributes:
      kernel: its name.
      error: of the float results: the largest norm of a row's difference, over the norm of the row. Of
        float16 KV caches and activations in bf16: how much further than half a step an element is from the
        value before rounding, at most, over the largest value.
      moved: codes of activations that are not NumPy's.
      margin: how far they were from half-way between two, at most, in codes. Infinite where integers are
        wrong or a neighbour was skipped, which no rounding explains.
    """

    kernel: str
    error: float
    moved: int = 0
    margin: float = 0.0

    @property
    def passed(self) -> bool:
        """True where rounding explains it."""
        return self.error <= TOLERANCE and self.margin <= _HALF_WAY


@dataclass(frozen=True)
class Codes:
    """The activations of a product.

    Attributes:
      values: float32 [T, K], what is rounded: from -127 to 127.
      codes: int8 [T, K], what it was rounded to.
      bias: what the sums of codes were multiplied with.
    """

    values: np.ndarray
    codes: np.ndarray
    bias: int


class RecordedSession(ReferenceSession):
    """The reference, step by step, on the kernels that a ``Session`` with these ``options`` has.

    Attributes:
      activations: of the products of all steps, in order.
      caches: the KV caches.

    Raises ``LumenError`` for KV caches of 8-bit codes.
    """

    def __init__(self, model: Model, options: SessionOptions):
        if kv_cache.get(options.kv_type).is_quantized:
            raise LumenError("kernels are checked with KV caches of floats")
        self._target = place_of(options.device, options.target).target
        with ir.Context():
            module = model.module(kv_type=options.kv_type, max_tokens=options.chunk)
            module = Compiler(self._target, CompilerOptions(options.activations)).run(module, "fused")
        super().__init__(
            model,
            context=options.context_of(model),
            kv_type=options.kv_type,
            activations=options.activations,
            module=module,
        )
        self.activations: list[Codes] = self._interpreter.activations
        self.caches: list[np.ndarray] = self._caches

    def _open_interpreter(self, module: ir.Module, activations: str) -> Interpreter:
        return _Recorder(module)


class CheckedSession(RecordedSession):
    """The compiled kernels of a ``Session`` one by one, with its logits bit by bit, and NumPy beside each.

    Args:
      tile_tokens: tokens of a register tile (0: all sizes that the target has), as in ``Tuning``.

    Attributes:
      checks: of every call of a kernel of all steps, in order.
      activations: as NumPy computes them from what the compiled kernels made before, with the compiled codes.
    """

    def __init__(self, model: Model, options: SessionOptions, tile_tokens: int = 0):
        self._tile_tokens = tile_tokens
        super().__init__(model, options)
        self.checks: list[KernelCheck] = self._interpreter.checks

    def _open_interpreter(self, module: ir.Module, activations: str) -> Interpreter:
        with ir.Context():
            public = ir.Module.parse(str(module))
            for op in public.body.operations:
                if "lumen.kernel" in op.attributes:
                    del op.attributes["sym_visibility"]
            options = CompilerOptions(activations, tile_tokens=self._tile_tokens)
            engine = compile(public, self._target, 1, options, form="fused", use_cache=False)
            return _Checker(module, engine, _tiles(public))


class _Recorder(Interpreter):
    """Keeps the activations of products."""

    def __init__(self, module: ir.Module):
        super().__init__(module)
        self.activations: list[Codes] = []

    def _prepare(self, op: ir.Operation):
        step = super()._prepare(op)
        if op.name != "lumen.quantize":
            return step

        group = op.attributes["group"].value if "group" in op.attributes else 32
        bias = op.attributes["bias"].value if "bias" in op.attributes else -1

        def quantize(x: np.ndarray) -> tuple:
            results = step(x)
            groups = x.reshape(len(x), -1, group)
            largest = np.maximum(np.abs(groups).max(axis=-1, keepdims=True), np.float32(2.0**-120))
            self.activations.append(Codes((groups / largest * 127).reshape(x.shape), results[0], bias))
            return results

        return quantize


class _Checker(_Recorder):
    """Goes on with the results of compiled kernels and compares them with its own."""

    def __init__(self, module: ir.Module, engine: Engine, tiles: dict[str, list[Tile | None]]):
        super().__init__(module)
        self.checks: list[KernelCheck] = []
        self._engine, self._tiles = engine, tiles
        self._packed: dict[tuple[int, int], np.ndarray] = {}
        # What the kernel at work rounds to float16 or bf16, before.
        self._unrounded: list[np.ndarray] = []

    def _prepare(self, op: ir.Operation):
        step = super()._prepare(op)
        if op.name == "lumen.kv_append":

            def append(cache: np.ndarray, *operands: Any) -> np.ndarray:
                if cache.dtype == np.float16:
                    self._unrounded.append(step(cache.astype(np.float32), *operands))
                return step(cache, *operands)

            return append
        if op.name == "lumen.to_bf16":

            def round(x: np.ndarray) -> np.ndarray:
                self._unrounded.append(x)
                return step(x)

            return round
        name = op.attributes["callee"].value if op.name == "func.call" else None
        if name not in self._engine.signatures:
            return step
        single = len(op.results) == 1

        def both(*arguments: Any) -> Any:
            signature = self._engine.signatures[name]
            before, self._unrounded = len(self.activations), []
            # Caches change in place.
            copies = [
                value if argument.result is None else value.copy()
                for value, argument in zip(arguments, signature.inputs, strict=True)
            ]
            expected = (step(*copies),) if single else step(*copies)
            results = self._invoke(name, arguments, expected)
            self.checks.append(_compare(name, results, expected, self.activations[before:], self._unrounded))
            return results[0] if single else results

        return both

    def _invoke(self, name: str, arguments: tuple, expected: tuple) -> tuple:
        signature = self._engine.signatures[name]
        inputs = [
            self._bytes(value, tile) if isinstance(value, Weight) else value
            for value, tile in zip(arguments, self._tiles[name], strict=True)
        ]
        # Poisoned, so that what is not written is seen. (Bits of bf16 are unsigned.)
        arrays = [expected[argument.result] for argument in signature.outs]
        outs = [np.full_like(array, np.array(-77).astype(array.dtype)) for array in arrays]
        call = self._engine.bind(name, *inputs, outs=outs)
        call.run()
        return call.results

    def _bytes(self, weight: Weight, tile: Tile | None) -> np.ndarray:
        if tile is None:
            return weight.data.reshape(-1).view(np.uint8)
        key = id(weight), tile
        if key not in self._packed:
            fmt = formats.get(weight.element if isinstance(weight.element, str) else weight.element.name)
            packed = packing.pack(fmt, np.ascontiguousarray(weight.data).view(np.uint8), *tile)
            self._packed[key] = aligned_empty(packed.shape)
            self._packed[key][:] = packed
        return self._packed[key]


def _tiles(module: ir.Module) -> dict[str, list[Tile | None]]:
    """Of every function's arguments: the tiles of a packed weight."""
    tiles = {}
    for op in module.body.operations:
        if op.name == "func.func":
            inputs = ir.TypeAttr(op.attributes["function_type"]).value.inputs
            tiles[op.attributes["sym_name"].value] = [Tile.parse(str(kind)) for kind in inputs]
    return tiles


def _compare(
    kernel: str, results: tuple, expected: tuple, activations: list[Codes], unrounded: list[np.ndarray]
) -> KernelCheck:
    """``activations``, ``unrounded``: what NumPy has rounded in this kernel, in the order of the results.

    The activations get the kernel's own codes.
    """
    errors, margins, moved = [0.0], [0.0], 0
    activations_left, unrounded_left = iter(activations), iter(unrounded)
    pairs = iter(list(zip(results, expected, strict=True)))
    for result, numpy in pairs:
        if result.dtype == np.int8:
            # Codes, scales, biased sums of codes, and sums: the last two of these codes.
            (scales, expected_scales), (offsets, _), (sums, _) = (next(pairs) for _ in range(3))
            held = next(activations_left)
            differing = result != numpy
            moved += int(differing.sum())
            steps = np.abs(result.astype(np.int32) - numpy)[differing]
            half_way = (result.astype(np.float32) + numpy)[differing] / 2
            margins.append(_finite(np.abs(held.values[differing] - half_way).max(initial=0)))
            totals = result.reshape(*sums.shape, -1).sum(axis=-1, dtype=np.int32)
            if (steps > 1).any() or (offsets != held.bias * totals).any() or (sums != totals).any():
                margins.append(np.inf)
            errors.append(_error(scales, expected_scales))
            held.codes[:] = result
        elif result.dtype == np.float16:
            values = next(unrounded_left)
            beyond = np.abs(result - values) - np.spacing(np.abs(result)).astype(np.float32) / 2
            errors.append(_finite(beyond.max() / np.abs(values).max()))
        elif result.dtype == np.uint16:
            values, rounded = next(unrounded_left), ops.from_bf16(result)
            # A step of bf16 is 2^16 of float32.
            beyond = np.abs(rounded - values) - np.spacing(np.abs(rounded)) * np.float32(1 << 15)
            errors.append(_finite(beyond.max() / np.abs(values).max()))
        elif result.dtype == np.float32:
            errors.append(_error(result, numpy))
        elif not np.array_equal(result, numpy):
            margins.append(np.inf)
    return KernelCheck(kernel, max(errors), moved, max(margins))


def _error(result: np.ndarray, expected: np.ndarray) -> float:
    """The largest error of a row."""
    norms = np.linalg.norm(expected, axis=-1)
    errors = np.linalg.norm(result - expected, axis=-1) / np.where(norms > 0, norms, 1)
    return _finite(errors.max(initial=0))


def _finite(error: np.floating) -> float:
    """What is no number compares as the largest error."""
    return float(error) if np.isfinite(error) else float("inf")
