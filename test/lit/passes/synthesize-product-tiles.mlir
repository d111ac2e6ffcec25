// SPDX-License-Identifier: Apache-2.0
//
// An instruction for matrices whose sums fill several vectors, and which takes four codes of a row together. The
// sums go through memory, one vector belongs to one token, and a tile of 32 rows is computed in two parts.
// RUN: cat %{targets}/x86-64-v4+amx.mlir %s | lumen-opt --lumen-fuse-quantized-linear --lumen-quantize-activations \
// RUN:   --lumen-merge-linears --lumen-pack-weights --lumen-form-kernels --lumen-bufferize \
// RUN:   --lumen-synthesize-product --canonicalize --cse | FileCheck %s

module attributes {lumen.max_tokens = 512 : i64, lumen.target = #target} {

lumen.format @four block(32) group(32) bits(4) bias(-8) storage(["d", "codes"]) {
^bb0(%d: f16, %codes: vector<32xi8>):
  %0 = lumen.stored %d bits(16) : f16
  lumen.decoded codes(%codes : vector<32xi8>) scale(%0 : f16)
}

lumen.format @halves block(32) group(16) bits(4) bias(-8) storage(["d", "codes"]) {
^bb0(%d: vector<2xf16>, %codes: vector<32xi8>):
  %0 = lumen.stored %d bits(16) : vector<2xf16>
  lumen.decoded codes(%codes : vector<32xi8>) scale(%0 : vector<2xf16>)
}

// CHECK-LABEL: func.func private @qlinear_four_40x64
// Room for the sums; factors of rows once for all tokens, and those of tokens as they are.
// CHECK-DAG: %[[SUMS:.*]] = memref.alloca() {alignment = 64 : i64} : memref<256xi32>
// CHECK-DAG: memref.alloca() {alignment = 64 : i64} : memref<64xf32>
// CHECK-DAG: memref.alloc(%{{.*}}) : memref<?x64xi8>
// CHECK-DAG: memref.alloc(%{{.*}}) : memref<?x2xf32>
// From 16 tokens on.
// CHECK: arith.cmpi ult, %{{.*}}, %c16
// Codes stay in the order of the packed weight.
// CHECK: scf.forall (%{{.*}}, %{{.*}}) in (%{{.*}}, 2) {
// CHECK: vector.store %{{.*}} : memref<2048xi8>, vector<64xi8>
// CHECK: scf.for %{{.*}} step %c16 {
// Two parts of rows, each with its loop over spans.
// CHECK: scf.for %[[PART:.*]] = %c0 to %c2 step %c1 {
// CHECK: scf.for
// CHECK: %[[SUM:.*]] = lumen.mma <m = 16, n = 16, k = 32, lhs = si8, rhs = si8, acc = i32, step = 4>
// CHECK: vector.store %[[SUM]], %[[SUMS]][%c0] : memref<256xi32>, vector<256xi32>
// CHECK-COUNT-16: vector.load %[[SUMS]]{{.*}} : memref<256xi32>, vector<16xi32>
// CHECK-NOT: lumen.mma
// CHECK: return
func.func @few_bits(%x: tensor<?x64xf32>, %w: tensor<40x64x!lumen.q<@four>>) -> tensor<?x40xf32> {
  %0 = lumen.dequantize %w : tensor<40x64x!lumen.q<@four>> -> tensor<40x64xf32>
  %1 = lumen.linear %x, %0 : tensor<?x64xf32>, tensor<40x64xf32> -> tensor<?x40xf32>
  return %1 : tensor<?x40xf32>
}

// Two groups in a span: half of the columns at a time.
// CHECK-LABEL: func.func private @qlinear_halves_40x64
// CHECK-COUNT-2: lumen.mma <m = 16, n = 16, k = 16, lhs = si8, rhs = si8, acc = i32, step = 4>
// CHECK-NOT: lumen.mma
// CHECK: return
func.func @small_groups(%x: tensor<?x64xf32>, %w: tensor<40x64x!lumen.q<@halves>>) -> tensor<?x40xf32> {
  %0 = lumen.dequantize %w : tensor<40x64x!lumen.q<@halves>> -> tensor<40x64xf32>
  %1 = lumen.linear %x, %0 : tensor<?x64xf32>, tensor<40x64xf32> -> tensor<?x40xf32>
  return %1 : tensor<?x40xf32>
}
}
