# SPDX-License-Identifier: Apache-2.0
"""Compiled row kernels (norm, quantization, RoPE, cache writes, embedding, ...) against NumPy."""

import numpy as np
import pytest
from kernel_runner import WITH_VULKAN, Kernel, on_targets, relative_error
from sequences import numbers

from lumen_mlir import formats
from lumen_mlir.formats import kv_cache
from lumen_mlir.reference import ops

TOKENS = (1, 2, 7, 8, 9, 33)
THREADS = (1, 2, 3)


def normal(shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)


def every_team(kernel, arguments, results):
    """The results of one thread, after checking that those of more threads are the same bits."""
    first = kernel.run(*arguments, results=results, threads=THREADS[0])
    for threads in THREADS[1:]:
        for one, other in zip(first, kernel.run(*arguments, results=results, threads=threads), strict=True):
            np.testing.assert_array_equal(one, other)
    return first


def norm_quantize(width, group, sum_group):
    groups, sums = width // group, width // sum_group
    return f"""
    func.func @f(%x: tensor<?x{width}xf32>, %w: tensor<{width}xf32>) -> (tensor<?x{width}xf32>,
        tensor<?x{width}xi8>, tensor<?x{groups}xf32>, tensor<?x{sums}xi32>, tensor<?x{sums}xf32>) {{
      %n = lumen.rms_norm %x, %w {{epsilon = 1.0e-06 : f32}} : tensor<?x{width}xf32>, tensor<{width}xf32>
      %q:4 = lumen.quantize %n {{group = {group} : i64, sum_group = {sum_group} : i64}}
        : tensor<?x{width}xf32>
        -> tensor<?x{width}xi8>, tensor<?x{groups}xf32>, tensor<?x{sums}xi32>, tensor<?x{sums}xf32>
      return %n, %q#0, %q#1, %q#2, %q#3 : tensor<?x{width}xf32>, tensor<?x{width}xi8>,
        tensor<?x{groups}xf32>, tensor<?x{sums}xi32>, tensor<?x{sums}xf32>
    }}"""


