# SPDX-License-Identifier: Apache-2.0
"""Quantizers: errors as small as the bits allow, and at most those of the gguf package."""

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

# Root mean square error on normally distributed weights of variance 1; measured, rounded up by 1 %.
ERRORS = {
    "q8_0": 0.0050, "q4_0": 0.0815, "q4_1": 0.0702, "q5_0": 0.0405, "q5_1": 0.0340, "q2_k": 0.2665,
    "q3_k": 0.144, "q4_k": 0.0705, "q5_k": 0.0348, "q6_k": 0.01725, "iq4_nl": 0.0747, "iq4_xs": 0.0751,
    "mxfp4": 0.1117, "nvfp4": 0.0855, "tq1_0": 0.4365, "tq2_0": 0.3775, "q1_0": 0.6045, "q2_0": 0.357,
}  # fmt: skip
CODEBOOKS = ["iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s"]


def weights(rows=32, columns=2048, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)


def rmse(name, x, raw, importance=1):
    return float(np.sqrt(np.mean(importance * (formats.get(name).dequantize(raw) - x) ** 2)))


@pytest.mark.parametrize("name", ERRORS)
def test_error(name):
    x = weights()
    raw = quantize(name, x)
    assert raw.dtype == np.uint8 and raw.shape == (32, formats.get(name).row_bytes(2048))
    assert rmse(name, x, raw) < ERRORS[name]
    assert abs((formats.get(name).dequantize(raw) - x).mean()) < 0.02


def test_every_format_but_codebooks():
    assert {name for name in formats.names() if not formats.get(name).is_float} == {*ERRORS, *CODEBOOKS}


@pytest.mark.parametrize("name", ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "mxfp4", "tq1_0", "tq2_0"])
def test_no_worse_than_the_gguf_package(name):
    rng, x = np.random.default_rng(1), weights(64, 1024, seed=1)
    x[0], x[1] = 0, 1e-3
    x[2, ::2] = 0
    x[3:20] = np.round(x[3:20] * 4) / 4
    x[20] *= 1e-6
    x[21:32] *= 3e3
    x[32:48] = rng.laplace(size=(16, 1024))
    x[48:] = rng.standard_t(3, size=(16, 1024))
    with np.errstate(all="ignore"):
        theirs = gguf.quants.quantize(x, gguf.GGMLQuantizationType[name.upper()]).view(np.uint8)
    ours = quantize(name, x)
    for rows in (slice(0, 20), slice(20, 21), slice(21, 32), slice(32, 48), slice(48, 64)):
        assert rmse(name, x[rows], ours[rows]) <= rmse(name, x[rows], theirs[rows])


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_floats_have_the_gguf_packages_bytes(name):
    x = np.concatenate([weights(8, 256), weights(8, 256) * 1e-6, np.zeros((1, 256), np.float32)])
    expected = gguf.quants.quantize(x, gguf.GGMLQuantizationType[name.upper()]).view(np.uint8)
    assert np.array_equal(quantize(name, x), expected)


@pytest.mark.parametrize("name", ERRORS)
def test_again(name):
    """What a format can hold is found again, exactly where the search is exhaustive and nearly elsewhere."""
    fmt = formats.get(name)
    x = fmt.dequantize(quantize(name, weights(8, 1024)))
    again = fmt.dequantize(quantize(name, x))
    same = (again == x).reshape(-1, fmt.block).all(axis=1).mean()
    if fmt.scale.sub is None and fmt.table is None or name in ("mxfp4", "q1_0"):
        assert same == 1
    else:
        assert same > 0.7 and rmse(name, x, quantize(name, x)) < 0.2 * ERRORS[name]


@pytest.mark.parametrize("name", ERRORS)
def test_importance(name):
    x, rng = weights(16, 1024, seed=2), np.random.default_rng(3)
    importance = rng.uniform(0, 1, 1024).astype(np.float32) ** 4
    importance[5::64] = 0
    plain, weighted = quantize(name, x), quantize(name, x, importance)
    assert rmse(name, x, weighted, importance) < rmse(name, x, plain, importance)
    assert np.array_equal(quantize(name, x, np.broadcast_to(importance, x.shape)), weighted)
    assert np.array_equal(quantize(name, x, np.full(1024, 4.0)), quantize(name, x, np.ones(1024)))


