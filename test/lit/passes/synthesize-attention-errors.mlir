// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-synthesize-attention --split-input-file --verify-diagnostics

// expected-error @below {{holds 0 lumen.attention, expected one}}
func.func private @none(%q: memref<?x64xf32>) attributes {lumen.kernel = "attention"} {
  return
}

// -----

func.func private @group(%q: memref<?x96xf32>, %k: memref<1x1x?x48x16xf32>,
    %v: memref<1x1x?x16x48xf32>, %layer: index, %positions_at: memref<?xi32>,
    %pages_at: memref<?x?xi32>, %runs_at: memref<?x3xi32>, %codes: memref<?x96xi8>)
    attributes {lumen.kernel = "attention"} {
  %positions = bufferization.to_tensor %positions_at restrict : memref<?xi32> to tensor<?xi32>
  %pages = bufferization.to_tensor %pages_at restrict : memref<?x?xi32> to tensor<?x?xi32>
  %runs = bufferization.to_tensor %runs_at restrict : memref<?x3xi32> to tensor<?x3xi32>
  %0 = bufferization.to_tensor %q restrict : memref<?x96xf32> to tensor<?x96xf32>
  %1 = bufferization.to_tensor %k restrict : memref<1x1x?x48x16xf32> to tensor<1x1x?x48x16xf32>
  %2 = bufferization.to_tensor %v restrict : memref<1x1x?x16x48xf32> to tensor<1x1x?x16x48xf32>
  %3 = lumen.attention %0, %1, %2, %layer, %positions, %pages, %runs
      {heads = 2 : i64, kv_heads = 1 : i64, scale = 1.250000e-01 : f32}
    : tensor<?x96xf32>, tensor<1x1x?x48x16xf32>, tensor<1x1x?x16x48xf32>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  // expected-error @below {{cannot join attention: its group of 32 does not divide the head dimension of 48}}
  %c, %s, %o, %m = lumen.quantize %3 {group = 32 : i64, sum_group = 32 : i64} : tensor<?x96xf32>
    -> tensor<?x96xi8>, tensor<?x3xf32>, tensor<?x3xi32>, tensor<?x3xf32>
  bufferization.materialize_in_destination %c in restrict writable %codes
    : (tensor<?x96xi8>, memref<?x96xi8>) -> ()
  return
}

// -----

func.func private @tensors(%q: tensor<?x64xf32>, %k: tensor<1x1x?x64x16xf32>,
    %v: tensor<1x1x?x16x64xf32>, %layer: index, %positions_at: memref<?xi32>,
    %pages_at: memref<?x?xi32>, %runs_at: memref<?x3xi32>) attributes {lumen.kernel = "attention"} {
  %positions = bufferization.to_tensor %positions_at restrict : memref<?xi32> to tensor<?xi32>
  %pages = bufferization.to_tensor %pages_at restrict : memref<?x?xi32> to tensor<?x?xi32>
  %runs = bufferization.to_tensor %runs_at restrict : memref<?x3xi32> to tensor<?x3xi32>
  // expected-error @below {{q must be read from a buffer, got 'tensor<?x64xf32>' made otherwise}}
  %0 = lumen.attention %q, %k, %v, %layer, %positions, %pages, %runs
      {heads = 1 : i64, kv_heads = 1 : i64, scale = 1.250000e-01 : f32}
    : tensor<?x64xf32>, tensor<1x1x?x64x16xf32>, tensor<1x1x?x16x64xf32>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return
}

// -----

func.func private @two(%q: memref<?x64xf32>, %k: memref<1x1x?x64x16xf32>,
    %v: memref<1x1x?x16x64xf32>, %layer: index, %positions_at: memref<?xi32>,
    %pages_at: memref<?x?xi32>, %runs_at: memref<?x3xi32>) attributes {lumen.kernel = "attention"} {
  %positions = bufferization.to_tensor %positions_at restrict : memref<?xi32> to tensor<?xi32>
  %pages = bufferization.to_tensor %pages_at restrict : memref<?x?xi32> to tensor<?x?xi32>
  %runs = bufferization.to_tensor %runs_at restrict : memref<?x3xi32> to tensor<?x3xi32>
  %0 = bufferization.to_tensor %q restrict : memref<?x64xf32> to tensor<?x64xf32>
  %1 = bufferization.to_tensor %k restrict : memref<1x1x?x64x16xf32> to tensor<1x1x?x64x16xf32>
  %2 = bufferization.to_tensor %v restrict : memref<1x1x?x16x64xf32> to tensor<1x1x?x16x64xf32>
  %3 = lumen.attention %0, %1, %2, %layer, %positions, %pages, %runs
      {heads = 1 : i64, kv_heads = 1 : i64, scale = 1.250000e-01 : f32}
    : tensor<?x64xf32>, tensor<1x1x?x64x16xf32>, tensor<1x1x?x16x64xf32>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  // expected-error @below {{in an attention kernel must be the only one, of the result of lumen.attention}}
  %c, %s, %o, %m = lumen.quantize %0 {group = 32 : i64, sum_group = 32 : i64} : tensor<?x64xf32>
    -> tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>
  return
}

// -----

func.func private @wide(%q: memref<?x8192xf32>, %k: memref<1x1x?x8192x16xf32>,
    %v: memref<1x1x?x16x8192xf32>, %layer: index, %positions_at: memref<?xi32>,
    %pages_at: memref<?x?xi32>, %runs_at: memref<?x3xi32>) attributes {lumen.kernel = "attention"} {
  %positions = bufferization.to_tensor %positions_at restrict : memref<?xi32> to tensor<?xi32>
  %pages = bufferization.to_tensor %pages_at restrict : memref<?x?xi32> to tensor<?x?xi32>
  %runs = bufferization.to_tensor %runs_at restrict : memref<?x3xi32> to tensor<?x3xi32>
  %0 = bufferization.to_tensor %q restrict : memref<?x8192xf32> to tensor<?x8192xf32>
  %1 = bufferization.to_tensor %k restrict : memref<1x1x?x8192x16xf32> to tensor<1x1x?x8192x16xf32>
  %2 = bufferization.to_tensor %v restrict : memref<1x1x?x16x8192xf32> to tensor<1x1x?x16x8192xf32>
  // expected-error @below {{has heads of 8192 values, more than 4096}}
  %3 = lumen.attention %0, %1, %2, %layer, %positions, %pages, %runs
      {heads = 1 : i64, kv_heads = 1 : i64, scale = 1.250000e-01 : f32}
    : tensor<?x8192xf32>, tensor<1x1x?x8192x16xf32>, tensor<1x1x?x16x8192xf32>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return
}
