// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-synthesize-tensors | FileCheck %s

// What a reduction alone reads is computed in its tiles, and needs no memory of
// the team.
// CHECK-LABEL: func.func private @fused
// CHECK-NOT: memref.alloc(
// CHECK: scf.forall (%{{.*}}) = (0) to (512) step (64)
// CHECK: memref.alloca
// CHECK: math.exp
// CHECK: arith.addf
// CHECK-NOT: scf.forall
// CHECK: return
func.func private @fused(%x: memref<512x64xf32>, %out: memref<512xf32>) attributes {lumen.kernel = "tensor"} {
  %zero = arith.constant 0.0 : f32
  %0 = bufferization.to_tensor %x restrict : memref<512x64xf32> to tensor<512x64xf32>
  %e = tensor.empty() : tensor<512x64xf32>
  %1 = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]} ins(%0 : tensor<512x64xf32>) outs(%e : tensor<512x64xf32>) {
  ^bb0(%a: f32, %o: f32):
    %p = math.exp %a : f32
    linalg.yield %p : f32
  } -> tensor<512x64xf32>
  %v = tensor.empty() : tensor<512xf32>
  %init = linalg.fill ins(%zero : f32) outs(%v : tensor<512xf32>) -> tensor<512xf32>
  %2 = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>],
      iterator_types = ["parallel", "reduction"]} ins(%1 : tensor<512x64xf32>) outs(%init : tensor<512xf32>) {
  ^bb0(%a: f32, %o: f32):
    %s = arith.addf %o, %a : f32
    linalg.yield %s : f32
  } -> tensor<512xf32>
  bufferization.materialize_in_destination %2 in restrict writable %out : (tensor<512xf32>, memref<512xf32>) -> ()
  return
}

// A loop is left to one worker, and an offset stays inside.
// CHECK-LABEL: func.func private @alone
// CHECK: %[[ONE:.*]] = arith.minui %{{.*}}, %{{.*}} : index
// CHECK: scf.forall (%{{.*}}) in (%[[ONE]])
// CHECK: scf.for
// CHECK: memref.store
func.func private @alone(%x: memref<8xf32>, %n: index, %out: memref<8xf32>) attributes {lumen.kernel = "tensor"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %one = arith.constant 1.0 : f32
  %0 = bufferization.to_tensor %x restrict : memref<8xf32> to tensor<8xf32>
  %1 = scf.for %i = %c0 to %n step %c1 iter_args(%t = %0) -> tensor<8xf32> {
    %u = tensor.insert %one into %t[%i] : tensor<8xf32>
    scf.yield %u : tensor<8xf32>
  }
  bufferization.materialize_in_destination %1 in restrict writable %out : (tensor<8xf32>, memref<8xf32>) -> ()
  return
}
