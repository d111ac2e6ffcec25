// SPDX-License-Identifier: Apache-2.0
//
// RUN: cat %{targets}/armv8.6-a+i8mm.mlir %s | lumen-opt --lumen-lower-dot4 | FileCheck %s --check-prefixes=DOT,I8MM
// RUN: cat %{targets}/armv8.2-a+dotprod.mlir %s | lumen-opt --lumen-lower-dot4 | FileCheck %s --check-prefixes=DOT,SDOT
// RUN: cat %{targets}/armv8-a.mlir %s | lumen-opt --lumen-lower-dot4 | FileCheck %s --check-prefix=NEON

module attributes {lumen.target = #target} {

// Unsigned codes below 8 bits are signed ones too. Two registers of sums.
// DOT-LABEL: func.func @four_bits
// DOT: vector.broadcast %{{.*}} : i32 to vector<4xi32>
// DOT-COUNT-2: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"
// DOT-NOT: call_intrinsic
// DOT: return
// Pairs of products of 4 bits fit 16 bits.
// NEON-LABEL: func.func @four_bits
// NEON: %[[X:.*]] = llvm.inline_asm "", "=w,0" %{{.*}} : (vector<16xi8>) -> vector<16xi8>
// NEON: %[[P0:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.smull.v8i16"
// NEON: %[[UPPER:.*]] = vector.extract_strided_slice %[[X]] {offsets = [8], sizes = [8]
// NEON: %[[P1:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.smull.v8i16"
// NEON: llvm.call_intrinsic "llvm.aarch64.neon.addp.v8i16"(%[[P0]], %[[P1]])
// NEON: llvm.call_intrinsic "llvm.aarch64.neon.saddlp.v4i32.v8i16"
// NEON: arith.addi
func.func @four_bits(%c: vector<32xi8>, %x: vector<4xi8>, %a: vector<8xi32>) -> vector<8xi32> {
  %r = lumen.dot4 %c, %x, %a {bits = 4 : i64} : vector<32xi8>, vector<4xi8>, vector<8xi32>
  return %r : vector<8xi32>
}

// Unsigned codes of 8 bits meet an instruction for them, or lose 128, which two codes of 64 bring back.
// I8MM-LABEL: func.func @eight_bits
// I8MM: llvm.call_intrinsic "llvm.aarch64.neon.usdot.v4i32.v16i8"
// I8MM-NOT: call_intrinsic
// I8MM: return
// SDOT-LABEL: func.func @eight_bits
// SDOT-DAG: %[[HALF:.*]] = arith.constant dense<64> : vector<16xi8>
// SDOT-DAG: %[[SIGNED:.*]] = arith.xori %arg0, %{{.*}} : vector<16xi8>
// SDOT-DAG: %[[S0:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%arg2, %[[HALF]],
// SDOT-DAG: %[[S1:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%[[S0]], %[[HALF]],
// SDOT: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%[[S1]], %[[SIGNED]],
// NEON-LABEL: func.func @eight_bits
// NEON-COUNT-6: llvm.call_intrinsic "llvm.aarch64.neon.smull.v8i16"
func.func @eight_bits(%c: vector<16xi8>, %x: vector<4xi8>, %a: vector<4xi32>) -> vector<4xi32> {
  %r = lumen.dot4 %c, %x, %a {bits = 8 : i64} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  return %r : vector<4xi32>
}

// I8MM-LABEL: func.func @floats
// I8MM-COUNT-2: llvm.call_intrinsic "llvm.aarch64.neon.bfdot.v4f32.v8bf16"
// I8MM: return
// SDOT-LABEL: func.func @floats
// SDOT-NOT: call_intrinsic
// SDOT: return
func.func @floats(%c: vector<16xbf16>, %x: vector<2xbf16>, %a: vector<8xf32>) -> vector<8xf32> {
  %r = lumen.dot2 %c, %x, %a : vector<16xbf16>, vector<2xbf16>, vector<8xf32>
  return %r : vector<8xf32>
}

// DOT-LABEL: func.func @signed
// DOT: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%arg2, %arg0,
// DOT-NOT: call_intrinsic
// DOT: return
func.func @signed(%c: vector<16xi8>, %x: vector<4xi8>, %a: vector<4xi32>) -> vector<4xi32> {
  %r = lumen.dot4 %c, %x, %a {bits = 8 : i64, signed_codes} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  return %r : vector<4xi32>
}

// Sums of 16 bits hold two steps of signed codes (2 * 128 * 127 < 32768), not three. Their pairs do not fit, so these
// are added up in 32 bits, and their halves at the end. Those of the third step alone fit.
// NEON-LABEL: func.func @chain
// NEON-COUNT-4: llvm.call_intrinsic "llvm.aarch64.neon.smull.v8i16"
// NEON: %[[A0:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.saddlp.v4i32.v8i16"
// NEON: %[[A1:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.saddlp.v4i32.v8i16"
// NEON-COUNT-2: llvm.call_intrinsic "llvm.aarch64.neon.smull.v8i16"
// NEON: %[[PAIRS:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.addp.v8i16"
// NEON: %[[LAST:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.saddlp.v4i32.v8i16"(%[[PAIRS]])
// NEON: %[[ACC:.*]] = arith.addi %arg2, %[[LAST]]
// NEON: %[[FIRST:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.addp.v4i32"(%[[A0]], %[[A1]])
// NEON: arith.addi %[[ACC]], %[[FIRST]]
func.func @chain(%c: vector<16xi8>, %x: vector<4xi8>, %a: vector<4xi32>) -> vector<4xi32> {
  %0 = lumen.dot4 %c, %x, %a {bits = 8 : i64, signed_codes} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  %1 = lumen.dot4 %c, %x, %0 {bits = 8 : i64, signed_codes} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  %2 = lumen.dot4 %c, %x, %1 {bits = 8 : i64, signed_codes} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  return %2 : vector<4xi32>
}

// The activations of four steps are one load, of which a step takes a word.
// DOT-LABEL: func.func @steps
// DOT: %[[WIDE:.*]] = vector.load %arg1[%arg3, %{{.*}}, %{{.*}}, %{{.*}}] {{.*}}, vector<16xi8>
// DOT: %[[WORDS:.*]] = vector.bitcast %[[WIDE]] : vector<16xi8> to vector<4xi32>
// DOT: %[[WORD:.*]] = vector.extract %[[WORDS]][3] : i32 from vector<4xi32>
// DOT: %[[ALL:.*]] = vector.broadcast %[[WORD]] : i32 to vector<4xi32>
// DOT: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"
func.func @steps(%c: vector<16xi8>, %m: memref<4x2x2x4xi8, strided<[64, 8, 4, 1]>>, %a: vector<4xi32>, %i: index)
    -> vector<4xi32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %x = vector.load %m[%i, %c1, %c1, %c0] : memref<4x2x2x4xi8, strided<[64, 8, 4, 1]>>, vector<4xi8>
  %r = lumen.dot4 %c, %x, %a {bits = 4 : i64} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  return %r : vector<4xi32>
}

