// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-merge-linears | FileCheck %s

// CHECK-LABEL: func.func @qkv
// CHECK-NEXT: %[[Y:.*]]:3 = lumen.qlinear activations(%arg0 : tensor<?x64xf32>)
// CHECK-SAME: weights(%arg1, %arg2, %arg3 : tensor<64x64xf16>, tensor<32x64xf16>, tensor<32x64xf32>)
// CHECK-SAME: biases(%arg4, %arg5, %arg5 : tensor<64xf32>, tensor<32xf32>, tensor<32xf32>)
// CHECK-SAME: -> tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>
// CHECK-NEXT: %[[A:.*]] = lumen.add %[[Y]]#0, %arg0
// CHECK-NEXT: return %[[A]], %[[Y]]#1, %[[Y]]#2
func.func @qkv(%x: tensor<?x64xf32>, %wq: tensor<64x64xf16>, %wk: tensor<32x64xf16>,
    %wv: tensor<32x64xf32>, %bq: tensor<64xf32>, %bk: tensor<32xf32>)
    -> (tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>) {
  %q = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%wq : tensor<64x64xf16>)
    biases(%bq : tensor<64xf32>) -> tensor<?x64xf32>
  // A user of the first result stands between the products.
  %a = lumen.add %q, %x : tensor<?x64xf32>
  %k = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%wk : tensor<32x64xf16>)
    biases(%bk : tensor<32xf32>) -> tensor<?x32xf32>
  %v = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%wv : tensor<32x64xf32>)
    biases(%bk : tensor<32xf32>) -> tensor<?x32xf32>
  return %a, %k, %v : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>
}

// Ops with and without biases form two groups.
// CHECK-LABEL: func.func @some_biases
// CHECK-NEXT: %[[B:.*]]:2 = lumen.qlinear {{.*}} weights(%arg1, %arg3 : {{.*}}) biases(%arg4, %arg4 :
// CHECK-NEXT: %[[N:.*]]:2 = lumen.qlinear {{.*}} weights(%arg2, %arg1 : {{.*}}) -> tensor<?x32xf32>
// CHECK-NEXT: return %[[B]]#0, %[[N]]#0, %[[B]]#1, %[[N]]#1
func.func @some_biases(%x: tensor<?x64xf32>, %w0: tensor<32x64xf16>, %w1: tensor<32x64xf16>,
    %w2: tensor<32x64xf16>, %b: tensor<32xf32>)
    -> (tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>) {
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w0 : tensor<32x64xf16>)
    biases(%b : tensor<32xf32>) -> tensor<?x32xf32>
  %1 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w1 : tensor<32x64xf16>)
    -> tensor<?x32xf32>
  %2 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w2 : tensor<32x64xf16>)
    biases(%b : tensor<32xf32>) -> tensor<?x32xf32>
  %3 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w0 : tensor<32x64xf16>)
    -> tensor<?x32xf32>
  return %0, %1, %2, %3
    : tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>
}

// Different activations, of which one comes from the other: nothing to merge.
// CHECK-LABEL: func.func @chain
// CHECK-COUNT-2: lumen.qlinear
// CHECK-NEXT: return
func.func @chain(%x: tensor<?x64xf32>, %w: tensor<64x64xf16>) -> tensor<?x64xf32> {
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w : tensor<64x64xf16>)
    -> tensor<?x64xf32>
  %1 = lumen.qlinear activations(%0 : tensor<?x64xf32>) weights(%w : tensor<64x64xf16>)
    -> tensor<?x64xf32>
  return %1 : tensor<?x64xf32>
}

// The second weight is not there yet where the first product stands; the third
// product joins the second.
// CHECK-LABEL: func.func @late_weight
// CHECK-NEXT: %[[A:.*]] = lumen.qlinear {{.*}} weights(%arg1 : tensor<64x64xf32>)
// CHECK-NEXT: %[[W:.*]] = lumen.add %arg1, %[[A]]
// CHECK-NEXT: lumen.qlinear {{.*}} weights(%[[W]], %[[W]] : tensor<64x64xf32>, tensor<64x64xf32>)
// CHECK-NEXT: return
func.func @late_weight(%x: tensor<64x64xf32>, %w: tensor<64x64xf32>)
    -> (tensor<64x64xf32>, tensor<64x64xf32>) {
  %0 = lumen.qlinear activations(%x : tensor<64x64xf32>) weights(%w : tensor<64x64xf32>)
    -> tensor<64x64xf32>
  %late = lumen.add %w, %0 : tensor<64x64xf32>
  %1 = lumen.qlinear activations(%x : tensor<64x64xf32>) weights(%late : tensor<64x64xf32>)
    -> tensor<64x64xf32>
  %2 = lumen.qlinear activations(%x : tensor<64x64xf32>) weights(%late : tensor<64x64xf32>)
    -> tensor<64x64xf32>
  return %1, %2 : tensor<64x64xf32>, tensor<64x64xf32>
}
