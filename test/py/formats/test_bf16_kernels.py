# SPDX-License-Identifier: Apache-2.0
"""Products with weights in bf16, in pairs: the instruction of a target, or plain arithmetic in its place.

Plain arithmetic has one order and products that are exact, so NumPy gives the very bits. A token must get the
same result however many tokens a call has.
"""

import dataclasses
import functools

import numpy as np
import pytest
from emulated import marks_of
from kernel_code import innermost_loops
from pair_targets import PAIRS

import lumen_mlir
from lumen_mlir import formats, ir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler, CompilerOptions
from lumen_mlir.formats import packing
from lumen_mlir.reference import Interpreter, ops
from lumen_mlir.reference import packed as plain
from lumen_mlir.run.engine import aligned_empty

BFDOT = "armv8.6-a+i8mm"
PARAMETERS = [*PAIRS, pytest.param(BFDOT, marks=marks_of(BFDOT))]
# In f32 a target is known by its vectors alone.
IN_FLOATS = [*PAIRS, pytest.param(BFDOT, marks=[*marks_of(BFDOT), pytest.mark.matrix])]
MOST_TOKENS = 17

# Rows and columns: units of one pair, of two and of four; tiles that are not full, and several; odd columns.
SHAPES = [(37, 288), (1, 2), (64, 6), (33, 70), (8, 772), (16, 1), (37, 37)]
PAIRED = [shape for shape in SHAPES if shape[1] % 2 == 0]


def target_of(name):
    return PAIRS.get(name) or targets.get(name)


def function(n, k, element="bf16"):
    return f"""
    func.func @linear_{n}x{k}(%x: tensor<?x{k}xf32>, %w: tensor<{n}x{k}x{element}>, %b: tensor<{n}xf32>)
        -> tensor<?x{n}xf32> {{
      %y = lumen.linear %x, %w bias(%b : tensor<{n}xf32>)
        : tensor<?x{k}xf32>, tensor<{n}x{k}x{element}> -> tensor<?x{n}xf32>
      return %y : tensor<?x{n}xf32>
    }}
    func.func @pack_{n}x{k}(%w: tensor<?x?x{element}>) -> tensor<?x?x{element}, TILE> {{
      %p = lumen.pack %w : tensor<?x?x{element}> -> tensor<?x?x{element}, TILE>
      return %p : tensor<?x?x{element}, TILE>
    }}"""


def compile_module(text, target, activations="int8", threads=1):
    text = f"module attributes {{lumen.max_tokens = {MOST_TOKENS} : i64}} {{{text}}}"
    options = CompilerOptions(activations=activations)
    return lumen_mlir.compile(text, target, threads=threads, options=options, use_cache=False)


@functools.cache
def _engine(name, activations):
    target = target_of(name)
    text = "".join(function(*shape) for shape in SHAPES).replace(
        "TILE", str(target.tile(formats.get("bf16")))
    )
    return compile_module(text, target, activations)


