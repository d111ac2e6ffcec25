# SPDX-License-Identifier: Apache-2.0
"""Kernels synthesized from random descriptions, against NumPy."""

import numpy as np
import pytest
from emulated import EMULATED, EMULATED_GPU, EMULATED_LAUNCHES, WASM, marks_of
from format_kernels import Case, Terms, aligned, compile_cases, rounding_bound
from format_samples import random_rows, same_floats
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_formats import Recipe, recipes

from lumen_mlir.compiler import targets
from lumen_mlir.formats import packing

ROWS, BLOCKS = 19, 3


def finite(fmt, rng):
    """Rows of random bytes whose floats are from 1/2 to 1, of both signs."""
    raw = random_rows(fmt, ROWS, BLOCKS, int(rng.integers(1000)))
    starts = {True: [0], False: [fmt.header_bytes + i * fmt.bytes_per_block for i in range(BLOCKS)]}
    offsets = {True: 0, False: 0}
    for kind in fmt.fields.values():
        for start in starts[kind.in_header] if kind.dtype.kind == "f" else ():
            values = rng.uniform(0.5, 1, (ROWS, kind.length or 1)) * rng.choice([-1, 1], (ROWS, 1))
            at = start + offsets[kind.in_header]
            raw[:, at : at + kind.bytes] = values.astype(kind.dtype.numpy).view(np.uint8)
        offsets[kind.in_header] += kind.bytes
    return raw


def check(target, many, seed):
    """Packing, embeddings and products of formats with these descriptions."""
    rng = np.random.default_rng(seed)
    built = [recipe.build(f"random{i}") for i, recipe in enumerate(many)]
    cases = [Case(fmt, finite(fmt, rng), BLOCKS * fmt.block) for fmt in built]
    engine = compile_cases(cases, target.name, "int8", tokens=2)
    for case in cases:
        raw = random_rows(case.fmt, ROWS, BLOCKS, seed)
        expected = packing.pack(case.fmt, raw, *target.tile(case.fmt))
        found = aligned(np.zeros_like(expected))
        engine.invoke(f"pack_{case.name}", raw.reshape(-1), ROWS, case.columns, outs=[found])
        np.testing.assert_array_equal(found, expected)
        ids = np.array([ROWS - 1, 0, 1], np.int32)
        rows = engine.invoke(f"embedding_{case.name}", ids, raw.reshape(-1))
        assert same_floats(rows, case.fmt.dequantize(raw)[ids])
        # So many that instructions for matrices take eight of them.
        x = rng.standard_normal((9 if target.mma else 3, case.columns), np.float32)
        terms = Terms.of(case, x)
        found = engine.invoke(f"linear_{case.name}", x, case.packed(target.name))
        bound = rounding_bound(case) * terms.magnitude()
        assert np.all(abs(found - terms.product()) <= bound)


def some(examples: int):
    """So many times six descriptions, the first time the simplest ones, and a seed for their weights.

    Compiling is what takes the time: a failure is shown as it was found, not made smaller.
    """
    usual = settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    drawn = given(many=st.lists(recipes(), min_size=6, max_size=6), seed=st.integers(0, 1000))
    return lambda test: usual(drawn(test))


@some(2)
def test_kernels(many, seed):
    check(targets.native(), many, seed)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(target, marks=marks_of(target.name), id=target.name)
        for target in (*EMULATED, *WASM, EMULATED_GPU, EMULATED_LAUNCHES)
    ],
)
@some(2)
def test_kernels_elsewhere(target, many, seed):
    check(target, many, seed)


def test_groups_without_factors_of_their_own():
    # All codes of a block are added up before its scale.
    check(targets.native(), [Recipe(256, 4, ((planes, 1),), "f-", "--", None, 0) for planes in (1, 4)], 3)
