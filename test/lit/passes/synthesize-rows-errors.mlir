// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-synthesize-rows --split-input-file --verify-diagnostics

func.func private @product(%x: memref<?x64xf32>, %w: memref<64x64xf32>, %y: memref<?x64xf32>)
    attributes {lumen.kernel = "rows"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x64xf32> to tensor<?x64xf32>
  %1 = bufferization.to_tensor %w restrict : memref<64x64xf32> to tensor<64x64xf32>
  // expected-error @below {{'lumen.linear' op does not work row by row}}
  %2 = lumen.linear %0, %1 : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  bufferization.materialize_in_destination %2 in restrict writable %y
    : (tensor<?x64xf32>, memref<?x64xf32>) -> ()
  return
}

// -----

// expected-error @below {{has nothing to compute row by row}}
func.func private @empty(%x: memref<?x64xf32>) attributes {lumen.kernel = "rows"} {
  return
}

// -----

func.func private @rows_of_a_sum(%x: memref<?x64xf32>, %first: index, %y: memref<?x64xf32>)
    attributes {lumen.kernel = "rows"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x64xf32> to tensor<?x64xf32>
  %1 = lumen.add %0, %0 : tensor<?x64xf32>
  // expected-error @below {{'lumen.last_rows' op must read an argument of the kernel}}
  %2 = lumen.last_rows %1, %first : tensor<?x64xf32> -> tensor<?x64xf32>
  bufferization.materialize_in_destination %2 in restrict writable %y
    : (tensor<?x64xf32>, memref<?x64xf32>) -> ()
  return
}

// -----

func.func private @mixed_rows(%x: memref<?x64xf32>, %first: index, %y: memref<?x64xf32>)
    attributes {lumen.kernel = "rows"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x64xf32> to tensor<?x64xf32>
  %1 = lumen.last_rows %0, %first : tensor<?x64xf32> -> tensor<?x64xf32>
  // expected-error @below {{'lumen.add' op reads other rows than the kernel's lumen.last_rows}}
  %2 = lumen.add %1, %0 : tensor<?x64xf32>
  bufferization.materialize_in_destination %2 in restrict writable %y
    : (tensor<?x64xf32>, memref<?x64xf32>) -> ()
  return
}