def operands(n, k):
    """A weight as bits, a bias, and activations: small and large rows, one of zeros, and one that cancels."""
    rng = np.random.default_rng([n, k])
    weight = ops.to_bf16(rng.standard_normal((n, k), np.float32))
    x = rng.standard_normal((MOST_TOKENS, k), np.float32)
    x[1] *= 1e4
    x[2] = 0
    x[3, 1::2] = -x[3, : k // 2 * 2 : 2]
    return weight, rng.standard_normal(n, np.float32), x


def pack(weight, target):
    fmt = formats.get("bf16")
    packed = packing.pack(fmt, weight.view(np.uint8), *target.tile(fmt))
    copy = aligned_empty(packed.shape)
    copy[:] = packed
    return copy


def sums_of_pairs(x, weight):
    """In float32, pair by pair, the second product of each first; both products are exact."""
    x, weight = ops.from_bf16(ops.to_bf16(x)), ops.from_bf16(weight)
    sums = np.zeros((len(x), len(weight)), np.float32)
    for k in range(0, x.shape[1], 2):
        for column in (k + 1, k):
            sums = sums + x[:, column, None] * weight[None, :, column]
    return sums


def test_layout():
    """Pairs for the weights that meet pairs, and for no others."""
    for target in targets.TARGETS:
        tiles = {name: target.tile(formats.get(name))[:2] for name in ("bf16", "f16", "f32")}
        assert tiles["bf16"] == (target.rows, 2 if target.bf16_dot else 1)
        assert tiles["f16"] == tiles["f32"] == (target.rows, 1)
    assert [target.name for target in targets.TARGETS if target.bf16_dot] == ["x86-64-v4+bf16", BFDOT]


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_pack(n, k, name):
    """The bytes that NumPy packs, and the very weights by a plain decoder."""
    weight, target = operands(n, k)[0], target_of(name)
    expected = pack(weight, target)
    found = aligned_empty(expected.shape)
    found[:] = 0
    raw = weight.reshape(-1).view(np.uint8)
    _engine(name, "int8").invoke(f"pack_{n}x{k}", raw, n, k, outs=[found])
    np.testing.assert_array_equal(found, expected)
    values, _ = plain.decode(formats.get("bf16"), found, n, k, *target.tile(formats.get("bf16")))
    np.testing.assert_array_equal(values[:n].view(np.uint16), weight)


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize(("n", "k"), PAIRED)
def test_product(n, k, name):
    weight, bias, x = operands(n, k)
    packed = pack(weight, target_of(name))
    found = [
        _engine(name, "int8").invoke(f"linear_{n}x{k}", x[:tokens], packed, bias) for tokens in (1, 2, 17)
    ]
    for few in found[:-1]:
        np.testing.assert_array_equal(few, found[-1][: len(few)])
    if name in PAIRS:
        np.testing.assert_array_equal(found[-1], sums_of_pairs(x, weight) + bias)
    rounded, values = ops.from_bf16(ops.to_bf16(x)).astype(np.float64), ops.from_bf16(weight)
    magnitude = abs(rounded) @ abs(values.T) + abs(bias)
    # Instructions may round each pair and each sum to odd, which is off by up to a unit.
    limit = min((k + 2) * 2.0**-23, 4e-6) * magnitude
    assert np.all(abs(found[-1] - (rounded @ values.T + bias)) <= limit)


@pytest.mark.parametrize("name", PARAMETERS)
def test_tokens(name):
    """Every number of tokens, and so every register tile."""
    (n, k), compiled = SHAPES[0], _engine(name, "int8")
    weight, bias, x = operands(n, k)
    packed = pack(weight, target_of(name))
    whole = compiled.invoke(f"linear_{n}x{k}", x, packed, bias)
    for tokens in range(1, MOST_TOKENS):
        found = compiled.invoke(f"linear_{n}x{k}", x[-tokens:], packed, bias)
        np.testing.assert_array_equal(found, whole[-tokens:])


@pytest.mark.parametrize("name", IN_FLOATS)
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_exact_product(n, k, name):
    """Activations in f32 meet the same packed weights, column by column: as if these did not lie in pairs."""
    weight, bias, x = operands(n, k)
    target = target_of(name)
    alone = dataclasses.replace(target, bf16_dot=False)
    packed = [pack(weight, each) for each in (target, alone)]
    text = function(n, k).replace("TILE", str(alone.tile(formats.get("bf16"))))
    expected = compile_module(text, alone, "exact").invoke(f"linear_{n}x{k}", x, packed[1], bias)
    for activations in ("exact", "int8")[: 1 + k % 2]:
        found = _engine(name, activations).invoke(f"linear_{n}x{k}", x, packed[0], bias)
        np.testing.assert_array_equal(found, expected)


MERGED = """
    func.func @f(%x: tensor<?x64xf32>, %a: tensor<37x64xbf16>, %b: tensor<37x64xbf16>, %c: tensor<37x64xf16>)
        -> (tensor<?x37xf32>, tensor<?x37xf32>) {
      %g = lumen.linear %x, %a : tensor<?x64xf32>, tensor<37x64xbf16> -> tensor<?x37xf32>
      %u = lumen.linear %x, %b : tensor<?x64xf32>, tensor<37x64xbf16> -> tensor<?x37xf32>
      %v = lumen.linear %x, %c : tensor<?x64xf32>, tensor<37x64xf16> -> tensor<?x37xf32>
      %s = lumen.silu %g : tensor<?x37xf32>
      %h = lumen.mul %s, %u : tensor<?x37xf32>
      return %h, %v : tensor<?x37xf32>, tensor<?x37xf32>
    }"""


@pytest.mark.parametrize("name", IN_FLOATS)
@pytest.mark.parametrize("activations", ["int8", "exact"])
def test_several_weights(activations, name):
    """Gate and up as one product, beside a weight in f16 that reads the same activations in f32."""
    target, rng = target_of(name), np.random.default_rng(0)
    gate, up = (ops.to_bf16(rng.standard_normal((37, 64), np.float32) / 8) for _ in range(2))
    half = rng.standard_normal((37, 64)).astype(np.float16)
    x = rng.standard_normal((5, 64), np.float32)
    fmt = formats.get("f16")
    other = packing.pack(fmt, half.view(np.uint8), *target.tile(fmt))
    given = aligned_empty(other.shape)
    given[:] = other
    arguments = [pack(gate, target), pack(up, target), given]
    one, two = (compile_module(MERGED, target, activations, threads) for threads in (1, 2))
    found = one.invoke("f", x, *arguments)
    for mine, same in zip(found, two.invoke("f", x, *arguments), strict=True):
        np.testing.assert_array_equal(mine, same)
    rounded = ops.from_bf16(ops.to_bf16(x)) if activations == "int8" else x
    left, right = (rounded @ ops.from_bf16(weight).T for weight in (gate, up))
    for mine, expected in zip(found, (ops.silu(left) * right, x @ half.astype(np.float32).T), strict=True):
        assert np.linalg.norm(mine - expected) <= 2e-6 * np.linalg.norm(expected)


def test_reference():
    """The interpreter computes the fused form of a module with the same rounded activations."""
    target = PAIRS["plain"]
    weight, bias, x = operands(37, 288)
    with ir.Context():
        module = ir.Module.parse(function(37, 288).replace("TILE", "#lumen.packed<rows = 8, k = 2>"))
        fused = Compiler(target, CompilerOptions("int8")).run(module, "fused")
        text = str(fused)
        (found,) = Interpreter(fused).call("linear_37x288", x, weight.view(np.uint8).reshape(-1), bias)
    assert "lumen.to_bf16" in text and "tensor<37x288xbf16, #lumen.packed<rows = 8, k = 2>>" in text
    expected = sums_of_pairs(x, weight) + bias
    magnitude = abs(x) @ abs(ops.from_bf16(weight).T)
    assert np.all(abs(found - expected) <= 4e-6 * magnitude + 1e-6)


@pytest.mark.parametrize(("name", "instruction"), [("x86-64-v4+bf16", "vdpbf16ps"), (BFDOT, "bfdot")])
def test_code(name, instruction):
    """The inner loops are little but the instruction, and find registers for all sums."""
    with ir.Context():
        module = ir.Module.parse(
            function(256, 1024).replace("TILE", str(targets.get(name).tile(formats.get("bf16"))))
        )
        text = Compiler(targets.get(name)).emit(module, "asm")
    loops = sorted(innermost_loops(text, {instruction: 1}), key=lambda loop: loop.dots)
    # Four pairs, two vectors of rows, and one token or eight.
    assert (loops[0].dots, loops[-1].dots) == (8, 64)
    assert all(loop.spills == 0 for loop in loops)
    assert loops[-1].overhead < 1.7
