// SPDX-License-Identifier: Apache-2.0
//
// RUN: cat %{targets}/x86-64-v4+vnni.mlir %s | lumen-opt --lumen-lower-dot4 | FileCheck %s --check-prefix=VNNI
// RUN: cat %{targets}/x86-64-v4+bf16.mlir %s | lumen-opt --lumen-lower-dot4 | FileCheck %s --check-prefix=BF16
// RUN: cat %{targets}/x86-64-v3+avxvnni.mlir %s | lumen-opt --lumen-lower-dot4 | FileCheck %s --check-prefix=AVXVNNI
// RUN: cat %{targets}/x86-64-v4.mlir %s | lumen-opt --lumen-lower-dot4 | FileCheck %s --check-prefix=BW
// RUN: cat %{targets}/x86-64-v2.mlir %s | lumen-opt --lumen-lower-dot4 | FileCheck %s --check-prefix=SSE
// RUN: cat %{targets}/generic.mlir %s | lumen-opt --lumen-lower-dot4 | FileCheck %s --check-prefix=PLAIN

module attributes {lumen.target = #target} {

// VNNI-LABEL: func.func @four_bits
// VNNI: vector.broadcast %{{.*}} : i32 to vector<16xi32>
// VNNI: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// VNNI-NOT: vpdpbusd
// VNNI: return
// Two halves where vectors have 256 bits.
// AVXVNNI-LABEL: func.func @four_bits
// AVXVNNI-COUNT-2: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.256"
// BW-LABEL: func.func @four_bits
// BW: %[[PAIRS:.*]] = llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"
// BW: llvm.call_intrinsic "llvm.x86.avx512.pmaddw.d.512"(%[[PAIRS]],
// BW-NOT: pmaddubs
// BW: return
// SSE-LABEL: func.func @four_bits
// SSE-COUNT-4: llvm.call_intrinsic "llvm.x86.ssse3.pmadd.ub.sw.128"
// PLAIN-LABEL: func.func @four_bits
// PLAIN-NOT: call_intrinsic
// PLAIN-COUNT-4: arith.muli
// PLAIN: return
func.func @four_bits(%c: vector<64xi8>, %x: vector<4xi8>, %a: vector<16xi32>) -> vector<16xi32> {
  %r = lumen.dot4 %c, %x, %a {bits = 4 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
  return %r : vector<16xi32>
}

// Pairs of products of 8-bit codes would saturate: the top bit goes its own way.
// BW-LABEL: func.func @eight_bits
// BW-DAG: %[[LOW:.*]] = arith.andi %{{.*}}, %{{.*}} : vector<64xi8>
// BW-DAG: %[[TOP:.*]] = arith.shrui %{{.*}}, %{{.*}} : vector<64xi8>
// BW-DAG: llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"(%[[LOW]],
// BW-DAG: llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"(%[[TOP]],
// BW: return
func.func @eight_bits(%c: vector<64xi8>, %x: vector<4xi8>, %a: vector<16xi32>) -> vector<16xi32> {
  %r = lumen.dot4 %c, %x, %a {bits = 8 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
  return %r : vector<16xi32>
}

// Signed codes fit the pairs: their sign goes to the activations, by an instruction
// or a mask. VNNI takes them with 128 added, and subtracts that again.
// VNNI-LABEL: func.func @signed
// VNNI: arith.xori
// VNNI-COUNT-2: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// VNNI: arith.subi
// BW-LABEL: func.func @signed
// BW: %[[SIZE:.*]] = arith.maxsi %{{.*}}, %{{.*}} : vector<64xi8>
// BW: %[[BELOW:.*]] = arith.cmpi slt, %{{.*}} : vector<64xi8>
// BW: %[[MINUS:.*]] = arith.subi %{{.*}}, %[[GIVEN:.*]] : vector<64xi8>
// BW: %[[X:.*]] = arith.select %[[BELOW]], %[[MINUS]], %[[GIVEN]] : vector<64xi1>, vector<64xi8>
// BW: llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"(%[[SIZE]], %[[X]])
// BW-NOT: pmaddubs
// SSE-LABEL: func.func @signed
// SSE: llvm.call_intrinsic "llvm.x86.ssse3.psign.b.128"
// PLAIN-LABEL: func.func @signed
// PLAIN-COUNT-4: arith.shrsi
func.func @signed(%c: vector<64xi8>, %x: vector<4xi8>, %a: vector<16xi32>) -> vector<16xi32> {
  %r = lumen.dot4 %c, %x, %a {bits = 8 : i64, signed_codes}
    : vector<64xi8>, vector<4xi8>, vector<16xi32>
  return %r : vector<16xi32>
}

// Sums of 16 bits hold two steps of 6 bits (2 * 63 * 127 * 2 < 32768), not three.
// BW-LABEL: func.func @chain
// BW: %[[P0:.*]] = llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"
// BW: %[[P1:.*]] = llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"
// BW: %[[P01:.*]] = arith.addi %[[P0]], %[[P1]] : vector<32xi16>
// BW: llvm.call_intrinsic "llvm.x86.avx512.pmaddw.d.512"(%[[P01]],
// BW: %[[P2:.*]] = llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"
// BW: llvm.call_intrinsic "llvm.x86.avx512.pmaddw.d.512"(%[[P2]],
// BW-NOT: call_intrinsic
// BW: return
func.func @chain(%c: vector<64xi8>, %x: vector<4xi8>, %a: vector<16xi32>) -> vector<16xi32> {
  %0 = lumen.dot4 %c, %x, %a {bits = 6 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
  %1 = lumen.dot4 %c, %x, %0 {bits = 6 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
  %2 = lumen.dot4 %c, %x, %1 {bits = 6 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
  return %2 : vector<16xi32>
}

// A sum that the next step does not fit into goes on to 32 bits at once, and what the
// sums start from is spread over the lanes no earlier than that.
// BW-LABEL: func.func @start
// BW: %[[SCALAR:.*]] = memref.load
// BW: %[[P0:.*]] = llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"
// BW: %[[START:.*]] = vector.broadcast %[[SCALAR]] : i32 to vector<16xi32>
// BW: %[[P1:.*]] = llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"
// BW: %[[P01:.*]] = arith.addi %[[P0]], %[[P1]] : vector<32xi16>
// BW: %[[SUM:.*]] = llvm.call_intrinsic "llvm.x86.avx512.pmaddw.d.512"(%[[P01]],
// BW: %[[FIRST:.*]] = arith.addi %[[START]], %[[SUM]] : vector<16xi32>
// BW: llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"
// BW: arith.addi %[[FIRST]],
// BW: return
func.func @start(%c: vector<64xi8>, %x: vector<4xi8>, %m: memref<8xi32>, %i: index) -> vector<16xi32> {
  %s = memref.load %m[%i] : memref<8xi32>
  %a = vector.broadcast %s : i32 to vector<16xi32>
  %0 = lumen.dot4 %c, %x, %a {bits = 6 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
  %1 = lumen.dot4 %c, %x, %0 {bits = 6 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
  %2 = lumen.dot4 %c, %x, %1 {bits = 6 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
  return %2 : vector<16xi32>
}

// Pairs of 16 bits: one instruction, or a product and an addition.
// VNNI-LABEL: func.func @pairs
// VNNI: vector.broadcast %{{.*}} : i32 to vector<16xi32>
// VNNI: llvm.call_intrinsic "llvm.x86.avx512.vpdpwssd.512"
// VNNI-NOT: arith.addi
// VNNI: return
// AVXVNNI-LABEL: func.func @pairs
// AVXVNNI-COUNT-2: llvm.call_intrinsic "llvm.x86.avx512.vpdpwssd.256"
// BW-LABEL: func.func @pairs
// BW: %[[SUMS:.*]] = llvm.call_intrinsic "llvm.x86.avx512.pmaddw.d.512"
// BW: arith.addi %arg2, %[[SUMS]]
// SSE-LABEL: func.func @pairs
// SSE-COUNT-4: llvm.call_intrinsic "llvm.x86.sse2.pmadd.wd"
// PLAIN-LABEL: func.func @pairs
// PLAIN-NOT: call_intrinsic
// PLAIN-COUNT-2: arith.muli
// PLAIN: return
func.func @pairs(%c: vector<32xi16>, %x: vector<2xi16>, %a: vector<16xi32>) -> vector<16xi32> {
  %r = lumen.dot2 %c, %x, %a : vector<32xi16>, vector<2xi16>, vector<16xi32>
  return %r : vector<16xi32>
}

// Every lane has a pair of its own.
// VNNI-LABEL: func.func @lanes
// VNNI-NOT: vector.broadcast
// VNNI: llvm.call_intrinsic "llvm.x86.avx512.vpdpwssd.512"(%arg2, %arg0, %arg1)
// SSE-LABEL: func.func @lanes
// SSE: vector.extract_strided_slice %arg1 {offsets = [24]
// PLAIN-LABEL: func.func @lanes
// PLAIN-COUNT-4: arith.shrsi
// PLAIN: return
func.func @lanes(%c: vector<32xi16>, %x: vector<32xi16>, %a: vector<16xi32>) -> vector<16xi32> {
  %r = lumen.dot2 %c, %x, %a : vector<32xi16>, vector<32xi16>, vector<16xi32>
  return %r : vector<16xi32>
}

// Without an instruction the second product of a pair comes first: the upper halves, then the lower ones.
// BF16-LABEL: func.func @floats
// BF16: %[[WORD:.*]] = vector.broadcast %{{.*}} : i32 to vector<16xi32>
// BF16: %[[X:.*]] = vector.bitcast %[[WORD]] : vector<16xi32> to vector<32xbf16>
// BF16: llvm.call_intrinsic "llvm.x86.avx512bf16.dpbf16ps.512"(%arg2, %arg0, %[[X]])
// VNNI-LABEL: func.func @floats
// VNNI-NOT: call_intrinsic
// VNNI: return
// PLAIN-LABEL: func.func @floats
// PLAIN: %[[UPPER:.*]] = arith.andi
// PLAIN: %[[F1:.*]] = arith.bitcast %[[UPPER]] : vector<16xi32> to vector<16xf32>
// PLAIN: %[[P1:.*]] = arith.mulf %[[F1]], %{{.*}} fastmath<contract>
// PLAIN: %[[S1:.*]] = arith.addf %arg2, %[[P1]] fastmath<contract>
// PLAIN: arith.shli
// PLAIN: %[[P0:.*]] = arith.mulf
// PLAIN: arith.addf %[[S1]], %[[P0]] fastmath<contract>
func.func @floats(%c: vector<32xbf16>, %x: vector<2xbf16>, %a: vector<16xf32>) -> vector<16xf32> {
  %r = lumen.dot2 %c, %x, %a : vector<32xbf16>, vector<2xbf16>, vector<16xf32>
  return %r : vector<16xf32>
}

// VNNI-LABEL: func.func @table
// VNNI: llvm.call_intrinsic "llvm.x86.avx512.pshuf.b.512"
// PLAIN-LABEL: func.func @table
// PLAIN: arith.select
func.func @table(%c: vector<64xi8>) -> vector<64xi8> {
  %r = lumen.lookup %c [1, 2, 3, -4] : vector<64xi8>
  return %r : vector<64xi8>
}

// A scalar has no shuffle on any target.
// VNNI-LABEL: func.func @scalar
// VNNI-COUNT-3: arith.select
func.func @scalar(%c: i8) -> i8 {
  %r = lumen.lookup %c [1, 2, 3, -4] : i8
  return %r : i8
}
// Column by column, both sides spread over the lanes.
// PLAIN-LABEL: func.func @matrices
// PLAIN: %[[X:.*]] = vector.shuffle %arg0, %arg0 [0, 0, 4, 4] : vector<8xi8>, vector<8xi8>
// PLAIN: %[[WIDE_X:.*]] = arith.extsi %[[X]] : vector<4xi8> to vector<4xi32>
// PLAIN: %[[W:.*]] = vector.shuffle %arg1, %arg1 [0, 4, 0, 4] : vector<8xi8>, vector<8xi8>
// PLAIN: %[[WIDE_W:.*]] = arith.extui %[[W]] : vector<4xi8> to vector<4xi32>
// PLAIN: %[[TERM:.*]] = arith.muli %[[WIDE_X]], %[[WIDE_W]]
// PLAIN: arith.addi %arg2, %[[TERM]]
// PLAIN: vector.shuffle %arg0, %arg0 [3, 3, 7, 7]
// PLAIN: vector.shuffle %arg1, %arg1 [3, 7, 3, 7]
// PLAIN: return
// SSE-LABEL: func.func @matrices
// SSE-NOT: lumen.mma
// SSE: return
func.func @matrices(%x: vector<8xi8>, %w: vector<8xi8>, %a: vector<4xi32>) -> vector<4xi32> {
  %r = lumen.mma <m = 2, n = 2, k = 4, lhs = si8, rhs = ui8, acc = i32> %x, %w, %a
    : vector<8xi8>, vector<8xi8>, vector<4xi32>
  return %r : vector<4xi32>
}
}
