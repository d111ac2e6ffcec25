# SPDX-License-Identifier: Apache-2.0
"""Compiled mixtures of experts against NumPy: routing, sorting, products, and what they read."""

import ctypes
import faulthandler
import math
import mmap
import os
import resource

import numpy as np
import pytest
from emulated import EMULATED_GPU
from kernel_runner import WITH_VULKAN, Kernel, on_targets, relative_error
from matrix_target import MATRICES

from lumen_mlir import formats
from lumen_mlir.compiler import targets
from lumen_mlir.formats import packing
from lumen_mlir.reference import ops
from lumen_mlir.run.engine import aligned_empty
from lumen_mlir.testing.random_blocks import random_weights

TOKENS = (1, 2, 5, 33)


def route_text(experts, used, gating, bias, normalized):
    argument = f", %b: tensor<{experts}xf32>" if bias else ""
    with_bias = f"bias(%b : tensor<{experts}xf32>)" if bias else ""
    slots, weights = f"tensor<?x{used}xi32>", f"tensor<?x{used}xf32>"
    return f"""
    func.func @f(%x: tensor<?x{experts}xf32>{argument})
        -> ({slots}, {weights}, {slots}, {slots}, tensor<{experts + 1}x2xi32>) {{
      %e, %w = lumen.route %x {with_bias} {{gating = "{gating}", normalized = {str(normalized).lower()},
        scale = 2.5 : f32}} : tensor<?x{experts}xf32> -> {slots}, {weights}
      %s, %p, %g = lumen.group_tokens %e : {slots} -> {slots}, {slots}, tensor<{experts + 1}x2xi32>
      return %e, %w, %s, %p, %g : {slots}, {weights}, {slots}, {slots}, tensor<{experts + 1}x2xi32>
    }}"""


