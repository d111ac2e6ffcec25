// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --split-input-file --lumen-synthesize-routing --canonicalize --cse --verify-diagnostics | FileCheck %s

// The softmax of a row, then the largest number twice.
// CHECK-LABEL: func.func private @route
// CHECK-SAME:    %[[LOGITS:[a-z0-9]+]]: memref<?x8xf32>, %[[EXPERTS:[a-z0-9]+]]: memref<?x2xi32>, %[[WEIGHTS:[a-z0-9]+]]: memref<?x2xf32>
// CHECK-DAG:   %[[TOKENS:.*]] = memref.dim %[[LOGITS]], %c0
// CHECK-DAG:   %[[LAST:.*]] = arith.constant dense<7> : vector<8xi32>
// CHECK:       scf.forall (%[[T:[a-z0-9]+]]) in (%[[TOKENS]])
// CHECK:         vector.load %[[LOGITS]][%[[T]], %c0] : memref<?x8xf32>, vector<8xf32>
// CHECK:         vector.reduction <maxnumf>
// CHECK:         math.exp {{.*}} : vector<8xf32>
// CHECK:         scf.for %[[S:.*]] = %c0 to %c2 step %c1
// CHECK:           vector.reduction <maxnumf>, %{{.*}} : vector<8xf32> into f32
// CHECK:           arith.cmpf oeq
// CHECK:           %[[NUMBER:.*]] = vector.reduction <minui>, %{{.*}} : vector<8xi32> into i32
// CHECK:           memref.store %[[NUMBER]], %[[EXPERTS]][%[[T]], %[[S]]]
// CHECK:         arith.divf {{.*}} : vector<2xf32>
// CHECK:         vector.store %{{.*}}, %[[WEIGHTS]][%[[T]], %c0]
// CHECK-NOT:   lumen.
// CHECK:       return
func.func private @route(%logits: memref<?x8xf32>, %experts: memref<?x2xi32>,
    %weights: memref<?x2xf32>) attributes {lumen.kernel = "routing"} {
  %0 = bufferization.to_tensor %logits restrict : memref<?x8xf32> to tensor<?x8xf32>
  %e, %w = lumen.route %0 {gating = "softmax", normalized = true, scale = 1.0 : f32}
    : tensor<?x8xf32> -> tensor<?x2xi32>, tensor<?x2xf32>
  bufferization.materialize_in_destination %e in restrict writable %experts
    : (tensor<?x2xi32>, memref<?x2xi32>) -> ()
  bufferization.materialize_in_destination %w in restrict writable %weights
    : (tensor<?x2xf32>, memref<?x2xf32>) -> ()
  return
}

// -----

// The bias chooses, but is no part of the weights, which are not normalized.
// CHECK-LABEL: func.func private @sigmoid
// CHECK-SAME:    %{{.*}}: memref<?x60xf32>, %[[BIAS:[a-z0-9]+]]: memref<60xf32>
// CHECK:         %[[P:.*]] = arith.divf
// CHECK:         vector.store %[[P]], %[[KEPT:[a-z0-9_]+]][%c0]
// CHECK:         vector.load %[[BIAS]][%c0]
// CHECK:         %[[CHOICE:.*]] = arith.addf %[[P]]
// CHECK:         vector.store %[[CHOICE]]
// CHECK:         scf.for
// CHECK:           memref.load %[[KEPT]]
// CHECK-NOT:     arith.divf
// CHECK:         arith.mulf {{.*}} : vector<4xf32>
func.func private @sigmoid(%logits: memref<?x60xf32>, %bias: memref<60xf32>,
    %experts: memref<?x4xi32>, %weights: memref<?x4xf32>) attributes {lumen.kernel = "routing"} {
  %0 = bufferization.to_tensor %logits restrict : memref<?x60xf32> to tensor<?x60xf32>
  %1 = bufferization.to_tensor %bias restrict : memref<60xf32> to tensor<60xf32>
  %e, %w = lumen.route %0 bias(%1 : tensor<60xf32>)
      {gating = "sigmoid", normalized = false, scale = 2.5 : f32}
    : tensor<?x60xf32> -> tensor<?x4xi32>, tensor<?x4xf32>
  bufferization.materialize_in_destination %e in restrict writable %experts
    : (tensor<?x4xi32>, memref<?x4xi32>) -> ()
  bufferization.materialize_in_destination %w in restrict writable %weights
    : (tensor<?x4xf32>, memref<?x4xf32>) -> ()
  return
}

// -----

// A counting sort by one worker.
// CHECK-LABEL: func.func private @group
// CHECK-SAME:    %[[EXPERTS:[a-z0-9]+]]: memref<?x2xi32>, %[[SOURCE:[a-z0-9]+]]: memref<?x2xi32>, %[[PLACE:[a-z0-9]+]]: memref<?x2xi32>, %[[GROUPS:[a-z0-9]+]]: memref<9x2xi32>
// CHECK:       %[[TOKENS:.*]] = memref.dim %[[EXPERTS]], %c0
// CHECK:       %[[ONCE:.*]] = arith.minui %[[TOKENS]], %c1
// CHECK:       scf.forall (%{{.*}}) in (%[[ONCE]])
// CHECK:         scf.for %{{.*}} = %c0 to %c9
// CHECK:           memref.store %{{.*}}, %[[GROUPS]]
// CHECK:         %[[USED:.*]]:2 = scf.for %{{.*}} = %c0 to %c8 step %c1 iter_args
// CHECK:         memref.store %{{.*}}, %[[GROUPS]][%[[USED]]#0, %c1]
// CHECK:         memref.store %{{.*}}, %[[PLACE]]
// CHECK:         memref.store %{{.*}}, %[[SOURCE]]
// CHECK-NOT:   lumen.
// CHECK:       return
func.func private @group(%experts: memref<?x2xi32>, %source: memref<?x2xi32>,
    %place: memref<?x2xi32>, %groups: memref<9x2xi32>) attributes {lumen.kernel = "routing"} {
  %0 = bufferization.to_tensor %experts restrict : memref<?x2xi32> to tensor<?x2xi32>
  %s, %p, %g = lumen.group_tokens %0
    : tensor<?x2xi32> -> tensor<?x2xi32>, tensor<?x2xi32>, tensor<9x2xi32>
  bufferization.materialize_in_destination %s in restrict writable %source
    : (tensor<?x2xi32>, memref<?x2xi32>) -> ()
  bufferization.materialize_in_destination %p in restrict writable %place
    : (tensor<?x2xi32>, memref<?x2xi32>) -> ()
  bufferization.materialize_in_destination %g in restrict writable %groups
    : (tensor<9x2xi32>, memref<9x2xi32>) -> ()
  return
}

// -----

// expected-error @below {{a routing kernel holds one lumen.route or lumen.group_tokens, got 0}}
func.func private @nothing() attributes {lumen.kernel = "routing"} {
  return
}

// -----

// expected-error @below {{is a kernel and must have one block, got 0}}
func.func private @declared() attributes {lumen.kernel = "routing"}

// -----

func.func private @tensors(%experts: tensor<?x2xi32>) attributes {lumen.kernel = "routing"} {
  // expected-error @below {{experts must be read from a buffer, got 'tensor<?x2xi32>' made otherwise}}
  %s, %p, %g = lumen.group_tokens %experts
    : tensor<?x2xi32> -> tensor<?x2xi32>, tensor<?x2xi32>, tensor<9x2xi32>
  return
}
