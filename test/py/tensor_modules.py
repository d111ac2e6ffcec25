# SPDX-License-Identifier: Apache-2.0
"""Hand-written modules of linalg, tensor, arith, math, scf and lumen ops, and what NumPy says they give."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lumen_mlir import formats

Array = np.ndarray
F32, F16, F64, I32 = np.float32, np.float16, np.float64, np.int32


@dataclass(frozen=True)
class Random:
    """An argument with normally distributed elements: ``spread`` wide around ``mean``."""

    shape: tuple[int, ...]
    dtype: Any = F32
    mean: float = 0.0
    spread: float = 1.0

    def make(self, rng: np.random.Generator) -> Array:
        """The array."""
        return np.asarray(rng.standard_normal(self.shape) * self.spread + self.mean).astype(self.dtype)


@dataclass(frozen=True)
class Weight:
    """An argument that is a weight: its file's bytes, and packed for the target."""

    format: str
    rows: int
    columns: int


@dataclass(frozen=True)
class TensorModule:
    """``reference`` takes the arguments in float64 (integers as they are) and gives the result.

    ``tolerance``: relative to one more than the magnitude. ``dynamic``: the dimensions of the result that its
    type leaves open.
    """

    name: str
    text: str
    reference: Callable[..., Any]
    arguments: tuple[Any, ...]
    tolerance: float = 1e-5
    dynamic: tuple[int, ...] = ()
    dtype: Any = F32
    formats: tuple[str, ...] = field(default=())


MODULES: dict[str, TensorModule] = {}


def _add(name: str, text: str, reference: Callable[..., Any], *arguments: Any, **kwargs: Any) -> None:
    assert name not in MODULES
    MODULES[name] = TensorModule(name, text, reference, arguments, **kwargs)


def _identity(rank: int) -> str:
    loops = ", ".join(f"d{i}" for i in range(rank))
    return f"affine_map<({loops}) -> ({loops})>"


# ---- Element by element


def _function(name: str, reference: Callable[..., Any], argument: Random, **kwargs: Any) -> None:
    kind = {F32: "f32", F64: "f64", F16: "f16", I32: "i32"}[argument.dtype]
    type_ = f"tensor<{'x'.join(map(str, argument.shape))}x{kind}>"
    text = f"""func.func @f(%x: {type_}) -> {type_} {{
      %y = {name} %x : {type_}
      return %y : {type_}
    }}"""
    _add(f"{name}_{kind}", text, reference, argument, dtype=argument.dtype, **kwargs)


_ANY, _POSITIVE, _UNIT = Random((45,)), Random((45,), F32, 3, 0.4), Random((3, 15), F32, 0, 0.2)
for _name, _reference, _argument in (
    ("absf", np.abs, _ANY), ("acos", np.arccos, _UNIT), ("acosh", np.arccosh, _POSITIVE),
    ("asin", np.arcsin, _UNIT), ("asinh", np.arcsinh, _ANY), ("atan", np.arctan, _ANY),
    ("atanh", np.arctanh, _UNIT), ("cbrt", np.cbrt, _ANY), ("ceil", np.ceil, _ANY), ("cos", np.cos, _ANY),
    ("cosh", np.cosh, _ANY), ("erf", np.vectorize(math.erf), _ANY), ("erfc", np.vectorize(math.erfc), _ANY),
    ("exp", np.exp, _ANY), ("exp2", np.exp2, _ANY), ("expm1", np.expm1, _ANY), ("floor", np.floor, _ANY),
    ("log", np.log, _POSITIVE), ("log10", np.log10, _POSITIVE), ("log1p", np.log1p, _POSITIVE),
    ("log2", np.log2, _POSITIVE), ("roundeven", np.rint, _ANY), ("rsqrt", lambda x: x**-0.5, _POSITIVE),
    ("sin", np.sin, _ANY), ("sinh", np.sinh, _ANY), ("sqrt", np.sqrt, _POSITIVE), ("tan", np.tan, _UNIT),
    ("tanh", np.tanh, _ANY),
):  # fmt: skip
    _function(f"math.{_name}", _reference, _argument)
for _name, _reference in (("absf", np.abs), ("sqrt", np.sqrt), ("rsqrt", lambda x: x**-0.5)):
    _function(f"math.{_name}", _reference, Random((21,), F64, 3, 0.4), tolerance=1e-14)
_function("math.absi", np.abs, Random((45,), I32, 0, 100))
_function("math.exp", np.exp, Random((33, 7), F16), tolerance=2e-3)

