# SPDX-License-Identifier: Apache-2.0
"""What calls may choose of modules of tensors, and what the compiler refuses by name."""

import numpy as np
import pytest
from tensor_modules import MODULES

import lumen_mlir
from lumen_mlir import ir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler
from lumen_mlir.errors import LumenError
from lumen_mlir.run.engine import Engine


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def engine_of(text: str) -> Engine:
    return lumen_mlir.compile(text, threads=1, use_cache=False)


# What is passed to a module of ``tensor_modules``, and what is wrong with it.
WRONG = (
    ("open_sizes", (zeros(3, 4), zeros(3, 5)), "a size of 5 where 4 is needed"),
    ("open_sizes", (zeros(3, 4), zeros(2, 4)), "a size of 2 where 3 is needed"),
    ("matmul", (zeros(3, 36), zeros(37, 50)), r"expected f32\[\?, 37\], got float32\[3, 36\]"),
    ("concat", (zeros(400, 8), zeros(600, 8)), "a size of 1000 where the module is compiled for at most 512"),
    (
        "softmax_of_open_sizes",
        (zeros(2, 1000),),
        "a size of 1000 where the module is compiled for at most 512",
    ),
    ("loop_over_rows", (zeros(0, 16),), "1 elements are read of 0"),
)


@pytest.mark.parametrize("name, arguments, message", WRONG)
def test_sizes_are_checked(name, arguments, message):
    with pytest.raises(LumenError, match=message):
        engine_of(MODULES[name].text).invoke("f", *arguments)


def test_results_have_the_sizes_that_follow():
    engine = engine_of(MODULES["concat"].text)
    assert engine.invoke("f", zeros(2, 8), zeros(3, 8)).shape == (5, 8)
    assert engine.invoke("f", zeros(0, 8), zeros(0, 8)).shape == (0, 8)
    out = zeros(5, 8)
    assert engine.invoke("f", zeros(2, 8), zeros(3, 8), outs=[out]) is out
    with pytest.raises(LumenError, match="a result has a size of 4, not 5"):
        engine.invoke("f", zeros(2, 8), zeros(3, 8), outs=[zeros(4, 8)])


def test_the_module_says_how_large_sizes_are():
    text = (
        f"module attributes {{lumen.max_tokens = 1000 : i64}} {{ {MODULES['softmax_of_open_sizes'].text} }}"
    )
    found = engine_of(text).invoke("f", zeros(2, 1000))
    np.testing.assert_allclose(found, 1e-3, rtol=1e-5)


def test_one_loop_takes_any_size():
    # Nothing lies between loops, so no memory is planned.
    engine = engine_of(MODULES["open_sizes"].text)
    x = np.linspace(-2, 2, 3 * 5000, dtype=np.float32).reshape(3, 5000)
    np.testing.assert_allclose(engine.invoke("f", x, x), np.tanh(2 * x), atol=1e-6)


def test_offsets_stay_inside():
    x = np.arange(200, dtype=np.float32).reshape(10, 20)
    engine = engine_of(MODULES["slices"].text)
    for offset, kept in ((6, 6), (7, 6), (2**62, 6)):
        np.testing.assert_array_equal(engine.invoke("f", x, offset), x[kept : kept + 4, 1:20:2] + x[0, 3:13])


def test_division_by_zero_does_not_end_the_process():
    engine = engine_of(MODULES["integers"].text)
    x = np.full((6, 40), np.iinfo(np.int32).min, np.int32)
    y = np.zeros((6, 40), np.int32)
    y[1] = -1
    assert engine.invoke("f", x, y).shape == (6, 40)


T, U = "tensor<4xf32>", "tensor<?xf32>"
REFUSED = (
    (f"%y = math.exp %x : {T}", "f64", "'math.exp' op is not supported for 'tensor<4xf64>'"),
    (f"%y = math.floor %x : {T}", "f64", "'math.floor' op is not supported for 'tensor<4xf64>'"),
    (f"%y = arith.remf %x, %x : {T}", "f32", "'arith.remf' op is not supported for 'tensor<4xf32>'"),
    (
        f"""%c = arith.constant dense<0> : tensor<4x1xindex>
        %y = tensor.gather %x[%c] gather_dims([0]) : ({T}, tensor<4x1xindex>) -> {T}""",
        "f32",
        "'tensor.gather' op is not supported",
    ),
    (
        f"""%y = scf.while (%a = %x) : ({T}) -> {T} {{
          %t = arith.constant false
          scf.condition(%t) %a : {T}
        }} do {{
        ^bb0(%b: {T}):
          scf.yield %b : {T}
        }}""",
        "f32",
        "'scf.while' op is not supported",
    ),
    (
        f"""%u = tensor.cast %x : {T} to tensor<*xf32>
        %y = tensor.cast %u : tensor<*xf32> to {T}
        %z = math.exp %u : tensor<*xf32>
        %w = tensor.cast %z : tensor<*xf32> to {T}""",
        "f32",
        "without a rank",
    ),
)


@pytest.mark.parametrize("body, element, message", REFUSED)
def test_what_is_refused_is_named(body, element, message):
    result = "%w" if "%w" in body else "%y"
    text = f"func.func @f(%x: {T}) -> {T} {{\n{body}\nreturn {result} : {T}\n}}".replace("f32", element)
    with pytest.raises(LumenError, match=message):
        engine_of(text)


def test_sizes_that_nobody_can_say():
    text = f"""func.func @f(%x: {U}, %n: index) -> {U} {{
      %c0 = arith.constant 0 : index
      %d = tensor.dim %x, %c0 : {U}
      %m = arith.divui %d, %n : index
      %s = tensor.extract_slice %x[0] [%m] [1] : {U} to {U}
      %y = math.absf %s : {U}
      return %y : {U}
    }}"""
    with pytest.raises(LumenError, match="in a way that nothing bounds"):
        engine_of(text)


def test_shapes_that_cannot_be_checked():
    text = f"""func.func @f(%x: {U}, %n: index) -> tensor<2x2xf32> {{
      %c = arith.constant dense<2> : tensor<2xindex>
      %y = tensor.reshape %x(%c) : ({U}, tensor<2xindex>) -> tensor<2x2xf32>
      return %y : tensor<2x2xf32>
    }}"""
    with pytest.raises(LumenError, match="tensor.reshape on tensors of open sizes"):
        engine_of(text)


def test_vulkan_is_refused_by_name():
    with ir.Context(), pytest.raises(LumenError, match="is not supported on Vulkan"):
        Compiler(targets.get("vulkan")).run(ir.Module.parse(MODULES["gelu_of_rank_4"].text))