// What does not fill a register, or lies where nobody knows, is loaded as it is.
// DOT-LABEL: func.func @alone
// DOT: %[[X:.*]] = vector.load %arg1{{.*}}, vector<4xi8>
// DOT: vector.bitcast %[[X]] : vector<4xi8> to vector<1xi32>
// DOT: %[[Y:.*]] = vector.load %arg2{{.*}}, vector<4xi8>
// DOT: vector.bitcast %[[Y]] : vector<4xi8> to vector<1xi32>
func.func @alone(%c: vector<16xi8>, %m: memref<4x4xi8, strided<[64, 1]>>, %n: memref<4x16xi8>, %a: vector<4xi32>,
    %i: index) -> vector<4xi32> {
  %c0 = arith.constant 0 : index
  %x = vector.load %m[%i, %c0] : memref<4x4xi8, strided<[64, 1]>>, vector<4xi8>
  %0 = lumen.dot4 %c, %x, %a {bits = 4 : i64} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  %y = vector.load %n[%c0, %i] : memref<4x16xi8>, vector<4xi8>
  %1 = lumen.dot4 %c, %y, %0 {bits = 4 : i64} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  return %1 : vector<4xi32>
}

// A float of a product for all lanes is one of four of a load. Elsewhere it is not.
// DOT-LABEL: func.func @factor
// DOT: %[[WIDE:.*]] = vector.load %arg0[%arg1, %{{.*}}] {{.*}}, vector<4xf32>
// DOT: vector.shuffle %[[WIDE]], %[[WIDE]] [2, 2, 2, 2, 2, 2, 2, 2] : vector<4xf32>, vector<4xf32>
// DOT-LABEL: func.func @no_product
// DOT: memref.load
// DOT: vector.broadcast
func.func @factor(%m: memref<8x4xf32, strided<[64, 1]>>, %i: index) -> vector<8xf32>
    attributes {lumen.kernel = "product"} {
  %c2 = arith.constant 2 : index
  %x = memref.load %m[%i, %c2] : memref<8x4xf32, strided<[64, 1]>>
  %r = vector.broadcast %x : f32 to vector<8xf32>
  return %r : vector<8xf32>
}
func.func @no_product(%m: memref<8x4xf32, strided<[64, 1]>>, %i: index) -> vector<8xf32>
    attributes {lumen.kernel = "attention"} {
  %c2 = arith.constant 2 : index
  %x = memref.load %m[%i, %c2] : memref<8x4xf32, strided<[64, 1]>>
  %r = vector.broadcast %x : f32 to vector<8xf32>
  return %r : vector<8xf32>
}

