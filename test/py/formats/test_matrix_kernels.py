# SPDX-License-Identifier: Apache-2.0
"""Products by instructions for small matrices: those of a target, or plain vector arithmetic in their place.

``lumen.mma`` has a meaning without an instruction, so no machine is needed that has one. A token must get the
same result however many tokens a call has, and so whether its tile is one of matrices.
"""

import dataclasses
import functools

import numpy as np
import pytest
from emulated import marks_of
from format_classes import representatives
from format_kernels import MOST_TOKENS, Terms, compile_cases, rounding_bound
from matrix_target import MATRICES
from test_kernels import CASES, activations

from lumen_mlir.compiler import targets
from lumen_mlir.compiler.targets import Dot

FEW = 7
"""Tokens of which no tile is one of matrices."""

# smmla's shape, another with more tokens than rows, sdot's, and one with wider vectors. Then tiles: several
# vectors have the sums of an instruction, which takes fewer columns than its k where groups are smaller. They
# hold all rows at once or some, and one token each or several.
SHAPES = {
    "plain": MATRICES,
    "tall": dataclasses.replace(MATRICES, vector_registers=16, mma=Dot(4, 1, 4, "si8", "si8")),
    "flat": dataclasses.replace(MATRICES, mma=Dot(1, 4, 4, "si8", "si8")),
    "wide": dataclasses.replace(
        MATRICES, vector_bits=512, vector_registers=8, mma=Dot(2, 8, 16, "si8", "si8"), rows=16
    ),
    "tiles": dataclasses.replace(MATRICES, mma=Dot(8, 4, 32, "si8", "si8", step=4)),
    "parts": dataclasses.replace(MATRICES, vector_registers=16, mma=Dot(8, 4, 16, "si8", "si8", step=8)),
    "pairs": dataclasses.replace(MATRICES, vector_bits=256, mma=Dot(16, 4, 32, "si8", "si8", step=4)),
}
if not targets.get("x86-64-v3").missing():
    v3 = targets.get("x86-64-v3")
    # Multiplication and addition in one.
    SHAPES["fused"] = dataclasses.replace(
        MATRICES, name="fused", triple=v3.triple, cpu=v3.cpu, needs=v3.needs, fma=True, f16=True
    )
DEFAULT = list(SHAPES)[-1]
SMMLA, SDOT = EMULATED = ("armv8.6-a+i8mm", "armv8.2-a+dotprod")
SHAPES |= {name: targets.get(name) for name in EMULATED}

# All features of formats; and groups of 32 and 16, minima in floats and in integers, codes times scales.
CHOSEN = {
    "flat": {"q4_1", "q4_k", "q6_k"},
    "tiles": {"q6_k"},
    "parts": {"tq2_0"},
    "pairs": {"q4_1"},
    DEFAULT: {
        *representatives({name: case.fmt for name, case in CASES.items()}),
        "q2_k",
        "q3_k",
        "q4_k",
        "q6_k",
        "q4_0",
    },
    SMMLA: {"q4_0", "q4_1", "q2_k", "q3_k", "q4_k", "q6_k", "nvfp4", "tq2_0"},
    SDOT: {"q4_0", "q4_k", "nvfp4"},
}


def chosen(name, shape):
    return name in CHOSEN.get(shape, ())


def marks(name, shape):
    return [
        *(marks_of(shape) if shape in EMULATED else []),
        *([] if chosen(name, shape) else [pytest.mark.matrix]),
    ]


PARAMETERS = [pytest.param(name, shape, marks=marks(name, shape)) for shape in SHAPES for name in CASES]


@functools.cache
def _engine(shape, is_chosen):
    cases = [case for name, case in CASES.items() if chosen(name, shape) == is_chosen]
    return compile_cases(cases, SHAPES[shape], "int8")


@pytest.mark.parametrize(("name", "shape"), PARAMETERS)
def test_product(name, shape):
    case = CASES[name]
    x, packed = activations(case.columns, MOST_TOKENS), case.packed(SHAPES[shape])

    def linear(rows):
        return _engine(shape, chosen(name, shape)).invoke(f"linear_{name}", rows, packed)

    found = linear(x)
    few = [linear(x[first : first + FEW]) for first in range(0, MOST_TOKENS, FEW)]
    np.testing.assert_array_equal(found, np.concatenate(few))
    terms = Terms.of(case, x)
    limit = min(2e-6, rounding_bound(case)) * terms.magnitude()
    assert np.all(abs(found - terms.product()) <= limit)
