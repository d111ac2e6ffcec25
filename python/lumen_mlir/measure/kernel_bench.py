# SPDX-License-Identifier: Apache-2.0
"""How near the products of each format come to what the machine can do.

A product [rows, K] x [N, K] reads every packed weight once and carries out 2 * rows * N * K operations, so
the machine needs at least ``max(bytes / read bandwidth, operations / int8 peak)`` (a roofline). Both limits
are measured beside each product, in turns, because a shared machine changes from second to second. One thread
is timed by its own clock, which stands still while other programs run on its core.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lumen_mlir import ir
from lumen_mlir.compiler.driver import Compiler
from lumen_mlir.compiler.targets import Target
from lumen_mlir.dialects import func, lumen
from lumen_mlir.formats import packing
from lumen_mlir.formats.arrays import from_float32
from lumen_mlir.formats.graph import bf16
from lumen_mlir.measure.limits import Meter
from lumen_mlir.run import engine, packed_weights
from lumen_mlir.storage.cache import Cache

if TYPE_CHECKING:
    from lumen_mlir.formats import Format

# Weights lie in memory, not in a cache: copies that together are several times as large are used in turn.
# Small ones, which a model would hold in a cache anyway, are not copied any number of times.
_COLD_BYTES, _MOST_COPIES = 160 << 20, 64


@dataclass(frozen=True)
class Measurement:
    """One product, measured several times.

    Attributes:
      format: name of the weight's format.
      n, k, rows: of the product; a weight has n x k values, the activation rows x k.
      read: bytes of the packed weight.
      peak: the limit of its arithmetic, ``int8`` or ``float32`` (for weights that are floats; instructions
        for pairs of bf16 can do more).
      seconds: of every repetition.
      read_limits: bytes per second of a plain read, measured before every repetition.
      peak_limits: operations per second, likewise.
    """

    format: str
    n: int
    k: int
    rows: int
    read: int
    peak: str
    seconds: tuple[float, ...]
    read_limits: tuple[float, ...]
    peak_limits: tuple[float, ...]

    @property
    def operations(self) -> int:
        """A multiplication and an addition count as two."""
        return 2 * self.rows * self.n * self.k

    @property
    def bound(self) -> str:
        """Which limit is the nearer one: ``read`` or the ``peak``."""
        reading = self.read / max(self.read_limits)
        return "read" if reading > self.operations / max(self.peak_limits) else self.peak

    @property
    def bandwidth(self) -> float:
        """Bytes of weights per second, of the fastest repetition."""
        return self.read / min(self.seconds)

    @property
    def throughput(self) -> float:
        """Operations per second, of the fastest repetition."""
        return self.operations / min(self.seconds)

    @property
    def share(self) -> float:
        """Least possible time over the time taken, each at its best."""
        return self._least(max(self.read_limits), max(self.peak_limits)) / min(self.seconds)

    @property
    def median_share(self) -> float:
        """The median of the repetitions, each compared with the limits measured right before it."""
        limits = zip(self.seconds, self.read_limits, self.peak_limits, strict=True)
        return statistics.median(self._least(read, peak) / seconds for seconds, read, peak in limits)

    def _least(self, read: float, peak: float) -> float:
        return max(self.read / read, self.operations / peak)


class KernelBench:
    """Measures products for one target with one team of threads."""

    def __init__(self, target: Target, threads: int = 1, repetitions: int = 9, cache: Cache | None = None):
        self.target, self.threads, self.repetitions = target, threads, repetitions
        self._cache = cache
        self._clock = time.thread_time if threads == 1 else time.perf_counter
        self._meter = Meter(target, threads, cache, self._clock)
        self._random = np.random.default_rng(0)

    def measure(self, fmt: Format, n: int, k: int, rows: Sequence[int]) -> Iterator[Measurement]:
        """Measures the product of an n x k weight with each number of activation rows.

        Raises LumenError where k is not a multiple of the format's block.
        """
        weights = self._weights(fmt, n, k)
        product = engine.compile(
            self._module(fmt, n, k, max(rows)), self.target, self.threads, form="fused", cache=self._cache
        )
        signature = product.signatures["product"]
        peak = "float32" if fmt.is_float else "int8"
        for count in rows:
            activations = [self._array((count, *a.shape[1:]), a.dtype) for a in signature.inputs[:-1]]
            out = np.empty((count, n), np.float32)
            calls = [product.bind("product", *activations, weight, outs=[out]) for weight in weights]
            samples = [self._sample(calls, peak, count) for _ in range(self.repetitions + 1)][1:]
            yield Measurement(
                fmt.name, n, k, count, weights[0].nbytes, peak, *map(tuple, zip(*samples, strict=True))
            )

    def _sample(self, calls: list[engine.Call], peak: str, rows: int) -> tuple[float, float, float]:
        """(seconds of a product, bytes per second, operations per second), one after the other."""
        read = self._meter.once("read")
        arithmetic = max(self._meter.once(peak) for _ in range(3))
        # Products of many rows take long enough one by one.
        calls = calls if rows < 16 else calls[:1]
        start = self._clock()
        for call in calls:
            call.run()
        return (self._clock() - start) / len(calls), read, arithmetic

    def _array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if dtype.kind == "i":
            return self._random.integers(-127, 128, shape).astype(dtype)
        values = self._random.random(shape, np.float32)
        return from_float32(values, bf16) if dtype.kind == "u" else values.astype(dtype)

    def _weights(self, fmt: Format, n: int, k: int) -> list[np.ndarray]:
        """Packed copies of a random weight."""
        raw = random_weight(fmt, n, k, self._random)
        tile = self.target.tile(fmt)
        size = packing.packed_bytes(fmt, n, k, *tile)
        pitch = packing.align(size)
        copies = min(-(-_COLD_BYTES // pitch), _MOST_COPIES)
        memory = packed_weights.zeros((copies * pitch,), huge=True)
        with ir.Context():
            module = packed_weights.pack_module([(fmt.name, tile)])
            packer = engine.compile(module, self.target, self.threads, cache=self._cache)
        packer.invoke(
            packed_weights.pack_function(fmt.name, tile), raw.reshape(-1), n, k, outs=[memory[:size]]
        )
        for copy in range(1, copies):
            memory[copy * pitch : copy * pitch + size] = memory[:size]
        return [memory[copy * pitch : copy * pitch + size] for copy in range(copies)]

    def _module(self, fmt: Format, n: int, k: int, max_tokens: int) -> str:
        """A module of the fused form whose only kernel is the product: activations come quantized."""
        with ir.Context():
            module = ir.Module.create()
            with ir.InsertionPoint(module.body):
                if not fmt.is_float:
                    lumen.format(fmt.emit_ir())
                inputs = [lumen.rows_type(k), lumen.weight_type(n, k, fmt.name)]
                block = func.func("product", inputs, [lumen.rows_type(n)])
                with ir.InsertionPoint(block):
                    x, weight = block.arguments
                    values = weight if fmt.is_float else lumen.dequantize(weight)
                    func.return_([lumen.linear(x, values)])
            text = str(Compiler(self.target).run(module, stop_after="fused"))
        kernel = re.search(r"func\.func private @(qlinear_\w+)\((.*?)\) -> (.*) attributes", text)
        name, arguments, result = kernel.groups()
        names = ", ".join(re.findall(r"%\w+", arguments))
        types = ", ".join(re.findall(r"%\w+: (.*?)(?=, %|$)", arguments))
        begin = text.index("  func.func @product(")
        end = text.index("  func.func private")
        body = (
            f"  func.func @product({arguments}) -> {result} {{\n"
            f"    %y = call @{name}({names}) : ({types}) -> {result}\n    return %y : {result}\n  }}\n"
        )
        # What quantizes the activation is left out too.
        rest = text[text.index(f"  func.func private @{name}(") :]
        head = text[:begin].replace(
            "module attributes {", f"module attributes {{lumen.max_tokens = {max_tokens}, "
        )
        assert begin < end
        return head + body + rest


def random_weight(fmt: Format, n: int, k: int, random: np.random.Generator) -> np.ndarray:
    """The bytes [n, bytes per row] of a weight in any format: random codes, scales of ordinary size."""
    if fmt.is_float:
        return fmt.quantize(random.standard_normal((n, k), np.float32))
    raw = random.integers(0, 256, (n, fmt.row_bytes(k)), dtype=np.uint8)
    header, blocks = raw[:, : fmt.header_bytes], raw[:, fmt.header_bytes :]
    blocks = blocks.reshape(-1, fmt.bytes_per_block)
    places = {True: 0, False: 0}
    for kind in fmt.fields.values():
        part, place = header if kind.in_header else blocks, places[kind.in_header]
        places[kind.in_header] += kind.bytes
        if kind.dtype.kind == "f":
            values = random.random((len(part), kind.length or 1), np.float32) * np.float32(0.01)
            stored = from_float32(values, kind.dtype).view(np.uint8).reshape(len(part), -1)
            part[:, place : place + kind.bytes] = stored
    if fmt.header_bytes:
        raw = np.concatenate([header, blocks.reshape(n, -1)], axis=1)
    return raw