_add(
    "two_arguments",
    """func.func @f(%x: tensor<45xf32>, %y: tensor<45xf32>) -> tensor<45xf32> {
      %p = math.powf %x, %y : tensor<45xf32>
      %a = math.atan2 %p, %y : tensor<45xf32>
      %c = math.copysign %p, %a : tensor<45xf32>
      %larger = arith.cmpf ogt, %c, %y : tensor<45xf32>
      %s = arith.select %larger, %c, %y : tensor<45xi1>, tensor<45xf32>
      %m = arith.minimumf %s, %x : tensor<45xf32>
      return %m : tensor<45xf32>
    }""",
    lambda x, y: np.minimum(np.maximum(np.copysign(x**y, np.arctan2(x**y, y)), y), x),
    _POSITIVE,
    _ANY,
    tolerance=5e-5,
)
_add(
    "integers",
    """func.func @f(%x: tensor<6x40xi32>, %y: tensor<6x40xi32>) -> tensor<6x40xi32> {
      %q = arith.divsi %x, %y : tensor<6x40xi32>
      %r = arith.remsi %x, %y : tensor<6x40xi32>
      %p = arith.muli %q, %y : tensor<6x40xi32>
      %s = arith.addi %p, %r : tensor<6x40xi32>
      %m = arith.xori %s, %y : tensor<6x40xi32>
      return %m : tensor<6x40xi32>
    }""",
    lambda x, y: x ^ y,
    Random((6, 40), I32, 0, 1000),
    Random((6, 40), I32, 40, 9),
    dtype=I32,
)
_add(
    "bits",
    """func.func @f(%x: tensor<40xf32>, %y: tensor<40xf32>) -> tensor<40xi1> {
      %a = arith.cmpf ogt, %x, %y : tensor<40xf32>
      %b = arith.cmpf olt, %x, %y : tensor<40xf32>
      %c = arith.ori %a, %b : tensor<40xi1>
      return %c : tensor<40xi1>
    }""",
    lambda x, y: x != y,
    Random((40,), F32),
    Random((40,), F32),
    dtype=np.bool_,
)
_add(
    "halves",
    """func.func @f(%x: tensor<16x33xf16>, %y: tensor<16x33xf16>) -> tensor<16x33xf16> {
      %u = arith.addf %x, %y : tensor<16x33xf16>
      %v = arith.mulf %u, %y : tensor<16x33xf16>
      return %v : tensor<16x33xf16>
    }""",
    lambda x, y: (x + y) * y,
    Random((16, 33), F16),
    Random((16, 33), F16),
    dtype=F16,
    tolerance=2e-3,
)
_add(
    "brain_floats",
    """func.func @f(%x: tensor<16x33xf32>) -> tensor<16x33xf32> {
      %u = arith.truncf %x : tensor<16x33xf32> to tensor<16x33xbf16>
      %v = arith.mulf %u, %u : tensor<16x33xbf16>
      %w = arith.extf %v : tensor<16x33xbf16> to tensor<16x33xf32>
      return %w : tensor<16x33xf32>
    }""",
    lambda x: x * x,
    Random((16, 33)),
    tolerance=2e-2,
)
_add(
    "open_sizes",
    """func.func @f(%x: tensor<?x?xf32>, %y: tensor<?x?xf32>) -> tensor<?x?xf32> {
      %s = arith.addf %x, %y : tensor<?x?xf32>
      %t = math.tanh %s : tensor<?x?xf32>
      return %t : tensor<?x?xf32>
    }""",
    lambda x, y: np.tanh(x + y),
    Random((7, 33)),
    Random((7, 33)),
    dynamic=(0, 1),
)
_add(
    "a_number",
    """func.func @f(%x: tensor<2x3x5xf32>, %n: index) -> tensor<2x3x5xf32> {
      %i = arith.index_cast %n : index to i32
      %s = arith.sitofp %i : i32 to f32
      %t = tensor.splat %s : tensor<2x3x5xf32>
      %y = arith.mulf %x, %t : tensor<2x3x5xf32>
      return %y : tensor<2x3x5xf32>
    }""",
    lambda x, n: x * n,
    Random((2, 3, 5)),
    7,
)
_add(
    "a_constant",
    """func.func @f(%x: tensor<4xf32>) -> tensor<4xf32> {
      %c = arith.constant dense<[1.0, -2.0, 3.0, 4.5]> : tensor<4xf32>
      %y = arith.mulf %x, %c : tensor<4xf32>
      return %y : tensor<4xf32>
    }""",
    lambda x: x * [1, -2, 3, 4.5],
    Random((4,)),
)
_add(
    "gelu_of_rank_4",
    """func.func @f(%x: tensor<2x3x5x17xf32>) -> tensor<2x3x5x17xf32> {
      %half = arith.constant dense<0.5> : tensor<2x3x5x17xf32>
      %one = arith.constant dense<1.0> : tensor<2x3x5x17xf32>
      %root = arith.constant dense<0.70710678> : tensor<2x3x5x17xf32>
      %s = arith.mulf %x, %root : tensor<2x3x5x17xf32>
      %e = math.erf %s : tensor<2x3x5x17xf32>
      %p = arith.addf %e, %one : tensor<2x3x5x17xf32>
      %h = arith.mulf %p, %half : tensor<2x3x5x17xf32>
      %y = arith.mulf %h, %x : tensor<2x3x5x17xf32>
      return %y : tensor<2x3x5x17xf32>
    }""",
    lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    Random((2, 3, 5, 17)),
)