// What two products are added to is loaded for each: a product takes the register that it is in. Where it has another
// use, it is not.
// DOT-LABEL: func.func @addends
// DOT-DAG: %[[FIRST:.*]] = vector.load %arg0[%arg1] : memref<64xf32>, vector<4xf32>
// DOT-DAG: %[[KEPT:.*]] = llvm.inline_asm "", "=r,0" %{{.*}} : (i64) -> i64
// DOT: %[[ZERO:.*]] = arith.subi %[[KEPT]], %{{.*}} : i64
// DOT: %[[OFFSET:.*]] = arith.index_cast %[[ZERO]] : i64 to index
// DOT: %[[PLACE:.*]] = arith.addi %arg1, %[[OFFSET]] : index
// DOT: %[[SECOND:.*]] = vector.load %arg0[%[[PLACE]]] : memref<64xf32>, vector<4xf32>
// DOT: vector.fma %arg2, %arg3, %[[SECOND]]
// DOT-LABEL: func.func @also_returned
// DOT-NOT: inline_asm
// DOT: return
func.func @addends(%m: memref<64xf32>, %i: index, %a: vector<4xf32>, %s: vector<4xf32>)
    -> (vector<4xf32>, vector<4xf32>) attributes {lumen.kernel = "product"} {
  %x = vector.load %m[%i] : memref<64xf32>, vector<4xf32>
  %0 = vector.fma %s, %a, %x : vector<4xf32>
  %1 = vector.fma %a, %s, %x : vector<4xf32>
  return %0, %1 : vector<4xf32>, vector<4xf32>
}
func.func @also_returned(%m: memref<64xf32>, %i: index, %a: vector<4xf32>)
    -> (vector<4xf32>, vector<4xf32>) attributes {lumen.kernel = "product"} {
  %x = vector.load %m[%i] : memref<64xf32>, vector<4xf32>
  %0 = vector.fma %a, %a, %x : vector<4xf32>
  return %0, %x : vector<4xf32>, vector<4xf32>
}

// A constant that sums start from is loaded for each of them; zero is not.
// DOT-LABEL: func.func @start
// DOT: %[[WHERE:.*]] = llvm.mlir.addressof @lumen_start_1262485504
// DOT: %[[START:.*]] = llvm.load volatile %[[WHERE]] {alignment = 16 : i64} : !llvm.ptr -> vector<4xi32>
// DOT: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%[[START]], %arg0,
// DOT-NOT: llvm.load
// DOT: return
func.func @start(%c: vector<16xi8>, %x: vector<4xi8>) -> (vector<4xi32>, vector<4xi32>) {
  %a = arith.constant dense<0x4B400000> : vector<4xi32>
  %z = arith.constant dense<0> : vector<4xi32>
  %0 = lumen.dot4 %c, %x, %a {bits = 4 : i64} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  %1 = lumen.dot4 %c, %x, %z {bits = 4 : i64} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  return %0, %1 : vector<4xi32>, vector<4xi32>
}

// What is the same in all lanes comes from a general register: kept there, or added up there.
// DOT-LABEL: func.func @scalar_start
// DOT: %[[KEPT:.*]] = llvm.inline_asm "", "=r,0" %arg2 : (i32) -> i32
// DOT: %[[START:.*]] = vector.broadcast %[[KEPT]] : i32 to vector<4xi32>
// DOT: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%[[START]], %arg0,
// Each register of the sums has it from there, and no other register is copied.
// DOT-LABEL: func.func @scalar_starts
// DOT: %[[SUM:.*]] = arith.addi %arg2, %{{.*}} : i32
// DOT: %[[KEPT0:.*]] = llvm.inline_asm "", "=r,0" %[[SUM]] : (i32) -> i32
// DOT: %[[START0:.*]] = vector.broadcast %[[KEPT0]] : i32 to vector<4xi32>
// DOT: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%[[START0]],
// DOT: %[[KEPT1:.*]] = llvm.inline_asm "", "=r,0,i" %{{.*}}, %{{.*}} : (i32, i64) -> i32
// DOT: %[[START1:.*]] = vector.broadcast %[[KEPT1]] : i32 to vector<4xi32>
// DOT: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%[[START1]],
// DOT-LABEL: func.func @scalar_sum
// DOT: %[[SUM:.*]] = arith.addi %arg0, %{{.*}} : i32
// DOT: vector.broadcast %{{.*}} : i32 to vector<8xi32>
func.func @scalar_start(%c: vector<16xi8>, %x: vector<4xi8>, %s: i32) -> vector<4xi32> {
  %a = vector.broadcast %s : i32 to vector<4xi32>
  %r = lumen.dot4 %c, %x, %a {bits = 4 : i64} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  return %r : vector<4xi32>
}
func.func @scalar_starts(%c: vector<32xi8>, %x: vector<4xi8>, %s: i32) -> vector<8xi32> {
  %m = arith.constant dense<0x4B400000> : vector<8xi32>
  %b = vector.broadcast %s : i32 to vector<8xi32>
  %a = arith.addi %b, %m : vector<8xi32>
  %r = lumen.dot4 %c, %x, %a {bits = 4 : i64} : vector<32xi8>, vector<4xi8>, vector<8xi32>
  return %r : vector<8xi32>
}
func.func @scalar_sum(%s: i32) -> vector<8xi32> {
  %m = arith.constant dense<0x4B400000> : vector<8xi32>
  %b = vector.broadcast %s : i32 to vector<8xi32>
  %a = arith.addi %b, %m : vector<8xi32>
  return %a : vector<8xi32>
}

