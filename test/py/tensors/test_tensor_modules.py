# SPDX-License-Identifier: Apache-2.0
"""Modules of upstream's ops, compiled for every kind of target and compared with NumPy in float64."""

import re

import numpy as np
import pytest
from kernel_runner import Kernel, on_targets
from tensor_modules import MODULES, Random, TensorModule, Weight

import lumen_mlir
from lumen_mlir import formats, ir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler
from lumen_mlir.formats import packing
from lumen_mlir.run.engine import aligned_empty
from lumen_mlir.testing.random_blocks import random_weights

# One of each kind of op, on all targets. The others are in the matrix there.
EVERYWHERE = (
    "softmax", "softmax_of_open_sizes", "layer_norm", "matmul", "batch_matmul", "lookup", "places",
    "slices", "concat", "loop_over_rows", "branch", "halves", "brain_floats", "integers", "bits",
    "sum_of_columns", "gelu_of_rank_4", "relu_squared_between_products", "soft_capping", "norm_of_lumen",
    "batch_with_a_quantized_weight", "a_vector_and_a_quantized_weight",
)  # fmt: skip


def arguments_of(module: TensorModule, target: str) -> tuple[list, list]:
    """What the code is given, and the same for the reference."""
    rng = np.random.default_rng(4)
    given, plain = [], []
    for argument in module.arguments:
        if isinstance(argument, Random):
            array = argument.make(rng)
            given.append(array)
            plain.append(array.astype(np.float64) if array.dtype.kind == "f" else array)
        elif isinstance(argument, Weight):
            fmt, size = formats.get(argument.format), argument.rows * argument.columns
            raw = random_weights(rng, fmt.name, size, argument.columns**-0.5).reshape(argument.rows, -1)
            packed = packing.pack(fmt, raw, *targets.get(target).tile(fmt))
            given.append(aligned_empty(packed.shape))
            given[-1][:] = packed
            values = fmt.dequantize(raw.reshape(-1)).reshape(argument.rows, argument.columns)
            plain.append(values.astype(np.float64))
        else:
            given.append(argument)
            plain.append(argument)
    return given, plain


def check(module: TensorModule, found: np.ndarray, expected: np.ndarray) -> None:
    error = np.abs(found.astype(np.float64) - expected) / (1 + np.abs(expected))
    assert error.max(initial=0) < module.tolerance, module.name


@pytest.mark.parametrize("name, target", on_targets(MODULES, EVERYWHERE))
def test_modules(name, target):
    module = MODULES[name]
    given, plain = arguments_of(module, target)
    expected = np.asarray(module.reference(*plain))
    kernel = Kernel(module.text, target)
    first = None
    for threads in (1, 2, 3):
        results = [(expected.shape, module.dtype, module.dynamic)]
        (found,) = kernel.run(*given, results=results, threads=threads)
        check(module, found, expected)
        if first is not None:
            np.testing.assert_array_equal(found, first)
        first = found


@pytest.mark.parametrize("name", EVERYWHERE)
def test_called_from_python(name):
    # Results get their sizes from arguments.
    module = MODULES[name]
    engine = lumen_mlir.compile(module.text, use_cache=False)
    given, plain = arguments_of(module, engine.target.name)
    expected = np.asarray(module.reference(*plain))
    found = engine.invoke("f", *given)
    assert found.shape == expected.shape and found.dtype == module.dtype
    check(module, found, expected)


def test_no_code_calls_a_library():
    # (The runtime has a few functions; memory is filled and copied by what C compilers call, too.)
    known = ("lumen_", "mem")
    for name, module in MODULES.items():
        with ir.Context():
            code = Compiler(targets.get("x86-64-v2")).emit(ir.Module.parse(module.text), "asm")
        called = set(re.findall(r"\b(?:callq?|jmp)\s+([A-Za-z_]\w*)", code))
        own = set(re.findall(r"^([A-Za-z_]\w*):", code, re.M))
        assert not [each for each in called - own if not each.startswith(known)], name
