# SPDX-License-Identifier: Apache-2.0
"""Activation functions behind products.

Two that meet in their kernel: all tokens together, and a single one, whose weights go in turn.
"""

import numpy as np
import pytest
from kernel_runner import WITH_VULKAN, Kernel, on_targets, relative_error
from matrix_target import MATRICES

from lumen_mlir import formats
from lumen_mlir.compiler import targets
from lumen_mlir.formats import packing
from lumen_mlir.reference import ops
from lumen_mlir.run.engine import aligned_empty
from lumen_mlir.testing.random_blocks import random_weights

TOKENS = (1, 2, 7, 19)
COLUMNS = 256


def module(activation, gate, up, rows, tiles, bias, order, residual):
    """activation(gate) * up for weights of ``rows`` rows in packed tiles, whose results come in ``order``."""
    types = [
        f"tensor<{rows}x{COLUMNS}x!lumen.q<@{name}>, #lumen.packed<rows = {tile}, k = 4>>"
        for name, tile in zip((gate, up), tiles, strict=True)
    ]
    result, vector = f"tensor<?x{rows}xf32>", f"tensor<{rows}xf32>"
    sums = f"tensor<?x{COLUMNS // 16}xi32>, tensor<?x{COLUMNS // 16}xf32>"
    codes = f"tensor<?x{COLUMNS}xi8>, tensor<?x{COLUMNS // 256}xf32>, {sums}"
    biases = f"biases(%b, %c : {vector}, {vector})" if bias else ""
    last = f"%z = lumen.add %s, %r : {result}" if residual else f"%z = lumen.add %s, %s : {result}"
    return f"""
    {"".join(formats.get(name).emit_ir() for name in dict.fromkeys((gate, up)))}
    func.func @f(%x: tensor<?x{COLUMNS}xf32>, %r: {result}, %b: {vector}, %c: {vector},
        %g: {types[0]}, %u: {types[1]}) -> {result} {{
      %q:4 = lumen.quantize %x {{group = 256 : i64, sum_group = 16 : i64}}
        : tensor<?x{COLUMNS}xf32> -> {codes}
      %y:2 = lumen.qlinear activations(%q#0, %q#1, %q#2, %q#3 : {codes})
        weights(%g, %u : {types[0]}, {types[1]}) {biases} -> {result}, {result}
      %a = lumen.{activation} %y#{order[0]} : {result}
      %s = lumen.mul %a, %y#{order[1]} : {result}
      {last}
      return %z : {result}
    }}"""


PAIRS = [
    ("silu", "q4_k", "q6_k", 37, True, (0, 1), False),
    ("silu", "iq4_xs", "q4_k", 70, False, (1, 0), True),
    ("gelu", "q4_k", "q6_k", 37, True, (0, 1), False),
    ("silu", "q4_k", "q4_k", 96, False, (0, 1), False),
    ("silu", "q6_k", "q6_k", 5, True, (1, 0), False),
]


@pytest.mark.parametrize(
    ("activation", "gate", "up", "rows", "bias", "order", "residual", "target"),
    [*on_targets(PAIRS, PAIRS[:2], WITH_VULKAN), pytest.param(*PAIRS[0], MATRICES, id="matrices")],
)
def test_gated_products(activation, gate, up, rows, bias, order, residual, target):
    chosen = [formats.get(name) for name in (gate, up)]
    # Weights that meet share the rows of a tile.
    tile = min(targets.get(target).tile(fmt).rows for fmt in chosen)
    kernel = Kernel(module(activation, gate, up, rows, (tile, tile), bias, order, residual), target)
    rng = np.random.default_rng(rows)
    weights, packed = [], []
    for fmt in chosen:
        data = random_weights(rng, fmt.name, rows * COLUMNS, COLUMNS**-0.5)
        raw = np.frombuffer(data, np.uint8).reshape(rows, -1)
        weights.append(fmt.dequantize(raw))
        tiles = packing.pack(fmt, raw, tile)
        packed.append(aligned_empty(tiles.shape))
        packed[-1][:] = tiles
    biases = rng.standard_normal((2, rows), dtype=np.float32)
    x = rng.standard_normal((max(TOKENS), COLUMNS), dtype=np.float32)
    r = rng.standard_normal((max(TOKENS), rows), dtype=np.float32)

    quantized, scales, *_ = ops.quantize(x, 256, 16)
    products = [(quantized * scales) @ weight.T + bias * b for weight, b in zip(weights, biases, strict=True)]
    gated = ops.MEANINGS[activation](products[order[0]]) * products[order[1]]
    expected = gated + (r if residual else gated)

    def run(tokens, threads):
        given = [np.ascontiguousarray(x[tokens]), np.ascontiguousarray(r[tokens]), *biases, *packed]
        (found,) = kernel.run(*given, results=[((len(given[0]), rows), np.float32)], threads=threads)
        return found

    whole = run(slice(None), 1)
    assert relative_error(whole, expected) < 1e-5
    for tokens in TOKENS:
        for threads in (1, 2, 3):
            np.testing.assert_array_equal(run(slice(tokens), threads), whole[:tokens])
    for threads in (1, 2, 3):
        np.testing.assert_array_equal(run(slice(3, 4), threads), whole[3:4])


@pytest.mark.parametrize(("activation", "target"), on_targets(["silu", "gelu"], ["gelu"], WITH_VULKAN))
def test_activation_of_one_product(activation, target):
    """Without a gate: the activation of a product with its bias."""
    rows, fmt = 37, formats.get("q8_0")
    tile = targets.get(target).tile(fmt).rows
    weight = f"tensor<{rows}x{COLUMNS}x!lumen.q<@q8_0>, #lumen.packed<rows = {tile}, k = 4>>"
    x_type, result = f"tensor<?x{COLUMNS}xf32>", f"tensor<?x{rows}xf32>"
    text = f"""
    {fmt.emit_ir()}
    func.func @f(%x: {x_type}, %b: tensor<{rows}xf32>, %w: {weight}) -> {result} {{
      %y = lumen.qlinear activations(%x : {x_type}) weights(%w : {weight}) biases(%b : tensor<{rows}xf32>)
        -> {result}
      %a = lumen.{activation} %y : {result}
      return %a : {result}
    }}"""
    kernel = Kernel(text, target)
    rng = np.random.default_rng(rows)
    data = random_weights(rng, "q8_0", rows * COLUMNS, COLUMNS**-0.5)
    raw = np.frombuffer(data, np.uint8).reshape(rows, -1)
    tiles = packing.pack(fmt, raw, tile)
    packed = aligned_empty(tiles.shape)
    packed[:] = tiles
    bias = rng.standard_normal(rows, dtype=np.float32)
    for tokens in TOKENS:
        x = rng.standard_normal((tokens, COLUMNS), dtype=np.float32)
        codes, scales, *_ = ops.quantize(x, 32, 32)
        product = (codes * np.repeat(scales, 32, axis=1)) @ fmt.dequantize(raw).T
        expected = ops.MEANINGS[activation](product + bias)
        for threads in (1, 2, 3):
            (found,) = kernel.run(x, bias, packed, results=[((tokens, rows), np.float32)], threads=threads)
            assert relative_error(found, expected) < 1e-5
