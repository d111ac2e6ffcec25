// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-form-kernels --split-input-file | FileCheck %s
// RUN: lumen-opt %s --lumen-form-kernels --split-input-file > %t.once
// RUN: lumen-opt %s --lumen-form-kernels --lumen-form-kernels --split-input-file | diff %t.once -

// Biases and the residual belong to the product; two calls share one kernel.
// CHECK-LABEL: func.func @residual
// CHECK-SAME: %[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<64x64xf16>, %[[B:.*]]: tensor<64xf32>
// CHECK-NEXT: %[[Y:.*]] = call @qlinear_f16_64x64_bias_add(%[[X]], %[[W]], %[[B]])
// CHECK-NEXT: %[[Z:.*]] = call @qlinear_f16_64x64_bias_add(%[[Y]], %[[W]], %[[B]])
// CHECK-NEXT: return %[[Z]]
func.func @residual(%x: tensor<?x64xf32>, %w: tensor<64x64xf16>, %b: tensor<64xf32>)
    -> tensor<?x64xf32> {
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w : tensor<64x64xf16>)
    biases(%b : tensor<64xf32>) -> tensor<?x64xf32>
  %1 = lumen.add %x, %0 : tensor<?x64xf32>
  %2 = lumen.qlinear activations(%1 : tensor<?x64xf32>) weights(%w : tensor<64x64xf16>)
    biases(%b : tensor<64xf32>) -> tensor<?x64xf32>
  %3 = lumen.add %1, %2 : tensor<?x64xf32>
  return %3 : tensor<?x64xf32>
}
// CHECK-LABEL: func.func private @qlinear_f16_64x64_bias_add
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<64x64xf16>, %[[B:.*]]: tensor<64xf32>)
// CHECK-SAME: -> tensor<?x64xf32> attributes {lumen.kernel = "product"}
// CHECK-NEXT: %[[P:.*]] = lumen.qlinear activations(%[[X]] : {{.*}}) weights(%[[W]] : {{.*}}) biases(%[[B]] :
// CHECK-NEXT: %[[S:.*]] = lumen.add %[[X]], %[[P]]
// CHECK-NEXT: return %[[S]]
// CHECK-NOT: func.func

// -----

// The gated activation of two results of one product belongs to it. Its
// quantization needs whole rows: another kernel.
// CHECK-LABEL: func.func @gated
// CHECK-NEXT: %[[H:.*]] = call @qlinear_f16_128x64_128x64_silu_mul(%arg0, %arg1, %arg2)
// CHECK-NEXT: %[[Q:.*]]:4 = call @quantize_128(%[[H]])
// CHECK-NEXT: return %[[Q]]#0, %[[Q]]#1, %[[Q]]#2, %[[Q]]#3
func.func @gated(%x: tensor<?x64xf32>, %wg: tensor<128x64xf16>, %wu: tensor<128x64xf16>)
    -> (tensor<?x128xi8>, tensor<?x4xf32>, tensor<?x4xi32>, tensor<?x4xf32>) {
  %0:2 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%wg, %wu : tensor<128x64xf16>, tensor<128x64xf16>)
    -> tensor<?x128xf32>, tensor<?x128xf32>
  %s = lumen.silu %0#0 : tensor<?x128xf32>
  %1 = lumen.mul %s, %0#1 : tensor<?x128xf32>
  %2:4 = lumen.quantize %1 : tensor<?x128xf32>
    -> tensor<?x128xi8>, tensor<?x4xf32>, tensor<?x4xi32>, tensor<?x4xf32>
  return %2#0, %2#1, %2#2, %2#3
    : tensor<?x128xi8>, tensor<?x4xf32>, tensor<?x4xi32>, tensor<?x4xf32>
}
// CHECK-LABEL: func.func private @qlinear_f16_128x64_128x64_silu_mul
// CHECK-SAME: attributes {lumen.kernel = "product"}
// CHECK-LABEL: func.func private @quantize_128
// CHECK-SAME: attributes {lumen.kernel = "rows"}

