// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-synthesize-rows --canonicalize --cse | FileCheck %s

module attributes {lumen.target = #lumen.target<name = "armv8-a",
    triple = "aarch64-unknown-linux-gnu", cpu = "generic", features = "",
    vector_registers = 32, vector_bits = 128, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 8, k = 1, lhs = si8, rhs = si8, acc = i16>,
    rows = 8, tokens = 3>} {

// 256 columns are 64 registers. The squares are summed up in 64 lanes, four
// times, and the sums are added as the tree of 256 lanes does it.
// CHECK-LABEL: func.func private @rms_norm_quantize_512
// CHECK-SAME:    %[[X:[a-z0-9]+]]: memref<?x512xf32>, %{{[a-z0-9]+}}: memref<512xf32>, %[[CODES:[a-z0-9]+]]: memref<?x512xi8>
// CHECK:       %[[VALUES:.*]] = memref.alloca() {{.*}} : memref<256xf32>
// CHECK:       scf.forall
// CHECK:         %[[A:.*]] = scf.for %{{.*}} = %c0 to %c512 step %c256 {{.*}} -> (vector<64xf32>)
// CHECK:         %[[C:.*]] = scf.for %{{.*}} = %c128 to %c512 step %c256
// CHECK:         %[[EVEN:.*]] = arith.addf %[[A]], %[[C]]
// CHECK:         %[[B:.*]] = scf.for %{{.*}} = %c64 to %c512 step %c256
// CHECK:         %[[D:.*]] = scf.for %{{.*}} = %c192 to %c512 step %c256
// CHECK:         %[[ODD:.*]] = arith.addf %[[B]], %[[D]]
// CHECK:         arith.addf %[[EVEN]], %[[ODD]] : vector<64xf32>
// CHECK:         math.sqrt
// The largest magnitude of a group, whose values are kept.
// CHECK:         scf.for %{{.*}} = %c0 to %c256 step %c16 {{.*}} -> (vector<16xf32>)
// CHECK:           vector.load %[[X]]
// CHECK:           vector.store %{{.*}}, %[[VALUES]]
// CHECK:           math.absf
// CHECK:         vector.reduction <maxnumf>
// Its codes.
// CHECK:         scf.for %{{.*}} = %c0 to %c256 step %c32
// CHECK:           vector.load %[[VALUES]]{{.*}} vector<32xf32>
// CHECK:           vector.store %{{.*}}, %[[CODES]]{{.*}} vector<32xi8>
func.func private @rms_norm_quantize_512(%x: memref<?x512xf32>, %w: memref<512xf32>,
    %codes: memref<?x512xi8>, %scales: memref<?x2xf32>, %offsets: memref<?x16xi32>,
    %sums: memref<?x16xf32>) attributes {lumen.kernel = "rows"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x512xf32> to tensor<?x512xf32>
  %1 = bufferization.to_tensor %w restrict : memref<512xf32> to tensor<512xf32>
  %2 = lumen.rms_norm %0, %1 {epsilon = 1.0e-06 : f32} : tensor<?x512xf32>, tensor<512xf32>
  %c, %s, %o, %m = lumen.quantize %2 {group = 256 : i64} : tensor<?x512xf32>
    -> tensor<?x512xi8>, tensor<?x2xf32>, tensor<?x16xi32>, tensor<?x16xf32>
  bufferization.materialize_in_destination %c in restrict writable %codes
    : (tensor<?x512xi8>, memref<?x512xi8>) -> ()
  bufferization.materialize_in_destination %s in restrict writable %scales
    : (tensor<?x2xf32>, memref<?x2xf32>) -> ()
  bufferization.materialize_in_destination %o in restrict writable %offsets
    : (tensor<?x16xi32>, memref<?x16xi32>) -> ()
  bufferization.materialize_in_destination %m in restrict writable %sums
    : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  return
}

// What is only quantized is read twice instead.
// CHECK-LABEL: func.func private @quantize_512
// CHECK-SAME:    %[[X:[a-z0-9]+]]: memref<?x512xf32>
// CHECK-NOT:   memref.alloca
// CHECK:       scf.for %{{.*}} = %c0 to %c256 step %c32 {{.*}} -> (vector<32xf32>)
// CHECK:         vector.load %[[X]]
// CHECK:       scf.for %{{.*}} = %c0 to %c256 step %c32
// CHECK:         vector.load %[[X]]
func.func private @quantize_512(%x: memref<?x512xf32>,
    %codes: memref<?x512xi8>, %scales: memref<?x2xf32>, %offsets: memref<?x16xi32>,
    %sums: memref<?x16xf32>) attributes {lumen.kernel = "rows"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x512xf32> to tensor<?x512xf32>
  %c, %s, %o, %m = lumen.quantize %0 {group = 256 : i64} : tensor<?x512xf32>
    -> tensor<?x512xi8>, tensor<?x2xf32>, tensor<?x16xi32>, tensor<?x16xf32>
  bufferization.materialize_in_destination %c in restrict writable %codes
    : (tensor<?x512xi8>, memref<?x512xi8>) -> ()
  bufferization.materialize_in_destination %s in restrict writable %scales
    : (tensor<?x2xf32>, memref<?x2xf32>) -> ()
  bufferization.materialize_in_destination %o in restrict writable %offsets
    : (tensor<?x16xi32>, memref<?x16xi32>) -> ()
  bufferization.materialize_in_destination %m in restrict writable %sums
    : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  return
}

}
