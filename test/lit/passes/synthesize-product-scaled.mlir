// SPDX-License-Identifier: Apache-2.0
//
// Where codes times the integers of their scales fit a byte, many tokens meet
// these products, and a block has one scale. The last tile of 32 rows holds one
// tile of 16 and, again, the last one.
// RUN: lumen-opt %s --lumen-fuse-quantized-linear --lumen-quantize-activations --lumen-merge-linears \
// RUN:   --lumen-pack-weights --lumen-form-kernels --lumen-bufferize --lumen-synthesize-product \
// RUN:   --canonicalize --cse | FileCheck %s

module attributes {lumen.max_tokens = 512 : i64, lumen.target = #lumen.target<name = "x86-64-v4+vnni",
    triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v4", features = "+avx512vnni",
    vector_registers = 32, vector_bits = 512, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 16, k = 4, lhs = si8, rhs = ui8, acc = i32>,
    pair_dot = <m = 1, n = 16, k = 2, lhs = si16, rhs = si16, acc = i32>,
    rows = 32, tokens = 6>} {

// Codes of -4 to 3, integers of -32 to 31.
lumen.format @three block(256) group(16) bits(3) bias(-4) storage(["codes", "scales", "d"]) {
^bb0(%codes: vector<256xi8>, %scales: vector<16xi8>, %d: f16):
  %mask = arith.constant dense<63> : vector<16xi8>
  %masked = arith.andi %scales, %mask : vector<16xi8>
  %0 = lumen.stored %d bits(16) : f16
  %1 = lumen.stored %masked bits(6) : vector<16xi8>
  %2 = arith.extsi %1 : vector<16xi8> to vector<16xi32>
  %3 = arith.constant dense<32> : vector<16xi32>
  %4 = arith.subi %2, %3 : vector<16xi32>
  lumen.decoded codes(%codes : vector<256xi8>) scale(%0, %4 : f16, vector<16xi32>)
}

// CHECK-LABEL: func.func private @qlinear_three_33x512
// CHECK-DAG: %[[ROOM:.*]] = memref.alloca() {alignment = 64 : i64} : memref<16640xi8>
// CHECK-DAG: %[[INTEGERS:.*]] = memref.alloca() {alignment = 64 : i64} : memref<2x16xi32>
// CHECK: %[[FEW:.*]] = arith.cmpi ult, %{{.*}}, %c24
// CHECK: arith.select %[[FEW]], %c0
// CHECK: scf.forall (%{{.*}}, %[[PAIR:.*]]) in (%{{.*}}, 2) {
// The float of a block, the integers of a span, then the codes.
// CHECK: arith.minui %{{.*}}, %c2
// CHECK: bufferization.materialize_in_destination {{.*}} : (tensor<16xf32>, memref<16xf32, strided<[1], offset: ?>>) -> ()
// CHECK: bufferization.materialize_in_destination {{.*}} %[[INTEGERS]] : (tensor<2x16xi32>, memref<2x16xi32>) -> ()
// CHECK: vector.load %[[INTEGERS]]
// CHECK: arith.muli %{{.*}} : vector<32xi16>
// CHECK: vector.store %{{.*}} : {{.*}}, vector<64xi8>
// Tiles of 32 rows; a block's sums start from the bias and stay integers.
// CHECK: scf.for %{{.*}} step %c6 {
// CHECK: arith.muli %{{.*}}, %c31_i32 : i32
// CHECK: scf.for {{.*}} -> (tensor<6x32xi32>) {
// CHECK-NOT: sitofp
// CHECK: scf.yield %{{.*}} : tensor<6x32xi32>
// CHECK: arith.sitofp
// Few tokens: tiles of 16 rows, sums of integers in floats.
// CHECK: scf.forall (%{{.*}}, %{{.*}}) in (%{{.*}}, 3) {
// CHECK: scf.for %{{.*}} step %c8 {
// CHECK: scf.for {{.*}} -> (tensor<8x16xf32>) {
// CHECK-NOT: lumen.qlinear
func.func @step(%x: tensor<?x512xf32>, %w: tensor<33x512x!lumen.q<@three>>) -> tensor<?x33xf32> {
  %0 = lumen.dequantize %w : tensor<33x512x!lumen.q<@three>> -> tensor<33x512xf32>
  %1 = lumen.linear %x, %0 : tensor<?x512xf32>, tensor<33x512xf32> -> tensor<?x33xf32>
  return %1 : tensor<?x33xf32>
}
}
