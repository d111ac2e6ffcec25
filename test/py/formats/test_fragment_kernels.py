# SPDX-License-Identifier: Apache-2.0
"""Products of many tokens by a warp's instruction for small matrices, in an emulator.

A token must get the same result however many tokens a call has, and so whether its tile is one of matrices.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from emulated import EMULATED_GPU
from format_classes import representatives
from format_kernels import Case, Terms, compile_cases, rounding_bound
from test_kernels import CASES as KNOWN
from test_kernels import ROWS, activations

from lumen_mlir.formats.dsl import Codes, f16, f32, quant_format, u8, unpack

pytestmark = pytest.mark.gpu

FEW = 7
"""Tokens of which no tile is one of matrices."""
COUNTS = (*range(8, 18), 33, 64)
MOST = max(COUNTS)


@quant_format("upward", block=32, bits=4, bias=3, size=18, register=False)
class Upward:
    """Values from 3 to 18."""

    d: f16
    qs: u8[16]

    def decode(b):
        return Codes(unpack(b.qs, 4), scale=f32(b.d))


def _upward() -> Case:
    raw = np.random.default_rng(3).integers(0, 256, (ROWS, Upward.row_bytes(96)), dtype=np.uint8)
    raw.reshape(ROWS, 3, -1)[:, :, 1] &= 0x3B  # No scale is infinite.
    return Case(Upward, raw, 96)


CASES = KNOWN | {"upward": _upward()}
# Groups of 32 and 16, minima in floats and in integers, sums and scales that stay integers, tables, signed
# bytes; all planes of codes.
CHOSEN = {
    *representatives({name: case.fmt for name, case in CASES.items()}),
    *("q1_0", "q2_k", "q3_k", "q4_0", "q4_1", "q4_k", "q5_0", "q6_k", "q8_0", "iq4_nl", "nvfp4", "tq2_0"),
    "upward",
}
NAMES = [pytest.param(name, marks=[] if name in CHOSEN else [pytest.mark.matrix]) for name in CASES]


@functools.cache
def _engine(is_chosen: bool):
    chosen = [case for name, case in CASES.items() if (name in CHOSEN) == is_chosen]
    return compile_cases(chosen, EMULATED_GPU.name, "int8")


@pytest.mark.parametrize("name", NAMES)
def test_product(name):
    case = CASES[name]
    x, packed = activations(case.columns, MOST), case.packed(EMULATED_GPU.name)

    def linear(rows):
        return _engine(name in CHOSEN).invoke(f"linear_{name}", rows, packed)

    few = np.concatenate([linear(x[first : first + FEW]) for first in range(0, MOST, FEW)])
    terms = Terms.of(case, x)
    limit = min(2e-6, rounding_bound(case)) * terms.magnitude()
    assert np.all(abs(few - terms.product()) <= limit)
    for count in COUNTS:
        np.testing.assert_array_equal(linear(x[:count]), few[:count])