// -----

// The activation of a single result belongs to its product, and so does what
// is added then. Gate and up of two products meet in rows.
// CHECK-LABEL: func.func @activation
// CHECK-NEXT: %[[A:.*]] = call @qlinear_f16_64x64_silu_add(%arg0, %arg1)
// CHECK-NEXT: %[[G:.*]] = call @qlinear_f16_64x64_silu(%[[A]], %arg1)
// CHECK-NEXT: %[[U:.*]] = call @qlinear_f16_64x64(%arg0, %arg1)
// CHECK-NEXT: %[[M:.*]] = call @mul_64(%[[G]], %[[U]])
// CHECK-NEXT: return %[[M]]
func.func @activation(%x: tensor<?x64xf32>, %w: tensor<64x64xf16>) -> tensor<?x64xf32> {
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w : tensor<64x64xf16>)
    -> tensor<?x64xf32>
  %1 = lumen.silu %0 : tensor<?x64xf32>
  %2 = lumen.add %1, %x : tensor<?x64xf32>
  %3 = lumen.qlinear activations(%2 : tensor<?x64xf32>) weights(%w : tensor<64x64xf16>)
    -> tensor<?x64xf32>
  %4 = lumen.silu %3 : tensor<?x64xf32>
  %5 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w : tensor<64x64xf16>)
    -> tensor<?x64xf32>
  %6 = lumen.mul %4, %5 : tensor<?x64xf32>
  return %6 : tensor<?x64xf32>
}

// -----

// A gate is read before its kernel begins, so it cannot be computed there.
// CHECK-LABEL: func.func @computed_gate
// CHECK-NEXT: %[[S:.*]] = call @scale_1(%arg1)
// CHECK-NEXT: %[[Y:.*]] = call @gate_64(%arg0, %[[S]])
// CHECK-NEXT: return %[[Y]]
func.func @computed_gate(%x: tensor<?x64xf32>, %g: tensor<?x1xf32>) -> tensor<?x64xf32> {
  %0 = lumen.scale %g {factor = 2.0 : f32} : tensor<?x1xf32>
  %1 = lumen.gate %x, %0 : tensor<?x64xf32>, tensor<?x1xf32>
  return %1 : tensor<?x64xf32>
}

// -----

// A product whose result is read twice keeps it; the sum and the norm that
// follows are a chain of rows that returns both.
// CHECK-LABEL: func.func @two_readers
// CHECK-NEXT: %[[P:.*]] = call @qlinear_f16_64x64(%arg0, %arg1)
// CHECK-NEXT: %[[R:.*]]:2 = call @add_rms_norm_64(%arg0, %[[P]], %arg2)
// CHECK-NEXT: return %[[P]], %[[R]]#0, %[[R]]#1
func.func @two_readers(%x: tensor<?x64xf32>, %w: tensor<64x64xf16>, %n: tensor<64xf32>)
    -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>) {
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w : tensor<64x64xf16>)
    -> tensor<?x64xf32>
  %1 = lumen.add %x, %0 : tensor<?x64xf32>
  %2 = lumen.rms_norm %1, %n {epsilon = 1.0e-06 : f32} : tensor<?x64xf32>, tensor<64xf32>
  return %0, %1, %2 : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// Of two products the later one takes the sum.
// CHECK-LABEL: func.func @sum_of_products
// CHECK-NEXT: %[[A:.*]] = call @qlinear_f16_64x64(%arg0, %arg1)
// CHECK-NEXT: %[[B:.*]] = call @qlinear_f16_64x64_add(%arg0, %arg2, %[[A]])
// CHECK-NEXT: return %[[B]]
func.func @sum_of_products(%x: tensor<?x64xf32>, %w0: tensor<64x64xf16>, %w1: tensor<64x64xf16>)
    -> tensor<?x64xf32> {
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w0 : tensor<64x64xf16>)
    -> tensor<?x64xf32>
  %1 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w1 : tensor<64x64xf16>)
    -> tensor<?x64xf32>
  %2 = lumen.add %1, %0 : tensor<?x64xf32>
  return %2 : tensor<?x64xf32>
}

