# SPDX-License-Identifier: Apache-2.0
"""Weights of more than 4 GiB on a GPU: what is counted in 32 bits reaches their ends all the same."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import EMULATED_GPU
from kernel_runner import Kernel

from lumen_mlir import formats
from lumen_mlir.formats import packing
from lumen_mlir.reference import ops
from lumen_mlir.run.engine import aligned_empty
from lumen_mlir.testing.random_blocks import random_weights

pytestmark = pytest.mark.gpu

FORMAT = formats.get("q8_0")
ROWS, COLUMNS = 32, 65536


def experts_text(experts: int) -> str:
    """The product of a token with that expert of so many which ``groups`` names."""
    weight = f"tensor<{experts * ROWS}x{COLUMNS}x!lumen.q<@q8_0>, {packing.Tile.of(FORMAT, ROWS)}>"
    groups = f"tensor<{experts + 1}x2xi32>"
    factors = f"tensor<?x{COLUMNS // 32}x"
    types = f"tensor<?x{COLUMNS}xi8>, {factors}f32>, {factors}i32>, {factors}f32>"
    return f"""
    {FORMAT.emit_ir()}
    func.func @f(%x: tensor<?x{COLUMNS}xf32>, %groups: {groups}, %w: {weight}) -> tensor<?x{ROWS}xf32> {{
      %q:4 = lumen.quantize %x {{group = 32 : i64, sum_group = 32 : i64}} : tensor<?x{COLUMNS}xf32> -> {types}
      %y = lumen.qlinear activations(%q#0, %q#1, %q#2, %q#3 : {types}) weights(%w : {weight})
        groups(%groups : {groups}) -> tensor<?x{ROWS}xf32>
      return %y : tensor<?x{ROWS}xf32>
    }}"""


def product(x: np.ndarray, packed: np.ndarray, experts: int, chosen: int) -> np.ndarray:
    groups = ops.group_tokens(np.full((len(x), 1), chosen, np.int32), experts)[2]
    kernel = Kernel(experts_text(experts), EMULATED_GPU.name)
    (result,) = kernel.run(x, groups, packed, results=[((len(x), ROWS), np.float32)], in_place=True)
    return result


@pytest.mark.parametrize("tokens", [1, 5])
def test_the_last_expert(tokens):
    """It lies behind 4 GiB, of which no other page is touched."""
    rng = np.random.default_rng(tokens)
    raw = np.frombuffer(random_weights(rng, "q8_0", ROWS * COLUMNS, 1.0), np.uint8).reshape(ROWS, -1)
    packed = packing.pack(FORMAT, raw, ROWS)
    own = aligned_empty(packed.shape)
    own[:] = packed
    x = rng.standard_normal((tokens, COLUMNS), dtype=np.float32)
    expected = product(x, own, experts=1, chosen=0)
    assert np.isfinite(expected).all() and expected.any()
    experts = 2**32 // packed.nbytes + 2
    large = aligned_empty((experts * packed.nbytes,))
    large[-packed.nbytes :] = packed.reshape(-1)
    np.testing.assert_array_equal(product(x, large, experts, experts - 1), expected)
