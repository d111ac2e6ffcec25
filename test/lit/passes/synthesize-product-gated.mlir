// SPDX-License-Identifier: Apache-2.0
//
// RUN: lumen-opt %S/../Inputs/gated.mlir --lumen-synthesize-product --canonicalize --cse \
// RUN:   | FileCheck %s

// CHECK-LABEL: func.func private @gated(
// CHECK: %[[GATE_BIAS:.*]] = bufferization.to_tensor %arg3
// CHECK: %[[UP_BIAS:.*]] = bufferization.to_tensor %arg4
// CHECK: %[[TOKENS:.*]] = memref.dim %arg0, %c0
// CHECK: %[[SINGLE:.*]] = arith.cmpi eq, %[[TOKENS]], %c1
// CHECK: %[[RUNS:.*]] = arith.select %[[SINGLE]], %c1, %c0

// With a single token some tiles of the gate come first, and wait with their bias in the result.
// CHECK: scf.forall (%[[STEP:.*]]) in (%[[RUNS]]) {
// CHECK: %[[FIRST:.*]] = arith.muli %[[STEP]], %c4
// CHECK: %[[BEHIND:.*]] = arith.addi %[[FIRST]], %c4
// CHECK: %[[END:.*]] = arith.minui %[[BEHIND]], %c2
// CHECK: scf.for %{{.*}} = %[[FIRST]] to %[[END]] step %c1 {
// CHECK: %[[GATE:.*]] = scf.for {{.*}} -> (tensor<1x16xf32>)
// CHECK: tensor.extract_slice %[[GATE_BIAS]]
// CHECK-NOT: math.exp
// CHECK: bufferization.materialize_in_destination

// Then the same tiles of the other, whose bias alone is still to be added.
// CHECK: scf.for %{{.*}} = %[[FIRST]] to %[[END]] step %c1 {
// CHECK: %[[UP:.*]] = scf.for {{.*}} -> (tensor<1x16xf32>)
// CHECK: %[[BUFFER:.*]] = bufferization.to_tensor %arg5
// CHECK: %[[STORED:.*]] = tensor.extract_slice %[[BUFFER]]
// CHECK-NOT: tensor.extract_slice %[[GATE_BIAS]]
// CHECK: linalg.generic {{.*}} ins(%[[STORED]], %[[UP]], %{{.*}} : tensor<1x16xf32>, tensor<1x16xf32>, tensor<16xf32>)
// CHECK: math.exp
// CHECK: } {lumen.nowait}

// Several tokens share the weights, tile by tile.
// CHECK: %[[BLOCKS:.*]] = arith.select %[[SINGLE]], %c0, %
// CHECK: scf.forall (%{{.*}}, %{{.*}}) in (%[[BLOCKS]], 2) {
// CHECK: scf.for {{.*}} -> (tensor<4x16xf32>)
// CHECK: scf.for {{.*}} -> (tensor<4x16xf32>)
// CHECK-NOT: lumen.nowait
// CHECK: return
