# SPDX-License-Identifier: Apache-2.0
"""Products that modules say in linalg, compared with NumPy in float64 and with lumen's own op."""

import numpy as np
import pytest
from kernel_runner import TARGETS, Kernel

import lumen_mlir
from lumen_mlir import formats
from lumen_mlir.compiler import targets
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import packing
from lumen_mlir.run.engine import aligned_empty
from lumen_mlir.testing.random_blocks import random_weights

TOKENS = (1, 2, 7, 19)
ROWS, COLUMNS = 37, 256
X, W, Y = f"tensor<?x{COLUMNS}xf32>", f"tensor<{ROWS}x{COLUMNS}xf32>", f"tensor<?x{ROWS}xf32>"
TURNED = f"tensor<{COLUMNS}x{ROWS}xf32>"
MAPS = "affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>"
SWAPPED = "affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (m, n)>"
LOOPS = 'iterator_types = ["parallel", "parallel", "reduction"]'

# Each computes %r + %x * transposed %f.
FORMS = {
    "map": f"%y = linalg.matmul indexing_maps = [{MAPS}] ins(%x, %f : {X}, {W}) outs(%r : {Y}) -> {Y}",
    "transpose": f"""%e = tensor.empty() : {TURNED}
      %t = linalg.transpose ins(%f : {W}) outs(%e : {TURNED}) permutation = [1, 0]
      %y = linalg.matmul ins(%x, %t : {X}, {TURNED}) outs(%r : {Y}) -> {Y}""",
    "contract": f"""%y = linalg.contract indexing_maps = [{SWAPPED}]
      ins(%f, %x : {W}, {X}) outs(%r : {Y}) -> {Y}""",
    "generic": f"""%y = linalg.generic {{indexing_maps = [{MAPS}], {LOOPS}}}
        ins(%x, %f : {X}, {W}) outs(%r : {Y}) {{
      ^bb0(%a: f32, %b: f32, %sum: f32):
        %product = arith.mulf %b, %a : f32
        %next = arith.addf %product, %sum : f32
        linalg.yield %next : f32
      }} -> {Y}""",
    "zero": f"""%zero = arith.constant 0.0 : f32
      %c0 = arith.constant 0 : index
      %tokens = tensor.dim %x, %c0 : {X}
      %e = tensor.empty(%tokens) : {Y}
      %out = linalg.fill ins(%zero : f32) outs(%e : {Y}) -> {Y}
      %p = linalg.matmul indexing_maps = [{MAPS}] ins(%x, %f : {X}, {W}) outs(%out : {Y}) -> {Y}
      %y = linalg.add ins(%r, %p : {Y}, {Y}) outs(%out : {Y}) -> {Y}""",
}
LUMEN = f"%p = lumen.linear %x, %f : {X}, {W} -> {Y}\n%y = lumen.add %r, %p : {Y}"


def module(name: str, body: str) -> str:
    weight = f"tensor<{ROWS}x{COLUMNS}x!lumen.q<@{name}>>"
    return f"""{formats.get(name).emit_ir()}
    func.func @f(%x: {X}, %r: {Y}, %w: {weight}) -> {Y} {{
      %f = lumen.dequantize %w : {weight} -> {W}
      {body}
      return %y : {Y}
    }}"""


@pytest.mark.parametrize("name", ["q8_0", "q4_k"])
@pytest.mark.parametrize("target", TARGETS)
def test_products(target, name):
    fmt, rng = formats.get(name), np.random.default_rng(5)
    raw = random_weights(rng, name, ROWS * COLUMNS, COLUMNS**-0.5).reshape(ROWS, -1)
    weight = fmt.dequantize(raw.reshape(-1)).reshape(ROWS, COLUMNS).astype(np.float64)
    packed = packing.pack(fmt, raw, *targets.get(target).tile(fmt))
    aligned = aligned_empty(packed.shape)
    aligned[:] = packed
    own = Kernel(module(name, LUMEN), target)
    for form, body in FORMS.items():
        kernel = Kernel(module(name, body), target)
        for tokens in TOKENS:
            x = rng.standard_normal((tokens, COLUMNS)).astype(np.float32)
            r = rng.standard_normal((tokens, ROWS)).astype(np.float32)
            results = [((tokens, ROWS), np.float32)]
            (found,) = kernel.run(x, r, aligned, results=results)
            np.testing.assert_array_equal(found, own.run(x, r, aligned, results=results)[0], err_msg=form)
            # Activations are codes of 8 bits.
            np.testing.assert_allclose(found, r + x @ weight.T, atol=0.05, err_msg=form)


def test_what_is_not_raised_is_named():
    body = f"%g = math.absf %f : {W}\n" + FORMS["map"].replace("%f", "%g")
    with pytest.raises(LumenError, match="'lumen.dequantize' op makes a float copy of a quantized weight"):
        lumen_mlir.compile(module("q8_0", body), use_cache=False)
