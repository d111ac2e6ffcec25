// SPDX-License-Identifier: Apache-2.0
//
// RUN: cat %{targets}/wasm32-relaxed-simd.mlir %s | lumen-opt --lumen-lower-dot4 | FileCheck %s --check-prefixes=ALL,RELAXED
// RUN: cat %{targets}/wasm32-simd128.mlir %s | lumen-opt --lumen-lower-dot4 | FileCheck %s --check-prefixes=ALL,PAIRS

module attributes {lumen.target = #target} {

// Codes below 8 bits are what the relaxed instruction takes. Two registers of sums.
// RELAXED-LABEL: func.func @four_bits
// RELAXED-COUNT-2: llvm.call_intrinsic "llvm.wasm.relaxed.dot.i8x16.i7x16.add.signed"
// RELAXED-NOT: call_intrinsic
// RELAXED: return
// PAIRS-LABEL: func.func @four_bits
// PAIRS: %[[X:.*]] = arith.extsi %{{.*}} : vector<8xi8> to vector<8xi16>
// PAIRS: %[[C:.*]] = arith.extui %{{.*}} : vector<8xi8> to vector<8xi16>
// PAIRS: llvm.call_intrinsic "llvm.wasm.dot"(%[[C]], %[[X]])
// PAIRS-COUNT-3: llvm.call_intrinsic "llvm.wasm.dot"
// PAIRS-NOT: call_intrinsic
// PAIRS: return
func.func @four_bits(%c: vector<32xi8>, %x: vector<4xi8>, %a: vector<8xi32>) -> vector<8xi32> {
  %r = lumen.dot4 %c, %x, %a {bits = 4 : i64} : vector<32xi8>, vector<4xi8>, vector<8xi32>
  return %r : vector<8xi32>
}

// Codes of 8 bits become 16: pairs of products of two rows each are added up through the chain, then with each other.
// ALL-LABEL: func.func @chain
// ALL: %[[X0:.*]] = arith.extsi %{{.*}} : vector<8xi8> to vector<8xi16>
// ALL: %[[C0:.*]] = arith.extsi %{{.*}} : vector<8xi8> to vector<8xi16>
// ALL: %[[A0:.*]] = llvm.call_intrinsic "llvm.wasm.dot"(%[[C0]], %[[X0]])
// ALL: %[[B0:.*]] = llvm.call_intrinsic "llvm.wasm.dot"
// ALL: %[[C1:.*]] = arith.extui %{{.*}} : vector<8xi8> to vector<8xi16>
// ALL: %[[A1:.*]] = llvm.call_intrinsic "llvm.wasm.dot"(%[[C1]],
// ALL: %[[A:.*]] = arith.addi %[[A0]], %[[A1]]
// ALL: %[[B1:.*]] = llvm.call_intrinsic "llvm.wasm.dot"
// ALL: %[[B:.*]] = arith.addi %[[B0]], %[[B1]]
// ALL: %[[EVEN:.*]] = vector.shuffle %[[A]], %[[B]] [0, 2, 4, 6]
// ALL: %[[SUM:.*]] = arith.addi %arg3, %[[EVEN]]
// ALL: %[[ODD:.*]] = vector.shuffle %[[A]], %[[B]] [1, 3, 5, 7]
// ALL: arith.addi %[[SUM]], %[[ODD]]
func.func @chain(%c: vector<16xi8>, %d: vector<16xi8>, %x: vector<4xi8>, %a: vector<4xi32>) -> vector<4xi32> {
  %r = lumen.dot4 %c, %x, %a {bits = 8 : i64, signed_codes} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  %s = lumen.dot4 %d, %x, %r {bits = 8 : i64} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  return %s : vector<4xi32>
}

// ALL-LABEL: func.func @pairs
// ALL: llvm.call_intrinsic "llvm.wasm.dot"(%arg0, %arg1)
func.func @pairs(%c: vector<8xi16>, %x: vector<8xi16>, %a: vector<4xi32>) -> vector<4xi32> {
  %r = lumen.dot2 %c, %x, %a : vector<8xi16>, vector<8xi16>, vector<4xi32>
  return %r : vector<4xi32>
}

// ALL-LABEL: func.func @lookup
// RELAXED: llvm.call_intrinsic "llvm.wasm.relaxed.swizzle"(%{{.*}}, %arg0)
// PAIRS: llvm.call_intrinsic "llvm.wasm.swizzle"(%{{.*}}, %arg0)
func.func @lookup(%i: vector<16xi8>) -> vector<16xi8> {
  %r = lumen.lookup %i [1, -2, 3, -4] : vector<16xi8>
  return %r : vector<16xi8>
}

// What LLVM would call a library for: the largest lane, where NaN is no number; and bf16.
// ALL-LABEL: func.func @largest
// ALL: arith.cmpf ogt, %{{.*}} : vector<2xf32>
// ALL: arith.cmpf uno, %{{.*}} : vector<2xf32>
// ALL: arith.cmpf ogt, %{{.*}} : vector<1xf32>
// ALL: arith.cmpf ogt, %{{.*}} : vector<1xf32>
// ALL-NOT: vector.reduction
func.func @largest(%v: vector<5xf32>) -> f32 {
  %r = vector.reduction <maxnumf>, %v : vector<5xf32> into f32
  return %r : f32
}

// ALL-LABEL: func.func @bf16
// ALL: arith.extui %{{.*}} : vector<3xi16> to vector<3xi32>
// ALL-NOT: extf
func.func @bf16(%v: vector<3xbf16>) -> vector<3xf32> {
  %r = arith.extf %v : vector<3xbf16> to vector<3xf32>
  return %r : vector<3xf32>
}

}
