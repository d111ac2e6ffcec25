// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-fuse-quantized-linear | FileCheck %s

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// CHECK-LABEL: func.func @quantized
// CHECK-SAME: %[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<48x64x!lumen.q<@q8_0>>, %[[B:.*]]: tensor<48xf32>
// CHECK-NEXT: %[[Y:.*]] = lumen.qlinear activations(%[[X]] : tensor<?x64xf32>)
// CHECK-SAME: weights(%[[W]] : tensor<48x64x!lumen.q<@q8_0>>)
// CHECK-SAME: biases(%[[B]] : tensor<48xf32>) -> tensor<?x48xf32>
// CHECK-NEXT: return %[[Y]]
func.func @quantized(%x: tensor<?x64xf32>, %w: tensor<48x64x!lumen.q<@q8_0>>, %b: tensor<48xf32>)
    -> tensor<?x48xf32> {
  %f = lumen.dequantize %w : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  %y = lumen.linear %x, %f bias(%b : tensor<48xf32>)
    : tensor<?x64xf32>, tensor<48x64xf32> -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}

// CHECK-LABEL: func.func @float
// CHECK-NEXT: lumen.qlinear activations(%{{.*}} : tensor<?x64xf32>)
// CHECK-SAME: weights(%{{.*}} : tensor<48x64xbf16>) -> tensor<?x48xf32>
func.func @float(%x: tensor<?x64xf32>, %w: tensor<48x64xbf16>) -> tensor<?x48xf32> {
  %y = lumen.linear %x, %w : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}

// One dequantized table feeds both ends of the model: neither keeps a float copy.
// CHECK-LABEL: func.func @tied
// CHECK-SAME: %[[TOKENS:.*]]: tensor<?xi32>, %[[TABLE:.*]]: tensor<48x64x!lumen.q<@q8_0>>
// CHECK-NEXT: %[[X:.*]] = lumen.embedding %[[TOKENS]], %[[TABLE]]
// CHECK-NEXT: lumen.qlinear activations(%[[X]] : {{.*}}) weights(%[[TABLE]] :
// CHECK-NEXT: return
func.func @tied(%tokens: tensor<?xi32>, %table: tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32> {
  %f = lumen.dequantize %table : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  %x = lumen.embedding %tokens, %f : tensor<?xi32>, tensor<48x64xf32> -> tensor<?x64xf32>
  %y = lumen.linear %x, %f : tensor<?x64xf32>, tensor<48x64xf32> -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}

// A float copy that something else wants stays; the product does without it.
// CHECK-LABEL: func.func @other_use
// CHECK: %[[F:.*]] = lumen.dequantize
// CHECK: lumen.qlinear {{.*}} weights(%arg1 :
// CHECK: return %{{.*}}, %[[F]]
func.func @other_use(%x: tensor<?x64xf32>, %w: tensor<48x64x!lumen.q<@q8_0>>)
    -> (tensor<?x48xf32>, tensor<48x64xf32>) {
  %f = lumen.dequantize %w : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  %y = lumen.linear %x, %f : tensor<?x64xf32>, tensor<48x64xf32> -> tensor<?x48xf32>
  return %y, %f : tensor<?x48xf32>, tensor<48x64xf32>
}
