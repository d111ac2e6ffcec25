// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-synthesize-rows --split-input-file --verify-diagnostics

func.func private @product(%x: memref<?x64xf32>, %w: memref<64x64xf32>, %y: memref<?x64xf32>)
    attributes {lumen.kernel = "rows"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x64xf32> to tensor<?x64xf32>
  %1 = bufferization.to_tensor %w restrict : memref<64x64xf32> to tensor<64x64xf32>
  // expected-error @below {{'lumen.linear' op is not allowed in a kernel of kind "rows"}}
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

func.func private @rows_of_a_sum(%x: memref<?x64xf32>, %rows_at: memref<?xi32>, %y: memref<?x64xf32>)
    attributes {lumen.kernel = "rows"} {
  %rows = bufferization.to_tensor %rows_at restrict : memref<?xi32> to tensor<?xi32>
  %0 = bufferization.to_tensor %x restrict : memref<?x64xf32> to tensor<?x64xf32>
  %1 = lumen.add %0, %0 : tensor<?x64xf32>
  // expected-error @below {{'lumen.select_rows' op x must be read from a buffer, got 'tensor<?x64xf32>' made otherwise}}
  %2 = lumen.select_rows %1, %rows : tensor<?x64xf32>, tensor<?xi32> -> tensor<?x64xf32>
  bufferization.materialize_in_destination %2 in restrict writable %y
    : (tensor<?x64xf32>, memref<?x64xf32>) -> ()
  return
}

// -----

// expected-error @below {{is a kernel and must have one block, got 0}}
func.func private @declared(%x: memref<?x64xf32>) attributes {lumen.kernel = "rows"}

// -----

// expected-error @below {{is a kernel of buffers and must end in a func.return of nothing}}
func.func private @result(%x: tensor<?x64xf32>) -> tensor<?x64xf32> attributes {lumen.kernel = "rows"} {
  %0 = lumen.add %x, %x : tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

func.func private @argument(%x: tensor<?x64xf32>) attributes {lumen.kernel = "rows"} {
  // expected-error @below {{operand 0 is neither a buffer nor rows of the kernel: 'tensor<?x64xf32>'}}
  %0 = lumen.add %x, %x : tensor<?x64xf32>
  return
}

// -----

func.func private @nested(%x: memref<?x64xf32>, %c: i1) attributes {lumen.kernel = "rows"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x64xf32> to tensor<?x64xf32>
  scf.if %c {
    // expected-error @below {{works on tensors inside of a region of a kernel}}
    %1 = lumen.add %0, %0 : tensor<?x64xf32>
  }
  return
}

// -----

func.func private @strided(%x: memref<?x64xf32, strided<[128, 1]>>) attributes {lumen.kernel = "rows"} {
  // expected-error @below {{in a kernel takes plain buffers, got 'memref<?x64xf32, strided<[128, 1]>>'}}
  %0 = bufferization.to_tensor %x restrict : memref<?x64xf32, strided<[128, 1]>> to tensor<?x64xf32>
  %1 = lumen.add %0, %0 : tensor<?x64xf32>
  return
}

// -----

func.func private @columns(%x: memref<?x?xf32>) attributes {lumen.kernel = "rows"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x?xf32> to tensor<?x?xf32>
  // expected-error @below {{in a kernel needs known sizes of at least 1, got 'tensor<?x?xf32>'}}
  %1 = lumen.add %0, %0 : tensor<?x?xf32>
  return
}

// -----

// expected-error @below {{needs vectors of 8192 columns, more than 4096}}
func.func private @wide(%x: memref<?x8192xf32>, %t: memref<?x8192xf32>, %positions_at: memref<?xi32>)
    attributes {lumen.kernel = "rows"} {
  %positions = bufferization.to_tensor %positions_at restrict : memref<?xi32> to tensor<?xi32>
  %0 = bufferization.to_tensor %x restrict : memref<?x8192xf32> to tensor<?x8192xf32>
  %1 = bufferization.to_tensor %t restrict : memref<?x8192xf32> to tensor<?x8192xf32>
  %2 = lumen.rope %0, %1, %positions {head_dim = 8192 : i64, style = "neox"} : tensor<?x8192xf32>, tensor<?x8192xf32>, tensor<?xi32>
  return
}

// -----

func.func private @gathered(%x: memref<?x64xf32>, %s: memref<?x2xi32>, %w: memref<128xf32>)
    attributes {lumen.kernel = "rows"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x64xf32> to tensor<?x64xf32>
  %1 = bufferization.to_tensor %s restrict : memref<?x2xi32> to tensor<?x2xi32>
  // expected-error @below {{gathers rows of 64 columns in pieces of 128}}
  %2 = lumen.gather_rows %0, %1 : tensor<?x64xf32>, tensor<?x2xi32> -> tensor<?x128xf32>
  %c, %sc, %o, %m = lumen.quantize %2 {group = 128 : i64, sum_group = 32 : i64} : tensor<?x128xf32>
    -> tensor<?x128xi8>, tensor<?x1xf32>, tensor<?x4xi32>, tensor<?x4xf32>
  return
}