@pytest.mark.parametrize("target", WITH_VULKAN)
@pytest.mark.parametrize(
    ("experts", "used", "gating", "bias", "normalized"),
    [
        (8, 2, "softmax", False, True),
        (60, 4, "softmax", False, False),
        (128, 8, "sigmoid", True, True),
        (3, 3, "sigmoid", True, False),
        (5, 1, "softmax", True, True),
    ],
)
def test_routing(experts, used, gating, bias, normalized, target):
    kernel = Kernel(route_text(experts, used, gating, bias, normalized), target)
    rng = np.random.default_rng([experts, used])
    selection = rng.standard_normal(experts, dtype=np.float32) * 0.3
    for tokens in TOKENS:
        logits = 2 * rng.standard_normal((tokens, experts), dtype=np.float32)
        logits[0, : experts // 2] = logits[0, 0]  # The first of equal ones is chosen.
        given = [logits, selection] if bias else [logits]
        slots, shape = ((tokens, used), np.int32), ((experts + 1, 2), np.int32, ())
        results = [slots, ((tokens, used), np.float32), slots, slots, shape]
        expected = ops.route(logits, given[1] if bias else None, used, gating, normalized, 2.5)
        for threads in (1, 2, 3):
            chosen, weights, *sorted_ = kernel.run(*given, results=results, threads=threads)
            np.testing.assert_array_equal(chosen, expected[0])
            assert relative_error(weights, expected[1]) < 1e-6
            for mine, reference in zip(sorted_, ops.group_tokens(chosen, experts), strict=True):
                np.testing.assert_array_equal(mine, reference)


def mixture_text(experts, used, width, hidden, kind, rows):
    element = kind if formats.get(kind).is_float else f"!lumen.q<@{kind}>"
    layout = packing.Tile.of(formats.get(kind), rows)
    gate = f"tensor<{experts * hidden}x{width}x{element}, {layout}>"
    down = f"tensor<{experts * width}x{hidden}x{element}, {layout}>"
    groups, slots = f"tensor<{experts + 1}x2xi32>", f"tensor<?x{used}xi32>"

    def activations(x, columns):
        if formats.get(kind).is_float:
            return "", f"%{x} : tensor<?x{columns}xf32>"
        fmt = formats.get(kind)
        group, size = ops.activation_group(fmt.block), min(fmt.group, 32)
        types = (
            f"tensor<?x{columns}xi8>, tensor<?x{columns // group}xf32>, "
            f"tensor<?x{columns // size}xi32>, tensor<?x{columns // size}xf32>"
        )
        quantize = f"""%{x}q:4 = lumen.quantize %{x} {{group = {group} : i64, sum_group = {size} : i64}}
            : tensor<?x{columns}xf32> -> {types}"""
        return quantize, f"%{x}q#0, %{x}q#1, %{x}q#2, %{x}q#3 : {types}"

    first, given = activations("rows", used * width)
    second, hidden_given = activations("hidden", used * hidden)
    text = "" if formats.get(kind).is_float else formats.get(kind).emit_ir()
    return f"""
    {text}
    func.func @f(%x: tensor<?x{width}xf32>, %source: {slots}, %place: {slots}, %groups: {groups},
        %w: tensor<?x{used}xf32>, %gate: {gate}, %up: {gate}, %down: {down}) -> tensor<?x{width}xf32> {{
      %rows = lumen.gather_rows %x, %source : tensor<?x{width}xf32>, {slots} -> tensor<?x{used * width}xf32>
      {first}
      %g, %u = lumen.qlinear activations({given}) weights(%gate, %up : {gate}, {gate})
        groups(%groups : {groups}) -> tensor<?x{used * hidden}xf32>, tensor<?x{used * hidden}xf32>
      %silu = lumen.silu %g : tensor<?x{used * hidden}xf32>
      %hidden = lumen.mul %silu, %u : tensor<?x{used * hidden}xf32>
      {second}
      %y = lumen.qlinear activations({hidden_given}) weights(%down : {down})
        groups(%groups : {groups}) -> tensor<?x{used * width}xf32>
      %r = lumen.combine %y, %w, %place
        : tensor<?x{used * width}xf32>, tensor<?x{used}xf32>, {slots} -> tensor<?x{width}xf32>
      return %r : tensor<?x{width}xf32>
    }}"""


class Mixture:
    """Random experts, their packed weights, and what NumPy says of them."""

    def __init__(self, experts, used, width, hidden, kind, target):
        self.experts, self.used, self.width, self.hidden = experts, used, width, hidden
        self.format = formats.get(kind)
        # A tile holds rows of one expert.
        rows = math.gcd(targets.get(target).tile(self.format).rows, width, hidden)
        self.kernel = Kernel(mixture_text(experts, used, width, hidden, kind, rows), target)
        rng = np.random.default_rng([experts, width, hidden])
        self.raw, self.packed = [], []
        for n, k in ((hidden, width), (hidden, width), (width, hidden)):
            data = random_weights(rng, kind, experts * n * k, k**-0.5)
            raw = np.frombuffer(data, np.uint8).reshape(experts * n, -1)
            self.raw.append(raw)
            packed = packing.pack(self.format, raw, rows)
            self.packed.append(aligned_empty(packed.shape))
            self.packed[-1][:] = packed

    def inputs(self, tokens, seed=0):
        rng = np.random.default_rng([tokens, seed])
        x = rng.standard_normal((tokens, self.width), dtype=np.float32)
        logits = rng.standard_normal((tokens, self.experts), dtype=np.float32)
        chosen, weights = ops.route(logits, None, self.used, "softmax", True, 1.0)
        source, place, groups = ops.group_tokens(chosen, self.experts)
        return x, chosen, weights, [x, source, place, groups, weights]

    def rounded(self, x):
        """The activations x [K] that a product sees."""
        if self.format.is_float:
            return x
        group = ops.activation_group(self.format.block)
        codes, scales, *_ = ops.quantize(x[None], group, group)
        return codes[0] * np.repeat(scales[0], group)

    def expected(self, x, chosen, weights):
        """Token by token and expert by expert."""
        gate, up, down = (
            self.format.dequantize(raw).reshape(self.experts, -1, columns)
            for raw, columns in zip(self.raw, (self.width, self.width, self.hidden), strict=True)
        )
        result = np.zeros_like(x)
        for t, (experts, factors) in enumerate(zip(chosen, weights, strict=True)):
            row = self.rounded(x[t])
            for e, factor in zip(experts, factors, strict=True):
                hidden = ops.silu(row @ gate[e].T) * (row @ up[e].T)
                result[t] += factor * (self.rounded(hidden) @ down[e].T)
        return result

    def run(self, inputs, threads=1, packed=None):
        shape = [((len(inputs[0]), self.width), np.float32)]
        weights = packed or self.packed
        (result,) = self.kernel.run(
            *inputs, *weights, results=shape, threads=threads, in_place=packed is not None
        )
        return result


MIXTURES = [
    (8, 2, 96, 64, "q8_0"),
    (5, 3, 256, 256, "q4_k"),
    (16, 4, 64, 32, "q5_1"),
    (3, 1, 32, 64, "f16"),
    (4, 2, 256, 256, "q6_k"),
]


# Few, so that some have as many tokens as tiles of matrices take, which begin at even and at odd ones.
FEW_EXPERTS = [(3, 2, 96, 64, "q8_0"), (3, 2, 256, 256, "q6_k")]


@pytest.mark.parametrize(
    ("experts", "used", "width", "hidden", "kind", "target"),
    [
        pytest.param(*mixture, target, id=f"{name}-{mixture[-1]}", marks=marks)
        for name, target, marks in (("matrices", MATRICES, []), ("warps", EMULATED_GPU, [pytest.mark.gpu]))
        for mixture in FEW_EXPERTS
    ]
    + on_targets(
        MIXTURES, [mixture for mixture in MIXTURES if mixture[-1] in ("q8_0", "q4_k", "f16")], WITH_VULKAN
    ),
)
def test_mixture(experts, used, width, hidden, kind, target):
    mixture = Mixture(experts, used, width, hidden, kind, target)
    for tokens in TOKENS:
        x, chosen, weights, inputs = mixture.inputs(tokens)
        result = mixture.run(inputs)
        # A hidden value almost half-way between two codes may become the other one.
        bound = 1e-5 if kind == "f16" else 2e-3
        assert relative_error(result, mixture.expected(x, chosen, weights)) < bound
        for threads in (2, 3):
            np.testing.assert_array_equal(mixture.run(inputs, threads), result)
        # A token does not depend on those beside it.
        for t in {0, tokens - 1}:
            source, place, groups = ops.group_tokens(chosen[t : t + 1], experts)
            alone = [x[t : t + 1], source, place, groups, weights[t : t + 1]]
            np.testing.assert_array_equal(mixture.run(alone)[0], result[t])


def test_only_chosen_experts_are_read():
    """The pages of all other experts are out of reach; those of a chosen one are not to be."""
    mixture = Mixture(16, 2, 256, 256, "f32", "native")
    x, chosen, _, inputs = mixture.inputs(1)
    expected = mixture.run(inputs)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    mapped, hidden_pages = [], 0
    for packed in mixture.packed:
        mapping = mmap.mmap(-1, packed.size)
        array = np.frombuffer(mapping, np.uint8)
        array[:] = packed
        size = packed.size // mixture.experts
        assert size % mmap.PAGESIZE == 0
        address = array.__array_interface__["data"][0]
        for expert in set(range(mixture.experts)) - set(chosen[0].tolist()):
            assert protect(address + expert * size, size, 0) == 0
            hidden_pages += size // mmap.PAGESIZE
        mapped.append(array)
    assert hidden_pages == 3 * 14 * 256 * 256 * 4 // mmap.PAGESIZE
    for threads in (1, 2):
        np.testing.assert_array_equal(mixture.run(inputs, threads, mapped), expected)
    # The test can fail: with a chosen expert out of reach, the process dies.
    child = os.fork()
    if not child:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        address = mapped[2].__array_interface__["data"][0]
        if not protect(address + int(chosen[0, 0]) * size, size, 0):
            mixture.run(inputs, 1, mapped)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
