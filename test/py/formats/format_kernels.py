# SPDX-License-Identifier: Apache-2.0
"""Kernels of formats as compiled code, for comparison with NumPy: packing, products, embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import lumen_mlir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import CompilerOptions
from lumen_mlir.formats import packing
from lumen_mlir.formats.packing import Tile
from lumen_mlir.formats.quantized import QuantFormat
from lumen_mlir.reference import ops
from lumen_mlir.run.engine import Engine, aligned_empty

MOST_TOKENS = 71


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy of bytes at an address that kernels take."""
    copy = aligned_empty(array.shape)
    copy[:] = array
    return copy


@dataclass(frozen=True, eq=False)
class Case:
    """A format with a weight [rows, columns] in it: ``raw`` are bytes [rows, row bytes]."""

    fmt: QuantFormat
    raw: np.ndarray
    columns: int

    @property
    def rows(self) -> int:
        return len(self.raw)

    @property
    def name(self) -> str:
        return self.fmt.name

    def packed(self, target: str) -> np.ndarray:
        return aligned(packing.pack(self.fmt, self.raw, *targets.get(target).tile(self.fmt)))


def _functions(case: Case, tile: Tile) -> str:
    name, n, k = case.name, case.rows, case.columns
    element = f"!lumen.q<@{name}>"
    packed = f"tensor<?x?x{element}, {tile}>"
    return f"""{case.fmt.emit_ir()}
    func.func @pack_{name}(%w: tensor<?x?x{element}>) -> {packed} {{
      %p = lumen.pack %w : tensor<?x?x{element}> -> {packed}
      return %p : {packed}
    }}
    func.func @linear_{name}(%x: tensor<?x{k}xf32>, %w: tensor<{n}x{k}x{element}>) -> tensor<?x{n}xf32> {{
      %f = lumen.dequantize %w : tensor<{n}x{k}x{element}> -> tensor<{n}x{k}xf32>
      %y = lumen.linear %x, %f : tensor<?x{k}xf32>, tensor<{n}x{k}xf32> -> tensor<?x{n}xf32>
      return %y : tensor<?x{n}xf32>
    }}
    func.func @embedding_{name}(%ids: tensor<?xi32>, %w: tensor<{n}x{k}x{element}>) -> tensor<?x{k}xf32> {{
      %x = lumen.embedding %ids, %w : tensor<?xi32>, tensor<{n}x{k}x{element}> -> tensor<?x{k}xf32>
      return %x : tensor<?x{k}xf32>
    }}"""


def _product(case: Case, tile: Tile, group: int) -> str:
    """A product whose activations share a scale by ``group``, which the compiler need not have chosen."""
    name, n, k, size = case.name, case.rows, case.columns, min(case.fmt.group, 32)
    weight = f"tensor<{n}x{k}x!lumen.q<@{name}>, {tile}>"
    sums = f"tensor<?x{k // size}xi32>, tensor<?x{k // size}xf32>"
    codes = f"tensor<?x{k}xi8>, tensor<?x{k // group}xf32>, {sums}"
    return f"""
    func.func @product_{name}_{group}(%x: tensor<?x{k}xf32>, %w: {weight}) -> tensor<?x{n}xf32> {{
      %q:4 = lumen.quantize %x {{group = {group} : i64, sum_group = {size} : i64}}
        : tensor<?x{k}xf32> -> {codes}
      %y = lumen.qlinear activations(%q#0, %q#1, %q#2, %q#3 : {codes}) weights(%w : {weight})
        -> tensor<?x{n}xf32>
      return %y : tensor<?x{n}xf32>
    }}"""


def compile_cases(cases: Sequence[Case], target: str, activations: str, tokens: int | None = None) -> Engine:
    """An engine with ``pack_NAME``, ``linear_NAME`` and ``embedding_NAME`` of every case.

    ``tokens`` makes register tiles smaller than the target's, which takes less time to compile.
    """
    chosen = targets.get(target)
    functions = [_functions(case, chosen.tile(case.fmt)) for case in cases]
    return _compile(functions, target, activations, tokens)


