// RUN: lumen-opt %s -pass-pipeline='builtin.module(lumen-lower-dot4,func.func(canonicalize,cse))' | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

// CHECK-LABEL: func.func @dot(
// CHECK:         llvm.call_intrinsic "llvm.nvvm.idp4a.u.s"(%{{.*}}) : (i32, i32, i32) -> i32
// CHECK:         llvm.call_intrinsic "llvm.nvvm.idp4a.s.s"(%{{.*}}) : (i32, i32, i32) -> i32
func.func @dot(%w: vector<4xi8>, %x: vector<4xi8>, %acc: vector<1xi32>) -> vector<1xi32> {
  %s = lumen.dot4 %w, %x, %acc {bits = 4 : i64} : vector<4xi8>, vector<4xi8>, vector<1xi32>
  %t = lumen.dot4 %w, %x, %s {bits = 8 : i64, signed_codes} : vector<4xi8>, vector<4xi8>, vector<1xi32>
  return %t : vector<1xi32>
}

// Four bytes are shifted as a word.
// CHECK-LABEL: func.func @upper_halves(
// CHECK:         %[[SHIFTED:[0-9]+]] = arith.shrui %{{.*}}, %c4_i32 : i32
// CHECK:         arith.andi %[[SHIFTED]], %c252645135_i32 : i32
func.func @upper_halves(%w: vector<4xi8>) -> vector<4xi8> {
  %four = arith.constant dense<4> : vector<4xi8>
  %h = arith.shrui %w, %four : vector<4xi8>
  return %h : vector<4xi8>
}

// The lower bits of four indices choose bytes of both halves of the table, the upper ones a half.
// CHECK-LABEL: func.func @lookup(
// CHECK-COUNT-3: llvm.call_intrinsic "llvm.nvvm.prmt"
// CHECK-NOT:     llvm.call_intrinsic
// CHECK:         return
func.func @lookup(%w: vector<4xi8>) -> vector<4xi8> {
  %v = lumen.lookup %w [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113] : vector<4xi8>
  return %v : vector<4xi8>
}
}
