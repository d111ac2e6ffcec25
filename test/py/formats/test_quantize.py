# SPDX-License-Identifier: Apache-2.0
"""Quantizers: llama.cpp's bytes where promised, and errors as small as the bits allow elsewhere."""

import gguf
import numpy as np
import pytest
from format_samples import random_rows
from hypothesis import example, given, settings
from random_formats import Recipe, recipes

from lumen_mlir import formats
from lumen_mlir.errors import LumenError
from lumen_mlir.formats.encode import encoder
from lumen_mlir.formats.quantize import quantize

# Root mean square error on normally distributed weights of variance 1; measured, rounded up by 3 %.
ERRORS = {
    "q8_0": 0.0056, "q4_0": 0.089, "q4_1": 0.081, "q5_0": 0.044, "q5_1": 0.039, "q2_k": 0.295, "q3_k": 0.154,
    "q4_k": 0.078, "q5_k": 0.0385, "q6_k": 0.0189, "iq4_nl": 0.080, "iq4_xs": 0.081,
}  # fmt: skip
SAME_BYTES = ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "f16", "bf16"]


def weights(rows=32, columns=2048, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)


@pytest.mark.parametrize("name", ERRORS)
def test_error(name):
    x = weights()
    raw = quantize(name, x)
    assert raw.dtype == np.uint8 and raw.shape == (32, formats.get(name).row_bytes(2048))
    error = formats.get(name).dequantize(raw) - x
    assert np.sqrt(np.mean(error**2)) < ERRORS[name]
    assert abs(error.mean()) < 0.02


@pytest.mark.parametrize("name", SAME_BYTES)
def test_bytes_of_llama_cpp(name):
    x = weights(64, 1024, seed=1)
    x[0], x[1] = 0, 1e-3
    x[2, ::2] = 0
    # Values on a grid give ties, where the direction of rounding shows.
    x[3:20] = np.round(x[3:20] * 4) / 4
    x[20] *= 1e-6
    x[21] *= 3e3
    x[22] = -0.0
    kind = gguf.GGMLQuantizationType[name.upper()]
    with np.errstate(all="ignore"):
        expected = gguf.quants.quantize(x, kind).view(np.uint8)
    assert np.array_equal(quantize(name, x), expected)


def test_f32_is_unchanged():
    x = weights(2, 64)
    assert quantize("f32", x).tobytes() == x.tobytes()


@pytest.mark.parametrize("name", ERRORS)
def test_unusual_blocks(name):
    fmt = formats.get(name)
    x = np.zeros((8, 512), dtype=np.float32)
    x[1] = 1.0
    x[2] = -1.0
    x[3, 100] = 3.0
    x[4] = np.linspace(1, 2, 512)
    x[5] = np.linspace(-2, -1, 512)
    x[6] = 1e-42
    x[7] = 1e-12
    with np.errstate(all="raise"):
        y = fmt.dequantize(quantize(name, x))
    assert not y[0].any() and np.isfinite(y).all()
    steps = 1 << fmt.bits
    for row in (1, 2, 3, 4, 5):
        assert np.abs(y[row] - x[row]).max() <= np.abs(x[row]).max() * 1.3 / steps + 0.01
    assert np.abs(y[6:]).max() < 1e-6


def test_shapes_and_types():
    x = weights(6, 256)
    raw = quantize("q4_k", x)
    cube = x.astype(np.float64).reshape(2, 3, 256)
    assert np.array_equal(quantize(formats.get("q4_k"), cube), raw.reshape(2, 3, -1))
    assert np.array_equal(quantize("q4_k", x[::2]), raw[::2])
    assert quantize("q4_k", x[:0]).shape == (0, 144)
    assert np.array_equal(quantize("q4_k", np.concatenate([x] * 400)), np.concatenate([raw] * 400))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("q4_k", lambda x: x[:, :200], "row of 200 weights is not a multiple of the block of q4_k, 256"),
        ("q6_k", lambda x: np.where(x > 2, np.nan, x), "to q6_k: some weights are infinite or NaN"),
        ("q4_0", lambda x: x * 1e30, "to q4_0: a weight is too large for its scale"),
        ("q4_1", lambda x: x * 0 + 1e30, "to q4_1: a weight is too large for its min"),
        ("iq2_xs", lambda x: x, "'iq2_xs' cannot be encoded: what it decodes to is not plain bits"),
    ],
)
def test_refusals(name, change, message):
    with pytest.raises(LumenError, match=message):
        quantize(name, change(weights(2, 256)))


@pytest.mark.parametrize("name", ERRORS)
def test_encode_inverts_decode(name):
    fmt = formats.get(name)
    raw = random_rows(fmt, 20, 3)
    assert np.array_equal(encoder(fmt)(fmt.decode_codes(raw)), raw)


@settings(max_examples=40, deadline=None)
@given(recipes())
@example(Recipe(32, 32, ((2, 1),), "f-", "f-", (0, 0, 0, 0), 0))
@example(Recipe(32, 32, ((2, 1),), "f-", "--", (0, 0, 0, 0), 0))
@example(Recipe(32, 4, ((2, 1), (1, 1)), "f-", "f-", None, 0))
def test_random_formats(recipe):
    fmt = recipe.build()
    raw = random_rows(fmt, 4, 2)
    assert np.array_equal(encoder(fmt)(fmt.decode_codes(raw)), raw)
    if recipe.scale[0] == "-" or recipe.min[0] == "-" != recipe.min[1]:
        return  # an integer scale has no size to fit to
    x = weights(4, 2 * fmt.block)
    y = fmt.dequantize(quantize(fmt, x))
    assert np.isfinite(y).all()
    if recipe.min != "--" and recipe.table is None:
        assert np.sqrt(np.mean((y - x) ** 2)) <= error_bound(recipe, x)


def error_bound(recipe, x):
    """Half a step of the widest block, plus what rounding the stored factors can move a weight by."""
    blocks = x.reshape(-1, recipe.block)
    step = np.ptp(blocks, axis=1).max() / ((1 << recipe.bits) - 1)
    greatest_value = max(abs(recipe.bias), abs(recipe.bias + (1 << recipe.bits) - 1))
    minimum = step * abs(recipe.bias) + np.abs(blocks).max()
    # An i8 factor is off by up to half of 1/127 of its block's greatest; two f16 ones by 2^-11 each.
    rounding = 1 / 254 + 2**-10 if "b" in recipe.scale + recipe.min else 2**-10
    return step / 2 + rounding * (step * greatest_value + minimum)
