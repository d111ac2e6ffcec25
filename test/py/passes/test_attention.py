# SPDX-License-Identifier: Apache-2.0
"""Compiled attention against NumPy: shapes, chunks, positions, threads, targets."""

import functools

import numpy as np
import pytest
from kernel_runner import RARELY_EMULATED, TARGETS, Kernel, on_targets, relative_error
from sequences import Sequences, numbers, rows_of

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
    blocks = (f"{size}x16", f"16x{size}") if element != "i8" else [kv_cache.block_bytes(size)] * 2
    keys, values = (f"tensor<2x{kv_heads}x?x{block}x{element}>" for block in blocks)
    result = kinds = f"tensor<?x{width}xf32>"
    end = f"return %a : {result}"
    if group:
        scales, sums = width // group, width // 32
        kinds = f"tensor<?x{width}xi8>, tensor<?x{scales}xf32>, tensor<?x{sums}xi32>, tensor<?x{sums}xf32>"
        end = f"%r:4 = lumen.quantize %a {{group = {group} : i64}} : {result} -> {kinds}\n"
        end += f"return %r#0, %r#1, %r#2, %r#3 : {kinds}"
    where = "tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>"
    return f"""
    func.func @f(%q: {result}, %k: {keys}, %v: {values}, %layer: index, %positions: tensor<?xi32>,
        %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>) -> ({kinds}) {{
      %a = lumen.attention %q, %k, %v, %layer, %positions, %pages, %runs {{heads = {heads} : i64,
        kv_heads = {kv_heads} : i64, scale = {size**-0.5:.9e} : f32{local}}}
        : {result}, {keys}, {values}, {where}
      {end}
    }}"""


@functools.cache
def expected_attention(heads, kv_heads, size, element, tokens, position):
    """Queries and what NumPy makes of them: the same for all targets."""
    keys, values, pages = caches(kv_heads, size, (position + tokens,), element)
    rng = np.random.default_rng([tokens, position])
    q = 2 * rng.standard_normal((tokens, heads * size), dtype=np.float32)
    positions, runs = rows_of([(0, position, tokens)])
    return q, ops.attention(q, keys, values, 1, positions, pages, runs, heads, kv_heads, size**-0.5)


@functools.cache
def caches(kv_heads, size, lengths, element):
    """Keys and values of sequences of some lengths in layer 1; all else is NaN (also scales of codes)."""
    kind = next(kind for kind in kv_cache.TYPES.values() if kind.element == element)
    sequences = Sequences(lengths)
    keys, values = (
        np.full(
            kind.shape(name, 2, kv_heads, sequences.count, size),
            -1 if kind.is_quantized else np.nan,
            kind.dtype,
        )
        for name in ("key", "value")
    )
    for sequence, length in enumerate(lengths):
        rng = np.random.default_rng([kv_heads, size, length])
        rows = rng.standard_normal((2, length, kv_heads * size), dtype=np.float32)
        places = sequences.places(sequence, numbers(0, length))
        ops.kv_append(keys, 2 * rows[0], 1, places, "key")
        ops.kv_append(values, rows[1], 1, places, "value")
    return keys, values, sequences.table


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

    def run(q, keys, values, pages, position, threads=1):
        shapes = result_shapes(len(q), width, group)
        positions, runs = rows_of([(0, position, len(q))])
        return kernel.run(q, keys, values, 1, positions, pages, runs, results=shapes, threads=threads)

    cases = [(1, 0), (1, 70), (2, 15), (7, 60), (8, 0), (9, 120), (33, 31), (130, 0)]
    for tokens, position in cases:
        keys, values, pages = caches(kv_heads, size, (position + tokens,), element)
        q, expected = expected_attention(heads, kv_heads, size, element, tokens, position)
        results = run(q, keys, values, pages, position)
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
                again = run(q[part], keys, values, pages, position + start, threads)
                for whole, piece in zip(results, again, strict=True):
                    np.testing.assert_array_equal(whole[part], piece)


