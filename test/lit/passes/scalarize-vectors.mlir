// RUN: lumen-opt %s -lumen-scalarize-vectors -canonicalize -cse -split-input-file -verify-diagnostics | FileCheck %s

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

// CHECK-LABEL: func.func @f(
// CHECK-SAME:    %[[A:[a-z0-9]+]]: i8, %[[B:[a-z0-9]+]]: i8
// CHECK-NOT:     vector<8x
// CHECK-DAG:     %[[LOW:.*]] = arith.andi %[[A]], %c15_i8 : i8
// CHECK-DAG:     %[[OTHER:.*]] = arith.andi %[[B]], %c15_i8 : i8
// CHECK:         vector.from_elements %[[LOW]], %[[OTHER]] : vector<2xi8>
// Bits of wider elements are those of narrower ones.
// CHECK:         arith.shli %{{.*}}, %c8_i32
// CHECK-NOT:     vector<8x
// CHECK:         return
module attributes {lumen.target = #target} {
func.func @f(%a: i8, %b: i8) -> (vector<2xi8>, vector<2xi32>, i32) attributes {lumen.kernel = "rows"} {
  %mask = arith.constant dense<15> : vector<8xi8>
  %x = vector.from_elements %a, %b, %a, %b, %a, %b, %a, %b : vector<8xi8>
  %y = arith.andi %x, %mask : vector<8xi8>
  %low = vector.extract_strided_slice %y {offsets = [2], sizes = [2], strides = [1]} : vector<8xi8> to vector<2xi8>
  %words = vector.bitcast %y : vector<8xi8> to vector<2xi32>
  %mixed = vector.shuffle %y, %y [7, 6, 5, 4, 3, 2, 1, 0] : vector<8xi8>, vector<8xi8>
  %wide = arith.extui %mixed : vector<8xi8> to vector<8xi32>
  %sum = vector.reduction <add>, %wide : vector<8xi32> into i32
  return %low, %words, %sum : vector<2xi8>, vector<2xi32>, i32
}

// CHECK-LABEL: func.func @loop(
// CHECK:         %{{.*}}:8 = scf.for {{.*}} -> (i8, i8, i8, i8, i8, i8, i8, i8) {
// CHECK:           %{{.*}}:8 = scf.if {{.*}} -> (i8, i8, i8, i8, i8, i8, i8, i8) {
func.func @loop(%n: index, %c: i1) -> i8 attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %first = arith.constant dense<1> : vector<8xi8>
  %last = scf.for %i = %c0 to %n step %c1 iter_args(%x = %first) -> (vector<8xi8>) {
    %next = scf.if %c -> (vector<8xi8>) {
      %y = arith.addi %x, %first : vector<8xi8>
      scf.yield %y : vector<8xi8>
    } else {
      scf.yield %first : vector<8xi8>
    }
    scf.yield %next : vector<8xi8>
  }
  %e = vector.extract %last[3] : i8 from vector<8xi8>
  return %e : i8
}
}

// -----

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {
func.func @two_dimensions(%x: vector<2x4xi8>) -> vector<2x4xi8> attributes {lumen.kernel = "rows"} {
  // expected-error @below {{works on a vector of more elements than those of SPIR-V, and cannot be done one by one}}
  %y = arith.addi %x, %x : vector<2x4xi8>
  return %y : vector<2x4xi8>
}
}