def test_bad_importance():
    for bad in (-1.0, np.inf, np.nan):
        with pytest.raises(LumenError, match="a finite number of at least 0"):
            quantize("q4_0", weights(2, 64), np.full(64, bad))
    assert np.isfinite(formats.get("q4_k").dequantize(quantize("q4_k", weights(2, 256), np.zeros(256)))).all()


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
    values = np.unique(fmt.values[: len(fmt.table or fmt.values)])
    step = np.diff(values).max() / np.ptp(values)
    for row in (1, 2, 3, 4, 5):
        assert np.abs(y[row] - x[row]).max() <= np.abs(x[row]).max() * 1.3 * step + 0.01
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
        ("q4_1", lambda x: x * 0 + 1e30, "to q4_1: a weight is too large for its"),
        ("mxfp4", lambda x: np.where(x > 2, np.inf, x), "to mxfp4: some weights are infinite or NaN"),
        ("q4_k", lambda x: x * 1e30, "to q4_k: a weight is too large for its scale"),
        ("nvfp4", lambda x: x * 1e9, "to nvfp4: a weight is too large for its scale"),
        *((name, lambda x: x, f"'{name}' cannot be encoded: its codes are points of") for name in CODEBOOKS),
    ],
)
def test_refusals(name, change, message):
    with pytest.raises(LumenError, match=message):
        quantize(name, change(weights(2, 256)))


@pytest.mark.parametrize("name", ERRORS)
def test_encode_inverts_decode(name):
    fmt = formats.get(name)
    raw = random_rows(fmt, 20, 3)
    decoded = fmt.decode_codes(raw)
    again = encoder(fmt)(decoded)
    if name in ("tq1_0", "nvfp4"):
        # Several bytes stand for one value there.
        again = fmt.decode_codes(again)
        assert np.array_equal(again.codes, decoded.codes)
        for one, other in zip(again.scale, decoded.scale, strict=True):
            assert one is other is None or one.tobytes() == other.tobytes()
    else:
        assert np.array_equal(again, raw)


@settings(max_examples=40, deadline=None)
@given(recipes())
@example(Recipe(32, 32, ((2, 1),), "f-", "f-", (0, 0, 0, 0), 0))
@example(Recipe(32, 32, ((2, 1),), "f-", "--", (0, 0, 0, 0), 0))
@example(Recipe(32, 4, ((2, 1), (1, 1)), "f-", "f-", None, 0))
def test_random_formats(recipe):
    fmt = recipe.build()
    raw = random_rows(fmt, 4, 2)
    decoded = fmt.decode_codes(raw)
    again = fmt.decode_codes(encoder(fmt)(decoded))  # not all bits of a byte need mean something
    assert np.array_equal(again.codes, decoded.codes)
    for one, other in zip(again.scale + (again.min or ()), decoded.scale + (decoded.min or ()), strict=True):
        assert one is other is None or one.tobytes() == other.tobytes()
    if recipe.scale[0] == "-" or recipe.min[0] == "-" != recipe.min[1]:
        return  # an integer scale has no size to fit to
    if recipe.per_row and not all(fmt.of_rows(f) and f.sub is None for _, f in fmt.factors):
        with pytest.raises(LumenError, match="cannot be encoded: it has factors of rows and others"):
            quantize(fmt, weights(4, 2 * fmt.block))
        return
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
    # An i8 factor is off by up to half of 1/127 of its block's greatest, one of 4 bits by half of 1/15; two
    # f16 ones by 2^-11 each.
    kinds = recipe.scale + recipe.min
    rounding = 2**-10 + (1 / 30 if "n" in kinds else 1 / 254 if "b" in kinds else 0)
    return step / 2 + rounding * (step * greatest_value + minimum)