# Sequence, first position, tokens: single tokens, prompts, both, and a run that comes before an earlier one.
BATCHES = [
    [(0, 5, 1), (1, 700, 1), (2, 63, 1)],
    [(0, 0, 9), (1, 64, 1), (2, 100, 17), (3, 1, 1)],
    [(2, 40, 3), (0, 129, 2), (1, 0, 1)],
    [(i, 11 * i, 1) for i in range(9)],
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("heads", "kv_heads", "size", "element", "window"),
    [(6, 2, 16, "f16", None), (14, 2, 8, "i8", None), (3, 3, 24, "f32", 50), (10, 1, 16, "f16", 64)],
)
def test_many_sequences(heads, kv_heads, size, element, window, target):
    """Each sequence gets the bits that it gets alone, on pages of its own."""
    kernel = Kernel(attention(heads, kv_heads, size, element, 0, window), target)
    width = heads * size
    for batch in BATCHES:
        lengths = [0] * len(batch)
        for sequence, position, tokens in batch:
            lengths[sequence] = position + tokens
        keys, values, pages = caches(kv_heads, size, tuple(lengths), element)
        positions, runs = rows_of(batch)
        q = 2 * np.random.default_rng(len(batch)).standard_normal((len(positions), width), dtype=np.float32)
        expected = ops.attention(
            q, keys, values, 1, positions, pages, runs, heads, kv_heads, size**-0.5, window
        )
        for threads in (1, 3):
            shapes = [(q.shape, np.float32)]
            (together,) = kernel.run(
                q, keys, values, 1, positions, pages, runs, results=shapes, threads=threads
            )
            assert relative_error(together, expected) < (3e-6 if element != "i8" else 3e-3)
            for first, tokens, sequence in runs.tolist():
                rows = slice(first, first + tokens)
                own = caches(kv_heads, size, (lengths[sequence],), element)
                alone_at, alone = rows_of([(0, int(positions[first]), tokens)])
                shapes = [((tokens, width), np.float32)]
                (single,) = kernel.run(
                    q[rows], *own[:2], 1, alone_at, own[2], alone, results=shapes, threads=threads
                )
                np.testing.assert_array_equal(together[rows], single)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("window", "heads", "kv_heads"), [(1, 2, 2), (20, 3, 1), (64, 8, 2), (100, 4, 1)])
def test_window(window, heads, kv_heads, target):
    """Pages before the window are not read: all have the same number, of a page of NaN."""
    size = 32
    kernel = Kernel(attention(heads, kv_heads, size, "f16", 0, window), target)
    for tokens, position in [(1, 0), (1, 70), (5, 60), (29, 300), (33, 511), (1, 1000)]:
        keys, values, pages = caches(kv_heads, size, (position + tokens,), "f16")
        positions, runs = rows_of([(0, position, tokens)])
        q = 2 * np.random.default_rng(position).standard_normal((tokens, heads * size), dtype=np.float32)
        shapes = [(q.shape, np.float32)]
        (expected,) = kernel.run(q, keys, values, 1, positions, pages, runs, results=shapes)
        held = pages[0, : kv_cache.pages(position + tokens)]
        short = pages.copy()
        short[0, : max(position - window + 1, 0) // 64] = np.setdiff1d(np.arange(keys.shape[2] // 4), held)[0]
        (actual,) = kernel.run(q, keys, values, 1, positions, short, runs, results=shapes, threads=2)
        np.testing.assert_array_equal(actual, expected)
        for table in (pages, short):
            reference = ops.attention(
                q, keys, values, 1, positions, table, runs, heads, kv_heads, size**-0.5, window
            )
            assert relative_error(actual, reference) < 2e-6


@pytest.mark.parametrize("target", TARGETS)
def test_large_scores(target):
    """Scores far apart: what is left is the value of the best position, without overflow."""
    kernel = Kernel(attention(2, 1, 32, "f32", 0), target)
    keys, values, pages = caches(1, 32, (100,), "f32")
    q = 1e4 * np.random.default_rng(0).standard_normal((3, 64), dtype=np.float32)
    where = rows_of([(0, 97, 3)])
    (result,) = kernel.run(q, keys, values, 1, where[0], pages, where[1], results=[((3, 64), np.float32)])
    expected = ops.attention(q, keys, values, 1, where[0], pages, where[1], 2, 1, 32**-0.5)
    assert relative_error(result, expected) < 1e-3


@pytest.mark.parametrize("target", RARELY_EMULATED)
@pytest.mark.parametrize(("heads", "kv_heads", "size"), [(6, 2, 16), (10, 1, 8)])
def test_parts(heads, kv_heads, size, target):
    """Positions beyond one part: chunks and teams that cut them differently give the same bits."""
    kernel = Kernel(attention(heads, kv_heads, size, "f16", 0), target)
    width, tokens = heads * size, 6
    # At the end of a part, inside the third, and where the last part is longer than the others.
    for position in (510, 1300, 33_500):
        keys, values, pages = caches(kv_heads, size, (position + tokens, 700), "f16")
        q = np.random.default_rng(position).standard_normal((tokens, width), dtype=np.float32)

        def run(q, batch, threads=1, keys=keys, values=values, pages=pages):
            positions, runs = rows_of(batch)
            shapes = [(q.shape, np.float32)]
            (result,) = kernel.run(
                q, keys, values, 1, positions, pages, runs, results=shapes, threads=threads
            )
            return result

        whole = run(q, [(0, position, tokens)])
        where = rows_of([(0, position, tokens)])
        expected = ops.attention(q, keys, values, 1, where[0], pages, where[1], heads, kv_heads, size**-0.5)
        assert relative_error(whole, expected) < 3e-6
        for row in range(tokens):
            for threads in (1, 2, 3, 5):
                single = run(q[row : row + 1], [(0, position + row, 1)], threads)
                np.testing.assert_array_equal(single[0], whole[row])
                # Beside a shorter sequence, whose positions are shared out too.
                pair = run(q[[0, row]], [(1, 600, 1), (0, position + row, 1)], threads)
                np.testing.assert_array_equal(pair[1], whole[row])