# ---- Reductions


def _sum_of(axes: tuple[int, ...], shape: tuple[int, ...], op: str, start: str) -> str:
    kept = [size for i, size in enumerate(shape) if i not in axes]
    x = f"tensor<{'x'.join(map(str, shape))}xf32>"
    y = f"tensor<{''.join(f'{size}x' for size in kept)}f32>"
    return f"""func.func @f(%x: {x}) -> {y} {{
      %start = arith.constant {start} : f32
      %empty = tensor.empty() : {y}
      %init = linalg.fill ins(%start : f32) outs(%empty : {y}) -> {y}
      %y = linalg.reduce {{ {op} }} ins(%x : {x}) outs(%init : {y}) dimensions = [{", ".join(map(str, axes))}]
      return %y : {y}
    }}"""


for _name, _axes, _op, _start, _reduce in (
    ("sum_of_rows", (1,), "arith.addf", "0.0", np.sum),
    ("sum_of_columns", (0,), "arith.addf", "0.0", np.sum),
    ("sum_of_all", (0, 1), "arith.addf", "0.0", np.sum),
    ("largest_of_rows", (1,), "arith.maximumf", "0xFF800000", np.max),
    ("smallest_of_all", (0, 1), "arith.minnumf", "0x7F800000", np.min),
):
    _add(
        _name,
        _sum_of(_axes, (13, 130), _op, _start),
        lambda x, reduce=_reduce, axes=_axes: reduce(x, axis=axes),
        Random((13, 130)),
        tolerance=1e-4,
    )
_add(
    "product_of_middle",
    _sum_of((1,), (4, 9, 6), "arith.mulf", "1.0"),
    lambda x: np.prod(x, axis=1),
    Random((4, 9, 6), F32, 1, 0.1),
)


