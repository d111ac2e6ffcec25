// SPDX-License-Identifier: Apache-2.0
//
// A product said in linalg takes the way of lumen.linear: codes meet codes in one
// kernel, which adds the rows from which the sum starts.
//
// RUN: lumen-opt %s --pass-pipeline='builtin.module(lumen-raise-linalg, \
// RUN:     lumen-fuse-quantized-linear, lumen-quantize-activations{mode=int8}, \
// RUN:     lumen-merge-linears, lumen-pack-weights{rows=16}, lumen-form-kernels, \
// RUN:     lumen-check-fused)' | FileCheck %s

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// CHECK-NOT: linalg.
// CHECK-NOT: lumen.dequantize
// CHECK-LABEL: func.func @in_linalg
// CHECK: call @[[QUANTIZE:quantize[a-z0-9_]*]](
// CHECK-NEXT: call @[[PRODUCT:qlinear_q8_0_48x64_add]](
// CHECK-NEXT: return
func.func @in_linalg(%x: tensor<?x64xf32>, %r: tensor<?x48xf32>, %w: tensor<48x64x!lumen.q<@q8_0>>)
    -> tensor<?x48xf32> {
  %f = lumen.dequantize %w : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  %empty = tensor.empty() : tensor<64x48xf32>
  %t = linalg.transpose ins(%f : tensor<48x64xf32>) outs(%empty : tensor<64x48xf32>) permutation = [1, 0]
  %y = linalg.matmul ins(%x, %t : tensor<?x64xf32>, tensor<64x48xf32>) outs(%r : tensor<?x48xf32>)
    -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}

// The same in lumen: it calls the same kernels.
// CHECK-LABEL: func.func @in_lumen
// CHECK: call @[[QUANTIZE]](
// CHECK-NEXT: call @[[PRODUCT]](
// CHECK-NEXT: return
func.func @in_lumen(%x: tensor<?x64xf32>, %r: tensor<?x48xf32>, %w: tensor<48x64x!lumen.q<@q8_0>>)
    -> tensor<?x48xf32> {
  %f = lumen.dequantize %w : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  %y = lumen.linear %x, %f : tensor<?x64xf32>, tensor<48x64xf32> -> tensor<?x48xf32>
  %z = lumen.add %r, %y : tensor<?x48xf32>
  return %z : tensor<?x48xf32>
}
// CHECK-NOT: linalg.