// Two codes of a chain that are shifted by 2 bits are masked where they are, and their sum is shifted. The only one
// that is shifted by 4 bits, and one whose mask would take the sign, stay as they are.
// DOT-LABEL: func.func @shifted
// DOT-DAG: %[[ZERO:.*]] = arith.constant dense<0> : vector<4xi32>
// DOT-DAG: %[[MASK:.*]] = arith.constant dense<12> : vector<16xi8>
// DOT-DAG: %[[TWO:.*]] = arith.constant dense<2> : vector<4xi32>
// DOT: %[[S0:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%arg3, %{{.*}}, %{{.*}})
// DOT: %[[C1:.*]] = arith.andi %arg0, %[[MASK]]
// DOT: %[[M0:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%[[ZERO]], %[[C1]], %{{.*}})
// DOT: arith.shrui
// DOT: %[[S1:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%[[S0]],
// DOT: %[[C2:.*]] = arith.andi %arg1, %[[MASK]]
// DOT: %[[M1:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%[[M0]], %[[C2]],
// DOT: %[[MORE:.*]] = arith.shrsi %[[M1]], %[[TWO]]
// DOT: %[[S2:.*]] = arith.addi %[[S1]], %[[MORE]]
// DOT: arith.shrui
// DOT: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%[[S2]],
// Sums of 16 bits hold more products of small codes.
// NEON-LABEL: func.func @shifted
// NEON-NOT: arith.shrsi
// NEON: return
func.func @shifted(%c: vector<16xi8>, %d: vector<16xi8>, %x: vector<4xi8>, %a: vector<4xi32>) -> vector<4xi32> {
  %m = arith.constant dense<3> : vector<16xi8>
  %s2 = arith.constant dense<2> : vector<16xi8>
  %s4 = arith.constant dense<4> : vector<16xi8>
  %s6 = arith.constant dense<6> : vector<16xi8>
  %c0 = arith.andi %c, %m : vector<16xi8>
  %0 = lumen.dot4 %c0, %x, %a {bits = 2 : i64} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  %t1 = arith.shrui %c, %s2 : vector<16xi8>
  %c1 = arith.andi %t1, %m : vector<16xi8>
  %1 = lumen.dot4 %c1, %x, %0 {bits = 2 : i64} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  %t2 = arith.shrui %c, %s4 : vector<16xi8>
  %c2 = arith.andi %t2, %m : vector<16xi8>
  %2 = lumen.dot4 %c2, %x, %1 {bits = 2 : i64} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  %t3 = arith.shrui %d, %s2 : vector<16xi8>
  %c3 = arith.andi %t3, %m : vector<16xi8>
  %3 = lumen.dot4 %c3, %x, %2 {bits = 2 : i64} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  %t4 = arith.shrui %d, %s6 : vector<16xi8>
  %c4 = arith.andi %t4, %m : vector<16xi8>
  %4 = lumen.dot4 %c4, %x, %3 {bits = 2 : i64} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  return %4 : vector<4xi32>
}

