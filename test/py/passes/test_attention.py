# SPDX-License-Identifier: Apache-2.0
"""Compiled attention against NumPy: shapes, chunks, positions, threads, targets."""

import functools

import numpy as np
import pytest
from kernel_runner import RARELY_EMULATED, TARGETS, Kernel, on_targets, relative_error

from lumen_mlir.formats import kv_cache
from lumen_mlir.reference import ops

# Query heads, KV heads, head dimension, cache element, codes of the result that share a scale (0: floats).
SHAPES = [
    (14, 2, 64, "f16", 32),
    (4, 4, 16, "f32", 0),
    (6, 2, 80, "f16", 0),
    (10, 1, 24, "f32", 0),
    (8, 8, 8, "f16", 0),
    (16, 2, 128, "f16", 32),
    (6, 1, 128, "f32", 128),
    (12, 2, 64, "f16", 256),  # groups of several heads: quantized by a kernel of its own
    (5, 1, 96, "f32", 32),
    (14, 2, 64, "i8", 64),
    (6, 2, 80, "i8", 0),
    (4, 4, 20, "i8", 0),
    (9, 1, 128, "i8", 0),
]
# On every target: each kind of cache with floats and with codes as the result, of heads that fill vectors and
# that do not.
EVERYWHERE = [SHAPES[i] for i in (0, 3, 7, 8, 9, 11)]


def attention(heads, kv_heads, size, element, group, window=None):
    local = f", window = {window} : i64" if window else ""
    width = heads * size
    pages = (f"{size}x16", f"16x{size}") if element != "i8" else [kv_cache.page_bytes(size)] * 2
    keys, values = (f"tensor<2x{kv_heads}x?x{page}x{element}>" for page in pages)
    result = kinds = f"tensor<?x{width}xf32>"
    end = f"return %a : {result}"
    if group:
        scales, sums = width // group, width // 32
        kinds = f"tensor<?x{width}xi8>, tensor<?x{scales}xf32>, tensor<?x{sums}xi32>, tensor<?x{sums}xf32>"
        end = f"%r:4 = lumen.quantize %a {{group = {group} : i64}} : {result} -> {kinds}\n"
        end += f"return %r#0, %r#1, %r#2, %r#3 : {kinds}"
    return f"""
    func.func @f(%q: {result}, %k: {keys}, %v: {values}, %layer: index, %position: index)
        -> ({kinds}) {{
      %a = lumen.attention %q, %k, %v, %layer, %position {{heads = {heads} : i64, kv_heads = {kv_heads} : i64,
        scale = {size**-0.5:.9e} : f32{local}}} : {result}, {keys}, {values}
      {end}
    }}"""


@functools.cache
def expected_attention(heads, kv_heads, size, element, tokens, position):
    """Queries and what NumPy makes of them: the same for all targets."""
    keys, values = caches(kv_heads, size, position + tokens, element)
    rng = np.random.default_rng([tokens, position])
    q = 2 * rng.standard_normal((tokens, heads * size), dtype=np.float32)
    return q, ops.attention(q, keys, values, 1, position, heads, kv_heads, size**-0.5)


