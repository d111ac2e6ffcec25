# SPDX-License-Identifier: Apache-2.0
"""The builders of operations make what the dialect's own syntax means."""

from __future__ import annotations

from lumen_mlir import formats, ir
from lumen_mlir.dialects import func, lumen
from lumen_mlir.formats.packing import Tile

EXPECTED = """
  func.func @f(%x: tensor<?x64xf32>, %w: tensor<96x64x!lumen.q<@q8_0>>, %b: tensor<96xf32>,
      %table: tensor<?x16xf32>, %k: tensor<2x4x?x16x16xf32>, %v: tensor<2x4x?x16x16xf32>,
      %tokens: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>,
      %norm: tensor<64xf32> {lumen.name = "n"}, %floats: tensor<96x64xbf16>)
      -> (tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32>,
          tensor<2x4x?x16x16xf32>, tensor<2x4x?x16x16xf32>) {
    %c3 = arith.constant 3 : index
    %e = lumen.embedding %tokens, %w : tensor<?xi32>, tensor<96x64x!lumen.q<@q8_0>> -> tensor<?x64xf32>
    %s = lumen.add %e, %x : tensor<?x64xf32>
    %n = lumen.rms_norm %s, %norm {epsilon = 1.0e-05 : f32} : tensor<?x64xf32>, tensor<64xf32>
    %r = lumen.rope %n, %table, %tokens {head_dim = 16 : i64, style = "norm"}
      : tensor<?x64xf32>, tensor<?x16xf32>, tensor<?xi32>
    %k2 = lumen.kv_append %k, %r, %c3, %tokens {kind = "key"}
      : tensor<2x4x?x16x16xf32>, tensor<?x64xf32>, tensor<?xi32>
    %v2 = lumen.kv_append %v, %n, %c3, %tokens {kind = "value"}
      : tensor<2x4x?x16x16xf32>, tensor<?x64xf32>, tensor<?xi32>
    %a = lumen.attention %r, %k2, %v2, %c3, %tokens, %pages, %runs
      {heads = 4 : i64, kv_heads = 4 : i64, scale = 2.500000e-01 : f32, window = 9 : i64}
      : tensor<?x64xf32>, tensor<2x4x?x16x16xf32>, tensor<2x4x?x16x16xf32>, tensor<?xi32>, tensor<?x?xi32>,
        tensor<?x3xi32>
    %h = lumen.silu %a : tensor<?x64xf32>
    %u = lumen.gelu %h : tensor<?x64xf32>
    %g = lumen.mul %u, %n : tensor<?x64xf32>
    %l = lumen.select_rows %g, %tokens : tensor<?x64xf32>, tensor<?xi32> -> tensor<?x64xf32>
    %d = lumen.dequantize %w : tensor<96x64x!lumen.q<@q8_0>> -> tensor<96x64xf32>
    %y = lumen.linear %l, %d bias(%b : tensor<96xf32>)
      : tensor<?x64xf32>, tensor<96x64xf32> -> tensor<?x96xf32>
    %p = lumen.pack %w : tensor<96x64x!lumen.q<@q8_0>>
      -> tensor<96x64x!lumen.q<@q8_0>, #lumen.packed<rows = 8, k = 4>>
    %q:4 = lumen.quantize %l {sum_group = 16 : i64}
      : tensor<?x64xf32> -> tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x4xi32>, tensor<?x4xf32>
    %z:2 = lumen.qlinear activations(%q#0, %q#1, %q#2, %q#3
        : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x4xi32>, tensor<?x4xf32>)
      weights(%p, %p : tensor<96x64x!lumen.q<@q8_0>, #lumen.packed<rows = 8, k = 4>>,
        tensor<96x64x!lumen.q<@q8_0>, #lumen.packed<rows = 8, k = 4>>)
      biases(%b, %b : tensor<96xf32>, tensor<96xf32>) -> tensor<?x96xf32>, tensor<?x96xf32>
    %t = lumen.to_bf16 %l : tensor<?x64xf32> -> tensor<?x64xbf16>
    %o = lumen.qlinear activations(%t : tensor<?x64xbf16>) weights(%floats : tensor<96x64xbf16>)
      -> tensor<?x96xf32>
    %i = lumen.group_keys %y {group = 32 : i64} : tensor<?x96xf32> -> tensor<?x128xi32>
    %m:2 = lumen.largest_groups %y, %i, %tokens, %tokens
      : tensor<?x96xf32>, tensor<?x128xi32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x32xf32>, tensor<?x1xi32>
    return %y, %z#0, %z#1, %o, %k2, %v2
      : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32>,
        tensor<2x4x?x16x16xf32>, tensor<2x4x?x16x16xf32>
  }
  func.func private @g(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = func.call @g(%x) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
"""


def build() -> ir.Module:
    module = ir.Module.create()
    rows, caches = lumen.rows_type(64), [lumen.cache_type(kind, 2, 4, 16, "f32") for kind in ("key", "value")]
    inputs = [rows, lumen.weight_type(96, 64, "q8_0"), lumen.vector_type(96), lumen.rows_type(16), *caches]
    inputs += [lumen.numbers_type(), lumen.pages_type(), lumen.runs_type(), lumen.vector_type(64)]
    inputs += [lumen.weight_type(96, 64, "bf16")]
    with ir.InsertionPoint(module.body):
        lumen.format(formats.get("q8_0").emit_ir())
        named = [{}] * 9 + [{"lumen.name": ir.StringAttr.get("n")}, {}]
        f = func.func("f", inputs, [lumen.rows_type(96)] * 4 + caches, argument_attributes=named)
        g = func.func("g", [rows], [rows], visibility="private")
    x, w, b, table, k, v, tokens, pages, runs, norm, floats = f.arguments
    with ir.InsertionPoint(f):
        c3 = func.index_constant(3)
        n = lumen.rms_norm(lumen.add(lumen.embedding(tokens, w), x), norm, 1e-5)
        r = lumen.rope(n, table, tokens, 16, "norm")
        k2, v2 = (lumen.kv_append(c, x, c3, tokens, name) for c, x, name in ((k, r, "key"), (v, n, "value")))
        a = lumen.attention(r, k2, v2, c3, tokens, pages, runs, 4, 4, scale=0.25, window=9)
        chosen = lumen.select_rows(lumen.mul(lumen.gelu(lumen.silu(a)), n), tokens)
        assert lumen.is_quantized(w) and not lumen.is_quantized(x)
        y = lumen.linear(chosen, lumen.dequantize(w), b)
        p = lumen.pack(w, Tile(8, 4))
        z = lumen.qlinear(lumen.quantize(chosen, sum_group=16), [p, p], [b, b])
        z += lumen.qlinear([lumen.to_bf16(chosen)], [floats])
        lumen.largest_groups(y, lumen.group_keys(y, 32), tokens, tokens, 32)
        func.return_([y, *z, k2, v2])
    with ir.InsertionPoint(g):
        func.return_(func.call("g", [rows], [g.arguments[0]]))
    return module


def test_builders():
    with ir.Context():
        module = build()
        assert module.operation.verify()
        expected = ir.Module.parse(formats.get("q8_0").emit_ir() + EXPECTED)
        assert str(module) == str(expected)
