// SPDX-License-Identifier: Apache-2.0
//
// RUN: lumen-opt %S/../Inputs/product.mlir --lumen-synthesize-product --canonicalize --cse \
// RUN:   | FileCheck %s
// RUN: lumen-opt %s -split-input-file -verify-diagnostics --lumen-synthesize-product

// Steps are numbered by three bits; those that do not number a load of the 4-bit
// plane number the shift.
// CHECK-DAG: #[[PLANE:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d1, d2, d4, d5)>
// CHECK-DAG: #[[CODES:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d1, d2, d3, d5)>
// CHECK-DAG: #[[SUMS:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d4)>

// CHECK-LABEL: func.func private @product(
// CHECK-NOT: lumen.qlinear
// CHECK: %[[PLANES:.*]] = memref.view %arg4{{.*}} : memref<1728xi8> to memref<3x2x2x2x16x4xi8>
// CHECK: %[[SCALES:.*]] = memref.view %arg4{{.*}} : memref<1728xi8> to memref<3x2x16xf16>
// CHECK: scf.forall (%{{.*}}, %[[TILE:.*]]) in (%{{.*}}, 3) {
// CHECK: scf.for %[[T:.*]] = %{{.*}} to %{{.*}} step %c8 {
// CHECK: %[[ACC:.*]] = scf.for {{.*}} -> (tensor<8x16xf32>) {
// The bias of the codes starts the sums.
// CHECK: %[[INIT:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<8x16xi32>)
// CHECK: arith.muli %{{.*}}, %c8_i32
// CHECK: %[[ISUM:.*]] = linalg.generic {indexing_maps = [#[[PLANE]], #[[CODES]], #[[SUMS]]]
// CHECK-SAME: iterator_types = ["parallel", "reduction", "reduction", "reduction", "parallel", "reduction"]
// CHECK-SAME: ins(%{{.*}}, %{{.*}} : tensor<2x2x16x4xi8>, tensor<8x2x2x2x4xi8>) outs(%[[INIT]] : tensor<8x16xi32>)
// CHECK: linalg.index 3
// CHECK: arith.shrui
// CHECK: arith.andi
// The weights' scales, then those of the activations.
// CHECK: %[[SCALED:.*]] = linalg.generic {{.*}} ins(%[[ISUM]], %{{.*}} : tensor<8x16xi32>, tensor<16xf16>)
// CHECK: arith.extf
// CHECK: linalg.generic {{.*}} ins(%[[SCALED]], %{{.*}} : tensor<8x16xf32>, tensor<8xf32>)
// CHECK: scf.yield
// The bias of the layer and the residual follow in registers; the last tile is partial.
// CHECK: scf.if
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<8x16xf32>)
// CHECK: bufferization.materialize_in_destination
// CHECK: else
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<8x10xf32>)
// CHECK: scf.for %{{.*}} step %c4 {
// CHECK: scf.for %{{.*}} step %c2 {
// CHECK: scf.for %{{.*}} step %c1 {

// A float weight needs no format.
func.func private @float(%x: memref<?x5xf32>, %weight: memref<192xi8>, %out: memref<?x7xf32>)
    attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x5xf32> to tensor<?x5xf32>
  %w = lumen.from_bytes %weight : memref<192xi8> -> tensor<7x5xf16, #lumen.packed<rows = 16>>
  %y = lumen.qlinear activations(%0 : tensor<?x5xf32>)
    weights(%w : tensor<7x5xf16, #lumen.packed<rows = 16>>) -> tensor<?x7xf32>
  bufferization.materialize_in_destination %y in restrict writable %out
    : (tensor<?x7xf32>, memref<?x7xf32>) -> ()
  return
}

// -----

// expected-error @below {{a product kernel holds one lumen.qlinear, got 0}}
func.func private @none(%x: memref<?x5xf32>) attributes {lumen.kernel = "product"} {
  return
}

// -----

func.func private @unpacked(%x: memref<?x5xf32>, %weight: memref<70xi8>, %out: memref<?x7xf32>)
    attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x5xf32> to tensor<?x5xf32>
  %w = lumen.from_bytes %weight : memref<70xi8> -> tensor<7x5xf16>
  // expected-error @below {{needs packed weights, but weight 0 is 'tensor<7x5xf16>'}}
  %y = lumen.qlinear activations(%0 : tensor<?x5xf32>) weights(%w : tensor<7x5xf16>) -> tensor<?x7xf32>
  bufferization.materialize_in_destination %y in restrict writable %out
    : (tensor<?x7xf32>, memref<?x7xf32>) -> ()
  return
}

// -----

func.func private @foreign(%x: memref<?x5xf32>, %n: memref<7xf32>, %weight: memref<192xi8>,
    %out: memref<?x7xf32>) attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x5xf32> to tensor<?x5xf32>
  %1 = bufferization.to_tensor %n restrict : memref<7xf32> to tensor<7xf32>
  %w = lumen.from_bytes %weight : memref<192xi8> -> tensor<7x5xf16, #lumen.packed<rows = 16>>
  %y = lumen.qlinear activations(%0 : tensor<?x5xf32>)
    weights(%w : tensor<7x5xf16, #lumen.packed<rows = 16>>) -> tensor<?x7xf32>
  // expected-error @below {{is not allowed in a kernel of kind "product"}}
  %z = lumen.rms_norm %y, %1 {epsilon = 1.0e-6 : f32} : tensor<?x7xf32>, tensor<7xf32>
  bufferization.materialize_in_destination %z in restrict writable %out
    : (tensor<?x7xf32>, memref<?x7xf32>) -> ()
  return
}

// -----

lumen.format @float_min block(64) group(32) bits(8) storage(["d", "m", "qs"]) {
^bb0(%d: f16, %m: vector<2xf16>, %qs: vector<64xi8>):
  lumen.decoded codes(%qs : vector<64xi8>) scale(%d : f16) min(%m : vector<2xf16>)
}
func.func private @pairs(%c: memref<?x64xi8>, %s: memref<?x1xf32>, %o: memref<?x2xi32>, %m: memref<?x2xi16>,
    %weight: memref<1152xi8>, %out: memref<?x16xf32>) attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %c restrict : memref<?x64xi8> to tensor<?x64xi8>
  %1 = bufferization.to_tensor %s restrict : memref<?x1xf32> to tensor<?x1xf32>
  %2 = bufferization.to_tensor %o restrict : memref<?x2xi32> to tensor<?x2xi32>
  %3 = bufferization.to_tensor %m restrict : memref<?x2xi16> to tensor<?x2xi16>
  %w = lumen.from_bytes %weight : memref<1152xi8> -> tensor<16x64x!lumen.q<@float_min>, #lumen.packed<rows = 16, k = 4>>
  // expected-error @below {{has activation sums of 16 bits, which the minima of float_min cannot meet in pairs}}
  %y = lumen.qlinear activations(%0, %1, %2, %3
      : tensor<?x64xi8>, tensor<?x1xf32>, tensor<?x2xi32>, tensor<?x2xi16>)
    weights(%w : tensor<16x64x!lumen.q<@float_min>, #lumen.packed<rows = 16, k = 4>>) -> tensor<?x16xf32>
  bufferization.materialize_in_destination %y in restrict writable %out
    : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  return
}