@functools.cache
def caches(kv_heads, size, positions, element):
    """Keys and values of the first ``positions`` of layer 1; all else is NaN (also scales of codes)."""
    kind = next(kind for kind in kv_cache.TYPES.values() if kind.element == element)
    rng = np.random.default_rng([kv_heads, size, positions])
    pages = -(-positions // ops.PAGE)
    keys, values = (
        np.full(kind.shape(name, 2, kv_heads, pages, size), -1 if kind.is_quantized else np.nan, kind.dtype)
        for name in ("key", "value")
    )
    rows = rng.standard_normal((2, positions, kv_heads * size), dtype=np.float32)
    ops.kv_append(keys, 2 * rows[0], 1, 0, "key")
    ops.kv_append(values, rows[1], 1, 0, "value")
    return keys, values


def result_shapes(tokens, width, group):
    if not group:
        return [((tokens, width), np.float32)]
    scales, sums = (tokens, width // group), (tokens, width // 32)
    return [((tokens, width), np.int8), (scales, np.float32), (sums, np.int32), (sums, np.float32)]


@pytest.mark.parametrize(
    ("heads", "kv_heads", "size", "element", "group", "target"), on_targets(SHAPES, EVERYWHERE)
)
def test_attention(heads, kv_heads, size, element, group, target):
    kernel = Kernel(attention(heads, kv_heads, size, element, group), target)
    width = heads * size

    def run(q, keys, values, position, threads=1):
        shapes = result_shapes(len(q), width, group)
        return kernel.run(q, keys, values, 1, position, results=shapes, threads=threads)

    cases = [(1, 0), (1, 70), (2, 15), (7, 60), (8, 0), (9, 120), (33, 31), (130, 0)]
    for tokens, position in cases:
        keys, values = caches(kv_heads, size, position + tokens, element)
        q, expected = expected_attention(heads, kv_heads, size, element, tokens, position)
        results = run(q, keys, values, position)
        if group:
            codes, scales, offsets, sums = results
            decoded = codes.reshape(tokens, -1, group) * scales[..., None]
            assert relative_error(decoded.reshape(tokens, width), expected) < 1e-2
            totals = codes.reshape(tokens, -1, 32).sum(axis=2, dtype=np.int32)
            np.testing.assert_array_equal(offsets, -totals)
            np.testing.assert_array_equal(sums, totals)
        else:
            # Where a query is almost halfway between two codes, the order of a product decides.
            assert relative_error(results[0], expected) < (2e-6 if element != "i8" else 2e-3)
        # The same bits in chunks of any length and on any number of threads. A long text has no more tokens
        # one by one than a short one: these calls would take most of the time.
        for chunk, threads in ((1, 1), (3, 2), (8, 3)) if tokens < 100 else ((11, 1), (30, 3)):
            for start in range(0, tokens, chunk):
                part = slice(start, start + chunk)
                again = run(q[part], keys, values, position + start, threads)
                for whole, piece in zip(results, again, strict=True):
                    np.testing.assert_array_equal(whole[part], piece)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("window", "heads", "kv_heads"), [(1, 2, 2), (20, 3, 1), (64, 8, 2), (100, 4, 1)])
def test_window_over_a_ring(window, heads, kv_heads, target):
    """A ring that holds the window and the step gives the bits of a cache that holds everything."""
    size, pages = 32, 12
    kernel = Kernel(attention(heads, kv_heads, size, "f16", 0, window), target)
    ring = 16 * pages
    for tokens, position in [(1, 0), (1, 70), (5, 60), (ring - window + 1, 300), (33, 511), (1, 1000)]:
        end = position + tokens
        keys, values = caches(kv_heads, size, end, "f16")
        short = [
            np.full((*full.shape[:2], pages, *full.shape[3:]), np.nan, np.float16) for full in (keys, values)
        ]
        for held_position in range(max(end - ring, 0), end):
            page, lane = divmod(held_position, 16)
            short[0][:, :, page % pages, :, lane] = keys[:, :, page, :, lane]
            short[1][:, :, page % pages, lane] = values[:, :, page, lane]
        q = 2 * np.random.default_rng(end).standard_normal((tokens, heads * size), dtype=np.float32)
        shape = [((tokens, heads * size), np.float32)]
        (expected,) = kernel.run(q, keys, values, 1, position, results=shape)
        (actual,) = kernel.run(q, *short, 1, position, results=shape, threads=2)
        np.testing.assert_array_equal(actual, expected)
        reference = ops.attention(q, keys, values, 1, position, heads, kv_heads, size**-0.5, window)
        assert relative_error(actual, reference) < 2e-6
        reference = ops.attention(q, *short, 1, position, heads, kv_heads, size**-0.5, window)
        assert relative_error(actual, reference) < 2e-6


@pytest.mark.parametrize("target", TARGETS)
def test_large_scores(target):
    """Scores far apart: what is left is the value of the best position, without overflow."""
    kernel = Kernel(attention(2, 1, 32, "f32", 0), target)
    keys, values = caches(1, 32, 100, "f32")
    q = 1e4 * np.random.default_rng(0).standard_normal((3, 64), dtype=np.float32)
    (result,) = kernel.run(q, keys, values, 1, 97, results=[((3, 64), np.float32)])
    expected = ops.attention(q, keys, values, 1, 97, 2, 1, 32**-0.5)
    assert relative_error(result, expected) < 1e-3


@pytest.mark.parametrize("target", RARELY_EMULATED)
@pytest.mark.parametrize(("heads", "kv_heads", "size"), [(6, 2, 16), (10, 1, 8)])
def test_parts(heads, kv_heads, size, target):
    """Positions beyond one part: chunks and teams that cut them differently give the same bits."""
    kernel = Kernel(attention(heads, kv_heads, size, "f16", 0), target)
    width, tokens = heads * size, 6
    # At the end of a part, inside the third, and where the last part is longer than the others.
    for position in (510, 1300, 33_500):
        keys, values = caches(kv_heads, size, position + tokens, "f16")
        q = np.random.default_rng(position).standard_normal((tokens, width), dtype=np.float32)
        shapes = [((tokens, width), np.float32)]
        (whole,) = kernel.run(q, keys, values, 1, position, results=shapes)
        expected = ops.attention(q, keys, values, 1, position, heads, kv_heads, size**-0.5)
        assert relative_error(whole, expected) < 3e-6
        for row in range(tokens):
            for threads in (1, 2, 3, 5):
                (single,) = kernel.run(
                    q[row : row + 1], keys, values, 1, position + row,
                    results=[((1, width), np.float32)], threads=threads,
                )  # fmt: skip
                np.testing.assert_array_equal(single[0], whole[row])
