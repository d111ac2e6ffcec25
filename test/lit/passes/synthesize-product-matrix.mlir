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

// Codes of -4 to 3, integers of -32 to 31: negative products fit a byte.
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

// Codes of 0 to 15, and integers of 0 to 63 in scales and minima.
lumen.format @lowered block(256) group(32) bits(4) storage(["codes", "scales", "minima", "d", "dmin"]) {
^bb0(%codes: vector<256xi8>, %scales: vector<8xi8>, %minima: vector<8xi8>, %d: f16, %dmin: f16):
  %mask = arith.constant dense<63> : vector<8xi8>
  %0 = arith.andi %scales, %mask : vector<8xi8>
  %1 = arith.andi %minima, %mask : vector<8xi8>
  %2 = lumen.stored %d bits(16) : f16
  %3 = lumen.stored %dmin bits(16) : f16
  %4 = lumen.stored %0 bits(6) : vector<8xi8>
  %5 = lumen.stored %1 bits(6) : vector<8xi8>
  lumen.decoded codes(%codes : vector<256xi8>) scale(%2, %4 : f16, vector<8xi8>)
    min(%3, %5 : f16, vector<8xi8>)
}

// CHECK-LABEL: func.func private @qlinear_four_20x64
// A tile of rows on the stack of a worker: its codes and scales. The activations of all.
// CHECK-DAG: %[[CODES:.*]] = memref.alloca() {alignment = 64 : i64} : memref<512xi8>
// CHECK-DAG: %[[SCALES:.*]] = memref.alloca() {alignment = 64 : i64} : memref<32xf32>
// CHECK-DAG: memref.alloc(%{{.*}}) : memref<?x64xi8>
// CHECK-DAG: memref.alloc(%{{.*}}) : memref<?x4xf32>
// At least 8 tokens. A tile has 6, as floats behind the sums of a group need registers too.
// CHECK: %[[PAIRS:.*]] = arith.divui %[[ALL:.*]], %c2
// CHECK: %[[FEW:.*]] = arith.cmpi ult, %[[ALL]], %c8
// CHECK: %[[PARTS:.*]] = arith.select %[[FEW]], %c0, %[[PAIRS]]
// CHECK: scf.forall (%{{.*}}) in (%[[PARTS]]) {
// CHECK: vector.load {{.*}}, vector<8xi8>
// CHECK: } {lumen.optional}
// CHECK: %[[LEFT:.*]] = arith.remui %[[ALL]], %c2
// CHECK: %[[WHOLE:.*]] = arith.subi %[[ALL]], %[[LEFT]]
// CHECK: %[[TOKENS:.*]] = arith.select %[[FEW]], %c0, %[[WHOLE]]
// Three tiles of 8 rows. Behind unpacking, the bias; two steps of two rows fill a matrix.
// CHECK: scf.forall (%{{.*}}, %{{.*}}) in (%{{.*}}, 3) {
// CHECK: arith.addi %{{.*}}, %{{.*}} : vector<32xi8>
// CHECK: vector.shuffle {{.*}} [0, 8, 1, 9] : vector<16xi32>, vector<16xi32>
// CHECK: vector.store {{.*}}, %[[CODES]][
// CHECK: vector.shuffle {{.*}} [0, 1, 0, 1] : vector<2xf32>, vector<2xf32>
// CHECK: vector.store {{.*}}, %[[SCALES]][
// What the scales make too much, as sums begin with 1.5 * 2^23.
// CHECK: arith.mulf %{{.*}}, %cst{{.*}} : vector<2xf32>
// CHECK: vector.store {{.*}}, %[[EXCESS:.*]][
// CHECK: scf.for %{{.*}} step %c6 {
// CHECK: scf.for {{.*}} -> (vector<4xf32>, vector<4xf32>,
// CHECK-COUNT-48: lumen.mma <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32>
// CHECK-NOT: lumen.mma
// Added where sums meet the scales.
// CHECK: %[[TOO_MUCH:.*]] = vector.load %[[EXCESS]][
// CHECK: %[[FLOAT:.*]] = arith.bitcast %{{.*}} : vector<4xi32> to vector<4xf32>
// CHECK: math.fma %[[FLOAT]], %{{.*}}, %[[TOO_MUCH]] : vector<4xf32>
// Tokens that are left, in the smallest tiles.
// CHECK: scf.for %{{.*}} step %c2 {
// CHECK-COUNT-16: lumen.mma
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

// Codes times the integers of their scales: one scale for 256 columns, whose float is negative, too. So a tile has
// 8 tokens.
// CHECK-LABEL: func.func private @qlinear_three_16x256
// CHECK: arith.cmpi ult, %{{.*}}, %c8
// CHECK: arith.negf
// CHECK: arith.subi %{{.*}}, %{{.*}} : vector<4xi32>
// CHECK: arith.muli %{{.*}}, %{{.*}} : vector<16xi8>
// CHECK: scf.for %{{.*}} step %c8 {
// CHECK: scf.for {{.*}} -> (vector<4xi32>, vector<4xi32>,
// CHECK-COUNT-64: lumen.mma
// CHECK-NOT: arith.muli %{{.*}} : vector<4xi32>
// CHECK: arith.sitofp
// CHECK: scf.for %{{.*}} step %c2 {
// CHECK: } {lumen.nowait}
func.func @scaled(%x: tensor<?x256xf32>, %w: tensor<16x256x!lumen.q<@three>>) -> tensor<?x16xf32> {
  %0 = lumen.dequantize %w : tensor<16x256x!lumen.q<@three>> -> tensor<16x256xf32>
  %1 = lumen.linear %x, %0 : tensor<?x256xf32>, tensor<16x256xf32> -> tensor<?x16xf32>
  return %1 : tensor<?x16xf32>
}

// Minima are codes, which meet the eight sums of the activations behind a scale: their upper bits, then the others.
// CHECK-LABEL: func.func private @qlinear_lowered_16x256
// CHECK: memref.alloc(%{{.*}}) : memref<?x16xi8>
// CHECK: arith.shrsi %{{.*}} : vector<8xi16>
// CHECK: arith.andi %{{.*}} : vector<8xi16>
// CHECK: } {lumen.optional}
// CHECK: arith.trunci %{{.*}} : vector<8xi32> to vector<8xi8>
// CHECK: vector.shuffle {{.*}} [0, 8, 16, 24, 32, 40, 48, 56, 1, 9, 17, 25, 33, 41, 49, 57] : vector<64xi8>
// CHECK: scf.for %{{.*}} step %c8 {
// CHECK-COUNT-64: lumen.mma
// CHECK-COUNT-16: lumen.mma
// CHECK: arith.shli %{{.*}} : vector<4xi32>
// CHECK-COUNT-16: lumen.mma
// CHECK: scf.for %{{.*}} step %c2 {
// CHECK-COUNT-16: lumen.mma
// CHECK: } {lumen.nowait}
func.func @minima(%x: tensor<?x256xf32>, %w: tensor<16x256x!lumen.q<@lowered>>) -> tensor<?x16xf32> {
  %0 = lumen.dequantize %w : tensor<16x256x!lumen.q<@lowered>> -> tensor<16x256xf32>
  %1 = lumen.linear %x, %0 : tensor<?x256xf32>, tensor<16x256xf32> -> tensor<?x16xf32>
  return %1 : tensor<?x16xf32>
}
}
