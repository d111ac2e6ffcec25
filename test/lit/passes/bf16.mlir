// SPDX-License-Identifier: Apache-2.0
//
// Products with weights in bf16, pass by pass, on a target that multiplies pairs of them and on one that does not.
//
// RUN: cat %{targets}/x86-64-v4+bf16.mlir %s | lumen-opt --lumen-quantize-activations --lumen-pack-weights | FileCheck %s
// RUN: cat %{targets}/x86-64-v4+bf16.mlir %s | lumen-opt --lumen-quantize-activations=mode=exact --lumen-pack-weights \
// RUN:   | FileCheck %s --check-prefix=EXACT
// RUN: cat %{targets}/x86-64-v4+vnni.mlir %s | lumen-opt --lumen-quantize-activations --lumen-pack-weights \
// RUN:   | FileCheck %s --check-prefix=WITHOUT
// RUN: cat %{targets}/x86-64-v4+bf16.mlir %s | lumen-opt --pass-pipeline='%{pipeline-fused}' \
// RUN:   | lumen-opt --pass-pipeline='%{pipeline-loops}' | FileCheck %s --check-prefix=LOOPS
// RUN: cat %{targets}/x86-64-v4+bf16.mlir %s | lumen-opt --pass-pipeline='%{pipeline-fused}' \
// RUN:   | lumen-opt --pass-pipeline='%{pipeline-loops}' | lumen-opt --pass-pipeline='%{pipeline-vector}' \
// RUN:   | FileCheck %s --check-prefix=VECTOR

module attributes {lumen.target = #target} {

// One rounding serves both products; other weights read f32.
// CHECK-LABEL: func.func @several(
// CHECK-SAME: tensor<48x64xbf16, #lumen.packed<rows = 32, k = 2>>
// CHECK-SAME: tensor<16x64xbf16, #lumen.packed<rows = 32, k = 2>>
// CHECK-SAME: tensor<48x64xf16, #lumen.packed<rows = 32>>
// CHECK: %[[X:.*]] = lumen.to_bf16 %arg0 : tensor<?x64xf32> -> tensor<?x64xbf16>
// CHECK: lumen.qlinear activations(%[[X]] : tensor<?x64xbf16>) weights(%arg1 :
// CHECK: lumen.qlinear activations(%[[X]] : tensor<?x64xbf16>) weights(%arg2 :
// CHECK: lumen.qlinear activations(%arg0 : tensor<?x64xf32>) weights(%arg3 :
// CHECK-NOT: lumen.to_bf16
// The same weights meet f32.
// EXACT-LABEL: func.func @several(
// EXACT-SAME: tensor<48x64xbf16, #lumen.packed<rows = 32, k = 2>>
// EXACT-NOT: lumen.to_bf16
// WITHOUT-LABEL: func.func @several(
// WITHOUT-SAME: tensor<48x64xbf16, #lumen.packed<rows = 32>>
// WITHOUT-NOT: lumen.to_bf16
// Both products are one kernel. Four pairs are in 16 bytes of activations.
// LOOPS-LABEL: func.func private @qlinear
// LOOPS: memref.expand_shape %{{.*}} : memref<?x64xbf16> into memref<?x8x4x2xbf16>
// LOOPS: linalg.generic {{.*}} ins(%{{.*}}, %{{.*}} : tensor<4x32x2xbf16>, tensor<8x4x2xbf16>) outs(%{{.*}} : tensor<8x32xf32>)
// VECTOR-LABEL: func.func private @qlinear
// VECTOR: %[[PAIR:.*]] = vector.load {{.*}}bf16{{.*}}, vector<64xbf16>
// VECTOR: %[[Y:.*]] = vector.load {{.*}}bf16{{.*}}, vector<2xbf16>
// VECTOR: lumen.dot2 %[[PAIR]], %[[Y]], %{{.*}} : vector<64xbf16>, vector<2xbf16>, vector<32xf32>
func.func @several(%x: tensor<?x64xf32>, %v: tensor<48x64xbf16>, %w: tensor<16x64xbf16>, %h: tensor<48x64xf16>)
    -> (tensor<?x48xf32>, tensor<?x16xf32>, tensor<?x48xf32>) {
  %1 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%v : tensor<48x64xbf16>) -> tensor<?x48xf32>
  %2 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w : tensor<16x64xbf16>) -> tensor<?x16xf32>
  %3 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%h : tensor<48x64xf16>) -> tensor<?x48xf32>
  return %1, %2, %3 : tensor<?x48xf32>, tensor<?x16xf32>, tensor<?x48xf32>
}

// The last column would be alone.
// CHECK-LABEL: func.func @odd(
// CHECK-SAME: tensor<48x33xbf16, #lumen.packed<rows = 32, k = 2>>
// CHECK-NOT: lumen.to_bf16
func.func @odd(%x: tensor<?x33xf32>, %w: tensor<48x33xbf16>) -> tensor<?x48xf32> {
  %1 = lumen.qlinear activations(%x : tensor<?x33xf32>) weights(%w : tensor<48x33xbf16>) -> tensor<?x48xf32>
  return %1 : tensor<?x48xf32>
}
}