// -----

// The residual depends on another result of the same product: fusing the sum
// would make the kernel wait for itself.
// CHECK-LABEL: func.func @cycle
// CHECK-NEXT: %[[P:.*]]:2 = call @qlinear_f16_64x64_64x64(%arg0, %arg1)
// CHECK-NEXT: %[[S:.*]] = call @rms_norm_add_64(%[[P]]#1, %arg2, %[[P]]#0)
// CHECK-NEXT: return %[[S]]
func.func @cycle(%x: tensor<?x64xf32>, %w: tensor<64x64xf16>, %n: tensor<64xf32>)
    -> tensor<?x64xf32> {
  %0:2 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w, %w : tensor<64x64xf16>, tensor<64x64xf16>) -> tensor<?x64xf32>, tensor<?x64xf32>
  %1 = lumen.rms_norm %0#1, %n {epsilon = 1.0e-06 : f32} : tensor<?x64xf32>, tensor<64xf32>
  %2 = lumen.add %0#0, %1 : tensor<?x64xf32>
  return %2 : tensor<?x64xf32>
}

// -----

// A residual that is computed after the product: the call moves behind it.
// CHECK-LABEL: func.func @late_residual
// CHECK-NEXT: %[[R:.*]] = call @rms_norm_64(%arg0, %arg2)
// CHECK-NEXT: call @qlinear_f16_64x64_add(%arg0, %arg1, %[[R]])
func.func @late_residual(%x: tensor<?x64xf32>, %w: tensor<64x64xf16>, %n: tensor<64xf32>)
    -> tensor<?x64xf32> {
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w : tensor<64x64xf16>)
    -> tensor<?x64xf32>
  %1 = lumen.rms_norm %x, %n {epsilon = 1.0e-06 : f32} : tensor<?x64xf32>, tensor<64xf32>
  %2 = lumen.add %0, %1 : tensor<?x64xf32>
  return %2 : tensor<?x64xf32>
}

// -----

