// SPDX-License-Identifier: Apache-2.0
//
// Few tokens on many workers: these share tiles of rows, whose sums the last one of them adds up.
// RUN: cat %{targets}/sm_80.mlir %s | lumen-opt --lumen-fuse-quantized-linear --lumen-quantize-activations \
// RUN:   --lumen-merge-linears --lumen-pack-weights --lumen-form-kernels --lumen-bufferize \
// RUN:   --lumen-synthesize-product --canonicalize --cse | FileCheck %s

module attributes {lumen.max_tokens = 512 : i64, lumen.target = #target} {

lumen.format @four block(32) group(32) bits(4) bias(-8) storage(["d", "codes"]) {
^bb0(%d: f16, %codes: vector<32xi8>):
  %0 = lumen.stored %d bits(16) : f16
  lumen.decoded codes(%codes : vector<32xi8>) scale(%0 : f16)
}

// Four segments of 128 columns and one of 64; two tiles of rows; up to four tokens.
// CHECK-LABEL: func.func private @qlinear_four_40x576
// CHECK:         %[[FEW:.*]] = arith.cmpi ule, %[[TOKENS:.*]], %c4
// CHECK:         %[[SUMS:.*]] = memref.alloc() : memref<5x4x64xf32>
// CHECK:         %[[TILES:.*]] = arith.select %[[FEW]], %c2, %c0
// CHECK:         scf.forall (%[[TILE:.*]], %[[SEGMENT:.*]]) in (%[[TILES]], 5) {
// CHECK:           memref.subview %[[SUMS]][%[[SEGMENT]], %{{.*}}, %{{.*}}] [1, 4, 32]
// CHECK:           %[[LAST:.*]] = lumen.arrive %[[TILE]], %c5
// CHECK:           scf.if %[[LAST]] {
// CHECK:             tensor.extract_slice %{{.*}}[0, %{{.*}}, %{{.*}}] [1, 4, 32]
// CHECK:             tensor.extract_slice %{{.*}}[1, %{{.*}}, %{{.*}}] [1, 4, 32]
// CHECK:             tensor.extract_slice %{{.*}}[4, %{{.*}}, %{{.*}}] [1, 4, 32]
// CHECK:         } {lumen.nowait}
// More tokens: a worker adds up all segments, in the same order.
// CHECK:         arith.select %[[FEW]], %c0
// CHECK:         scf.forall
// CHECK:           scf.for %{{.*}} = %c0 to %c5 step %c1
// CHECK-NOT:       lumen.arrive
// CHECK:         return
func.func @shared(%x: tensor<?x576xf32>, %w: tensor<40x576x!lumen.q<@four>>) -> tensor<?x40xf32> {
  %0 = lumen.dequantize %w : tensor<40x576x!lumen.q<@four>> -> tensor<40x576xf32>
  %1 = lumen.linear %x, %0 : tensor<?x576xf32>, tensor<40x576xf32> -> tensor<?x40xf32>
  return %1 : tensor<?x40xf32>
}
}
