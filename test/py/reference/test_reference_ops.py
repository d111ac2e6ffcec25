# SPDX-License-Identifier: Apache-2.0
"""The NumPy meanings of the operations, against formulas written out in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sequences import Sequences, numbers, rows_of

from lumen_mlir.reference import ops


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_rms_norm():
    x, w = floats(3, 40), floats(40, seed=1)
    exact = x.astype(np.float64)
    expected = exact / np.sqrt((exact**2).mean(axis=1, keepdims=True) + 1e-5) * w
    np.testing.assert_allclose(ops.rms_norm(x, w, 1e-5), expected, rtol=1e-6)


@pytest.mark.parametrize("rot", [8, 6])
@pytest.mark.parametrize("style", ["neox", "norm"])
def test_rope(style, rot):
    x, position = floats(4, 3 * 8), 5
    theta = np.random.default_rng(2).random(rot // 2)
    angles = np.arange(20)[:, None] * theta
    table = np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    expected = x.reshape(4, 3, 8).astype(np.complex128).real.copy()
    for t in range(4):
        for i in range(rot // 2):
            a, b = (i, i + rot // 2) if style == "neox" else (2 * i, 2 * i + 1)
            turned = (x.reshape(4, 3, 8)[t, :, a] + 1j * x.reshape(4, 3, 8)[t, :, b]) * np.exp(
                1j * angles[position + t, i]
            )
            expected[t, :, a], expected[t, :, b] = turned.real, turned.imag
    actual = ops.rope(x, table, numbers(position, 4), 8, style)
    np.testing.assert_allclose(actual, expected.reshape(4, -1), rtol=1e-5, atol=1e-6)
    # Positions are absolute: a row does not depend on those before it.
    np.testing.assert_array_equal(ops.rope(x[2:], table, numbers(position + 2, 2), 8, style), actual[2:])


@pytest.mark.parametrize("tokens", [1, 2, 17, 40])
@pytest.mark.parametrize("position", [0, 5, 16, 31])
def test_attention_over_the_cache(tokens, position, monkeypatch):
    monkeypatch.setattr(ops, "_SCORES", 700)  # several parts
    heads, kv_heads, size, layers = 6, 2, 8, 3
    total = position + tokens
    keys, values = floats(total, kv_heads * size), floats(total, kv_heads * size, seed=1)
    sequences = Sequences([total, 70])
    k = np.full((layers, kv_heads, 4 * sequences.count, size, 16), np.nan, np.float32)
    v = np.full((layers, kv_heads, 4 * sequences.count, 16, size), np.nan, np.float32)
    for start, stop in ((0, position), (position, total)):
        if start < stop:
            places = sequences.places(0, numbers(start, stop - start))
            ops.kv_append(k, keys[start:stop], 1, places, "key")
            ops.kv_append(v, values[start:stop], 1, places, "value")
    q = floats(tokens, heads * size, seed=2)
    positions, runs = rows_of([(0, position, tokens)])
    actual = ops.attention(q, k, v, 1, positions, sequences.table, runs, heads, kv_heads, 0.3)
    assert np.isnan(k[0]).all() and np.isnan(v[2]).all()
    expected = np.empty((tokens, heads, size))
    for t in range(tokens):
        for h in range(heads):
            kv = slice(h // 3 * size, (h // 3 + 1) * size)
            seen = slice(0, position + t + 1)
            query = q[t, h * size : (h + 1) * size].astype(np.float64)
            weights = np.exp(0.3 * (keys[seen, kv] @ query))
            expected[t, h] = weights @ values[seen, kv] / weights.sum()
    np.testing.assert_allclose(actual, expected.reshape(tokens, -1), rtol=2e-5, atol=2e-6)


def test_silu_has_no_overflow():
    x = np.array([[-1e4, -100, -1, 0, 1, 100]], np.float32)
    silu = [-0.0, -100 / (1 + np.exp(100)), -1 / (1 + np.e), 0, 1 / (1 + np.exp(-1)), 100]
    np.testing.assert_allclose(ops.silu(x), [silu], rtol=1e-6, atol=1e-37)


def test_gelu():
    x = np.array([[-10, -2, -0.5, 0, 0.5, 2, 10]], np.float32)
    expected = [-0.0, -0.04540231, -0.15428599, 0, 0.34571401, 1.95459769, 10]
    np.testing.assert_allclose(ops.gelu(x), [expected], rtol=1e-6, atol=1e-30)
    # Close to the exact one, with erf, but not the same.
    exact = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x[0].tolist()]
    assert 1e-5 < np.abs(ops.gelu(x) - exact).max() < 1e-3


def test_to_bf16():
    """To the nearest, ties to even; what is too large becomes infinite, and NaN stays."""
    step = 2.0**-7
    x = np.array(
        [
            [
                0.0,
                -0.0,
                1 + step / 2,
                1 + step * 1.5,
                1 + step * 0.51,
                -1 - step * 0.49,
                3.4e38,
                -np.inf,
                1e-40,
            ]
        ],
        np.float32,
    )
    expected = [0.0, -0.0, 1, 1 + 2 * step, 1 + step, -1, np.inf, -np.inf, 1.0010e-40]
    found = ops.from_bf16(ops.to_bf16(x))
    np.testing.assert_allclose(found, [expected], rtol=1e-6, atol=1e-41)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(x))
    # NaN with bits in the lower half alone, and with all bits.
    nan = np.array([0x7F800001, 0xFFFFFFFF, 0x7FC00000], np.uint32).view(np.float32)
    assert np.isnan(ops.from_bf16(ops.to_bf16(nan))).all()


@pytest.mark.parametrize(
    ("block", "group"),
    [(32, 32), (64, 32), (96, 32), (128, 32), (256, 256), (384, 32), (512, 256), (768, 256)],
)
def test_activation_group(block, group):
    assert ops.activation_group(block) == group


@pytest.mark.parametrize(("group", "sum_group"), [(32, 16), (32, 32), (64, 32), (64, 8)])
def test_quantize(group, sum_group):
    columns = 3 * group
    x = floats(5, columns) * 10.0 ** np.arange(-2, 3)[:, None].astype(np.float32)
    x[1, group : 2 * group] = 0
    codes, scales, offsets, sums = ops.quantize(x, group, sum_group)
    assert (codes.dtype, scales.dtype, offsets.dtype, sums.dtype) == (np.int8, "f4", np.int32, "f4")
    assert codes.shape == x.shape and scales.shape == (5, 3) and offsets.shape == (5, columns // sum_group)
    assert scales[1, 1] == 0 and not codes[1, group : 2 * group].any() and np.abs(codes).max() == 127
    error = np.abs(codes.reshape(5, 3, group) * scales[..., None] - x.reshape(5, 3, group))
    assert (error <= scales[..., None] * 0.5001).all()
    totals = codes.reshape(5, -1, sum_group).astype(int).sum(axis=2)
    np.testing.assert_array_equal(offsets, -totals)
    np.testing.assert_array_equal(sums, totals)


def test_quantize_rounds_half_to_even():
    x = np.zeros((1, 32), np.float32)
    x[0, :6] = [127, 0.5, 1.5, 2.5, -0.5, -1.5]
    assert ops.quantize(x, 32, 32)[0][0, :6].tolist() == [127, 0, 2, 2, 0, -2]


@pytest.mark.parametrize("group", [32, 96])
@pytest.mark.parametrize(("size", "with_minima"), [(32, False), (16, False), (32, True), (16, True)])
def test_integer_product(size, with_minima, group):
    rng = np.random.default_rng(0)
    tokens, rows, groups = 3, 5, 96 // size
    x = floats(tokens, 96)
    codes, scales, _, sums = ops.quantize(x, group, size)
    values = rng.integers(-128, 256, (groups, size, rows)).astype(np.float32)
    weight_scales = floats(groups, rows, seed=3)
    minima = floats(groups, rows, seed=4) if with_minima else None
    y = ops.integer_product(codes, scales, sums, values, weight_scales, minima)
    activation = codes.reshape(tokens, -1, group) * scales[..., None].astype(np.float64)
    weight = values * weight_scales[:, None].astype(np.float64)
    if with_minima:
        weight -= minima[:, None]
    expected = activation.reshape(tokens, 96) @ weight.reshape(96, rows)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-3)
    # A row does not depend on the others.
    one = ops.integer_product(codes[1:2], scales[1:2], sums[1:2], values, weight_scales, minima)
    np.testing.assert_array_equal(one[0], y[1])