@pytest.mark.parametrize("target", WITH_VULKAN)
@pytest.mark.parametrize(
    ("width", "group", "sum_group"),
    [(32, 32, 32), (96, 32, 16), (896, 32, 32), (320, 64, 4), (512, 256, 32), (768, 256, 16)],
)
def test_norm_and_quantization(width, group, sum_group, target):
    kernel = Kernel(norm_quantize(width, group, sum_group), target)
    weight = normal((width,))
    rows = normal((max(TOKENS), width))
    rows[3, :group] = 0
    alone = None
    for tokens in TOKENS:
        x = rows[:tokens]
        results = [
            ((tokens, width), np.float32),
            ((tokens, width), np.int8),
            ((tokens, width // group), np.float32),
            ((tokens, width // sum_group), np.int32),
            ((tokens, width // sum_group), np.float32),
        ]
        normed, *quantized = every_team(kernel, [x, weight], results)
        assert relative_error(normed, ops.rms_norm(x, weight, 1e-6)) < 1e-6
        # The quantization is exact arithmetic, given its input.
        for mine, reference in zip(quantized, ops.quantize(normed, group, sum_group), strict=True):
            np.testing.assert_array_equal(mine, reference)
        # A row does not depend on how many there are.
        alone = normed if alone is None else alone
        np.testing.assert_array_equal(normed[:1], alone)


@pytest.mark.parametrize("target", WITH_VULKAN)
def test_two_groups_of_one_value(target):
    """Products with other blocks read other codes of the same row, which one kernel makes."""
    width, groups = 768, (256, 32)
    rows = f"tensor<?x{width}xf32>"
    kinds = [
        f"tensor<?x{width}xi8>, tensor<?x{width // group}xf32>, tensor<?x24xi32>, tensor<?x24xf32>"
        for group in groups
    ]
    text = f"""
    func.func @f(%x: {rows}) -> ({kinds[0]}, {kinds[1]}) {{
      %y = lumen.add %x, %x : {rows}
      %p:4 = lumen.quantize %y {{group = {groups[0]} : i64}} : {rows} -> {kinds[0]}
      %q:4 = lumen.quantize %y {{group = {groups[1]} : i64}} : {rows} -> {kinds[1]}
      return %p#0, %p#1, %p#2, %p#3, %q#0, %q#1, %q#2, %q#3 : {kinds[0]}, {kinds[1]}
    }}"""
    kernel = Kernel(text, target)
    for tokens in TOKENS:
        x = normal((tokens, width))
        expected = [part for group in groups for part in ops.quantize(x + x, group, 32)]
        results = every_team(kernel, [x], [(part.shape, part.dtype) for part in expected])
        for mine, reference in zip(results, expected, strict=True):
            np.testing.assert_array_equal(mine, reference)


@pytest.mark.parametrize("target", WITH_VULKAN)
@pytest.mark.parametrize("width", [2, 64, 131])
def test_rounding_to_bf16(width, target):
    """The nearest one, ties to even, whatever the bits are; on rows of a buffer and of another op."""
    rows, rounded = f"tensor<?x{width}xf32>", f"tensor<?x{width}xbf16>"
    text = f"""
    func.func @f(%x: {rows}) -> ({rounded}, {rows}, {rounded}) {{
      %r = lumen.to_bf16 %x : {rows} -> {rounded}
      %y = lumen.add %x, %x : {rows}
      %s = lumen.to_bf16 %y : {rows} -> {rounded}
      return %r, %y, %s : {rounded}, {rows}, {rounded}
    }}"""
    kernel, rng = Kernel(text, target), np.random.default_rng(width)
    for tokens in TOKENS:
        bits = rng.integers(0, 1 << 32, (tokens, width), np.uint32)
        # Half-way, NaN in the lower half, infinity, the largest, denormal numbers.
        extremes = [0x3F808000, 0x3F818000, 0x7F800001, 0xFF800000, 0x7F7FFFFF, 0x00008000, 0x80008001]
        bits.reshape(-1)[: len(extremes)] = extremes[: bits.size]
        x, shape = bits.view(np.float32), (tokens, width)
        results = every_team(kernel, [x], [(shape, np.uint16), (shape, np.float32), (shape, np.uint16)])
        np.testing.assert_array_equal(results[0], ops.to_bf16(x))
        np.testing.assert_array_equal(results[2], ops.to_bf16(results[1]))


@pytest.mark.parametrize("target", WITH_VULKAN)
def test_quantization_of_extremes(target):
    text = """
    func.func @f(%x: tensor<?x32xf32>)
        -> (tensor<?x32xi8>, tensor<?x1xf32>, tensor<?x1xi32>, tensor<?x1xf32>) {
      %q:4 = lumen.quantize %x : tensor<?x32xf32>
        -> tensor<?x32xi8>, tensor<?x1xf32>, tensor<?x1xi32>, tensor<?x1xf32>
      return %q#0, %q#1, %q#2, %q#3 : tensor<?x32xi8>, tensor<?x1xf32>, tensor<?x1xi32>, tensor<?x1xf32>
    }"""
    x = np.zeros((6, 32), np.float32)
    x[1, 5] = -1e38
    x[2] = np.linspace(-127, 127, 32)
    x[3] = np.arange(32) - 15.5  # codes that end in exactly one half
    x[3, 0] = 127
    x[4, :3] = [1e-38, -1e-45, 0.0]  # below 2^-120
    x[5] = 1e-30
    shapes = [((6, 32), np.int8), ((6, 1), np.float32), ((6, 1), np.int32), ((6, 1), np.float32)]
    results = Kernel(text, target).run(x, results=shapes)
    for mine, expected in zip(results, ops.quantize(x, 32, 32), strict=True):
        np.testing.assert_array_equal(mine, expected)
    assert not results[0][4].any()


@pytest.mark.parametrize("target", WITH_VULKAN)
@pytest.mark.parametrize("width", [1, 7, 64, 100, 131])
def test_odd_widths(width, target):
    """Widths that fill no vector; of one result only chosen rows are computed."""
    text = f"""
    func.func @f(%x: tensor<?x{width}xf32>, %y: tensor<?x{width}xf32>, %w: tensor<{width}xf32>,
        %rows: tensor<?xi32>) -> (tensor<?x{width}xf32>, tensor<?x{width}xf32>) {{
      %g = lumen.silu %x : tensor<?x{width}xf32>
      %s = lumen.mul %g, %y : tensor<?x{width}xf32>
      %a = lumen.add %s, %y : tensor<?x{width}xf32>
      %l = lumen.select_rows %x, %rows
        : tensor<?x{width}xf32>, tensor<?xi32> -> tensor<?x{width}xf32>
      %n = lumen.rms_norm %l, %w {{epsilon = 1.0e-05 : f32}} : tensor<?x{width}xf32>, tensor<{width}xf32>
      return %a, %n : tensor<?x{width}xf32>, tensor<?x{width}xf32>
    }}"""
    kernel = Kernel(text, target)
    weight = normal((width,))
    for tokens in TOKENS:
        x, y = 4 * normal((tokens, width), 1), normal((tokens, width), 2)
        x[0, 0] = 200.0  # exp(-x) underflows, exp(x) would not fit
        x[-1, -1] = -200.0
        for rows in ([0], [tokens - 1], range(tokens // 2, tokens), [tokens - 1, 0, 0]):
            rows = np.array(rows, np.int32)
            results = [((tokens, width), np.float32), ((len(rows), width), np.float32)]
            added, normed = every_team(kernel, [x, y, weight, rows], results)
            assert relative_error(added, ops.silu(x) * y + y) < 1e-6
            assert relative_error(normed, ops.rms_norm(x[rows], weight, 1e-5)) < 1e-6


# Numbers where exponentials overflow and underflow, and those that are none.
EXTREMES = [np.inf, -np.inf, np.nan, 3e38, -3e38, 1e20, -1e20, 200, -200, 90, -90, 1e-30, -1e-38, 0.0, -0.0]


@pytest.mark.parametrize("target", WITH_VULKAN)
@pytest.mark.parametrize("activation", ["silu", "gelu"])
def test_activation_functions(activation, target):
    """One width fills no vector, the other one is several."""
    function = ops.MEANINGS[activation]
    for width in (37, 200):
        rows = f"tensor<?x{width}xf32>"
        text = f"""
        func.func @f(%x: {rows}) -> {rows} {{
          %y = lumen.{activation} %x : {rows}
          return %y : {rows}
        }}"""
        kernel = Kernel(text, target)
        for tokens in (1, 5):
            x = 4 * normal((tokens, width))
            x[:, -len(EXTREMES) :] = EXTREMES
            (y,) = every_team(kernel, [x], [(x.shape, np.float32)])
            with np.errstate(invalid="ignore"):
                np.testing.assert_allclose(y, function(x), rtol=2e-6, atol=1e-12)


def heads(query_heads, kv_heads, size, rotated, style, element):
    q, k = query_heads * size, kv_heads * size
    blocks = (f"{size}x16", f"16x{size}") if element != "i8" else [kv_cache.block_bytes(size)] * 2
    keys, values = (f"tensor<2x{kv_heads}x?x{block}x{element}>" for block in blocks)
    rope, numbers = f'{{head_dim = {size} : i64, style = "{style}"}}', "tensor<?xi32>"
    return f"""
    func.func @f(%q: tensor<?x{q}xf32>, %k: tensor<?x{k}xf32>, %v: tensor<?x{k}xf32>,
        %table: tensor<?x{rotated}xf32>, %kc: {keys}, %vc: {values}, %layer: index,
        %positions: {numbers}, %places: {numbers}) -> (tensor<?x{q}xf32>, {keys}, {values}) {{
      %qr = lumen.rope %q, %table, %positions {rope} : tensor<?x{q}xf32>, tensor<?x{rotated}xf32>, {numbers}
      %kr = lumen.rope %k, %table, %positions {rope} : tensor<?x{k}xf32>, tensor<?x{rotated}xf32>, {numbers}
      %kn = lumen.kv_append %kc, %kr, %layer, %places {{kind = "key"}} : {keys}, tensor<?x{k}xf32>, {numbers}
      %vn = lumen.kv_append %vc, %v, %layer, %places {{kind = "value"}}
        : {values}, tensor<?x{k}xf32>, {numbers}
      return %qr, %kn, %vn : tensor<?x{q}xf32>, {keys}, {values}
    }}"""


@pytest.mark.parametrize("target", WITH_VULKAN)
@pytest.mark.parametrize(
    ("query_heads", "kv_heads", "size", "rotated", "style", "element"),
    [
        (14, 2, 64, 64, "neox", "f16"),
        (3, 3, 8, 8, "norm", "f16"),
        (4, 2, 80, 32, "neox", "f32"),
        (4, 1, 24, 16, "norm", "f32"),
        (14, 2, 64, 64, "neox", "i8"),
        (4, 2, 80, 32, "neox", "i8"),
        (3, 3, 12, 12, "norm", "i8"),
    ],
)
def test_rope_and_cache(query_heads, kv_heads, size, rotated, style, element, target):
    kernel = Kernel(heads(query_heads, kv_heads, size, rotated, style, element), target)
    kind = next(kind for kind in kv_cache.TYPES.values() if kind.element == element)
    angles = np.random.default_rng(0).uniform(-3, 3, (80, rotated // 2))
    table = np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    for tokens in TOKENS:
        q = normal((tokens, query_heads * size), 1)
        k, v = normal((tokens, kv_heads * size), 2), normal((tokens, kv_heads * size), 3)
        rng = np.random.default_rng(tokens)
        for positions in (*(numbers(first, tokens) for first in (0, 13, 47)), rng.integers(0, 80, tokens)):
            positions = positions.astype(np.int32)
            places = rng.permutation(2 * kv_cache.PAGE)[:tokens].astype(np.int32)
            before = [
                np.full(kind.shape(name, 2, kv_heads, 2, size), 7, kind.dtype) for name in ("key", "value")
            ]
            turned = ops.rope(k, table, positions, size, style)
            expected_k = ops.kv_append(before[0].copy(), turned, 1, places, "key")
            expected_v = ops.kv_append(before[1].copy(), v, 1, places, "value")
            for threads in THREADS:
                keys, values = before[0].copy(), before[1].copy()
                (rotated_q,) = kernel.run(
                    q,
                    k,
                    v,
                    table,
                    keys,
                    values,
                    1,
                    positions,
                    places,
                    results=[(q.shape, np.float32)],
                    threads=threads,
                )
                np.testing.assert_array_equal(rotated_q, ops.rope(q, table, positions, size, style))
                np.testing.assert_array_equal(keys, expected_k)
                np.testing.assert_array_equal(values, expected_v)


@pytest.mark.parametrize(
    ("name", "target"),
    on_targets(["q8_0", "q4_0", "q4_k", "q6_k", "q5_1", "iq4_nl"], ["q4_k", "iq4_nl"], WITH_VULKAN),
)
def test_quantized_embedding(name, target):
    """Rows of a quantized table have the very values of the format's NumPy reading."""
    fmt = formats.get(name)
    vocabulary, width = 11, 768
    rng = np.random.default_rng(0)
    blocks = vocabulary * width // fmt.block
    table = rng.integers(0, 256, (blocks, fmt.bytes_per_block), dtype=np.uint8)
    text = f"""{fmt.emit_ir()}
    func.func @f(%tokens: tensor<?xi32>, %table: tensor<{vocabulary}x{width}x!lumen.q<@{name}>>)
        -> tensor<?x{width}xf32> {{
      %x = lumen.embedding %tokens, %table
        : tensor<?xi32>, tensor<{vocabulary}x{width}x!lumen.q<@{name}>> -> tensor<?x{width}xf32>
      return %x : tensor<?x{width}xf32>
    }}"""
    kernel = Kernel(text, target)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = fmt.dequantize(table.reshape(-1)).reshape(vocabulary, width)
    for tokens in TOKENS:
        ids = rng.integers(0, vocabulary, tokens, dtype=np.int32)
        (x,) = every_team(kernel, [ids, table], [((tokens, width), np.float32)])
        np.testing.assert_array_equal(x, expected[ids])


@pytest.mark.parametrize("target", WITH_VULKAN)
@pytest.mark.parametrize("element", ["f32", "f16", "bf16"])
def test_float_embedding(element, target):
    vocabulary, width = 5, 70
    values = normal((vocabulary, width))
    if element == "bf16":
        table = (values.view(np.uint32) >> 16).astype(np.uint16)
        expected = (table.astype(np.uint32) << 16).view(np.float32)
    else:
        table = values.astype({"f32": np.float32, "f16": np.float16}[element])
        expected = table.astype(np.float32)
    text = f"""
    func.func @f(%tokens: tensor<?xi32>, %table: tensor<{vocabulary}x{width}x{element}>)
        -> tensor<?x{width}xf32> {{
      %x = lumen.embedding %tokens, %table
        : tensor<?xi32>, tensor<{vocabulary}x{width}x{element}> -> tensor<?x{width}xf32>
      return %x : tensor<?x{width}xf32>
    }}"""
    kernel = Kernel(text, target)
    ids = np.array([4, 0, 2, 2], np.int32)
    (x,) = every_team(kernel, [ids, table], [((4, width), np.float32)])
    np.testing.assert_array_equal(x, expected[ids])


@pytest.mark.parametrize("target", WITH_VULKAN)
@pytest.mark.parametrize(("count", "size", "style"), [(3, 32, "neox"), (1, 24, "norm"), (2, 128, "neox")])
def test_normalized_heads(count, size, style, target):
    """Every head is normalized on its own before it turns; scaled rows follow in the same loop."""
    width = count * size
    rows, table = f"tensor<?x{width}xf32>", f"tensor<?x{size}xf32>"
    text = f"""
    func.func @f(%x: {rows}, %w: tensor<{size}xf32>, %table: {table}, %positions: tensor<?xi32>)
        -> ({rows}, {rows}) {{
      %n = lumen.rms_norm %x, %w {{epsilon = 1.0e-05 : f32}} : {rows}, tensor<{size}xf32>
      %r = lumen.rope %n, %table, %positions {{head_dim = {size} : i64, style = "{style}"}}
        : {rows}, {table}, tensor<?xi32>
      %s = lumen.scale %x {{factor = 0.3 : f32}} : {rows}
      return %r, %s : {rows}, {rows}
    }}"""
    kernel = Kernel(text, target)
    weight, angles = normal((size,), 1), normal((64, size), 2)
    for tokens in TOKENS:
        x = normal((tokens, width), 3)
        x[0, :size] = 0 if tokens > 1 else 1
        results = [((tokens, width), np.float32)] * 2
        turned, scaled = every_team(kernel, [x, weight, angles, numbers(11, tokens)], results)
        normed = ops.rms_norm(x, weight, 1e-5)
        assert relative_error(turned, ops.rope(normed, angles, numbers(11, tokens), size, style)) < 1e-6
        np.testing.assert_array_equal(scaled, x * np.float32(0.3))