// Bits of floats whose lower half is zero are made in one register of 16 bits; what is selected is the larger one.
// DOT-LABEL: func.func @scale_bits
// DOT-DAG: %[[A:.*]] = arith.addi %{{.*}} : vector<8xi16>
// DOT-DAG: %[[B:.*]] = arith.subi %{{.*}} : vector<8xi16>
// DOT-DAG: %[[SMALL:.*]] = arith.shli %[[A]], %{{.*}} : vector<8xi16>
// DOT-DAG: %[[LARGE:.*]] = arith.shli %[[B]], %{{.*}} : vector<8xi16>
// DOT: %[[HALVES:.*]] = arith.maxsi %[[SMALL]], %[[LARGE]] : vector<8xi16>
// DOT: %[[WORDS:.*]] = arith.extui %[[HALVES]] : vector<8xi16> to vector<8xi32>
// DOT: %[[BITS:.*]] = arith.shli %[[WORDS]], %{{.*}} : vector<8xi32>
// DOT: arith.bitcast %[[BITS]] : vector<8xi32> to vector<8xf32>
func.func @scale_bits(%e: vector<8xi8>) -> vector<8xf32> {
  %c1 = arith.constant dense<1> : vector<8xi32>
  %c2 = arith.constant dense<2> : vector<8xi32>
  %c21 = arith.constant dense<21> : vector<8xi32>
  %c23 = arith.constant dense<23> : vector<8xi32>
  %x = arith.extui %e : vector<8xi8> to vector<8xi32>
  %is_small = arith.cmpi ult, %x, %c2 : vector<8xi32>
  %a = arith.addi %x, %c1 : vector<8xi32>
  %small = arith.shli %a, %c21 : vector<8xi32>
  %b = arith.subi %x, %c1 : vector<8xi32>
  %large = arith.shli %b, %c23 : vector<8xi32>
  %bits = arith.select %is_small, %small, %large : vector<8xi1>, vector<8xi32>
  %f = arith.bitcast %bits : vector<8xi32> to vector<8xf32>
  return %f : vector<8xf32>
}

// Neither is always the larger one: the comparison has 16 bits, too.
// DOT-LABEL: func.func @other_bits
// DOT: %[[WHICH:.*]] = arith.cmpi ult, %{{.*}} : vector<8xi16>
// DOT: arith.select %[[WHICH]], %{{.*}} : vector<8xi1>, vector<8xi16>
func.func @other_bits(%e: vector<8xi8>) -> vector<8xf32> {
  %c2 = arith.constant dense<2> : vector<8xi32>
  %c16 = arith.constant dense<16> : vector<8xi32>
  %c23 = arith.constant dense<23> : vector<8xi32>
  %x = arith.extui %e : vector<8xi8> to vector<8xi32>
  %is_small = arith.cmpi ult, %x, %c2 : vector<8xi32>
  %large = arith.shli %x, %c23 : vector<8xi32>
  %small = arith.shli %x, %c16 : vector<8xi32>
  %bits = arith.select %is_small, %large, %small : vector<8xi1>, vector<8xi32>
  %f = arith.bitcast %bits : vector<8xi32> to vector<8xf32>
  return %f : vector<8xf32>
}

// A shift that leaves bits of the lower half, and another operand than bytes.
// DOT-LABEL: func.func @lower_bits
// DOT-NOT: vector<8xi16>
// DOT: return
func.func @lower_bits(%e: vector<8xi8>, %w: vector<8xi32>) -> (vector<8xf32>, vector<8xf32>) {
  %c15 = arith.constant dense<15> : vector<8xi32>
  %c23 = arith.constant dense<23> : vector<8xi32>
  %x = arith.extui %e : vector<8xi8> to vector<8xi32>
  %b0 = arith.shli %x, %c15 : vector<8xi32>
  %f0 = arith.bitcast %b0 : vector<8xi32> to vector<8xf32>
  %y = arith.addi %x, %w : vector<8xi32>
  %b1 = arith.shli %y, %c23 : vector<8xi32>
  %f1 = arith.bitcast %b1 : vector<8xi32> to vector<8xf32>
  return %f0, %f1 : vector<8xf32>, vector<8xf32>
}

// The bits of eight small floats from one load, by one shift.
// DOT-LABEL: func.func @half_bits
// DOT: %[[ALL:.*]] = vector.load %arg0[%{{.*}}, %{{.*}}] : memref<2x4xi8>, vector<8xi8>
// DOT: %[[EXTENDED:.*]] = arith.extui %[[ALL]] : vector<8xi8> to vector<8xi16>
// DOT: %[[SHIFTED:.*]] = arith.shli %[[EXTENDED]], %{{.*}} : vector<8xi16>
// DOT: %[[UPPER:.*]] = vector.extract_strided_slice %[[SHIFTED]] {offsets = [4], sizes = [4]
// DOT: arith.bitcast %[[UPPER]] : vector<4xi16> to vector<4xf16>
func.func @half_bits(%m: memref<2x4xi8>) -> vector<4xf16> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %seven = arith.constant dense<7> : vector<4xi32>
  %b = vector.load %m[%c1, %c0] : memref<2x4xi8>, vector<4xi8>
  %x = arith.extui %b : vector<4xi8> to vector<4xi32>
  %s = arith.shli %x, %seven : vector<4xi32>
  %h = arith.trunci %s : vector<4xi32> to vector<4xi16>
  %f = arith.bitcast %h : vector<4xi16> to vector<4xf16>
  return %f : vector<4xf16>
}

