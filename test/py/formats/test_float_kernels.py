# SPDX-License-Identifier: Apache-2.0
"""Products with activations in float32, as compiled code.

Many tokens may meet a tile of rows that is converted or unpacked once, and registers that hold several
activations. A token must get the same result however many tokens a call has.
"""

import functools

import numpy as np
import pytest
from emulated import EMULATED, marks_of
from format_kernels import MOST_TOKENS, aligned, compile_cases
from test_kernels import CASES, activations

import lumen_mlir
from lumen_mlir import formats
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import CompilerOptions
from lumen_mlir.formats import packing

FEW = 7
"""Tokens for which nothing is converted."""

TARGETS = (targets.native().name, EMULATED[0].name, EMULATED[-1].name)
# Codes of one plane and of several, tables, groups of all sizes, minima, and factors of a row.
CHOSEN = ("q8_0", "q4_1", "q4_k", "q6_k", "iq4_nl", "nvfp4", "two_headed")
FLOATS = ("f16", "bf16", "f32")
# Whole loads of four activations, three columns more, fewer than a load, and an odd number; then a single
# row, whose sums are too few for vectors.
SHAPES = ((11, 64), (11, 35), (11, 3), (11, 37), (1, 37), (1, 5), (1, 4), (1, 2), (1, 1))


def check(linear, x, weight):
    """``linear(x)`` is the same in pieces, and as near to the product as sums of as many terms must be."""
    found = linear(x)
    pieces = [linear(x[first : first + FEW]) for first in range(0, len(x), FEW)]
    np.testing.assert_array_equal(found, np.concatenate(pieces))
    exact = x.astype(np.float64) @ weight.astype(np.float64).T
    magnitude = abs(x).astype(np.float64) @ abs(weight).astype(np.float64).T
    assert np.all(abs(found - exact) <= (x.shape[1] + 2) * 2.0**-24 * magnitude)


@functools.cache
def _engine(target):
    return compile_cases([CASES[name] for name in CHOSEN], target, "exact")


@pytest.mark.parametrize("name", CHOSEN)
@pytest.mark.parametrize("target", [pytest.param(name, marks=marks_of(name)) for name in TARGETS])
def test_codes(name, target):
    case = CASES[name]
    packed = case.packed(target)
    check(
        lambda x: _engine(target).invoke(f"linear_{name}", x, packed),
        activations(case.columns, MOST_TOKENS),
        case.fmt.dequantize(case.raw),
    )


@functools.cache
def _float_engine(target):
    functions = [
        f"""
        func.func @{name}_{n}x{k}(%x: tensor<?x{k}xf32>, %w: tensor<{n}x{k}x{name}>) -> tensor<?x{n}xf32> {{
          %y = lumen.linear %x, %w : tensor<?x{k}xf32>, tensor<{n}x{k}x{name}> -> tensor<?x{n}xf32>
          return %y : tensor<?x{n}xf32>
        }}"""
        for name in FLOATS
        for n, k in SHAPES
    ]
    text = f"module attributes {{lumen.max_tokens = {MOST_TOKENS} : i64}} {{\n" + "\n".join(functions) + "}"
    options = CompilerOptions(activations="exact")
    return lumen_mlir.compile(text, targets.get(target), threads=1, options=options, use_cache=False)


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("target", [pytest.param(name, marks=marks_of(name)) for name in TARGETS])
def test_floats(name, target, rows, columns):
    fmt = formats.get(name)
    rng = np.random.default_rng(columns)
    raw = fmt.quantize(rng.standard_normal((rows, columns), np.float32)).reshape(rows, -1)
    packed = aligned(packing.pack(fmt, raw, *targets.get(target).tile(fmt)))
    check(
        lambda x: _float_engine(target).invoke(f"{name}_{rows}x{columns}", x, packed),
        rng.standard_normal((MOST_TOKENS, columns), np.float32),
        fmt.dequantize(raw).reshape(rows, columns),
    )
