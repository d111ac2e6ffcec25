// RUN: lumen-opt %s -lumen-lower-dot4 -canonicalize -cse | FileCheck %s

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

// Of mixed signs, the activations come first.
// CHECK-LABEL: func.func @dots(
// CHECK:         %[[X:.*]] = vector.extract %{{.*}}[0] : i32 from vector<1xi32>
// CHECK:         spirv.SUDot %[[X]], %{{.*}}, <PackedVectorFormat4x8Bit> : i32 -> i32
// CHECK:         arith.addi
// CHECK:         spirv.SDot %[[X]], %{{.*}}, <PackedVectorFormat4x8Bit> : i32 -> i32
// CHECK:         arith.addi
// CHECK-LABEL: func.func @lookup(
// CHECK-NOT:     lumen.lookup
// CHECK:         arith.select
module attributes {lumen.target = #target} {
func.func @dots(%codes: vector<4xi8>, %x: vector<4xi8>, %acc: vector<1xi32>) -> vector<1xi32> {
  %a = lumen.dot4 %codes, %x, %acc {bits = 8 : i64} : vector<4xi8>, vector<4xi8>, vector<1xi32>
  %b = lumen.dot4 %codes, %x, %a {bits = 8 : i64, signed_codes} : vector<4xi8>, vector<4xi8>, vector<1xi32>
  return %b : vector<1xi32>
}
func.func @lookup(%index: vector<4xi8>) -> vector<4xi8> {
  %y = lumen.lookup %index [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113] : vector<4xi8>
  return %y : vector<4xi8>
}
}