// What is the same in every turn of a loop is read before it; not where the loop may write it, or may have no turn.
// DOT-LABEL: func.func @invariant
// DOT: %[[VIEW:.*]] = memref.subview
// DOT: %[[SCALES:.*]] = vector.load %[[VIEW]]
// DOT: memref.prefetch
// DOT: scf.for
// DOT: %[[CODES:.*]] = vector.load
// DOT: arith.addf %[[CODES]], %[[SCALES]]
// DOT-LABEL: func.func @written
// DOT: scf.for
// DOT-COUNT-2: vector.load
// DOT: vector.store
// DOT: scf.for
// DOT-COUNT-2: vector.load
// DOT: return
func.func @invariant(%m: memref<8x8xf32>, %i: index, %z: vector<4xf32>) -> vector<4xf32>
    attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %r = scf.for %j = %c0 to %c4 step %c1 iter_args(%a = %z) -> (vector<4xf32>) {
    memref.prefetch %m[%i, %c0], read, locality<3>, data : memref<8x8xf32>
    %view = memref.subview %m[%i, 0] [1, 8] [1, 1] : memref<8x8xf32> to memref<1x8xf32, strided<[8, 1], offset: ?>>
    %x = vector.load %m[%j, %c0] : memref<8x8xf32>, vector<4xf32>
    %s = vector.load %view[%c0, %c4] : memref<1x8xf32, strided<[8, 1], offset: ?>>, vector<4xf32>
    %t = arith.addf %x, %s : vector<4xf32>
    %n = arith.addf %a, %t : vector<4xf32>
    scf.yield %n : vector<4xf32>
  }
  return %r : vector<4xf32>
}
func.func @written(%m: memref<8x8xf32>, %i: index, %n: index, %z: vector<4xf32>) -> vector<4xf32>
    attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  scf.for %j = %c0 to %c4 step %c1 {
    %x = vector.load %m[%j, %c0] : memref<8x8xf32>, vector<4xf32>
    %s = vector.load %m[%i, %c4] : memref<8x8xf32>, vector<4xf32>
    %t = arith.addf %x, %s : vector<4xf32>
    vector.store %t, %m[%j, %c4] : memref<8x8xf32>, vector<4xf32>
  }
  %r = scf.for %j = %c0 to %n step %c1 iter_args(%a = %z) -> (vector<4xf32>) {
    %x = vector.load %m[%j, %c0] : memref<8x8xf32>, vector<4xf32>
    %s = vector.load %m[%i, %c4] : memref<8x8xf32>, vector<4xf32>
    %t = arith.addf %x, %s : vector<4xf32>
    %u = arith.addf %a, %t : vector<4xf32>
    scf.yield %u : vector<4xf32>
  }
  return %r : vector<4xf32>
}

// Codes of two planes, whose bits lie at the lower ends of bytes, or at the upper ones.
// DOT-LABEL: func.func @planes
// DOT-DAG: %[[MASK:.*]] = arith.constant dense<63> : vector<16xi8>
// DOT-DAG: %[[LOW:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.vsli.v16i8"(%arg0, %arg1, %{{.*}})
// DOT-DAG: %[[FIRST:.*]] = arith.andi %[[LOW]], %[[MASK]]
// DOT-DAG: %[[HIGH:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.vsri.v16i8"(%arg1, %arg0, %{{.*}})
// DOT-DAG: %[[LAST:.*]] = arith.shrui %[[HIGH]], %{{.*}}
// DOT: return %[[FIRST]], %[[LAST]]
func.func @planes(%low: vector<16xi8>, %high: vector<16xi8>) -> (vector<16xi8>, vector<16xi8>) {
  %c3 = arith.constant dense<3> : vector<16xi8>
  %c4 = arith.constant dense<4> : vector<16xi8>
  %c6 = arith.constant dense<6> : vector<16xi8>
  %c15 = arith.constant dense<15> : vector<16xi8>
  %0 = arith.andi %low, %c15 : vector<16xi8>
  %1 = arith.andi %high, %c3 : vector<16xi8>
  %2 = arith.shli %1, %c4 : vector<16xi8>
  %3 = arith.ori %0, %2 : vector<16xi8>
  %4 = arith.shrui %low, %c4 : vector<16xi8>
  %5 = arith.shrui %high, %c6 : vector<16xi8>
  %6 = arith.shli %5, %c4 : vector<16xi8>
  %7 = arith.ori %4, %6 : vector<16xi8>
  return %3, %7 : vector<16xi8>, vector<16xi8>
}

