# SPDX-License-Identifier: Apache-2.0
"""Formats on targets: packing, products and embeddings as compiled code, against NumPy.

Every format on this machine's own target; on the others formats that together have every feature that
kernels are made by, and the rest in the matrix. The kernels of many formats stand in one module.
"""

import functools

import numpy as np
import pytest
from emulated import marks_of
from format_classes import representatives
from format_kernels import MOST_TOKENS, Case, Terms, aligned, compile_cases, compile_groups, rounding_bound
from kernel_runner import on_targets

import lumen_mlir
from lumen_mlir import formats
from lumen_mlir.compiler import targets
from lumen_mlir.formats import packing
from lumen_mlir.formats.dsl import Codes, bitcast, f16, f32, i8, per_row, quant_format, u8, unpack
from lumen_mlir.reference import packed as plain
from lumen_mlir.testing.random_blocks import random_weights

TARGETS = tuple(
    pytest.param(name, marks=marks_of(name))
    for name in targets.names()
    if name != "native" and not targets.get(name).triple.startswith(("nvptx", "spirv"))
)
TOKENS = (1, 2, 3, 8, 17)
ROWS = 37
"""Fills no tile of any target."""


@quant_format("channel", block=32, bits=8, bias=-128, size=32, register=False)
class Channel:
    """A scale per output channel."""

    d: per_row(f32)
    qs: i8[32]

    def decode(b):
        return Codes(bitcast(b.qs, u8) ^ 0x80, scale=b.d)


@quant_format("two_headed", block=64, group=16, bits=4, register=False)
class TwoHeaded:
    """Scales and minima of 4 bits in units that belong to the row."""

    scale: per_row(f16)
    least: per_row(f16[2])
    sub: u8[4]
    qs: u8[32]

    def decode(b):
        scales = (f32(b.scale) * 0.5, b.sub & 15)
        return Codes(unpack(b.qs, 4), scale=scales, min=(b.least[1], b.sub >> 4))


def _with_header(fmt, columns):
    raw = np.random.default_rng(5).integers(0, 256, (ROWS, fmt.row_bytes(columns)), dtype=np.uint8)
    floats = np.linspace(-0.02, 0.03, ROWS)
    if fmt.name == "channel":
        raw[:, :4] = floats.astype("<f4").view(np.uint8).reshape(ROWS, -1)
    else:
        halves = np.stack([floats, floats[::-1], 2 * floats], axis=1).astype("<f2")
        raw[:, :6] = halves.view(np.uint8).reshape(ROWS, -1)
    return Case(fmt, raw, columns)


def _case(name):
    fmt = formats.get(name)
    # An odd number of spans or blocks.
    columns = 288 if fmt.block == 32 else 768
    raw = random_weights(np.random.default_rng(len(name)), name, ROWS * columns, 0.05)
    return Case(fmt, raw.reshape(ROWS, -1), columns)


CASES = {name: _case(name) for name in formats.names() if not formats.get(name).is_float}
CASES |= {"channel": _with_header(Channel, 288), "two_headed": _with_header(TwoHeaded, 320)}


CHOSEN = set(representatives({name: case.fmt for name, case in CASES.items()}))
NATIVE = targets.native().name

# Groups of 32 and of 16, with minima and without; scales that fit the codes; one scale for a block.
GROUPED = ("q4_k", "iq4_xs", "q2_k", "q6_k", "q3_k", "tq2_0")
GROUPS = (32, 64, 128, 256)
# Each of them with one group of activations.
DIAGONAL = {(name, GROUPS[number % len(GROUPS)]) for number, name in enumerate(GROUPED)}


@functools.cache
def _grouped_engine(target, diagonal):
    pairs = [(name, group) for name in GROUPED for group in GROUPS if ((name, group) in DIAGONAL) == diagonal]
    return compile_groups([(CASES[name], group) for name, group in pairs], target, tokens=2)


def grouped_engine(name, group, target):
    return _grouped_engine(target, (name, group) in DIAGONAL)


@functools.cache
def _engine(target, mode, chosen):
    cases = [case for name, case in CASES.items() if (name in CHOSEN) == chosen]
    # All sizes of tiles take twice as long to compile as two, which say as much of a format. Formats that are
    # tried everywhere have all sizes on this machine's target, the others where the matrix tries them.
    all_sizes = mode == "int8" and chosen == (target == NATIVE)
    return compile_cases(cases, target, mode, tokens=None if all_sizes else 2)


def engine(case, target, mode="int8"):
    """The code of the case and of others: those that are tried everywhere, or those of the matrix."""
    return _engine(target, mode, case.name in CHOSEN)