def compile_groups(products: Sequence[tuple[Case, int]], target: str, tokens: int) -> Engine:
    """An engine with ``product_NAME_GROUP`` of each case and group; ``tokens`` as in ``compile_cases``."""
    functions = [case.fmt.emit_ir() for case in dict.fromkeys(case for case, _ in products)]
    functions += [_product(case, targets.get(target).tile(case.fmt), group) for case, group in products]
    return _compile(functions, target, "int8", tokens)


def _compile(functions: Sequence[str], target: str, activations: str, tokens: int | None) -> Engine:
    text = f"module attributes {{lumen.max_tokens = {MOST_TOKENS} : i64}} {{\n" + "\n".join(functions) + "}"
    chosen = targets.get(target)
    chosen = dataclasses.replace(chosen, tokens=tokens or chosen.tokens)
    options = CompilerOptions(activations=activations)
    return lumen_mlir.compile(text, chosen, threads=1, options=options, use_cache=False)


@dataclass(frozen=True)
class Terms:
    """An int8 product taken apart, G groups of g weights (at most 32).

    Attributes:
      values: f32 [N, G, g], what the codes stand for.
      scale, minimum: f32 [N, G]; the minimum may be None.
      codes, scales, sums: of the activations, see ``ops.quantize``; sums are per group of the weight.
    """

    values: np.ndarray
    scale: np.ndarray
    minimum: np.ndarray | None
    codes: np.ndarray
    scales: np.ndarray
    sums: np.ndarray

    @staticmethod
    def of(case: Case, x: np.ndarray, group: int | None = None) -> Terms:
        """``group``: activations that share a scale (default: those that the compiler lets share one)."""
        fmt, size = case.fmt, min(case.fmt.group, 32)
        decoded = fmt.decode_codes(case.raw)
        values = fmt.values[decoded.codes].reshape(case.rows, -1, size)
        factors = [
            np.repeat(fmt.combine(name, getattr(decoded, name)), fmt.group // size, axis=1)
            for name, _ in fmt.factors
        ]
        codes, scales, _, sums = ops.quantize(x, group or ops.activation_group(fmt.block), size)
        return Terms(values, *[*factors, None][:2], codes, scales, sums)

    def product(self) -> np.ndarray:
        """f32 [T, N] in the order of the kernels."""
        values = np.ascontiguousarray(self.values.transpose(1, 2, 0))
        minimum = None if self.minimum is None else self.minimum.T
        return ops.integer_product(self.codes, self.scales, self.sums, values, self.scale.T, minimum)

    def magnitude(self) -> np.ndarray:
        """f64 [T, N]: the sum of the magnitudes of all terms, to which rounding errors are relative."""
        tokens, size = len(self.codes), self.values.shape[-1]
        x = self.codes.reshape(tokens, -1, size).astype(np.float64)
        isums = np.einsum("tgk,ngk->tgn", x, self.values, optimize=True)
        scales = np.repeat(self.scales, self.values.shape[1] // self.scales.shape[1], axis=1)
        magnitude = np.einsum("tgn,ng,tg->tn", abs(isums), abs(self.scale), scales, optimize=True)
        if self.minimum is not None:
            magnitude += (scales * abs(self.sums)) @ abs(self.minimum.T)
        return magnitude


def rounding_bound(case: Case) -> float:
    """The largest difference between two float32 sums of the terms of a product, relative to their magnitude.

    Every term is rounded at most 4 times and every partial sum once, in the kernel and in the reference; both
    count as 2^-24 of at most the sum of all magnitudes. (docs/packed-layout.md)
    """
    groups = case.columns // min(case.fmt.group, 32)
    terms = groups * len(list(case.fmt.factors))
    return 2 * (terms + 4) * 2.0**-24