// Those between are not.
// DOT-LABEL: func.func @middle
// DOT: arith.shrui
// DOT: arith.shli
// DOT: arith.ori
func.func @middle(%low: vector<16xi8>, %high: vector<16xi8>) -> vector<16xi8> {
  %c2 = arith.constant dense<2> : vector<16xi8>
  %c3 = arith.constant dense<3> : vector<16xi8>
  %c4 = arith.constant dense<4> : vector<16xi8>
  %c15 = arith.constant dense<15> : vector<16xi8>
  %0 = arith.andi %low, %c15 : vector<16xi8>
  %1 = arith.shrui %high, %c2 : vector<16xi8>
  %2 = arith.andi %1, %c3 : vector<16xi8>
  %3 = arith.shli %2, %c4 : vector<16xi8>
  %4 = arith.ori %0, %3 : vector<16xi8>
  return %4 : vector<16xi8>
}

// Scales of two groups become 32 bits together.
// DOT-LABEL: func.func @scales
// DOT: %[[BOTH:.*]] = vector.load %arg0[%arg1, %{{.*}}, %{{.*}}] {{.*}}, vector<8xi8>
// DOT: %[[HALVES:.*]] = arith.extsi %[[BOTH]] : vector<8xi8> to vector<8xi16>
// DOT: %[[SECOND:.*]] = vector.extract_strided_slice %[[HALVES]] {offsets = [4], sizes = [4]
// DOT: arith.extsi %[[SECOND]] : vector<4xi16> to vector<4xi32>
// Where none lies beside them they do not.
// DOT: arith.extsi %{{.*}} : vector<4xi8> to vector<4xi32>
func.func @scales(%m: memref<3x2x4xi8>, %i: index, %n: memref<3x4xi8, strided<[16, 1]>>)
    -> (vector<4xi32>, vector<4xi32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %0 = vector.load %m[%i, %c1, %c0] : memref<3x2x4xi8>, vector<4xi8>
  %1 = arith.extsi %0 : vector<4xi8> to vector<4xi32>
  %2 = vector.load %n[%i, %c0] : memref<3x4xi8, strided<[16, 1]>>, vector<4xi8>
  %3 = arith.extsi %2 : vector<4xi8> to vector<4xi32>
  return %1, %3 : vector<4xi32>, vector<4xi32>
}

// Of the prefetches of a line of 64 bytes, one is left.
// DOT-LABEL: func.func @lines
// DOT-COUNT-2: memref.prefetch
// DOT-NOT: memref.prefetch
// DOT: return
func.func @lines(%m: memref<?x2x2x16xi8, strided<[72, 32, 16, 1]>>, %i: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4096 = arith.constant 4096 : index
  memref.prefetch %m[%i, %c0, %c0, %c4096], read, locality<3>, data : memref<?x2x2x16xi8, strided<[72, 32, 16, 1]>>
  memref.prefetch %m[%i, %c0, %c1, %c4096], read, locality<3>, data : memref<?x2x2x16xi8, strided<[72, 32, 16, 1]>>
  memref.prefetch %m[%i, %c1, %c0, %c4096], read, locality<3>, data : memref<?x2x2x16xi8, strided<[72, 32, 16, 1]>>
  // Who knows where this is.
  memref.prefetch %m[%i, %c1, %c0, %i], read, locality<3>, data : memref<?x2x2x16xi8, strided<[72, 32, 16, 1]>>
  return
}

// DOT-LABEL: func.func @table
// DOT-COUNT-2: llvm.call_intrinsic "llvm.aarch64.neon.tbl1.v16i8"
// NEON-LABEL: func.func @table
// NEON-COUNT-2: llvm.call_intrinsic "llvm.aarch64.neon.tbl1.v16i8"
func.func @table(%c: vector<32xi8>) -> vector<32xi8> {
  %r = lumen.lookup %c [1, 2, 3, -4] : vector<32xi8>
  return %r : vector<32xi8>
}

