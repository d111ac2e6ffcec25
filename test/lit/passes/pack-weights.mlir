// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-pack-weights --split-input-file | FileCheck %s
// RUN: lumen-opt %s --lumen-pack-weights=rows=4 --split-input-file | FileCheck %s --check-prefix=ROWS4

#target = #lumen.target<name = "x86-64-v3", triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v3",
  features = "",
    vector_registers = 16, vector_bits = 256, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 16, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false>,
    pair_dot = <m = 1, n = 8, k = 2, lhs = si16, rhs = si16, acc = i32, accumulates = false>,
    rows = 8, tokens = 4>

module attributes {lumen.target = #target} {

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// The table is read raw by the embedding and packed by the product: two arguments.
// What a layer multiplies with is packed, what it does not is left alone.
// CHECK-LABEL: func.func @step(
// CHECK-SAME: %[[TOKENS:.*]]: tensor<?xi32>,
// CHECK-SAME: %[[RAW:.*]]: tensor<48x64x!lumen.q<@q8_0>> {lumen.name = "token_embd.weight"},
// CHECK-SAME: %[[PACKED:.*]]: tensor<48x64x!lumen.q<@q8_0>, #lumen.packed<rows = 8, k = 4>> {lumen.name = "token_embd.weight", lumen.tile = #lumen.packed<rows = 8, k = 4>},
// CHECK-SAME: %[[W0:.*]]: tensor<64x64xf16, #lumen.packed<rows = 8>> {lumen.name = "blk.0.w", lumen.tile = #lumen.packed<rows = 8>},
// CHECK-SAME: %[[W1:.*]]: tensor<64x64xf16, #lumen.packed<rows = 8>> {lumen.name = "blk.1.w", lumen.tile = #lumen.packed<rows = 8>},
// CHECK-SAME: %[[UNUSED:.*]]: tensor<64x64xf16> {lumen.name = "unused"})
// ROWS4: func.func @step(
// ROWS4-SAME: tensor<48x64x!lumen.q<@q8_0>, #lumen.packed<rows = 4, k = 4>>
func.func @step(%tokens: tensor<?xi32>,
    %table: tensor<48x64x!lumen.q<@q8_0>> {lumen.name = "token_embd.weight"},
    %w0: tensor<64x64xf16> {lumen.name = "blk.0.w"},
    %w1: tensor<64x64xf16> {lumen.name = "blk.1.w"},
    %unused: tensor<64x64xf16> {lumen.name = "unused"}) -> tensor<?x48xf32> {
  // CHECK: %[[X:.*]] = lumen.embedding %[[TOKENS]], %[[RAW]]
  %x = lumen.embedding %tokens, %table
    : tensor<?xi32>, tensor<48x64x!lumen.q<@q8_0>> -> tensor<?x64xf32>
  // CHECK: %[[X0:.*]] = call @layer(%[[X]], %[[W0]])
  %x0 = func.call @layer(%x, %w0) : (tensor<?x64xf32>, tensor<64x64xf16>) -> tensor<?x64xf32>
  // CHECK: %[[X1:.*]] = call @layer(%[[X0]], %[[W1]])
  %x1 = func.call @layer(%x0, %w1) : (tensor<?x64xf32>, tensor<64x64xf16>) -> tensor<?x64xf32>
  // CHECK: %[[Y:.*]] = lumen.qlinear activations(%[[X1]] : tensor<?x64xf32>)
  // CHECK-SAME: weights(%[[PACKED]] : tensor<48x64x!lumen.q<@q8_0>, #lumen.packed<rows = 8, k = 4>>)
  %y = lumen.qlinear activations(%x1 : tensor<?x64xf32>)
    weights(%table : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}

// CHECK-LABEL: func.func private @layer(
// CHECK-SAME: %[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<64x64xf16, #lumen.packed<rows = 8>>)
// CHECK-NEXT: lumen.qlinear activations(%[[X]] : tensor<?x64xf32>) weights(%[[W]] :
func.func private @layer(%x: tensor<?x64xf32>, %w: tensor<64x64xf16>) -> tensor<?x64xf32> {
  %y = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w : tensor<64x64xf16>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
}

// -----

// Both layouts are needed two calls down, under one name at every level; the
// public function needs a second argument only once.
module attributes {lumen.target = #lumen.target<name = "x86-64-v4",
  triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v4", features = "",
    vector_registers = 32, vector_bits = 512, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 32, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false>,
    pair_dot = <m = 1, n = 16, k = 2, lhs = si16, rhs = si16, acc = i32, accumulates = false>,
    rows = 16, tokens = 8>} {
// CHECK-LABEL: func.func @two_levels(
// CHECK-SAME: %[[TOKENS:.*]]: tensor<?xi32>, %[[R:.*]]: tensor<48x64xf16> {lumen.name = "t"},
// CHECK-SAME: %[[P:.*]]: tensor<48x64xf16, #lumen.packed<rows = 16>> {lumen.name = "t", lumen.tile = #lumen.packed<rows = 16>})
// CHECK-NEXT: call @middle(%[[TOKENS]], %[[R]], %[[P]])
// CHECK-NEXT: call @inner(%[[TOKENS]], %[[R]], %[[P]])
func.func @two_levels(%tokens: tensor<?xi32>, %t: tensor<48x64xf16> {lumen.name = "t"})
    -> (tensor<?x48xf32>, tensor<?x48xf32>) {
  %0 = call @middle(%tokens, %t) : (tensor<?xi32>, tensor<48x64xf16>) -> tensor<?x48xf32>
  %1 = call @inner(%tokens, %t) : (tensor<?xi32>, tensor<48x64xf16>) -> tensor<?x48xf32>
  return %0, %1 : tensor<?x48xf32>, tensor<?x48xf32>
}
// CHECK-LABEL: func.func private @middle(
// CHECK-SAME: %[[TOKENS:.*]]: tensor<?xi32>, %[[R:.*]]: tensor<48x64xf16>,
// CHECK-SAME: %[[P:.*]]: tensor<48x64xf16, #lumen.packed<rows = 16>>)
// CHECK-NEXT: call @inner(%[[TOKENS]], %[[R]], %[[P]])
func.func private @middle(%tokens: tensor<?xi32>, %t: tensor<48x64xf16>) -> tensor<?x48xf32> {
  %0 = call @inner(%tokens, %t) : (tensor<?xi32>, tensor<48x64xf16>) -> tensor<?x48xf32>
  return %0 : tensor<?x48xf32>
}
func.func private @inner(%tokens: tensor<?xi32>, %t: tensor<48x64xf16>) -> tensor<?x48xf32> {
  %x = lumen.embedding %tokens, %t : tensor<?xi32>, tensor<48x64xf16> -> tensor<?x64xf32>
  %y = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%t : tensor<48x64xf16>) -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}
}

// -----

// Tiles of two vectors of rows, but one for a format with several groups in 32
// weights, for what is computed together with it, and where 32 rows would hold
// two experts.
module attributes {lumen.target = #lumen.target<name = "x86-64-v4",
  triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v4", features = "",
    vector_registers = 32, vector_bits = 512, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 32, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false>,
    pair_dot = <m = 1, n = 16, k = 2, lhs = si16, rhs = si16, acc = i32, accumulates = false>,
    rows = 32, tokens = 4>} {
lumen.format @coarse block(32) group(32) bits(8) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
lumen.format @fine block(64) group(16) bits(8) storage(["sc", "qs"]) {
^bb0(%sc: vector<4xi8>, %qs: vector<64xi8>):
  lumen.decoded codes(%qs : vector<64xi8>) scale(%sc : vector<4xi8>)
}
// CHECK-LABEL: func.func @tiles(
// CHECK-SAME: tensor<64x64x!lumen.q<@coarse>, #lumen.packed<rows = 32, k = 4>>
// CHECK-SAME: tensor<64x64x!lumen.q<@fine>, #lumen.packed<rows = 16, k = 4>>
func.func @tiles(%x: tensor<?x64xf32>, %w0: tensor<64x64x!lumen.q<@coarse>>,
    %w1: tensor<64x64x!lumen.q<@fine>>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %y:2 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w0, %w1 : tensor<64x64x!lumen.q<@coarse>>, tensor<64x64x!lumen.q<@fine>>)
    -> tensor<?x64xf32>, tensor<?x64xf32>
  return %y#0, %y#1 : tensor<?x64xf32>, tensor<?x64xf32>
}
// CHECK-LABEL: func.func @joined(
// CHECK-SAME: tensor<64x64x!lumen.q<@coarse>, #lumen.packed<rows = 16, k = 4>>
// CHECK-SAME: tensor<64x64x!lumen.q<@fine>, #lumen.packed<rows = 16, k = 4>>
func.func @joined(%x: tensor<?x64xf32>, %w0: tensor<64x64x!lumen.q<@coarse>>,
    %w1: tensor<64x64x!lumen.q<@fine>>) -> tensor<?x64xf32> {
  %y:2 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w0, %w1 : tensor<64x64x!lumen.q<@coarse>>, tensor<64x64x!lumen.q<@fine>>)
    -> tensor<?x64xf32>, tensor<?x64xf32>
  %s = lumen.silu %y#0 : tensor<?x64xf32>
  %z = lumen.mul %s, %y#1 : tensor<?x64xf32>
  return %z : tensor<?x64xf32>
}
// CHECK-LABEL: func.func @experts(
// CHECK-SAME: tensor<96x64x!lumen.q<@coarse>, #lumen.packed<rows = 16, k = 4>>
func.func @experts(%x: tensor<?x64xf32>, %w: tensor<96x64x!lumen.q<@coarse>>,
    %groups: tensor<3x2xi32>) -> tensor<?x48xf32> {
  %y = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w : tensor<96x64x!lumen.q<@coarse>>) groups(%groups : tensor<3x2xi32>) -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}
}

