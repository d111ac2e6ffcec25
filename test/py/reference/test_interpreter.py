# SPDX-License-Identifier: Apache-2.0
"""Whole modules: the same model at the ``lumen`` and ``fused`` stages, in chunks, in every weight type."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lumen_mlir import formats, ir
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import packing
from lumen_mlir.models import Model
from lumen_mlir.passmanager import PassManager
from lumen_mlir.reference import Interpreter, ReferenceSession
from lumen_mlir.testing.random_blocks import random_weights
from lumen_mlir.testing.synthetic import Shape, write_synthetic

SMALL = Shape(256, 2, 4, 2, 32, 512, 1031, 128, True)
IDS = np.random.default_rng(0).integers(0, 1031, 37)
FUSE = (
    "builtin.module(lumen-fuse-quantized-linear,lumen-quantize-activations{{mode={mode}}},"
    "lumen-merge-linears,lumen-pack-weights{{rows=16}},lumen-form-kernels)"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small model with random weights in the given file format."""
    folder, made = tmp_path_factory.mktemp("models"), {}

    def go(format: str) -> Model:
        if format not in made:
            path = folder / f"{format}.gguf"
            write_synthetic(path, SMALL, format)
            made[format] = Model.open(path)
        return made[format]

    return go


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def fused(model: Model, mode: str) -> ir.Module:
    with ir.Context():
        module = model.module(kv_type="f32")
        PassManager.parse(FUSE.format(mode=mode)).run(module.operation)
    return module


@pytest.mark.parametrize("mode", ["exact", "int8"])
@pytest.mark.parametrize("format", ["q8_0", "q4_0", "q4_k_m", "q2_k", "iq4_nl", "f16"])
def test_fusing_changes_nothing(model, format, mode):
    plain = ReferenceSession(model(format), kv_type="f32", activations=mode).step(IDS, 0)
    module = fused(model(format), mode)
    assert "lumen.dequantize" not in str(module) and "lumen.qlinear" in str(module)
    assert ("lumen.quantize" in str(module)) == (mode == "int8" and format != "f16")
    actual = ReferenceSession(model(format), kv_type="f32", module=module).step(IDS, 0)
    assert distance(actual, plain) < 1e-6


def products(names, rows, columns):
    """A module whose function ``f`` multiplies its argument with a weight of every format."""
    kinds = [f"tensor<{rows}x{columns}x!lumen.q<@{name}>>" for name in names]
    arguments = "".join(f", %w{i}: {kind}" for i, kind in enumerate(kinds))
    x, floats, y = f"tensor<?x{columns}xf32>", f"tensor<{rows}x{columns}xf32>", f"tensor<?x{rows}xf32>"
    body = "".join(
        f"""
      %f{i} = lumen.dequantize %w{i} : {kind} -> {floats}
      %y{i} = lumen.linear %x, %f{i} : {x}, {floats} -> {y}"""
        for i, kind in enumerate(kinds)
    )
    returned, types = ", ".join(f"%y{i}" for i in range(len(names))), ", ".join([y] * len(names))
    declared = "".join(formats.get(name).emit_ir() for name in names)
    return f"""{declared}
    func.func @f(%x: {x}{arguments}) -> ({types}) {{{body}
      return {returned} : {types}
    }}"""


def test_products_of_one_activation():
    """Formats of other blocks round it by themselves: a product is the same with and without the others."""
    names, rows, columns = ("q8_0", "q4_k", "nvfp4", "q6_k"), 16, 768
    rng = np.random.default_rng(2)
    x = rng.standard_normal((3, columns), np.float32)
    weights = {name: random_weights(rng, name, rows * columns, 0.05).reshape(rows, -1) for name in names}
    with ir.Context():
        module = ir.Module.parse(products(names, rows, columns))
        together = Interpreter(module, activations="int8").call("f", x, *weights.values())
        PassManager.parse(FUSE.format(mode="int8")).run(module.operation)
        scales = re.findall(r"lumen\.quantize .* -> tensor<\?x768xi8>, tensor<\?x(\d+)xf32>", str(module))
        assert sorted(map(int, scales)) == [3, 24]
        fused_results = Interpreter(module).call("f", x, *weights.values())
        for name, one, other in zip(names, together, fused_results, strict=True):
            alone = Interpreter(ir.Module.parse(products([name], rows, columns)), activations="int8")
            np.testing.assert_array_equal(alone.call("f", x, weights[name])[0], one)
            np.testing.assert_array_equal(other, one)


@pytest.mark.parametrize("format", ["q8_0", "q4_k_m", "q6_k", "q5_1", "iq4_xs"])
def test_int8_activations_are_close_to_exact(model, format):
    exact = ReferenceSession(model(format)).step(IDS, 0)
    int8 = ReferenceSession(model(format), activations="int8").step(IDS, 0)
    assert 1e-4 < distance(int8, exact) < 0.03


def test_f16_cache_is_close_to_f32(model):
    wide = ReferenceSession(model("q8_0"), kv_type="f32").step(IDS, 0)
    narrow = ReferenceSession(model("q8_0"), kv_type="f16").step(IDS, 0)
    assert 0 < distance(narrow, wide) < 2e-3


