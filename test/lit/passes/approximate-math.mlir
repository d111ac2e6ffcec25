// RUN: lumen-opt %s -pass-pipeline='builtin.module(func.func(lumen-approximate-math))' | FileCheck %s

// CHECK-LABEL: func.func @vector(
// CHECK-NOT:     math.exp
// CHECK-NOT:     math.fma
// CHECK:         vector.fma {{.*}} : vector<16xf32>
// CHECK:         return
func.func @vector(%x: vector<16xf32>) -> vector<16xf32> {
  %y = math.exp %x : vector<16xf32>
  return %y : vector<16xf32>
}

// CHECK-LABEL: func.func @scalar(
// CHECK-NOT:     math.exp
// CHECK-NOT:     math.fma
// CHECK:         llvm.intr.fmuladd({{.*}}) : (f32, f32, f32) -> f32
func.func @scalar(%x: f32) -> f32 {
  %y = math.exp %x : f32
  return %y : f32
}

// What is one instruction anyway stays.
// CHECK-LABEL: func.func @kept(
// CHECK-NEXT:    math.sqrt
// CHECK-NEXT:    math.roundeven
// CHECK-NEXT:    return
func.func @kept(%x: vector<8xf32>) -> vector<8xf32> {
  %y = math.sqrt %x : vector<8xf32>
  %z = math.roundeven %y : vector<8xf32>
  return %z : vector<8xf32>
}