// -----

// An instruction that takes eight codes at once has steps of eight; floats go one by one.
module attributes {lumen.target = #lumen.target<name = "matrix", triple = "aarch64-linux-gnu", cpu = "generic",
    features = "+i8mm", vector_registers = 32, vector_bits = 128, fma = true, f16 = true, cache_line = 64,
    dot = <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32>, rows = 8, tokens = 4>} {

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// CHECK-LABEL: func.func private @matrix(
// CHECK-SAME: tensor<48x64x!lumen.q<@q8_0>, #lumen.packed<rows = 8, k = 8, signed_codes = true>>
// CHECK-SAME: tensor<48x64xf16, #lumen.packed<rows = 8>>
func.func private @matrix(%x: tensor<?x64xf32>, %w: tensor<48x64x!lumen.q<@q8_0>>, %v: tensor<48x64xf16>)
    -> (tensor<?x48xf32>, tensor<?x48xf32>) {
  %y = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  %z = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%v : tensor<48x64xf16>) -> tensor<?x48xf32>
  return %y, %z : tensor<?x48xf32>, tensor<?x48xf32>
}
}

// -----

// 64-bit ARM: codes of a byte are signed where the instruction takes no others, those of 5 bits whole.
module attributes {lumen.target = #lumen.target<name = "dotprod", triple = "aarch64-linux-gnu", cpu = "generic",
    features = "+dotprod", vector_registers = 32, vector_bits = 128, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 4, k = 4, lhs = si8, rhs = si8, acc = i32>, rows = 8, tokens = 4>} {

lumen.format @bytes block(32) group(32) bits(8) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
lumen.format @five block(32) group(32) bits(5) bias(-16) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// CHECK-LABEL: func.func private @codes(
// CHECK-SAME: tensor<48x64x!lumen.q<@bytes>, #lumen.packed<rows = 8, k = 4, signed_codes = true>>
// CHECK-SAME: tensor<48x64x!lumen.q<@five>, #lumen.packed<rows = 8, k = 4, whole_codes = true>>
func.func private @codes(%x: tensor<?x64xf32>, %w: tensor<48x64x!lumen.q<@bytes>>,
    %v: tensor<48x64x!lumen.q<@five>>) -> (tensor<?x48xf32>, tensor<?x48xf32>) {
  %y = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w : tensor<48x64x!lumen.q<@bytes>>) -> tensor<?x48xf32>
  %z = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%v : tensor<48x64x!lumen.q<@five>>) -> tensor<?x48xf32>
  return %y, %z : tensor<?x48xf32>, tensor<?x48xf32>
}
}
