// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s | lumen-opt | FileCheck %s
// RUN: lumen-opt %s --mlir-print-op-generic | lumen-opt | FileCheck %s

// CHECK: module attributes {
// CHECK-SAME: lumen.max_tokens = 512 : i64
// CHECK-SAME: lumen.target = #lumen.target<name = "x86-64-v3", triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v3", features = "+avx2,+fma", vector_registers = 16, vector_bits = 256, fma = true, f16 = true, cache_line = 64, dot = <m = 1, n = 16, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false>, pair_dot = <m = 1, n = 8, k = 2, lhs = si16, rhs = si16, acc = i32>, rows = 8, tokens = 4>
module attributes {lumen.max_tokens = 512 : i64, lumen.target = #lumen.target<name = "x86-64-v3",
  triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v3", features = "+avx2,+fma",
  vector_registers = 16, vector_bits = 256, fma = true, f16 = true, cache_line = 64,
  dot = #lumen.dot<m = 1, n = 16, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false>,
  pair_dot = <m = 1, n = 8, k = 2, lhs = si16, rhs = si16, acc = i32, accumulates = true>, rows = 8, tokens = 4>} {

// Parts that a target may lack, and shapes of other architectures: sdot and smmla.
// CHECK: module attributes {lumen.plain = #lumen.target<name = "t", triple = "", cpu = "", features = "", vector_registers = 16, vector_bits = 128, fma = false, f16 = false, cache_line = 64, rows = 8, tokens = 2>,
// CHECK-SAME: lumen.sdot = #lumen.dot<m = 1, n = 4, k = 4, lhs = si8, rhs = si8, acc = i32>,
// CHECK-SAME: lumen.smmla = #lumen.dot<m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32>}
module attributes {
  lumen.plain = #lumen.target<name = "t", triple = "", cpu = "", features = "", vector_registers = 16,
    vector_bits = 128, fma = false, f16 = false, cache_line = 64, rows = 8, tokens = 2>,
  lumen.sdot = #lumen.dot<m = 1, n = 4, k = 4, lhs = si8, rhs = si8, acc = i32>,
  lumen.smmla = #lumen.dot<m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32>} {}

//===----------------------------------------------------------------------===//
// Formats
//===----------------------------------------------------------------------===//

// One scale per block, biased codes.
// CHECK-LABEL: lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
// CHECK-NEXT: ^bb0(%[[D:.*]]: f16, %[[QS:.*]]: vector<32xi8>):
// CHECK-NEXT: lumen.decoded codes(%[[QS]] : vector<32xi8>) scale(%[[D]] : f16)
lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// Two-level scales and minima.
// CHECK-LABEL: lumen.format @two_levels block(64) group(32) bits(8) storage(["d", "m", "sc", "mn", "qs"]) {
// CHECK: lumen.decoded codes(%{{.*}} : vector<64xi8>) scale(%{{.*}}, %{{.*}} : f16, vector<2xi8>) min(%{{.*}}, %{{.*}} : f16, vector<2xi8>)
lumen.format @two_levels block(64) group(32) bits(8) storage(["d", "m", "sc", "mn", "qs"]) {
^bb0(%d: f16, %m: f16, %sc: vector<2xi8>, %mn: vector<2xi8>, %qs: vector<64xi8>):
  lumen.decoded codes(%qs : vector<64xi8>) scale(%d, %sc : f16, vector<2xi8>)
                min(%m, %mn : f16, vector<2xi8>)
}

// Codes that index a table, scales per group only; an attribute of another tool.
// CHECK-LABEL: lumen.format @narrow block(32) group(16) bits(8) header(1) storage(["d", "sc", "qs"]) {
// CHECK: %[[KEPT:.*]] = lumen.stored %{{.*}} bits(4) : vector<2xi8>
// CHECK-NEXT: %[[WIDE:.*]] = arith.extui %[[KEPT]] : vector<2xi8> to vector<2xi32>
// CHECK-NEXT: lumen.decoded codes(%{{.*}} : vector<32xi8>) scale(%{{.*}}, %[[WIDE]] : f32, vector<2xi32>)
lumen.format @narrow block(32) group(16) bits(8) header(1) storage(["d", "sc", "qs"]) {
^bb0(%d: f32, %sc: vector<2xi8>, %qs: vector<32xi8>):
  %mask = arith.constant dense<15> : vector<2xi8>
  %nibbles = arith.andi %sc, %mask : vector<2xi8>
  %kept = lumen.stored %nibbles bits(4) : vector<2xi8>
  %wide = arith.extui %kept : vector<2xi8> to vector<2xi32>
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d, %wide : f32, vector<2xi32>)
}

// CHECK-LABEL: lumen.format @table block(32) group(16) bits(2) table([-3, -1, 1, 3]) storage(["sc", "qs"]) attributes {note = "x"} {
lumen.format @table block(32) group(16) bits(2) table([-3, -1, 1, 3]) storage(["sc", "qs"])
    attributes {note = "x"} {
^bb0(%sc: vector<2xf16>, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%sc : vector<2xf16>)
}

//===----------------------------------------------------------------------===//
// The model
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @model
func.func @model(
    %tokens: tensor<?xi32>, %positions: tensor<?xi32>, %places: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>, %rows: tensor<?xi32>, %layer: index,
    %rope: tensor<?x32xf32>, %k: tensor<4x2x?x32x16xf16>, %v: tensor<4x2x?x16x32xf16>,
    %codes: tensor<4x2x?x544xi8>, %table: tensor<96x128x!lumen.q<@q8_0>>, %norm: tensor<128xf32>,
    %wk: tensor<64x128xbf16>, %bk: tensor<64xf32>) -> tensor<?x96xf32> {
  // CHECK: lumen.embedding %{{.*}}, %{{.*}} : tensor<?xi32>, tensor<96x128x!lumen.q<@q8_0>> -> tensor<?x128xf32>
  %0 = lumen.embedding %tokens, %table
    : tensor<?xi32>, tensor<96x128x!lumen.q<@q8_0>> -> tensor<?x128xf32>
  // CHECK: lumen.rms_norm %{{.*}}, %{{.*}} {epsilon = 1.250000e-01 : f32} : tensor<?x128xf32>, tensor<128xf32>
  %1 = lumen.rms_norm %0, %norm {epsilon = 0.125 : f32} : tensor<?x128xf32>, tensor<128xf32>
  // CHECK: lumen.linear %{{.*}}, %{{.*}} bias(%{{.*}} : tensor<64xf32>) : tensor<?x128xf32>, tensor<64x128xbf16> -> tensor<?x64xf32>
  %2 = lumen.linear %1, %wk bias(%bk : tensor<64xf32>)
    : tensor<?x128xf32>, tensor<64x128xbf16> -> tensor<?x64xf32>
  // CHECK: lumen.rope %{{.*}}, %{{.*}}, %{{.*}} {head_dim = 32 : i64, style = "norm"} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?xi32>
  %3 = lumen.rope %2, %rope, %positions {head_dim = 32 : i64, style = "norm"}
    : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?xi32>
  // CHECK: lumen.kv_append %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {kind = "key"} : tensor<4x2x?x32x16xf16>, tensor<?x64xf32>, tensor<?xi32>
  %4 = lumen.kv_append %k, %3, %layer, %places {kind = "key"}
    : tensor<4x2x?x32x16xf16>, tensor<?x64xf32>, tensor<?xi32>
  // CHECK: lumen.kv_append %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {kind = "value"} : tensor<4x2x?x16x32xf16>, tensor<?x64xf32>, tensor<?xi32>
  %5 = lumen.kv_append %v, %2, %layer, %places {kind = "value"}
    : tensor<4x2x?x16x32xf16>, tensor<?x64xf32>, tensor<?xi32>
  // CHECK: lumen.kv_append %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {kind = "key"} : tensor<4x2x?x544xi8>, tensor<?x64xf32>, tensor<?xi32>
  %k8 = lumen.kv_append %codes, %3, %layer, %places {kind = "key"}
    : tensor<4x2x?x544xi8>, tensor<?x64xf32>, tensor<?xi32>
  // CHECK: lumen.attention %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {heads = 4 : i64, kv_heads = 2 : i64, scale = 1.250000e-01 : f32} : tensor<?x128xf32>, tensor<4x2x?x32x16xf16>, tensor<4x2x?x16x32xf16>, tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  %6 = lumen.attention %1, %4, %5, %layer, %positions, %pages, %runs
    {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.125 : f32}
    : tensor<?x128xf32>, tensor<4x2x?x32x16xf16>, tensor<4x2x?x16x32xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  // CHECK: lumen.attention {{.*}} {heads = 4 : i64, kv_heads = 2 : i64, scale = 1.000000e+00 : f32, window = 100 : i64}
  %local = lumen.attention %1, %4, %5, %layer, %positions, %pages, %runs
    {heads = 4 : i64, kv_heads = 2 : i64, scale = 1.0 : f32, window = 100 : i64}
    : tensor<?x128xf32>, tensor<4x2x?x32x16xf16>, tensor<4x2x?x16x32xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  // CHECK: lumen.scale %{{.*}} {factor = 5.000000e-01 : f32} : tensor<?x128xf32>
  %half = lumen.scale %local {factor = 0.5 : f32} : tensor<?x128xf32>
  // CHECK: lumen.to_bf16 %{{.*}} : tensor<?x128xf32> -> tensor<?x128xbf16>
  %rounded = lumen.to_bf16 %6 : tensor<?x128xf32> -> tensor<?x128xbf16>
  // CHECK: lumen.silu %{{.*}} : tensor<?x128xf32>
  %gate = lumen.silu %6 : tensor<?x128xf32>
  // CHECK: lumen.gelu %{{.*}} : tensor<?x128xf32>
  %bell = lumen.gelu %6 : tensor<?x128xf32>
  // CHECK: lumen.mul %{{.*}}, %{{.*}} : tensor<?x128xf32>
  %7 = lumen.mul %gate, %1 : tensor<?x128xf32>
  // CHECK: lumen.add %{{.*}}, %{{.*}} : tensor<?x128xf32>
  %8 = lumen.add %7, %0 : tensor<?x128xf32>
  // CHECK: lumen.select_rows %{{.*}}, %{{.*}} : tensor<?x128xf32>, tensor<?xi32> -> tensor<?x128xf32>
  %9 = lumen.select_rows %8, %rows : tensor<?x128xf32>, tensor<?xi32> -> tensor<?x128xf32>
  // CHECK: lumen.dequantize %{{.*}} : tensor<96x128x!lumen.q<@q8_0>> -> tensor<96x128xf32>
  %10 = lumen.dequantize %table : tensor<96x128x!lumen.q<@q8_0>> -> tensor<96x128xf32>
  // CHECK: lumen.linear %{{.*}}, %{{.*}} : tensor<?x128xf32>, tensor<96x128xf32> -> tensor<?x96xf32>
  %11 = lumen.linear %9, %10 : tensor<?x128xf32>, tensor<96x128xf32> -> tensor<?x96xf32>
  return %11 : tensor<?x96xf32>
}

// CHECK-LABEL: func.func @selection
func.func @selection(%x: tensor<?x8200xf32>, %rows: tensor<?xi32>, %ranks: tensor<?xi32>)
    -> (tensor<?x64xf32>, tensor<?x1xi32>) {
  // CHECK: %[[K:.*]] = lumen.group_keys %{{.*}} {group = 64 : i64} : tensor<?x8200xf32> -> tensor<?x256xi32>
  %k = lumen.group_keys %x {group = 64 : i64} : tensor<?x8200xf32> -> tensor<?x256xi32>
  // CHECK: lumen.largest_groups %{{.*}}, %[[K]], %{{.*}}, %{{.*}} : tensor<?x8200xf32>, tensor<?x256xi32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x64xf32>, tensor<?x1xi32>
  %v, %n = lumen.largest_groups %x, %k, %rows, %ranks
    : tensor<?x8200xf32>, tensor<?x256xi32>, tensor<?xi32>, tensor<?xi32>
    -> tensor<?x64xf32>, tensor<?x1xi32>
  return %v, %n : tensor<?x64xf32>, tensor<?x1xi32>
}

// CHECK-LABEL: func.func @experts
func.func @experts(%x: tensor<?x64xf32>, %g: tensor<?x1xf32>, %logits: tensor<?x8xf32>,
    %bias: tensor<8xf32>, %w: tensor<256x64xf32>) -> tensor<?x32xf32> {
  // CHECK: lumen.gate %{{.*}}, %{{.*}} : tensor<?x64xf32>, tensor<?x1xf32>
  %0 = lumen.gate %x, %g : tensor<?x64xf32>, tensor<?x1xf32>
  // CHECK: %[[E:.*]], %[[W:.*]] = lumen.route %{{.*}} bias(%{{.*}} : tensor<8xf32>) {gating = "sigmoid", normalized = false, scale = 2.500000e+00 : f32} : tensor<?x8xf32> -> tensor<?x2xi32>, tensor<?x2xf32>
  %e, %p = lumen.route %logits bias(%bias : tensor<8xf32>)
      {gating = "sigmoid", normalized = false, scale = 2.5 : f32}
    : tensor<?x8xf32> -> tensor<?x2xi32>, tensor<?x2xf32>
  // CHECK: %[[SOURCE:.*]], %[[PLACE:.*]], %[[GROUPS:.*]] = lumen.group_tokens %[[E]] : tensor<?x2xi32> -> tensor<?x2xi32>, tensor<?x2xi32>, tensor<9x2xi32>
  %source, %place, %groups = lumen.group_tokens %e
    : tensor<?x2xi32> -> tensor<?x2xi32>, tensor<?x2xi32>, tensor<9x2xi32>
  // CHECK: lumen.gather_rows %{{.*}}, %[[SOURCE]] : tensor<?x64xf32>, tensor<?x2xi32> -> tensor<?x128xf32>
  %rows = lumen.gather_rows %0, %source
    : tensor<?x64xf32>, tensor<?x2xi32> -> tensor<?x128xf32>
  // CHECK: lumen.expert_linear %{{.*}}, %{{.*}}, %[[GROUPS]] : tensor<?x128xf32>, tensor<256x64xf32>, tensor<9x2xi32> -> tensor<?x64xf32>
  %y = lumen.expert_linear %rows, %w, %groups
    : tensor<?x128xf32>, tensor<256x64xf32>, tensor<9x2xi32> -> tensor<?x64xf32>
  // CHECK: lumen.qlinear activations(%{{.*}} : tensor<?x128xf32>) weights(%{{.*}} : tensor<256x64xf32>) groups(%[[GROUPS]] : tensor<9x2xi32>) -> tensor<?x64xf32>
  %z = lumen.qlinear activations(%rows : tensor<?x128xf32>) weights(%w : tensor<256x64xf32>)
    groups(%groups : tensor<9x2xi32>) -> tensor<?x64xf32>
  %sum = lumen.add %y, %z : tensor<?x64xf32>
  // CHECK: lumen.combine %{{.*}}, %[[W]], %[[PLACE]] : tensor<?x64xf32>, tensor<?x2xf32>, tensor<?x2xi32> -> tensor<?x32xf32>
  %r = lumen.combine %sum, %p, %place
    : tensor<?x64xf32>, tensor<?x2xf32>, tensor<?x2xi32> -> tensor<?x32xf32>
  return %r : tensor<?x32xf32>
}

//===----------------------------------------------------------------------===//
// The fused form
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @fused
func.func @fused(%x: tensor<?x64xf32>, %w: tensor<48x64x!lumen.q<@two_levels>, #lumen.packed<rows = 16, k = 4>>,
    %t: tensor<16x64x!lumen.q<@table>, #lumen.packed<rows = 16, k = 4>>,
    %f: tensor<48x64xf16, #lumen.packed<rows = 8>>, %b: tensor<48xf32>) {
  // CHECK: %[[C:.*]], %[[S:.*]], %[[O:.*]], %[[M:.*]] = lumen.quantize %{{.*}} {sum_group = 16 : i64} : tensor<?x64xf32> -> tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x4xi32>, tensor<?x4xf32>
  %c, %s, %o, %m = lumen.quantize %x {group = 32 : i64, sum_group = 16 : i64} : tensor<?x64xf32>
    -> tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x4xi32>, tensor<?x4xf32>
  // CHECK: lumen.qlinear activations(%[[C]], %[[S]], %[[O]], %[[M]] : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x4xi32>, tensor<?x4xf32>)
  // CHECK-SAME: weights(%{{.*}}, %{{.*}} : tensor<48x64x!lumen.q<@two_levels>, #lumen.packed<rows = 16, k = 4>>, tensor<16x64x!lumen.q<@table>, #lumen.packed<rows = 16, k = 4>>)
  // CHECK-SAME: -> tensor<?x48xf32>, tensor<?x16xf32>
  %0:2 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x4xi32>, tensor<?x4xf32>)
    weights(%w, %t : tensor<48x64x!lumen.q<@two_levels>, #lumen.packed<rows = 16, k = 4>>,
                     tensor<16x64x!lumen.q<@table>, #lumen.packed<rows = 16, k = 4>>)
    -> tensor<?x48xf32>, tensor<?x16xf32>
  // CHECK: lumen.qlinear activations(%{{.*}} : tensor<?x64xf32>)
  // CHECK-SAME: weights(%{{.*}} : tensor<48x64xf16, #lumen.packed<rows = 8>>) biases(%{{.*}} : tensor<48xf32>) -> tensor<?x48xf32>
  %1 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%f : tensor<48x64xf16, #lumen.packed<rows = 8>>) biases(%b : tensor<48xf32>)
    -> tensor<?x48xf32>
  return
}

//===----------------------------------------------------------------------===//
// Bytes, registers, the team
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @pack
func.func @pack(%bytes: memref<?xi8>, %to: memref<?xi8>, %fixed: memref<3264xi8>,
    %floats: tensor<?x?xf16>, %n: index, %k: index) {
  // CHECK: lumen.from_bytes %{{.*}}, %{{.*}}, %{{.*}} : memref<?xi8> -> tensor<?x?x!lumen.q<@q8_0>>
  %0 = lumen.from_bytes %bytes, %n, %k : memref<?xi8> -> tensor<?x?x!lumen.q<@q8_0>>
  // CHECK: lumen.pack %{{.*}} : tensor<?x?x!lumen.q<@q8_0>> -> tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>
  %1 = lumen.pack %0
    : tensor<?x?x!lumen.q<@q8_0>> -> tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>
  // CHECK: lumen.to_bytes %{{.*}} into %{{.*}} : tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>, memref<?xi8>
  lumen.to_bytes %1 into %to
    : tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>, memref<?xi8>
  // One column to a step is what is not written.
  // CHECK: lumen.pack %{{.*}} : tensor<?x?xf16> -> tensor<?x?xf16, #lumen.packed<rows = 16>>
  %f = lumen.pack %floats : tensor<?x?xf16> -> tensor<?x?xf16, #lumen.packed<rows = 16, k = 1>>
  // CHECK: lumen.from_bytes %{{.*}} : memref<3264xi8> -> tensor<48x64x!lumen.q<@q8_0>>
  %2 = lumen.from_bytes %fixed : memref<3264xi8> -> tensor<48x64x!lumen.q<@q8_0>>
  return
}

// CHECK-LABEL: func.func @registers
func.func @registers(%codes: vector<64xi8>, %x: vector<4xi8>, %acc: vector<16xi32>,
    %halves: vector<32xi16>, %y: vector<2xi16>, %scalar: i8, %tensor: tensor<4xi8>,
    %bytes: vector<16xi8>, %sums: vector<4xi32>, %w: vector<8xbf16>, %z: vector<2xbf16>, %floats: vector<4xf32>) {
  // CHECK: lumen.dot4 %{{.*}}, %{{.*}}, %{{.*}} {bits = 4 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
  %0 = lumen.dot4 %codes, %x, %acc {bits = 4 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
  // CHECK: lumen.dot2 %{{.*}}, %{{.*}}, %{{.*}} : vector<32xi16>, vector<2xi16>, vector<16xi32>
  %1 = lumen.dot2 %halves, %y, %acc : vector<32xi16>, vector<2xi16>, vector<16xi32>
  // CHECK: lumen.dot2 %{{.*}}, %{{.*}}, %{{.*}} : vector<32xi16>, vector<32xi16>, vector<16xi32>
  %5 = lumen.dot2 %halves, %halves, %acc : vector<32xi16>, vector<32xi16>, vector<16xi32>
  // CHECK: lumen.dot2 %{{.*}}, %{{.*}}, %{{.*}} : vector<8xbf16>, vector<2xbf16>, vector<4xf32>
  %8 = lumen.dot2 %w, %z, %floats : vector<8xbf16>, vector<2xbf16>, vector<4xf32>
  // CHECK: lumen.mma <m = 2, n = 2, k = 8, lhs = si8, rhs = ui8, acc = i32> %{{.*}}, %{{.*}}, %{{.*}} : vector<16xi8>, vector<16xi8>, vector<4xi32>
  %6 = lumen.mma <m = 2, n = 2, k = 8, lhs = si8, rhs = ui8, acc = i32> %bytes, %bytes, %sums : vector<16xi8>, vector<16xi8>, vector<4xi32>
  // CHECK: lumen.mma <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32, step = 4> %{{.*}}, %{{.*}}, %{{.*}} : vector<16xi8>, vector<16xi8>, vector<4xi32>
  %7 = lumen.mma <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32, step = 4> %bytes, %bytes, %sums : vector<16xi8>, vector<16xi8>, vector<4xi32>
  // CHECK: lumen.lookup %{{.*}} [-3, -1, 1, 3] : vector<64xi8>
  %2 = lumen.lookup %codes [-3, -1, 1, 3] : vector<64xi8>
  // CHECK: lumen.lookup %{{.*}} [1] : i8
  %3 = lumen.lookup %scalar [1] : i8
  // CHECK: lumen.lookup %{{.*}} [1] : tensor<4xi8>
  %4 = lumen.lookup %tensor [1] : tensor<4xi8>
  return
}

// CHECK-LABEL: func.func @team
func.func @team() -> (index, index) {
  // CHECK: %[[I:.*]] = lumen.worker_id
  %0 = lumen.worker_id
  // CHECK: %[[N:.*]] = lumen.worker_count
  %1 = lumen.worker_count
  // CHECK: lumen.claim %[[N]]
  %first, %last = lumen.claim %1
  // CHECK: lumen.barrier
  lumen.barrier
  // CHECK: return %[[I]], %[[N]]
  return %0, %1 : index, index
}

// CHECK-LABEL: func.func @warp
func.func @warp(%x: f32) -> f32 {
  // CHECK: %[[LANE:.*]] = lumen.lane
  %lane = lumen.lane
  // CHECK: lumen.shuffle %{{.*}}, %[[LANE]] : f32
  %y = lumen.shuffle %x, %lane : f32
  // CHECK: lumen.warp_barrier
  lumen.warp_barrier
  // CHECK: lumen.warp_mma <m = 16, n = 8, k = 16, lhs = si8, rhs = si8, acc = i32, weights_left = true> %{{.*}}, %{{.*}}, %{{.*}} : vector<8xi8>, vector<4xi8>, vector<4xi32>
  %w = arith.constant dense<1> : vector<8xi8>
  %c = arith.constant dense<1> : vector<4xi8>
  %z = arith.constant dense<0> : vector<4xi32>
  %s = lumen.warp_mma <m = 16, n = 8, k = 16, lhs = si8, rhs = si8, acc = i32, weights_left = true> %w, %c, %z
     : vector<8xi8>, vector<4xi8>, vector<4xi32>
  // CHECK: lumen.scratch 64 : memref<16xf32>
  %own = lumen.scratch 64 : memref<16xf32>
  return %y : f32
}

// CHECK-LABEL: func.func @block
func.func @block(%counter: index) -> i1 {
  // CHECK: lumen.block_worker_id
  %id = lumen.block_worker_id
  // CHECK: %[[COUNT:.*]] = lumen.block_worker_count
  %count = lumen.block_worker_count
  // CHECK: lumen.block_barrier
  lumen.block_barrier
  // CHECK: lumen.block_scratch 64 : memref<16xf32>
  %memory = lumen.block_scratch 64 : memref<16xf32>
  // CHECK: lumen.arrive %{{.*}}, %[[COUNT]]
  %last = lumen.arrive %counter, %count
  return %last : i1
}

}
