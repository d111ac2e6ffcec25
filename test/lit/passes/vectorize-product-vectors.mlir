// RUN: lumen-opt %s --lumen-vectorize-product --canonicalize | FileCheck %s

// One vector of a register tile, for what works on vectors itself.
// CHECK-LABEL: func.func private @vector_of_a_tile(
// CHECK:         %[[ROW:.*]] = vector.load %{{.*}}, vector<8xf32>
// CHECK:         %[[SUM:.*]] = arith.addf %{{.*}}, %{{.*}} : vector<8xf32>
// CHECK:         arith.mulf %[[SUM]], %[[SUM]] : vector<8xf32>
#all = affine_map<(d0, d1) -> (d0, d1)>
func.func private @vector_of_a_tile(%x: memref<2x8xf32>, %y: memref<8xf32>) attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %pad = arith.constant 0.0 : f32
  %zero = arith.constant dense<0.0> : tensor<2x8xf32>
  %rows = bufferization.to_tensor %x restrict : memref<2x8xf32> to tensor<2x8xf32>
  %tile = linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel"]}
      ins(%rows : tensor<2x8xf32>) outs(%zero : tensor<2x8xf32>) {
  ^bb0(%in: f32, %out: f32):
    %sum = arith.addf %in, %in : f32
    linalg.yield %sum : f32
  } -> tensor<2x8xf32>
  %row = vector.transfer_read %tile[%c1, %c0], %pad {in_bounds = [true]} : tensor<2x8xf32>, vector<8xf32>
  %square = arith.mulf %row, %row : vector<8xf32>
  vector.store %square, %y[%c0] : memref<8xf32>, vector<8xf32>
  return
}
