// SPDX-License-Identifier: Apache-2.0
//
// Products of matrices as tiles (AMX): what is loaded for them and stored of them is loaded and stored as tiles.
// RUN: cat %{targets}/x86-64-v4+amx.mlir %s | lumen-opt --lumen-lower-dot4 | FileCheck %s --check-prefix=TILES
// RUN: cat %{targets}/x86-64-v4+amx.mlir %s | lumen-opt --lumen-lower-dot4 --convert-to-llvm \
// RUN:   --reconcile-unrealized-casts | FileCheck %s --check-prefix=LLVM
// RUN: cat %{targets}/x86-64-v4+vnni.mlir %s | lumen-opt --lumen-lower-dot4 | FileCheck %s --check-prefix=PLAIN

module attributes {lumen.target = #target} {

// TILES-LABEL: func.func @chain
// TILES-DAG: %[[M:.*]] = arith.constant 16 : i16
// TILES-DAG: %[[WIDE:.*]] = arith.constant 64 : i16
// TILES-DAG: %[[K:.*]] = arith.constant 32 : i16
// TILES-DAG: %[[STEPS:.*]] = arith.constant 8 : i16
// TILES-NOT: vector.load
// TILES-DAG: %[[ZERO:.*]] = llvm.call_intrinsic "llvm.x86.tilezero.internal"(%[[M]], %[[WIDE]])
// TILES-DAG: %[[A0:.*]] = llvm.call_intrinsic "llvm.x86.tileloadd64.internal"(%[[M]], %[[K]],
// TILES-DAG: %[[B0:.*]] = llvm.call_intrinsic "llvm.x86.tileloadd64.internal"(%[[STEPS]], %[[WIDE]],
// TILES: %[[S0:.*]] = llvm.call_intrinsic "llvm.x86.tdpbssd.internal"(%[[M]], %[[WIDE]], %[[K]], %[[ZERO]], %[[A0]], %[[B0]])
// TILES: %[[S1:.*]] = llvm.call_intrinsic "llvm.x86.tdpbssd.internal"(%[[M]], %[[WIDE]], %[[K]], %[[S0]],
// TILES-NOT: vector.store
// TILES: llvm.call_intrinsic "llvm.x86.tilestored64.internal"(%[[M]], %[[WIDE]], %{{.*}}, %{{.*}}, %[[S1]])
// TILES: vector.load {{.*}} vector<16xi32>
// Nothing is left of the buffers.
// LLVM-LABEL: llvm.func @chain
// LLVM-NOT: unrealized_conversion_cast
// LLVM: llvm.call_intrinsic "llvm.x86.tilestored64.internal"
// LLVM-NOT: unrealized_conversion_cast
// LLVM: llvm.return
// Without tiles, each token by itself.
// PLAIN-LABEL: func.func @chain
// PLAIN-NOT: lumen.mma
// PLAIN-NOT: tdpbssd
// PLAIN: return
func.func @chain(%x: memref<2048xi8>, %w: memref<2048xi8>, %into: memref<256xi32>, %at: index) -> vector<16xi32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant dense<0> : vector<256xi32>
  %a0 = vector.load %x[%at] : memref<2048xi8>, vector<512xi8>
  %b0 = vector.load %w[%at] : memref<2048xi8>, vector<512xi8>
  %0 = lumen.mma <m = 16, n = 16, k = 32, lhs = si8, rhs = si8, acc = i32, step = 4> %a0, %b0, %zero
    : vector<512xi8>, vector<512xi8>, vector<256xi32>
  %a1 = vector.load %x[%c0] : memref<2048xi8>, vector<512xi8>
  %b1 = vector.load %w[%c0] : memref<2048xi8>, vector<512xi8>
  %1 = lumen.mma <m = 16, n = 16, k = 32, lhs = si8, rhs = si8, acc = i32, step = 4> %a1, %b1, %0
    : vector<512xi8>, vector<512xi8>, vector<256xi32>
  vector.store %1, %into[%c0] : memref<256xi32>, vector<256xi32>
  %row = vector.load %into[%c0] : memref<256xi32>, vector<16xi32>
  return %row : vector<16xi32>
}

// Sums that are not zero come from memory. Unsigned codes and smaller tiles have instructions, too.
// TILES-LABEL: func.func @sums_in_memory
// TILES: %[[SUM:.*]] = llvm.call_intrinsic "llvm.x86.tileloadd64.internal"
// TILES: llvm.call_intrinsic "llvm.x86.tdpbsud.internal"(%{{.*}}, %{{.*}}, %{{.*}}, %[[SUM]],
// TILES: llvm.call_intrinsic "llvm.x86.tilestored64.internal"
func.func @sums_in_memory(%x: memref<64xi8>, %w: memref<128xi8>, %into: memref<32xi32>) {
  %c0 = arith.constant 0 : index
  %a = vector.load %x[%c0] : memref<64xi8>, vector<64xi8>
  %b = vector.load %w[%c0] : memref<128xi8>, vector<128xi8>
  %sum = vector.load %into[%c0] : memref<32xi32>, vector<32xi32>
  %0 = lumen.mma <m = 4, n = 8, k = 16, lhs = si8, rhs = ui8, acc = i32, step = 4> %a, %b, %sum
    : vector<64xi8>, vector<128xi8>, vector<32xi32>
  vector.store %0, %into[%c0] : memref<32xi32>, vector<32xi32>
  return
}

// What is no tile: operands of vectors, sums that go on in vectors, another order of the codes, too many rows.
// TILES-LABEL: func.func @vectors
// TILES-NOT: tile
// TILES-NOT: lumen.mma
// TILES: return
func.func @vectors(%a: vector<512xi8>, %w: memref<2048xi8>, %into: memref<256xi32>) -> vector<4xi32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant dense<0> : vector<256xi32>
  %b = vector.load %w[%c0] : memref<2048xi8>, vector<512xi8>
  %0 = lumen.mma <m = 16, n = 16, k = 32, lhs = si8, rhs = si8, acc = i32, step = 4> %a, %b, %zero
    : vector<512xi8>, vector<512xi8>, vector<256xi32>
  vector.store %0, %into[%c0] : memref<256xi32>, vector<256xi32>
  %c = vector.load %w[%c0] : memref<2048xi8>, vector<16xi8>
  %few = arith.constant dense<0> : vector<4xi32>
  %1 = lumen.mma <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32, step = 4> %c, %c, %few
    : vector<16xi8>, vector<16xi8>, vector<4xi32>
  %2 = lumen.mma <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32> %c, %c, %few
    : vector<16xi8>, vector<16xi8>, vector<4xi32>
  vector.store %2, %into[%c0] : memref<256xi32>, vector<4xi32>
  %tall = arith.constant dense<0> : vector<32xi32>
  %d = vector.load %w[%c0] : memref<2048xi8>, vector<128xi8>
  %e = vector.load %w[%c0] : memref<2048xi8>, vector<4xi8>
  %3 = lumen.mma <m = 32, n = 1, k = 4, lhs = si8, rhs = si8, acc = i32, step = 4> %d, %e, %tall
    : vector<128xi8>, vector<4xi8>, vector<32xi32>
  vector.store %3, %into[%c0] : memref<256xi32>, vector<32xi32>
  return %1 : vector<4xi32>
}
}
