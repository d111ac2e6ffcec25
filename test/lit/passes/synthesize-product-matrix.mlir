// SPDX-License-Identifier: Apache-2.0
//
// Where a target multiplies small matrices, many tokens go that way. All workers arrange their activations, then
// a tile of rows is expanded once for a block of them. Other tokens use tiles of lanes.
// RUN: lumen-opt %s --lumen-fuse-quantized-linear --lumen-quantize-activations --lumen-merge-linears \
// RUN:   --lumen-pack-weights --lumen-form-kernels --lumen-bufferize --lumen-synthesize-product \
// RUN:   --canonicalize --cse | FileCheck %s

module attributes {lumen.max_tokens = 512 : i64, lumen.target = #lumen.target<name = "t",
    triple = "aarch64-unknown-linux-gnu", cpu = "generic", features = "+i8mm",
    vector_registers = 32, vector_bits = 128, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 4, k = 4, lhs = si8, rhs = si8, acc = i32>,
    mma = <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32>,
    rows = 8, tokens = 4>} {

lumen.format @four block(32) group(32) bits(4) bias(-8) storage(["d", "codes"]) {
^bb0(%d: f16, %codes: vector<32xi8>):
  %0 = lumen.stored %d bits(16) : f16
  lumen.decoded codes(%codes : vector<32xi8>) scale(%0 : f16)
}

lumen.format @eight block(32) group(32) bits(8) storage(["d", "codes"]) {
^bb0(%d: f16, %codes: vector<32xi8>):
  %0 = lumen.stored %d bits(16) : f16
  lumen.decoded codes(%codes : vector<32xi8>) scale(%0 : f16)
}

// CHECK-LABEL: func.func private @qlinear_four_20x64
// A tile of rows on the stack of a worker: its codes and scales. The activations of all.
// CHECK-DAG: %[[CODES:.*]] = memref.alloca() {alignment = 64 : i64} : memref<512xi8>
// CHECK-DAG: %[[SCALES:.*]] = memref.alloca() {alignment = 64 : i64} : memref<32xf32>
// CHECK-DAG: memref.alloc(%{{.*}}) : memref<?x64xi8>
// CHECK-DAG: memref.alloc(%{{.*}}) : memref<?x4xf32>
// At least two tiles of tokens.
// CHECK: %[[PAIRS:.*]] = arith.divui %[[ALL:.*]], %c2
// CHECK: %[[FEW:.*]] = arith.cmpi ult, %[[ALL]], %c16
// CHECK: %[[PARTS:.*]] = arith.select %[[FEW]], %c0, %[[PAIRS]]
// CHECK: scf.forall (%{{.*}}) in (%[[PARTS]]) {
// CHECK: vector.load {{.*}}, vector<8xi8>
// CHECK: } {lumen.optional}
// CHECK: %[[LEFT:.*]] = arith.remui %[[ALL]], %c8
// CHECK: %[[WHOLE:.*]] = arith.subi %[[ALL]], %[[LEFT]]
// CHECK: %[[TOKENS:.*]] = arith.select %[[FEW]], %c0, %[[WHOLE]]
// Three tiles of 8 rows. Behind unpacking, the bias; two steps of two rows fill a matrix.
// CHECK: scf.forall (%{{.*}}, %{{.*}}) in (%{{.*}}, 3) {
// CHECK: arith.addi %{{.*}}, %{{.*}} : vector<32xi8>
// CHECK: vector.shuffle {{.*}} [0, 8, 1, 9] : vector<16xi32>, vector<16xi32>
// CHECK: vector.store {{.*}}, %[[CODES]][
// CHECK: vector.shuffle {{.*}} [0, 1, 0, 1] : vector<2xf32>, vector<2xf32>
// CHECK: vector.store {{.*}}, %[[SCALES]][
// CHECK: scf.for %{{.*}} step %c8 {
// CHECK: scf.for {{.*}} -> (vector<4xf32>, vector<4xf32>,
// CHECK-COUNT-64: lumen.mma <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32>
// CHECK-NOT: lumen.mma
// CHECK: } {lumen.nowait}
// CHECK: arith.subi %[[ALL]], %[[TOKENS]]
// CHECK: scf.forall (%{{.*}}, %{{.*}}) in (%{{.*}}, 3) {
// CHECK-NOT: lumen.mma
// CHECK: return
func.func @few_bits(%x: tensor<?x64xf32>, %w: tensor<20x64x!lumen.q<@four>>) -> tensor<?x20xf32> {
  %0 = lumen.dequantize %w : tensor<20x64x!lumen.q<@four>> -> tensor<20x64xf32>
  %1 = lumen.linear %x, %0 : tensor<?x64xf32>, tensor<20x64xf32> -> tensor<?x20xf32>
  return %1 : tensor<?x20xf32>
}

// Codes of 0 to 255 are no signed bytes.
// CHECK-LABEL: func.func private @qlinear_eight_20x64
// CHECK-NOT: lumen.mma
// CHECK: return
func.func @unsigned(%x: tensor<?x64xf32>, %w: tensor<20x64x!lumen.q<@eight>>) -> tensor<?x20xf32> {
  %0 = lumen.dequantize %w : tensor<20x64x!lumen.q<@eight>> -> tensor<20x64xf32>
  %1 = lumen.linear %x, %0 : tensor<?x64xf32>, tensor<20x64xf32> -> tensor<?x20xf32>
  return %1 : tensor<?x20xf32>
}
}