@pytest.mark.parametrize("activations", ["exact", "int8"])
@pytest.mark.parametrize("sizes", [[1] * 37, [7, 9, 21]])
def test_chunks(model, sizes, activations):
    options = {"kv_type": "f32", "activations": activations}
    whole = ReferenceSession(model("q4_k_m"), **options).step(IDS, 0)
    session, position, parts = ReferenceSession(model("q4_k_m"), **options), 0, []
    for size in sizes:
        parts.append(session.step(IDS[position : position + size], position))
        position += size
    # BLAS sums in another order for another number of rows. A code that rounds the other way for it moves
    # the codes of all later layers and tokens: the rows then differ by the noise of the quantization.
    assert distance(np.concatenate(parts), whole) < (1e-5 if activations == "exact" else 0.02)


def test_first_row_wanted(model):
    whole = ReferenceSession(model("q8_0")).step(IDS, 0)
    last = ReferenceSession(model("q8_0")).step(IDS, 0, first=35)
    assert last.shape == (2, 1031)
    assert distance(last, whole[35:]) < 1e-5


def test_small_cache_of_decoded_weights(model):
    """Weights that do not fit are decoded at each use, with the same result."""
    m = model("q4_k_m")
    session, starved = ReferenceSession(m), ReferenceSession(m)
    starved._interpreter = Interpreter(starved.module, cache_bytes=100_000)
    np.testing.assert_array_equal(starved.step(IDS, 0), session.step(IDS, 0))


@pytest.mark.parametrize("name", ["q4_k", "q6_k", "q8_0", "f32", "f16", "bf16"])
def test_packing_gives_the_packed_bytes(name):
    fmt = formats.get(name)
    tile = packing.Tile.of(fmt, 8)
    element = name if fmt.is_float else f"!lumen.q<@{name}>"
    text = f"""
    func.func @pack(%w: tensor<?x?x{element}>) -> tensor<?x?x{element}, {tile}> {{
      %p = lumen.pack %w : tensor<?x?x{element}> -> tensor<?x?x{element}, {tile}>
      return %p : tensor<?x?x{element}, {tile}>
    }}
    """
    raw = np.random.default_rng(0).integers(0, 256, (13, fmt.row_bytes(512)), dtype=np.uint8)
    with ir.Context():
        module = ir.Module.parse(("" if fmt.is_float else fmt.emit_ir()) + text)
        (packed,) = Interpreter(module).call("pack", raw)
    np.testing.assert_array_equal(packed, packing.pack(fmt, raw, 8))


def test_dequantize_and_linear_alone():
    text = (
        formats.get("q4_0").emit_ir()
        + """
    func.func @f(%x: tensor<?x64xf32>, %w: tensor<5x64x!lumen.q<@q4_0>>, %b: tensor<5xf32>)
        -> (tensor<?x5xf32>, tensor<5x64xf32>) {
      %f = lumen.dequantize %w : tensor<5x64x!lumen.q<@q4_0>> -> tensor<5x64xf32>
      %y = lumen.linear %x, %f bias(%b : tensor<5xf32>)
        : tensor<?x64xf32>, tensor<5x64xf32> -> tensor<?x5xf32>
      return %y, %f : tensor<?x5xf32>, tensor<5x64xf32>
    }
    """
    )
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 256, (5, 36), dtype=np.uint8)
    raw[:, [1, 19]] = 0x2C  # scales of about 1/16
    x, b = rng.standard_normal((3, 64)).astype("f4"), rng.standard_normal(5).astype("f4")
    weights = formats.get("q4_0").dequantize(raw)
    with ir.Context():
        y, w = Interpreter(ir.Module.parse(text)).call("f", x, raw, b)
    np.testing.assert_array_equal(w, weights)
    np.testing.assert_allclose(y, x.astype("f8") @ weights.T + b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "'f' takes 2 arguments, not 0"),
        ((zeros(2, 3), zeros(4)), "argument 0 of 'f' is float32 [2, 3]; expected tensor<?x4xf32>"),
        ((zeros(2, 4).astype("f8"), zeros(4)), "argument 0 of 'f' is float64 [2, 4]; expected tensor<?x4x"),
        ((zeros(2, 4), zeros(5)), "argument 1 of 'f' is float32 [5]; expected tensor<4xf32>"),
    ],
)  # fmt: skip
def test_wrong_arguments(arguments, message):
    text = """
    func.func @f(%x: tensor<?x4xf32>, %w: tensor<4xf32>) -> tensor<?x4xf32> {
      %y = lumen.rms_norm %x, %w {epsilon = 1.0e-06 : f32} : tensor<?x4xf32>, tensor<4xf32>
      return %y : tensor<?x4xf32>
    }
    """
    with ir.Context():
        interpreter = Interpreter(ir.Module.parse(text))
        with pytest.raises(LumenError) as error:
            interpreter.call("f", *arguments)
        assert message in str(error.value)
        with pytest.raises(LumenError, match="has no function 'g'; it has f"):
            interpreter.call("g")


def test_wrong_steps(model):
    session = ReferenceSession(model("q8_0"), context=40)
    with pytest.raises(LumenError, match="4 tokens at position 37 do not fit a context of 40 tokens"):
        session.step([1, 2, 3, 4], 37)
    with pytest.raises(LumenError, match="token ids 5 to 1031 are not in a vocabulary of 1031 tokens"):
        session.step([5, 1031], 0)
    with pytest.raises(LumenError, match="a context of 129 tokens is not from 1 to 128"):
        ReferenceSession(model("q8_0"), context=129)
    with pytest.raises(LumenError, match="unknown KV type 'q4_0'"):
        ReferenceSession(model("q8_0"), kv_type="q4_0")
    with pytest.raises(LumenError, match="activations are 'fp8'"):
        ReferenceSession(model("q8_0"), activations="fp8")
