// SPDX-License-Identifier: Apache-2.0

// Two weights of 21 rows that meet in one result: gate and up.
func.func private @gated(%x: memref<?x5xf32>, %gate: memref<320xi8>, %up: memref<320xi8>,
    %b: memref<21xf32>, %c: memref<21xf32>, %out: memref<?x21xf32>)
    attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x5xf32> to tensor<?x5xf32>
  %1 = bufferization.to_tensor %b restrict : memref<21xf32> to tensor<21xf32>
  %2 = bufferization.to_tensor %c restrict : memref<21xf32> to tensor<21xf32>
  %g = lumen.from_bytes %gate : memref<320xi8> -> tensor<21x5xf16, #lumen.packed<rows = 16>>
  %u = lumen.from_bytes %up : memref<320xi8> -> tensor<21x5xf16, #lumen.packed<rows = 16>>
  %y:2 = lumen.qlinear activations(%0 : tensor<?x5xf32>)
    weights(%g, %u : tensor<21x5xf16, #lumen.packed<rows = 16>>, tensor<21x5xf16, #lumen.packed<rows = 16>>)
    biases(%1, %2 : tensor<21xf32>, tensor<21xf32>) -> tensor<?x21xf32>, tensor<?x21xf32>
  %a = lumen.silu %y#0 : tensor<?x21xf32>
  %s = lumen.mul %a, %y#1 : tensor<?x21xf32>
  bufferization.materialize_in_destination %s in restrict writable %out
    : (tensor<?x21xf32>, memref<?x21xf32>) -> ()
  return
}