def activations(columns, tokens=TOKENS[-1]):
    x = np.random.default_rng(3).standard_normal((tokens, columns), np.float32)
    x[1] *= 1e3
    x[2, :256] = 0
    return x


every_kernel = pytest.mark.parametrize(("name", "target"), on_targets(CASES, CHOSEN, TARGETS))


@every_kernel
def test_pack(name, target):
    """The bytes that NumPy packs, of any bytes."""
    case = CASES[name]
    raw = np.random.default_rng(0).integers(0, 256, case.raw.shape, dtype=np.uint8)
    expected = packing.pack(case.fmt, raw, *targets.get(target).tile(case.fmt))
    # What lies between components is not written.
    found = aligned(np.zeros_like(expected))
    engine(case, target).invoke(f"pack_{case.name}", raw.reshape(-1), ROWS, case.columns, outs=[found])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "tile", [*(packing.Tile(8, step) for step in (1, 2, 8, 16, 32)), packing.Tile(8, 4, True, True)], ids=str
)
def test_pack_tiles(tile):
    """The same for other tiles than this machine takes, and the very weights by a plain decoder."""
    names = ["q8_0", "q4_k", "q5_0", "q2_k", "q3_k", "q6_k", "f16"]
    if tile.signed_codes:
        names.remove("f16")
    functions = []
    for name in names:
        element = name if formats.get(name).is_float else f"!lumen.q<@{name}>"
        raw, packed = f"tensor<?x?x{element}>", f"tensor<?x?x{element}, {tile}>"
        functions.append(f"""{"" if formats.get(name).is_float else formats.get(name).emit_ir()}
        func.func @pack_{name}(%w: {raw}) -> {packed} {{
          %p = lumen.pack %w : {raw} -> {packed}
          return %p : {packed}
        }}""")
    packers = lumen_mlir.compile("\n".join(functions), threads=1, use_cache=False)
    for name in names:
        fmt, columns = formats.get(name), 512 + 3 * (name == "f16")
        raw = np.random.default_rng(0).integers(0, 256, (ROWS, fmt.row_bytes(columns)), np.uint8)
        expected = packing.pack(fmt, raw, *tile)
        found = aligned(np.zeros_like(expected))
        packers.invoke(f"pack_{name}", raw.reshape(-1), ROWS, columns, outs=[found])
        np.testing.assert_array_equal(found, expected)
        codes, _ = plain.decode(fmt, found, ROWS, columns, *tile)
        values = fmt.elements(raw) if fmt.is_float else fmt.decode_codes(raw).codes
        assert codes[:ROWS].tobytes() == values.tobytes()


@every_kernel
def test_embedding(name, target):
    """The very values that NumPy dequantizes, of any bytes."""
    case = CASES[name]
    raw = np.random.default_rng(1).integers(0, 256, case.raw.shape, dtype=np.uint8)
    ids = np.array([0, ROWS - 1, 5, 5], np.int32)
    found = engine(case, target).invoke(f"embedding_{case.name}", ids, raw.reshape(-1))
    np.testing.assert_array_equal(found, case.fmt.dequantize(raw)[ids])


@every_kernel
def test_int8_product(name, target):
    case = CASES[name]
    x, packed = activations(case.columns), case.packed(target)
    terms = Terms.of(case, x)
    expected, magnitude = terms.product(), terms.magnitude()
    for tokens in TOKENS:
        found = engine(case, target).invoke(f"linear_{case.name}", x[:tokens], packed)
        assert found.shape == (tokens, ROWS)
        difference = abs(found - expected[:tokens])
        assert np.all(difference <= min(2e-6, rounding_bound(case)) * magnitude[:tokens])


def check_many_tokens(case, target, compiled):
    """A kernel may treat many tokens otherwise than few, but not with another result."""
    x, packed = activations(case.columns, MOST_TOKENS), case.packed(target)
    terms = Terms.of(case, x)

    def linear(rows):
        return compiled.invoke(f"linear_{case.name}", rows, packed)

    found = linear(x)
    few = [linear(x[first : first + 17]) for first in range(0, MOST_TOKENS, 17)]
    np.testing.assert_array_equal(found, np.concatenate(few))
    limit = min(2e-6, rounding_bound(case)) * terms.magnitude()
    assert np.all(abs(found - terms.product()) <= limit)


@every_kernel
def test_many_tokens(name, target):
    case = CASES[name]
    check_many_tokens(case, target, engine(case, target))


