# SPDX-License-Identifier: Apache-2.0
"""Products by AMX: its code runs, on CPUs without it in an emulator, and gives what dot products give."""

import dataclasses
import re

import numpy as np
import pytest
from format_kernels import MOST_TOKENS, Case, Terms, compile_cases, rounding_bound
from kernel_code import linear
from test_kernels import CASES, activations
from tile_emulator import AMX, NARROW, TILES, emulated_tiles, has_tiles, needs_emulator, products

import lumen_mlir
from lumen_mlir import formats, ir
from lumen_mlir.compiler.driver import Compiler
from lumen_mlir.data import embedded_model_path
from lumen_mlir.testing.random_blocks import random_weights

FEW = 15
"""Tokens of which no tile is made."""

# Groups of 32 and 16, scales in floats, in integers and in codes, minima, one scale for a block, tables.
CHOSEN = {
    "tiles": (TILES, ("q4_0", "q4_k", "q6_k", "tq2_0")),
    "narrow": (NARROW, ("q4_1", "q8_0", "q2_k", "q3_k", "iq4_xs", "mxfp4", "nvfp4", "channel")),
}
PARAMETERS = [
    pytest.param(target, name, id=f"{shape}-{name}", marks=[] if name in chosen else [pytest.mark.matrix])
    for shape, (target, chosen) in CHOSEN.items()
    for name in CASES
]


@needs_emulator
@pytest.mark.parametrize(("target", "name"), PARAMETERS)
def test_product(target, name):
    case = CASES[name]
    engine = compile_cases([case], target, "int8")
    x, packed = activations(case.columns, MOST_TOKENS), case.packed(target)

    def linear(rows):
        return engine.invoke(f"linear_{name}", rows, packed)

    with emulated_tiles():
        before = products()
        few = [linear(x[first : first + FEW]) for first in range(0, MOST_TOKENS, FEW)]
        assert products() == before
        found = linear(x)
    values = case.fmt.values
    fits = values is None or (np.min(values) >= -128 and np.max(values) <= 127)
    assert has_tiles() or (products() > before) == fits
    np.testing.assert_array_equal(found, np.concatenate(few))
    terms = Terms.of(case, x)
    limit = min(2e-6, rounding_bound(case)) * terms.magnitude()
    assert np.all(abs(found - terms.product()) <= limit)


@needs_emulator
@pytest.mark.parametrize("rows", [16, 72])
def test_tokens_and_threads(rows):
    """All numbers of tokens, with rows that fill no tile, by one worker and by three."""
    columns = 96
    raw = random_weights(np.random.default_rng(3), "q8_0", rows * columns, 0.05)
    case = Case(formats.get("q8_0"), raw.reshape(rows, -1), columns)
    packed, x = case.packed(NARROW), activations(columns, 40)
    one, three = (
        lumen_mlir.compile(linear("q8_0", rows, columns, tokens=64), NARROW, threads=threads, use_cache=False)
        for threads in (1, 3)
    )
    with emulated_tiles():
        each = np.concatenate([one.invoke("f", x[i : i + 1], packed) for i in range(len(x))])
        for tokens in range(1, 41):
            for engine in (one, three):
                np.testing.assert_array_equal(engine.invoke("f", x[:tokens], packed), each[:tokens])


@pytest.mark.parametrize("name", ["q4_0", "q4_k", "q6_k", "q2_k", "tq2_0"])
def test_code(name):
    """A turn has one product for each group, whose operands are loaded for it: no tile waits in memory."""
    with ir.Context():
        text = Compiler(AMX).emit(ir.Module.parse(linear(name, 64, 512, tokens=64)), "asm")
    count = {
        word: len(re.findall(rf"^\t{word}\b", text, re.M))
        for word in ("ldtilecfg", "tdpbssd", "tileloadd", "tilezero", "tilestored", "tilerelease")
    }
    made, sums = count["tdpbssd"], count["tilestored"]
    assert made and count["ldtilecfg"] and count["tilerelease"]
    assert count["tileloadd"] == 2 * made
    assert count["tilezero"] == sums
    # A block where scales are in the codes, or only behind it.
    assert made == sums * (8 if name in ("q2_k", "tq2_0") else 1)


@needs_emulator
@pytest.mark.parametrize("threads", [1, 2])
def test_model(threads):
    """A prompt of two tiles and some tokens by the embedded model."""
    without = dataclasses.replace(NARROW, name="no-tiles", features="", mma=None)
    logits = []
    for target in (without, NARROW):
        before = products()
        with lumen_mlir.LLM(embedded_model_path(), target=target, threads=threads) as llm, emulated_tiles():
            logits.append(llm.logits(range(300, 339)))
        assert has_tiles() or (products() > before) == (target is NARROW)
    np.testing.assert_array_equal(*logits)
