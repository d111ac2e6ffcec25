// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-raise-linalg | FileCheck %s

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// The weight is transposed by the map of the product.
// CHECK-LABEL: func.func @by_map
// CHECK-SAME: %[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<48x64x!lumen.q<@q8_0>>, %{{.*}}: index
// CHECK-NEXT: %[[F:.*]] = lumen.dequantize %[[W]]
// CHECK-NEXT: %[[Y:.*]] = lumen.linear %[[X]], %[[F]] : tensor<?x64xf32>, tensor<48x64xf32> -> tensor<?x48xf32>
// CHECK-NEXT: return %[[Y]]
func.func @by_map(%x: tensor<?x64xf32>, %w: tensor<48x64x!lumen.q<@q8_0>>, %tokens: index) -> tensor<?x48xf32> {
  %f = lumen.dequantize %w : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty(%tokens) : tensor<?x48xf32>
  %out = linalg.fill ins(%zero : f32) outs(%empty : tensor<?x48xf32>) -> tensor<?x48xf32>
  %y = linalg.matmul indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>,
                                      affine_map<(m, n, k) -> (m, n)>]
    ins(%x, %f : tensor<?x64xf32>, tensor<48x64xf32>) outs(%out : tensor<?x48xf32>) -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}

// It is transposed by an op, and the sum starts from other rows.
// CHECK-LABEL: func.func @by_op
// CHECK-SAME: %[[X:.*]]: tensor<?x64xf32>, %[[R:.*]]: tensor<?x48xf32>, %[[W:.*]]: tensor<48x64x!lumen.q<@q8_0>>
// CHECK-NEXT: %[[F:.*]] = lumen.dequantize %[[W]]
// CHECK-NEXT: %[[Y:.*]] = lumen.linear %[[X]], %[[F]]
// CHECK-NEXT: %[[Z:.*]] = lumen.add %[[R]], %[[Y]] : tensor<?x48xf32>
// CHECK-NEXT: return %[[Z]]
func.func @by_op(%x: tensor<?x64xf32>, %r: tensor<?x48xf32>, %w: tensor<48x64x!lumen.q<@q8_0>>)
    -> tensor<?x48xf32> {
  %f = lumen.dequantize %w : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  %empty = tensor.empty() : tensor<64x48xf32>
  %t = linalg.transpose ins(%f : tensor<48x64xf32>) outs(%empty : tensor<64x48xf32>) permutation = [1, 0]
  %y = linalg.matmul ins(%x, %t : tensor<?x64xf32>, tensor<64x48xf32>) outs(%r : tensor<?x48xf32>)
    -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}

// A contraction whose weight stands on the left.
// CHECK-LABEL: func.func @contract
// CHECK: %[[Y:.*]] = lumen.linear %{{.*}}, %{{.*}} : tensor<?x64xf32>, tensor<48x64xf32> -> tensor<?x48xf32>
// CHECK: lumen.add %{{.*}}, %[[Y]]
func.func @contract(%x: tensor<?x64xf32>, %r: tensor<?x48xf32>, %w: tensor<48x64x!lumen.q<@q8_0>>)
    -> tensor<?x48xf32> {
  %f = lumen.dequantize %w : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  %y = linalg.contract indexing_maps = [affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, k)>,
                                        affine_map<(m, n, k) -> (m, n)>]
    ins(%f, %x : tensor<48x64xf32>, tensor<?x64xf32>) outs(%r : tensor<?x48xf32>) -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}

// A generic whose loops have another order.
// CHECK-LABEL: func.func @generic
// CHECK: %[[Y:.*]] = lumen.linear %{{.*}}, %{{.*}} : tensor<?x64xf32>, tensor<48x64xf32> -> tensor<?x48xf32>
// CHECK: lumen.add %{{.*}}, %[[Y]]
func.func @generic(%x: tensor<?x64xf32>, %w: tensor<48x64x!lumen.q<@q8_0>>, %r: tensor<?x48xf32>)
    -> tensor<?x48xf32> {
  %f = lumen.dequantize %w : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(k, m, n) -> (m, k)>, affine_map<(k, m, n) -> (n, k)>,
                                        affine_map<(k, m, n) -> (m, n)>],
                       iterator_types = ["reduction", "parallel", "parallel"]}
    ins(%x, %f : tensor<?x64xf32>, tensor<48x64xf32>) outs(%r : tensor<?x48xf32>) {
  ^bb0(%a: f32, %b: f32, %sum: f32):
    %product = arith.mulf %b, %a : f32
    %next = arith.addf %product, %sum : f32
    linalg.yield %next : f32
  } -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}