// Heads of the same rows: Q and K turn, K and V are stored. Attention quantizes
// its own result. The float result of the norm is wanted as well as the codes;
// what nobody reads is no result of a kernel.
// CHECK-LABEL: func.func @heads
// CHECK-NEXT: %[[H:.*]]:3 = call @rope_kv_append_128_64(%arg0, %arg3, %arg4, %arg1, %arg8, %arg10, %arg5, %arg9, %arg2)
// CHECK-NEXT: %[[A:.*]] = call @attention_quantize_128(%[[H]]#0, %[[H]]#1, %[[H]]#2, %arg10, %arg4, %arg6, %arg7)
// CHECK-NEXT: %[[N:.*]]:2 = call @rms_norm_quantize_128(%arg0, %arg11)
// CHECK-NEXT: return %[[A]], %[[N]]#0, %[[N]]#1, %[[H]]#1, %[[H]]#2
func.func @heads(%q: tensor<?x128xf32>, %k: tensor<?x64xf32>, %v: tensor<?x64xf32>,
    %table: tensor<?x32xf32>, %positions: tensor<?xi32>, %places: tensor<?xi32>, %pages: tensor<?x?xi32>,
    %runs: tensor<?x3xi32>,
    %kc: tensor<4x2x?x32x16xf16>, %vc: tensor<4x2x?x16x32xf16>, %layer: index, %n: tensor<128xf32>)
    -> (tensor<?x128xi8>, tensor<?x128xf32>, tensor<?x128xi8>, tensor<4x2x?x32x16xf16>,
        tensor<4x2x?x16x32xf16>) {
  %0 = lumen.rope %q, %table, %positions {head_dim = 32 : i64, style = "neox"}
    : tensor<?x128xf32>, tensor<?x32xf32>, tensor<?xi32>
  %1 = lumen.rope %k, %table, %positions {head_dim = 32 : i64, style = "neox"}
    : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?xi32>
  %2 = lumen.kv_append %kc, %1, %layer, %places {kind = "key"}
    : tensor<4x2x?x32x16xf16>, tensor<?x64xf32>, tensor<?xi32>
  %3 = lumen.kv_append %vc, %v, %layer, %places {kind = "value"}
    : tensor<4x2x?x16x32xf16>, tensor<?x64xf32>, tensor<?xi32>
  %4 = lumen.attention %0, %2, %3, %layer, %positions, %pages, %runs
    {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.125 : f32}
    : tensor<?x128xf32>, tensor<4x2x?x32x16xf16>, tensor<4x2x?x16x32xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  %5:4 = lumen.quantize %4 : tensor<?x128xf32>
    -> tensor<?x128xi8>, tensor<?x4xf32>, tensor<?x4xi32>, tensor<?x4xf32>
  %6 = lumen.rms_norm %q, %n {epsilon = 1.0e-06 : f32} : tensor<?x128xf32>, tensor<128xf32>
  %7:4 = lumen.quantize %6 : tensor<?x128xf32>
    -> tensor<?x128xi8>, tensor<?x4xf32>, tensor<?x4xi32>, tensor<?x4xf32>
  return %5#0, %6, %7#0, %2, %3 : tensor<?x128xi8>, tensor<?x128xf32>, tensor<?x128xi8>,
    tensor<4x2x?x32x16xf16>, tensor<4x2x?x16x32xf16>
}
// CHECK-LABEL: func.func private @attention_quantize_128
// CHECK-SAME: attributes {lumen.kernel = "attention"}
// CHECK-NEXT: lumen.attention
// CHECK-NEXT: lumen.quantize

// -----

// A group of 32 would cross heads of 16: the quantization is a kernel of its own.
// CHECK-LABEL: func.func @narrow_heads
// CHECK-NEXT: %[[A:.*]] = call @attention_32(%arg0, %arg1, %arg2, %arg3, %arg4, %arg5, %arg6)
// CHECK-NEXT: %[[C:.*]] = call @quantize_32(%[[A]])
// CHECK-NEXT: return %[[C]]
func.func @narrow_heads(%q: tensor<?x32xf32>, %k: tensor<1x1x?x16x16xf16>,
    %v: tensor<1x1x?x16x16xf16>, %layer: index, %positions: tensor<?xi32>, %pages: tensor<?x?xi32>,
    %runs: tensor<?x3xi32>) -> tensor<?x32xi8> {
  %0 = lumen.attention %q, %k, %v, %layer, %positions, %pages, %runs
    {heads = 2 : i64, kv_heads = 1 : i64, scale = 0.25 : f32}
    : tensor<?x32xf32>, tensor<1x1x?x16x16xf16>, tensor<1x1x?x16x16xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  %1:4 = lumen.quantize %0 : tensor<?x32xf32>
    -> tensor<?x32xi8>, tensor<?x1xf32>, tensor<?x1xi32>, tensor<?x1xf32>
  return %1#0 : tensor<?x32xi8>
}

// -----