def softmax(x: Array) -> Array:
    """Of rows."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


_add(
    "softmax",
    """func.func @f(%x: tensor<64x256xf32>) -> tensor<64x256xf32> {
      %e = tensor.empty() : tensor<64x256xf32>
      %y = linalg.softmax dimension(1) ins(%x : tensor<64x256xf32>) outs(%e : tensor<64x256xf32>)
        -> tensor<64x256xf32>
      return %y : tensor<64x256xf32>
    }""",
    softmax,
    Random((64, 256)),
)
_add(
    "softmax_of_open_sizes",
    """func.func @f(%x: tensor<?x?xf32>) -> tensor<?x?xf32> {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %rows = tensor.dim %x, %c0 : tensor<?x?xf32>
      %columns = tensor.dim %x, %c1 : tensor<?x?xf32>
      %e = tensor.empty(%rows, %columns) : tensor<?x?xf32>
      %y = linalg.softmax dimension(1) ins(%x : tensor<?x?xf32>) outs(%e : tensor<?x?xf32>) -> tensor<?x?xf32>
      return %y : tensor<?x?xf32>
    }""",
    softmax,
    Random((9, 77)),
    dynamic=(0, 1),
)
_MAP_IJ, _MAP_I, _MAP_J = _identity(2), "affine_map<(d0, d1) -> (d0)>", "affine_map<(d0, d1) -> (d1)>"
_add(
    "layer_norm",
    f"""func.func @f(%x: tensor<?x96xf32>, %g: tensor<96xf32>) -> tensor<?x96xf32> {{
      %c0 = arith.constant 0 : index
      %zero = arith.constant 0.0 : f32
      %width = arith.constant 96.0 : f32
      %epsilon = arith.constant 1.0e-5 : f32
      %rows = tensor.dim %x, %c0 : tensor<?x96xf32>
      %vector = tensor.empty(%rows) : tensor<?xf32>
      %matrix = tensor.empty(%rows) : tensor<?x96xf32>
      %init = linalg.fill ins(%zero : f32) outs(%vector : tensor<?xf32>) -> tensor<?xf32>
      %sum = linalg.reduce {{ arith.addf }} ins(%x : tensor<?x96xf32>) outs(%init : tensor<?xf32>)
        dimensions = [1]
      %centered = linalg.generic {{indexing_maps = [{_MAP_IJ}, {_MAP_I}, {_MAP_IJ}],
          iterator_types = ["parallel", "parallel"]}}
          ins(%x, %sum : tensor<?x96xf32>, tensor<?xf32>) outs(%matrix : tensor<?x96xf32>) {{
        ^bb0(%a: f32, %b: f32, %o: f32):
          %mean = arith.divf %b, %width : f32
          %r = arith.subf %a, %mean : f32
          linalg.yield %r : f32
      }} -> tensor<?x96xf32>
      %squares = linalg.generic {{indexing_maps = [{_MAP_IJ}, {_MAP_I}],
          iterator_types = ["parallel", "reduction"]}}
          ins(%centered : tensor<?x96xf32>) outs(%init : tensor<?xf32>) {{
        ^bb0(%a: f32, %o: f32):
          %q = arith.mulf %a, %a : f32
          %r = arith.addf %o, %q : f32
          linalg.yield %r : f32
      }} -> tensor<?xf32>
      %y = linalg.generic {{indexing_maps = [{_MAP_IJ}, {_MAP_I}, {_MAP_J}, {_MAP_IJ}],
          iterator_types = ["parallel", "parallel"]}}
          ins(%centered, %squares, %g : tensor<?x96xf32>, tensor<?xf32>, tensor<96xf32>)
          outs(%matrix : tensor<?x96xf32>) {{
        ^bb0(%a: f32, %b: f32, %w: f32, %o: f32):
          %v = arith.divf %b, %width : f32
          %p = arith.addf %v, %epsilon : f32
          %s = math.rsqrt %p : f32
          %n = arith.mulf %a, %s : f32
          %r = arith.mulf %n, %w : f32
          linalg.yield %r : f32
      }} -> tensor<?x96xf32>
      return %y : tensor<?x96xf32>
    }}""",
    lambda x, g: (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * g,
    Random((11, 96)),
    Random((96,)),
    dynamic=(0,),
)

# ---- Products


def _product(op: str, x: str, w: str, y: str, sizes: str = "") -> str:
    return f"""func.func @f(%x: {x}, %w: {w}) -> {y} {{
      %zero = arith.constant 0.0 : f32
      %c0 = arith.constant 0 : index
      {sizes}
      %e = tensor.empty({"%rows" if sizes else ""}) : {y}
      %init = linalg.fill ins(%zero : f32) outs(%e : {y}) -> {y}
      %y = {op} ins(%x, %w : {x}, {w}) outs(%init : {y}) -> {y}
      return %y : {y}
    }}"""


_add(
    "matmul",
    _product(
        "linalg.matmul", "tensor<?x37xf32>", "tensor<37x50xf32>", "tensor<?x50xf32>",
        "%rows = tensor.dim %x, %c0 : tensor<?x37xf32>",
    ),
    np.matmul, Random((19, 37)), Random((37, 50)), dynamic=(0,), tolerance=5e-5,
)  # fmt: skip
_add(
    "batch_matmul",
    _product("linalg.batch_matmul", "tensor<3x17x37xf32>", "tensor<3x37x50xf32>", "tensor<3x17x50xf32>"),
    np.matmul, Random((3, 17, 37)), Random((3, 37, 50)), tolerance=5e-5,
)  # fmt: skip
_add(
    "vecmat",
    _product("linalg.vecmat", "tensor<70xf32>", "tensor<70x90xf32>", "tensor<90xf32>"),
    np.matmul, Random((70,)), Random((70, 90)), tolerance=5e-5,
)  # fmt: skip
_add(
    "matvec",
    _product("linalg.matvec", "tensor<70x90xf32>", "tensor<90xf32>", "tensor<70xf32>"),
    np.matmul, Random((70, 90)), Random((90,)), tolerance=5e-5,
)  # fmt: skip
_add(
    "dot",
    _product("linalg.dot", "tensor<190xf32>", "tensor<190xf32>", "tensor<f32>"),
    np.dot, Random((190,)), Random((190,)), tolerance=5e-5,
)  # fmt: skip
_add(
    "matmul_of_halves",
    """func.func @f(%x: tensor<9x37xf16>, %w: tensor<37x50xf16>) -> tensor<9x50xf32> {
      %zero = arith.constant 0.0 : f32
      %e = tensor.empty() : tensor<9x50xf32>
      %init = linalg.fill ins(%zero : f32) outs(%e : tensor<9x50xf32>) -> tensor<9x50xf32>
      %y = linalg.matmul ins(%x, %w : tensor<9x37xf16>, tensor<37x50xf16>) outs(%init : tensor<9x50xf32>)
        -> tensor<9x50xf32>
      return %y : tensor<9x50xf32>
    }""",
    np.matmul, Random((9, 37), F16), Random((37, 50), F16), tolerance=5e-5,
)  # fmt: skip
_add(
    "convolution",
    _product(
        "linalg.conv_2d_nhwc_hwcf", "tensor<1x12x12x3xf32>", "tensor<3x3x3x8xf32>", "tensor<1x10x10x8xf32>"
    ),
    lambda x, w: sum(
        np.einsum("nhwc,cf->nhwf", x[:, a : a + 10, b : b + 10], w[a, b]) for a in range(3) for b in range(3)
    ),
    Random((1, 12, 12, 3)),
    Random((3, 3, 3, 8)),
    tolerance=5e-5,
)
_add(
    "attention_of_one_head",
    """func.func @f(%q: tensor<6x32xf32>, %k: tensor<40x32xf32>, %v: tensor<40x32xf32>) -> tensor<6x32xf32> {
      %zero = arith.constant 0.0 : f32
      %scale = arith.constant dense<0.17677669> : tensor<6x40xf32>
      %e = tensor.empty() : tensor<6x40xf32>
      %r = tensor.empty() : tensor<6x32xf32>
      %s0 = linalg.fill ins(%zero : f32) outs(%e : tensor<6x40xf32>) -> tensor<6x40xf32>
      %y0 = linalg.fill ins(%zero : f32) outs(%r : tensor<6x32xf32>) -> tensor<6x32xf32>
      %s = linalg.matmul indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>,
                                          affine_map<(m, n, k) -> (m, n)>]
        ins(%q, %k : tensor<6x32xf32>, tensor<40x32xf32>) outs(%s0 : tensor<6x40xf32>) -> tensor<6x40xf32>
      %t = arith.mulf %s, %scale : tensor<6x40xf32>
      %p = linalg.softmax dimension(1) ins(%t : tensor<6x40xf32>) outs(%e : tensor<6x40xf32>)
        -> tensor<6x40xf32>
      %y = linalg.matmul ins(%p, %v : tensor<6x40xf32>, tensor<40x32xf32>) outs(%y0 : tensor<6x32xf32>)
        -> tensor<6x32xf32>
      return %y : tensor<6x32xf32>
    }""",
    lambda q, k, v: softmax(q @ k.T * 32**-0.5) @ v,
    Random((6, 32)),
    Random((40, 32)),
    Random((40, 32)),
    tolerance=5e-5,
)

# ---- Slices and shapes

_add(
    "transpose",
    """func.func @f(%x: tensor<33x7x20xf32>) -> tensor<20x33x7xf32> {
      %e = tensor.empty() : tensor<20x33x7xf32>
      %y = linalg.transpose ins(%x : tensor<33x7x20xf32>) outs(%e : tensor<20x33x7xf32>)
        permutation = [2, 0, 1]
      return %y : tensor<20x33x7xf32>
    }""",
    lambda x: x.transpose(2, 0, 1),
    Random((33, 7, 20)),
)
_add(
    "broadcast",
    """func.func @f(%x: tensor<7xf32>, %y: tensor<4x7x3xf32>) -> tensor<4x7x3xf32> {
      %e = tensor.empty() : tensor<4x7x3xf32>
      %b = linalg.broadcast ins(%x : tensor<7xf32>) outs(%e : tensor<4x7x3xf32>) dimensions = [0, 2]
      %z = arith.subf %y, %b : tensor<4x7x3xf32>
      return %z : tensor<4x7x3xf32>
    }""",
    lambda x, y: y - x[:, None],
    Random((7,)),
    Random((4, 7, 3)),
)
_add(
    "concat",
    """func.func @f(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) -> tensor<?x8xf32> {
      %z = tensor.concat dim(0) %x, %y : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
      return %z : tensor<?x8xf32>
    }""",
    lambda x, y: np.concatenate([x, y]),
    Random((7, 8)),
    Random((5, 8)),
    dynamic=(0,),
)
_add(
    "pad",
    """func.func @f(%x: tensor<6x9xf32>) -> tensor<9x14xf32> {
      %z = arith.constant 1.5 : f32
      %y = tensor.pad %x low[1, 2] high[2, 3] {
        ^bb0(%i: index, %j: index):
          tensor.yield %z : f32
      } : tensor<6x9xf32> to tensor<9x14xf32>
      return %y : tensor<9x14xf32>
    }""",
    lambda x: np.pad(x, ((1, 2), (2, 3)), constant_values=1.5),
    Random((6, 9)),
)
_add(
    "slices",
    """func.func @f(%x: tensor<10x20xf32>, %i: index) -> tensor<4x10xf32> {
      %s = tensor.extract_slice %x[%i, 1] [4, 10] [1, 2] : tensor<10x20xf32> to tensor<4x10xf32>
      %t = tensor.extract_slice %x[0, 3] [1, 10] [1, 1] : tensor<10x20xf32> to tensor<10xf32>
      %e = tensor.empty() : tensor<4x10xf32>
      %b = linalg.broadcast ins(%t : tensor<10xf32>) outs(%e : tensor<4x10xf32>) dimensions = [0]
      %y = arith.addf %s, %b : tensor<4x10xf32>
      return %y : tensor<4x10xf32>
    }""",
    lambda x, i: x[i : i + 4, 1:20:2] + x[0, 3:13],
    Random((10, 20)),
    3,
)
_add(
    "insert_slice",
    """func.func @f(%x: tensor<10x20xf32>, %y: tensor<3x20xf32>, %i: index) -> tensor<10x20xf32> {
      %e = math.exp %y : tensor<3x20xf32>
      %z = tensor.insert_slice %e into %x[%i, 0] [3, 20] [1, 1] : tensor<3x20xf32> into tensor<10x20xf32>
      return %z : tensor<10x20xf32>
    }""",
    lambda x, y, i: np.concatenate([x[:i], np.exp(y), x[i + 3 :]]),
    Random((10, 20)),
    Random((3, 20)),
    4,
)
_add(
    "reshape",
    """func.func @f(%x: tensor<6x8x5xf32>) -> tensor<48x5xf32> {
      %e = math.exp %x : tensor<6x8x5xf32>
      %c = tensor.collapse_shape %e [[0, 1], [2]] : tensor<6x8x5xf32> into tensor<48x5xf32>
      %y = arith.negf %c : tensor<48x5xf32>
      return %y : tensor<48x5xf32>
    }""",
    lambda x: -np.exp(x).reshape(48, 5),
    Random((6, 8, 5)),
)
_add(
    "lookup",
    """func.func @f(%x: tensor<40xf32>, %ids: tensor<9xi32>) -> tensor<9xf32> {
      %e = tensor.empty() : tensor<9xf32>
      %y = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
          iterator_types = ["parallel"]} ins(%ids : tensor<9xi32>) outs(%e : tensor<9xf32>) {
        ^bb0(%id: i32, %o: f32):
          %i = arith.index_cast %id : i32 to index
          %v = tensor.extract %x[%i] : tensor<40xf32>
          linalg.yield %v : f32
      } -> tensor<9xf32>
      return %y : tensor<9xf32>
    }""",
    # What points outside is kept inside.
    lambda x, ids: x[np.clip(ids, 0, 39)],
    Random((40,)),
    Random((9,), I32, 20, 30),
)
_add(
    "places",
    """func.func @f(%x: tensor<5x40xf32>) -> tensor<5x40xf32> {
      %e = tensor.empty() : tensor<5x40xf32>
      %y = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>],
          iterator_types = ["parallel", "parallel"]} ins(%x : tensor<5x40xf32>) outs(%e : tensor<5x40xf32>) {
        ^bb0(%a: f32, %o: f32):
          %zero = arith.constant 0.0 : f32
          %i = linalg.index 0 : index
          %j = linalg.index 1 : index
          %below = arith.cmpi ule, %j, %i : index
          %v = arith.select %below, %a, %zero : f32
          linalg.yield %v : f32
      } -> tensor<5x40xf32>
      return %y : tensor<5x40xf32>
    }""",
    np.tril,
    Random((5, 40)),
)

# ---- Control flow

_add(
    "loop",
    """func.func @f(%x: tensor<16xf32>, %n: index) -> tensor<16xf32> {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %y = scf.for %i = %c0 to %n step %c1 iter_args(%t = %x) -> tensor<16xf32> {
        %u = arith.addf %t, %x : tensor<16xf32>
        scf.yield %u : tensor<16xf32>
      }
      return %y : tensor<16xf32>
    }""",
    lambda x, n: x * (n + 1),
    Random((16,)),
    3,
)
_add(
    "loop_over_rows",
    """func.func @f(%x: tensor<?x16xf32>) -> tensor<?x16xf32> {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %rows = tensor.dim %x, %c0 : tensor<?x16xf32>
      %e = tensor.empty(%rows) : tensor<?x16xf32>
      %first = tensor.extract_slice %x[0, 0] [1, 16] [1, 1] : tensor<?x16xf32> to tensor<1x16xf32>
      %start = tensor.insert_slice %first into %e[0, 0] [1, 16] [1, 1]
        : tensor<1x16xf32> into tensor<?x16xf32>
      %y = scf.for %i = %c1 to %rows step %c1 iter_args(%t = %start) -> tensor<?x16xf32> {
        %before = arith.subi %i, %c1 : index
        %p = tensor.extract_slice %t[%before, 0] [1, 16] [1, 1] : tensor<?x16xf32> to tensor<1x16xf32>
        %q = tensor.extract_slice %x[%i, 0] [1, 16] [1, 1] : tensor<?x16xf32> to tensor<1x16xf32>
        %s = arith.addf %p, %q : tensor<1x16xf32>
        %u = tensor.insert_slice %s into %t[%i, 0] [1, 16] [1, 1] : tensor<1x16xf32> into tensor<?x16xf32>
        scf.yield %u : tensor<?x16xf32>
      }
      return %y : tensor<?x16xf32>
    }""",
    lambda x: np.cumsum(x, axis=0),
    Random((9, 16)),
    dynamic=(0,),
)
_add(
    "branch",
    """func.func @f(%x: tensor<16xf32>, %n: index) -> tensor<16xf32> {
      %c1 = arith.constant 1 : index
      %many = arith.cmpi ugt, %n, %c1 : index
      %y = scf.if %many -> tensor<16xf32> {
        %u = arith.addf %x, %x : tensor<16xf32>
        scf.yield %u : tensor<16xf32>
      } else {
        %u = math.absf %x : tensor<16xf32>
        scf.yield %u : tensor<16xf32>
      }
      %z = arith.negf %y : tensor<16xf32>
      return %z : tensor<16xf32>
    }""",
    lambda x, n: -(x + x if n > 1 else np.abs(x)),
    Random((16,)),
    1,
)
_add(
    "calls",
    """func.func private @twice(%x: tensor<?xf32>) -> tensor<?xf32> {
      %y = arith.addf %x, %x : tensor<?xf32>
      return %y : tensor<?xf32>
    }
    func.func @f(%x: tensor<?xf32>) -> tensor<?xf32> {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c3 = arith.constant 3 : index
      %y = scf.for %i = %c0 to %c3 step %c1 iter_args(%t = %x) -> tensor<?xf32> {
        %u = func.call @twice(%t) : (tensor<?xf32>) -> tensor<?xf32>
        scf.yield %u : tensor<?xf32>
      }
      %z = call @twice(%y) : (tensor<?xf32>) -> tensor<?xf32>
      return %z : tensor<?xf32>
    }""",
    lambda x: 16 * x,
    Random((21,)),
    dynamic=(0,),
)
_add(
    "a_number_of_elements",
    """func.func @f(%x: tensor<30xf32>) -> tensor<f32> {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c30 = arith.constant 30 : index
      %zero = arith.constant 0.0 : f32
      %s = scf.for %i = %c0 to %c30 step %c1 iter_args(%sum = %zero) -> f32 {
        %v = tensor.extract %x[%i] : tensor<30xf32>
        %w = arith.mulf %v, %v : f32
        %next = arith.addf %sum, %w : f32
        scf.yield %next : f32
      }
      %r = math.sqrt %s : f32
      %y = tensor.from_elements %r : tensor<f32>
      return %y : tensor<f32>
    }""",
    np.linalg.norm,
    Random((30,)),
)

# ---- With ops of lumen

_Q8, _Q4 = "!lumen.q<@q8_0>", "!lumen.q<@q4_k>"
_add(
    "relu_squared_between_products",
    f"""{formats.get("q8_0").emit_ir()}
    func.func @f(%x: tensor<?x64xf32>, %a: tensor<96x64x{_Q8}>, %b: tensor<64x96x{_Q8}>)
        -> tensor<?x64xf32> {{
      %c0 = arith.constant 0 : index
      %zero = arith.constant 0.0 : f32
      %rows = tensor.dim %x, %c0 : tensor<?x64xf32>
      %fa = lumen.dequantize %a : tensor<96x64x{_Q8}> -> tensor<96x64xf32>
      %fb = lumen.dequantize %b : tensor<64x96x{_Q8}> -> tensor<64x96xf32>
      %h = lumen.linear %x, %fa : tensor<?x64xf32>, tensor<96x64xf32> -> tensor<?x96xf32>
      %e = tensor.empty(%rows) : tensor<?x96xf32>
      %r = linalg.generic {{indexing_maps = [{_MAP_IJ}, {_MAP_IJ}],
          iterator_types = ["parallel", "parallel"]}}
          ins(%h : tensor<?x96xf32>) outs(%e : tensor<?x96xf32>) {{
        ^bb0(%v: f32, %o: f32):
          %m = arith.maximumf %v, %zero : f32
          %s = arith.mulf %m, %m : f32
          linalg.yield %s : f32
      }} -> tensor<?x96xf32>
      %o = tensor.empty(%rows) : tensor<?x64xf32>
      %init = linalg.fill ins(%zero : f32) outs(%o : tensor<?x64xf32>) -> tensor<?x64xf32>
      %y = linalg.matmul indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>,
                                          affine_map<(m, n, k) -> (m, n)>]
        ins(%r, %fb : tensor<?x96xf32>, tensor<64x96xf32>) outs(%init : tensor<?x64xf32>) -> tensor<?x64xf32>
      return %y : tensor<?x64xf32>
    }}""",
    lambda x, a, b: np.maximum(x @ a.T, 0) ** 2 @ b.T,
    Random((5, 64)),
    Weight("q8_0", 96, 64),
    Weight("q8_0", 64, 96),
    dynamic=(0,),
    tolerance=0.05,
)
_add(
    "soft_capping",
    f"""{formats.get("q4_k").emit_ir()}
    func.func @f(%x: tensor<?x256xf32>, %a: tensor<37x256x{_Q4}>) -> tensor<?x37xf32> {{
      %c0 = arith.constant 0 : index
      %cap = arith.constant 3.0 : f32
      %rows = tensor.dim %x, %c0 : tensor<?x256xf32>
      %fa = lumen.dequantize %a : tensor<37x256x{_Q4}> -> tensor<37x256xf32>
      %h = lumen.linear %x, %fa : tensor<?x256xf32>, tensor<37x256xf32> -> tensor<?x37xf32>
      %e = tensor.empty(%rows) : tensor<?x37xf32>
      %y = linalg.generic {{indexing_maps = [{_MAP_IJ}, {_MAP_IJ}],
          iterator_types = ["parallel", "parallel"]}}
          ins(%h : tensor<?x37xf32>) outs(%e : tensor<?x37xf32>) {{
        ^bb0(%v: f32, %o: f32):
          %d = arith.divf %v, %cap : f32
          %t = math.tanh %d : f32
          %s = arith.mulf %t, %cap : f32
          linalg.yield %s : f32
      }} -> tensor<?x37xf32>
      return %y : tensor<?x37xf32>
    }}""",
    lambda x, a: 3 * np.tanh(x @ a.T / 3),
    Random((6, 256)),
    Weight("q4_k", 37, 256),
    dynamic=(0,),
    tolerance=0.05,
)
_add(
    "norm_of_lumen",
    """func.func @f(%x: tensor<?x64xf32>, %g: tensor<64xf32>) -> tensor<?x64xf32> {
      %s = math.sin %x : tensor<?x64xf32>
      %n = lumen.rms_norm %s, %g {epsilon = 1.0e-06 : f32} : tensor<?x64xf32>, tensor<64xf32>
      %y = arith.divf %n, %x : tensor<?x64xf32>
      return %y : tensor<?x64xf32>
    }""",
    lambda x, g: np.sin(x) / np.sqrt((np.sin(x) ** 2).mean(1, keepdims=True) + 1e-6) * g / x,
    Random((5, 64), F32, 3, 0.3),
    Random((64,)),
    dynamic=(0,),
    tolerance=5e-5,
)
_add(
    "batch_with_a_quantized_weight",
    f"""{formats.get("q8_0").emit_ir()}
    func.func @f(%x: tensor<?x3x64xf32>, %a: tensor<48x64x{_Q8}>) -> tensor<?x3x48xf32> {{
      %c0 = arith.constant 0 : index
      %zero = arith.constant 0.0 : f32
      %n = tensor.dim %x, %c0 : tensor<?x3x64xf32>
      %fa = lumen.dequantize %a : tensor<48x64x{_Q8}> -> tensor<48x64xf32>
      %e = tensor.empty(%n) : tensor<?x3x48xf32>
      %init = linalg.fill ins(%zero : f32) outs(%e : tensor<?x3x48xf32>) -> tensor<?x3x48xf32>
      %y = linalg.contract indexing_maps = [affine_map<(b, m, n, k) -> (b, m, k)>,
          affine_map<(b, m, n, k) -> (n, k)>, affine_map<(b, m, n, k) -> (b, m, n)>]
        ins(%x, %fa : tensor<?x3x64xf32>, tensor<48x64xf32>) outs(%init : tensor<?x3x48xf32>)
        -> tensor<?x3x48xf32>
      return %y : tensor<?x3x48xf32>
    }}""",
    lambda x, a: x @ a.T,
    Random((4, 3, 64)),
    Weight("q8_0", 48, 64),
    dynamic=(0,),
    tolerance=0.05,
)
_add(
    "a_vector_and_a_quantized_weight",
    f"""{formats.get("q4_k").emit_ir()}
    func.func @f(%x: tensor<256xf32>, %a: tensor<37x256x{_Q4}>, %r: tensor<37xf32>) -> tensor<37xf32> {{
      %fa = lumen.dequantize %a : tensor<37x256x{_Q4}> -> tensor<37x256xf32>
      %y = linalg.matvec ins(%fa, %x : tensor<37x256xf32>, tensor<256xf32>) outs(%r : tensor<37xf32>)
        -> tensor<37xf32>
      return %y : tensor<37xf32>
    }}""",
    lambda x, a, r: r + a @ x,
    Random((256,)),
    Weight("q4_k", 37, 256),
    Random((37,)),
    tolerance=0.05,
)