// Beside an op of lumen, what follows it is one, too.
// CHECK-LABEL: func.func @elementwise
// CHECK-NEXT: %[[S:.*]] = lumen.silu %arg0
// CHECK-NEXT: %[[A:.*]] = lumen.add %[[S]], %arg1 : tensor<?x64xf32>
// CHECK-NEXT: %[[B:.*]] = lumen.mul %[[A]], %arg1 : tensor<?x64xf32>
// CHECK-NEXT: %[[C:.*]] = lumen.add %[[B]], %[[B]] : tensor<?x64xf32>
// CHECK-NEXT: return %[[C]]
func.func @elementwise(%z: tensor<?x64xf32>, %y: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %x = lumen.silu %z : tensor<?x64xf32>
  %a = linalg.add ins(%x, %y : tensor<?x64xf32>, tensor<?x64xf32>) outs(%x : tensor<?x64xf32>) -> tensor<?x64xf32>
  %b = linalg.mul ins(%a, %y : tensor<?x64xf32>, tensor<?x64xf32>) outs(%x : tensor<?x64xf32>) -> tensor<?x64xf32>
  %c = arith.addf %b, %b : tensor<?x64xf32>
  return %c : tensor<?x64xf32>
}

// Of a batch, rows of all matrices are rows; and a vector is one row.
// CHECK-LABEL: func.func @batch
// CHECK: %[[X:.*]] = tensor.collapse_shape %arg0 {{\[\[}}0, 1], [2]] : tensor<?x5x64xf32> into tensor<?x64xf32>
// CHECK: %[[Y:.*]] = lumen.linear %[[X]], %{{.*}} -> tensor<?x48xf32>
// CHECK: tensor.expand_shape %{{.*}} : tensor<?x48xf32> into tensor<?x5x48xf32>
func.func @batch(%x: tensor<?x5x64xf32>, %w: tensor<48x64x!lumen.q<@q8_0>>, %r: tensor<?x5x48xf32>)
    -> tensor<?x5x48xf32> {
  %f = lumen.dequantize %w : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  %y = linalg.contract indexing_maps = [affine_map<(b, m, n, k) -> (b, m, k)>, affine_map<(b, m, n, k) -> (n, k)>,
                                        affine_map<(b, m, n, k) -> (b, m, n)>]
    ins(%x, %f : tensor<?x5x64xf32>, tensor<48x64xf32>) outs(%r : tensor<?x5x48xf32>) -> tensor<?x5x48xf32>
  return %y : tensor<?x5x48xf32>
}
// CHECK-LABEL: func.func @vector
// CHECK: tensor.expand_shape %arg0
// CHECK: lumen.linear %{{.*}}, %{{.*}} : tensor<1x64xf32>, tensor<48x64xf32> -> tensor<1x48xf32>
func.func @vector(%x: tensor<64xf32>, %w: tensor<48x64x!lumen.q<@q8_0>>, %r: tensor<48xf32>) -> tensor<48xf32> {
  %f = lumen.dequantize %w : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  %y = linalg.matvec ins(%f, %x : tensor<48x64xf32>, tensor<64xf32>) outs(%r : tensor<48xf32>) -> tensor<48xf32>
  return %y : tensor<48xf32>
}

// Near misses. A square weight that is not transposed:
// CHECK-LABEL: func.func @not_transposed
// CHECK: linalg.matmul
func.func @not_transposed(%x: tensor<?x64xf32>, %r: tensor<?x64xf32>, %w: tensor<64x64x!lumen.q<@q8_0>>)
    -> tensor<?x64xf32> {
  %f = lumen.dequantize %w : tensor<64x64x!lumen.q<@q8_0>> -> tensor<64x64xf32>
  %y = linalg.matmul ins(%x, %f : tensor<?x64xf32>, tensor<64x64xf32>) outs(%r : tensor<?x64xf32>)
    -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// A matrix of floats, which has no packed layout:
// CHECK-LABEL: func.func @floats
// CHECK: linalg.matmul
func.func @floats(%x: tensor<?x64xf32>, %r: tensor<?x48xf32>, %w: tensor<48x64xf32>) -> tensor<?x48xf32> {
  %y = linalg.matmul indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>,
                                      affine_map<(m, n, k) -> (m, n)>]
    ins(%x, %w : tensor<?x64xf32>, tensor<48x64xf32>) outs(%r : tensor<?x48xf32>) -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}

// A body that does something else to a factor:
// CHECK-LABEL: func.func @other_body
// CHECK: linalg.generic
func.func @other_body(%x: tensor<?x64xf32>, %q: tensor<48x64x!lumen.q<@q8_0>>, %r: tensor<?x48xf32>)
    -> tensor<?x48xf32> {
  %w = lumen.dequantize %q : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>,
                                        affine_map<(m, n, k) -> (m, n)>],
                       iterator_types = ["parallel", "parallel", "reduction"]}
    ins(%x, %w : tensor<?x64xf32>, tensor<48x64xf32>) outs(%r : tensor<?x48xf32>) {
  ^bb0(%a: f32, %b: f32, %sum: f32):
    %negative = arith.negf %a : f32
    %product = arith.mulf %negative, %b : f32
    %next = arith.addf %sum, %product : f32
    linalg.yield %next : f32
  } -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}
