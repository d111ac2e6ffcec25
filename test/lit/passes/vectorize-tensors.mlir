// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-vectorize-tensors | FileCheck %s

// CHECK-LABEL: func.func private @rows
// CHECK-NOT: linalg
// CHECK: vector.load %{{.*}} : memref<4x10xf32>, vector<4xf32>
// CHECK: arith.mulf %{{.*}} : vector<4xf32>
// CHECK: vector.store
// What is left of a row:
// CHECK: memref.load
// CHECK: arith.mulf %{{.*}} : f32
// CHECK: memref.store
func.func private @rows(%x: memref<4x10xf32>, %out: memref<4x10xf32>) attributes {lumen.kernel = "tensor"} {
  scf.forall (%i) in (4) {
    linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>],
        iterator_types = ["parallel", "parallel"]} ins(%x : memref<4x10xf32>) outs(%out : memref<4x10xf32>) {
    ^bb0(%a: f32, %o: f32):
      %m = arith.mulf %a, %a : f32
      linalg.yield %m : f32
    }
  }
  return
}

// A sum has four vectors, added up in a fixed order.
// CHECK-LABEL: func.func private @sum
// CHECK: %[[S:.*]] = arith.addf %{{.*}} : vector<16xf32>
// CHECK: arith.addf %{{.*}} : vector<8xf32>
// CHECK: arith.addf %{{.*}} : vector<4xf32>
// CHECK: arith.addf %{{.*}} : vector<2xf32>
// CHECK: arith.addf %{{.*}} : vector<1xf32>
func.func private @sum(%x: memref<64xf32>, %out: memref<f32>) attributes {lumen.kernel = "tensor"} {
  scf.forall (%i) in (1) {
    linalg.generic {indexing_maps = [affine_map<(j) -> (j)>, affine_map<(j) -> ()>],
        iterator_types = ["reduction"]} ins(%x : memref<64xf32>) outs(%out : memref<f32>) {
    ^bb0(%a: f32, %o: f32):
      %s = arith.addf %o, %a : f32
      linalg.yield %s : f32
    }
  }
  return
}