// lumen.select_rows begins a kernel: what computes all rows stays outside. The two
// norms differ in epsilon only, so the second kernel gets a number.
// CHECK-LABEL: func.func @some
// CHECK-NEXT: %[[E:.*]] = call @embedding_rms_norm_f16_99x64(%arg0, %arg1, %arg3)
// CHECK-NEXT: %[[L:.*]] = call @select_rows_rms_norm_64(%[[E]], %arg2, %arg3)
// CHECK-NEXT: %[[M:.*]] = call @select_rows_rms_norm_64_0(%[[E]], %arg2, %arg3)
// CHECK-NEXT: return %[[L]], %[[M]]
func.func @some(%tokens: tensor<?xi32>, %table: tensor<99x64xf16>, %rows: tensor<?xi32>, %n: tensor<64xf32>)
    -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %0 = lumen.embedding %tokens, %table : tensor<?xi32>, tensor<99x64xf16> -> tensor<?x64xf32>
  %1 = lumen.rms_norm %0, %n {epsilon = 1.0e-06 : f32} : tensor<?x64xf32>, tensor<64xf32>
  %2 = lumen.select_rows %1, %rows : tensor<?x64xf32>, tensor<?xi32> -> tensor<?x64xf32>
  %3 = lumen.rms_norm %2, %n {epsilon = 1.0e-06 : f32} : tensor<?x64xf32>, tensor<64xf32>
  %4 = lumen.select_rows %1, %rows : tensor<?x64xf32>, tensor<?xi32> -> tensor<?x64xf32>
  %5 = lumen.rms_norm %4, %n {epsilon = 1.0e-05 : f32} : tensor<?x64xf32>, tensor<64xf32>
  return %3, %5 : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// Rows of two sources meet in one kernel.
// CHECK-LABEL: func.func @sum
// CHECK-NEXT: %[[A:.*]] = call @select_rows_add_64(%arg1, %arg2, %arg0)
// CHECK-NEXT: return %[[A]]
func.func @sum(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>, %rows: tensor<?xi32>) -> tensor<?x64xf32> {
  %0 = lumen.select_rows %y, %rows : tensor<?x64xf32>, tensor<?xi32> -> tensor<?x64xf32>
  %1 = lumen.select_rows %x, %rows : tensor<?x64xf32>, tensor<?xi32> -> tensor<?x64xf32>
  %2 = lumen.add %0, %1 : tensor<?x64xf32>
  return %2 : tensor<?x64xf32>
}

// -----

// Ops that belong into no kernel stay, what nobody reads goes, and a kernel takes
// no name that is in use.
// CHECK-LABEL: func.func @silu_64
// CHECK-NEXT: arith.constant
// CHECK-NEXT: call @silu_64_0(%arg0)
// CHECK-NEXT: return
func.func @silu_64(%x: tensor<?x64xf32>) -> (tensor<?x64xf32>, index) {
  %c7 = arith.constant 7 : index
  %0 = lumen.silu %x : tensor<?x64xf32>
  %unread = lumen.add %x, %x : tensor<?x64xf32>
  return %0, %c7 : tensor<?x64xf32>, index
}
// CHECK-LABEL: func.func private @silu_64_0

// -----

// CHECK-LABEL: func.func @pack_f16
// CHECK-NEXT: call @pack_tiles_f16(%arg0)
// CHECK: func.func private @pack_tiles_f16{{.*}} attributes {lumen.kernel = "pack"}
func.func @pack_f16(%w: tensor<?x?xf16>) -> tensor<?x?xf16, #lumen.packed<rows = 8>> {
  %p = lumen.pack %w : tensor<?x?xf16> -> tensor<?x?xf16, #lumen.packed<rows = 8>>
  return %p : tensor<?x?xf16, #lumen.packed<rows = 8>>
}

// -----

// Quantized weights that meet float rows are named so; a change of format is too.
lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
// CHECK-LABEL: func.func @names
// CHECK-NEXT: call @qlinear_exact_q8_0_64x64_32x64_f32_32x64(
func.func @names(%x: tensor<?x64xf32>, %w0: tensor<64x64x!lumen.q<@q8_0>>,
    %w1: tensor<32x64x!lumen.q<@q8_0>>, %w2: tensor<32x64xf32>)
    -> (tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>) {
  %0:3 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w0, %w1, %w2
      : tensor<64x64x!lumen.q<@q8_0>>, tensor<32x64x!lumen.q<@q8_0>>, tensor<32x64xf32>)
    -> tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>
  return %0#0, %0#1, %0#2 : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>
}
