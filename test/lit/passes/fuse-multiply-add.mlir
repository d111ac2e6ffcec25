// RUN: lumen-opt %s -pass-pipeline='builtin.module(func.func(lumen-fuse-multiply-add))' | FileCheck %s
// RUN: sed 's/fma = true/fma = false/' %s | lumen-opt -pass-pipeline='builtin.module(func.func(lumen-fuse-multiply-add))' | FileCheck %s --check-prefix=WITHOUT

// RUN: sed -e 's/vector_bits = 128/vector_bits = 1024, warp = 32/' -e 's/rows = 8/rows = 32/' %s \
// RUN:   | lumen-opt -pass-pipeline='builtin.module(func.func(lumen-fuse-multiply-add))' | FileCheck %s --check-prefix=WARPS

// WITHOUT-NOT: {{vector.fma|fmuladd}}
module attributes {lumen.target = #lumen.target<name = "armv8-a", triple = "aarch64-unknown-linux-gnu",
    cpu = "", features = "", vector_registers = 32, fma = true, f16 = true, cache_line = 64,
    vector_bits = 128, rows = 8, tokens = 4>} {

  // CHECK-LABEL: func.func @vector(
  // CHECK-SAME:    %[[A:.*]]: vector<4xf32>, %[[B:.*]]: vector<4xf32>, %[[ACC:.*]]: vector<4xf32>
  // CHECK-NEXT:    vector.fma %[[A]], %[[B]], %[[ACC]] : vector<4xf32>
  // CHECK-NEXT:    return
  func.func @vector(%a: vector<4xf32>, %b: vector<4xf32>, %acc: vector<4xf32>) -> vector<4xf32> {
    %product = arith.mulf %a, %b fastmath<contract> : vector<4xf32>
    %sum = arith.addf %acc, %product fastmath<contract> : vector<4xf32>
    return %sum : vector<4xf32>
  }

  // CHECK-LABEL: func.func @scalar(
  // CHECK-SAME:    %[[A:.*]]: f32, %[[B:.*]]: f32, %[[ACC:.*]]: f32
  // CHECK-NEXT:    llvm.intr.fmuladd(%[[A]], %[[B]], %[[ACC]]) : (f32, f32, f32) -> f32
  // CHECK-NEXT:    return
  func.func @scalar(%a: f32, %b: f32, %acc: f32) -> f32 {
    %product = arith.mulf %a, %b fastmath<contract> : f32
    %sum = arith.addf %product, %acc fastmath<contract> : f32
    return %sum : f32
  }

  // Sums of two products take the second one into the operation.
  // CHECK-LABEL: func.func @both(
  // CHECK-NEXT:    %[[FIRST:.*]] = arith.mulf %{{.*}}, %{{.*}} fastmath<contract>
  // CHECK-NEXT:    vector.fma %{{.*}}, %{{.*}}, %[[FIRST]] : vector<4xf32>
  // CHECK-NEXT:    return
  func.func @both(%a: vector<4xf32>, %b: vector<4xf32>) -> vector<4xf32> {
    %first = arith.mulf %a, %a fastmath<contract> : vector<4xf32>
    %second = arith.mulf %b, %b fastmath<contract> : vector<4xf32>
    %sum = arith.addf %first, %second fastmath<contract> : vector<4xf32>
    return %sum : vector<4xf32>
  }

  // With warps, differences are fused, too, and they take the second product.
  // WARPS-LABEL: func.func @differences(
  // WARPS-SAME:    %[[A:.*]]: f32, %[[B:.*]]: f32, %[[ACC:.*]]: f32
  // WARPS-NEXT:    %[[OTHER:.*]] = arith.mulf %[[A]], %[[A]]
  // WARPS-NEXT:    %[[NEGATIVE:.*]] = arith.negf %[[A]] : f32
  // WARPS-NEXT:    llvm.intr.fmuladd(%[[NEGATIVE]], %[[B]], %[[OTHER]]) : (f32, f32, f32) -> f32
  // WARPS-NEXT:    return
  // CHECK-LABEL: func.func @differences(
  // CHECK:         arith.subf
  func.func @differences(%a: f32, %b: f32, %acc: f32) -> f32 {
    %other = arith.mulf %a, %a fastmath<contract> : f32
    %product = arith.mulf %a, %b fastmath<contract> : f32
    %difference = arith.subf %other, %product fastmath<contract> : f32
    return %difference : f32
  }

  // What is rounded twice stays two operations, and so does a product with a second user.
  // CHECK-LABEL: func.func @kept(
  // CHECK-NOT:     vector.fma
  // CHECK:         return
  func.func @kept(%a: vector<4xf32>, %b: vector<4xf32>, %acc: vector<4xf32>)
      -> (vector<4xf32>, vector<4xf32>, vector<4xf32>) {
    %product = arith.mulf %a, %b : vector<4xf32>
    %sum = arith.addf %acc, %product fastmath<contract> : vector<4xf32>
    %shared = arith.mulf %a, %a fastmath<contract> : vector<4xf32>
    %other = arith.addf %acc, %shared fastmath<contract> : vector<4xf32>
    return %sum, %other, %shared : vector<4xf32>, vector<4xf32>, vector<4xf32>
  }

}