@pytest.mark.parametrize(("rows", "target"), on_targets([1, 16, 32, 33, 48], {33}, TARGETS))
def test_many_tokens_with_other_tiles(rows, target):
    """Scales that are multiplied into the codes take several tiles of rows together."""
    whole = CASES["q3_k"]
    raw = random_weights(np.random.default_rng(rows), "q3_k", rows * whole.columns, 0.05)
    case = Case(whole.fmt, raw.reshape(rows, -1), whole.columns)
    check_many_tokens(case, target, compile_cases([case], target, "int8"))


@pytest.mark.parametrize("target", TARGETS)
def test_the_largest_scaled_codes(target):
    """Products of codes and integers of scales take all of a byte: -4 * -32 to -4 * 31."""
    whole = CASES["q3_k"]
    raw = np.zeros_like(whole.raw)
    blocks = raw.reshape(-1, 110)  # hmask 32, qs 64, scales 12, d 2
    blocks[:, 96:108] = np.random.default_rng(0).choice([0, 255], (len(blocks), 12))
    blocks[:, :96] = np.random.default_rng(1).choice([0, 255], (len(blocks), 96))
    blocks[:, 108:] = np.float16(1).view(np.uint16).astype("<u2").reshape(1).view(np.uint8)
    case = Case(whole.fmt, raw, whole.columns)
    decoded = case.fmt.dequantize(raw)
    assert (decoded.min(), decoded.max()) == (-124, 128)
    check_many_tokens(case, target, engine(case, target))


@pytest.mark.parametrize(
    ("name", "group", "target"),
    on_targets([(name, group) for name in GROUPED for group in GROUPS], DIAGONAL, TARGETS),
)
def test_groups_of_activations(name, group, target):
    """Scales of activations may be finer than the blocks of the weight."""
    case = CASES[name]
    x, packed = activations(case.columns, MOST_TOKENS), case.packed(target)
    terms = Terms.of(case, x, group)
    expected, magnitude = terms.product(), terms.magnitude()
    for tokens in (1, 3, MOST_TOKENS):
        found = grouped_engine(name, group, target).invoke(f"product_{name}_{group}", x[:tokens], packed)
        difference = abs(found - expected[:tokens])
        assert np.all(difference <= min(2e-6, rounding_bound(case)) * magnitude[:tokens])


@every_kernel
def test_integer_sums(name, target):
    """The sum of one group reaches the result with one rounding, so that it shows to the last bit."""
    case = CASES[name]
    size = min(case.fmt.group, 32)
    groups = (0, 3, case.columns // size - 1)
    # Whole numbers up to 127, all equal in the second token: the largest sums there are.
    x = np.zeros((len(groups), case.columns), np.float32)
    rng = np.random.default_rng(9)
    for token, group in enumerate(groups):
        x[token, group * size :][:size] = 127 if token == 1 else rng.integers(-127, 128, size)
        x[token, group * size] = 127
    terms = Terms.of(case, x)
    assert np.all(terms.scales[terms.scales != 0] == 1)
    found = engine(case, target).invoke(f"linear_{case.name}", x, case.packed(target))
    for token, group in enumerate(groups):
        expected = terms.values[:, group] @ x[token, group * size :][:size] * terms.scale[:, group]
        if terms.minimum is None:
            np.testing.assert_array_equal(found[token], expected)
        else:
            lowered = terms.minimum[:, group] * x[token].sum()
            bound = 2.0**-23 * (abs(expected) + abs(lowered))
            assert np.all(abs(found[token] - (expected - lowered)) <= bound)


def for_exact_products() -> list:
    """Float products know targets only by the width of vectors and whether they multiply and add at once.

    They unpack as int8 products do, which have all formats on this machine's target: chosen ones will do.
    """
    left = [pytest.mark.matrix]
    return [
        pytest.param(*param.values, marks=[*param.marks, *(left if param.values[0] not in CHOSEN else [])])
        for param in on_targets(CASES, CHOSEN, TARGETS)
        if param.values[1] in (NATIVE, "generic")
    ]


@pytest.mark.parametrize(("name", "target"), for_exact_products())
def test_exact_product(name, target):
    case = CASES[name]
    x = activations(case.columns)
    weights = case.fmt.dequantize(case.raw).astype(np.float64)
    expected, magnitude = x @ weights.T, abs(x) @ abs(weights.T)
    for tokens in TOKENS[:-1]:
        found = engine(case, target, "exact").invoke(f"linear_{name}", x[:tokens], case.packed(target))
        # The worst case of as many roundings as columns lies higher; that of usual ones well below.
        assert np.all(abs(found - expected[:tokens]) <= 2e-6 * magnitude[:tokens])