// Fewer sums than a register has become plain arithmetic.
// DOT-LABEL: func.func @few
// DOT-COUNT-4: arith.muli
func.func @few(%c: vector<8xi8>, %x: vector<4xi8>, %a: vector<2xi32>) -> vector<2xi32> {
  %r = lumen.dot4 %c, %x, %a {bits = 4 : i64} : vector<8xi8>, vector<4xi8>, vector<2xi32>
  return %r : vector<2xi32>
}
// One instruction where there is one; unsigned activations and signed codes have one, the other way round there is
// none.
// I8MM-LABEL: func.func @matrices
// I8MM: %[[S0:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.smmla.v4i32.v16i8"(%arg2, %arg0, %arg1)
// I8MM: %[[S1:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.ummla.v4i32.v16i8"(%[[S0]], %arg0, %arg1)
// I8MM: llvm.call_intrinsic "llvm.aarch64.neon.usmmla.v4i32.v16i8"(%[[S1]], %arg0, %arg1)
// I8MM-NOT: call_intrinsic
// I8MM-COUNT-8: arith.muli
// I8MM: return
// SDOT-LABEL: func.func @matrices
// SDOT-NOT: call_intrinsic
// SDOT-COUNT-32: arith.muli
// SDOT: return
// NEON-LABEL: func.func @matrices
// NEON-NOT: call_intrinsic
func.func @matrices(%x: vector<16xi8>, %w: vector<16xi8>, %a: vector<4xi32>) -> vector<4xi32> {
  %0 = lumen.mma <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32> %x, %w, %a
    : vector<16xi8>, vector<16xi8>, vector<4xi32>
  %1 = lumen.mma <m = 2, n = 2, k = 8, lhs = ui8, rhs = ui8, acc = i32> %x, %w, %0
    : vector<16xi8>, vector<16xi8>, vector<4xi32>
  %2 = lumen.mma <m = 2, n = 2, k = 8, lhs = ui8, rhs = si8, acc = i32> %x, %w, %1
    : vector<16xi8>, vector<16xi8>, vector<4xi32>
  %3 = lumen.mma <m = 2, n = 2, k = 8, lhs = si8, rhs = ui8, acc = i32> %x, %w, %2
    : vector<16xi8>, vector<16xi8>, vector<4xi32>
  return %3 : vector<4xi32>
}

// Four words of activations in a register, each of which a dot product takes for all lanes.
// DOT-LABEL: func.func @single_tokens
// DOT: %[[WORDS:.*]] = vector.bitcast %arg0 : vector<16xi8> to vector<4xi32>
// DOT: %[[WORD:.*]] = vector.extract %[[WORDS]][2]
// DOT: %[[SPREAD:.*]] = vector.broadcast %[[WORD]] : i32 to vector<4xi32>
// DOT: %[[X:.*]] = vector.bitcast %[[SPREAD]] : vector<4xi32> to vector<16xi8>
// DOT: %[[S0:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%arg2, %arg1, %[[X]])
// I8MM: llvm.call_intrinsic "llvm.aarch64.neon.usdot.v4i32.v16i8"(%[[S0]], %arg1, %{{.*}})
// SDOT-NOT: call_intrinsic
// SDOT-COUNT-4: arith.muli
// DOT: return
// NEON-LABEL: func.func @single_tokens
// NEON-NOT: call_intrinsic
func.func @single_tokens(%tokens: vector<16xi8>, %w: vector<16xi8>, %a: vector<4xi32>) -> vector<4xi32> {
  %x = vector.extract_strided_slice %tokens {offsets = [8], sizes = [4], strides = [1]} : vector<16xi8> to vector<4xi8>
  %0 = lumen.mma <m = 1, n = 4, k = 4, lhs = si8, rhs = si8, acc = i32> %x, %w, %a
    : vector<4xi8>, vector<16xi8>, vector<4xi32>
  %1 = lumen.mma <m = 1, n = 4, k = 4, lhs = si8, rhs = ui8, acc = i32> %x, %w, %0
    : vector<4xi8>, vector<16xi8>, vector<4xi32>
  return %1 : vector<4xi32>
}

// What two sums began as is read once, behind the products, where a register of it would be one too many.
// SDOT-LABEL: func.func @beginnings
// SDOT-COUNT-2: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"
// SDOT: %[[LOADED:.*]] = llvm.load volatile
// SDOT: %[[BEGINNING:.*]] = arith.bitcast %[[LOADED]] : vector<4xi32> to vector<4xf32>
// SDOT-NOT: llvm.load
// SDOT: arith.subf %{{.*}}, %[[BEGINNING]]
// SDOT-NOT: llvm.load
// SDOT: arith.subf %{{.*}}, %[[BEGINNING]]
// SDOT: return
// NEON-LABEL: func.func @beginnings
func.func @beginnings(%w: vector<16xi8>, %x: vector<4xi8>, %a: vector<4xi32>) -> (vector<4xf32>, vector<4xf32>) {
  %beginning = arith.constant dense<0x4B400000> : vector<4xf32>
  %0 = lumen.dot4 %w, %x, %a {bits = 8 : i64, signed_codes} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  %1 = lumen.dot4 %w, %x, %0 {bits = 8 : i64, signed_codes} : vector<16xi8>, vector<4xi8>, vector<4xi32>
  %f0 = arith.bitcast %0 : vector<4xi32> to vector<4xf32>
  %f1 = arith.bitcast %1 : vector<4xi32> to vector<4xf32>
  %r0 = arith.subf %f0, %beginning : vector<4xf32>
  %r1 = arith.subf %f1, %beginning : vector<4xf32>
  return %r0, %r1 : vector<4xf32>, vector<4xf32>
}
}
