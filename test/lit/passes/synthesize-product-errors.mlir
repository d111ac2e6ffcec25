// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-synthesize-product --split-input-file --verify-diagnostics
// RUN: not lumen-opt --lumen-synthesize-product=tokens=33 /dev/null 2>&1 | FileCheck %s
// CHECK: a tile has at most 32 tokens, not 33

// expected-error @below {{is a kernel and must have one block, got 0}}
func.func private @declared(%x: memref<?x64xf32>) attributes {lumen.kernel = "product"}

// -----

func.func private @tensor(%x: tensor<?x5xf32>, %weight: memref<192xi8>, %out: memref<?x7xf32>)
    attributes {lumen.kernel = "product"} {
  %w = lumen.from_bytes %weight : memref<192xi8> -> tensor<7x5xf16, #lumen.packed<rows = 16>>
  // expected-error @below {{needs activations in buffers, got 'tensor<?x5xf32>' made otherwise}}
  %y = lumen.qlinear activations(%x : tensor<?x5xf32>)
    weights(%w : tensor<7x5xf16, #lumen.packed<rows = 16>>) -> tensor<?x7xf32>
  bufferization.materialize_in_destination %y in restrict writable %out
    : (tensor<?x7xf32>, memref<?x7xf32>) -> ()
  return
}

// -----

func.func private @step(%x: memref<?x8xf32>, %weight: memref<256xi8>, %out: memref<?x7xf32>)
    attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x8xf32> to tensor<?x8xf32>
  %w = lumen.from_bytes %weight : memref<256xi8> -> tensor<7x8xf16, #lumen.packed<rows = 16, k = 2>>
  // expected-error @below {{takes 1 columns of a row in a step, but weight 0 is 'tensor<7x8xf16, #lumen.packed<rows = 16, k = 2>>'}}
  %y = lumen.qlinear activations(%0 : tensor<?x8xf32>)
    weights(%w : tensor<7x8xf16, #lumen.packed<rows = 16, k = 2>>) -> tensor<?x7xf32>
  bufferization.materialize_in_destination %y in restrict writable %out
    : (tensor<?x7xf32>, memref<?x7xf32>) -> ()
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

func.func private @codes(%x: memref<?x32xf32>, %weight: memref<576xi8>, %out: memref<?x7xf32>)
    attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x32xf32> to tensor<?x32xf32>
  %w = lumen.from_bytes %weight : memref<576xi8> -> tensor<7x32x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 8>>
  // expected-error @below {{takes 4 columns of a row in a step, but weight 0 is 'tensor<7x32x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 8>>'}}
  %y = lumen.qlinear activations(%0 : tensor<?x32xf32>)
    weights(%w : tensor<7x32x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 8>>) -> tensor<?x7xf32>
  bufferization.materialize_in_destination %y in restrict writable %out
    : (tensor<?x7xf32>, memref<?x7xf32>) -> ()
  return
}

// -----

func.func private @bias(%x: memref<?x5xf32>, %b: tensor<7xf32>, %weight: memref<192xi8>, %out: memref<?x7xf32>)
    attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x5xf32> to tensor<?x5xf32>
  %w = lumen.from_bytes %weight : memref<192xi8> -> tensor<7x5xf16, #lumen.packed<rows = 16>>
  // expected-error @below {{needs biases in buffers, got 'tensor<7xf32>' made otherwise}}
  %y = lumen.qlinear activations(%0 : tensor<?x5xf32>)
    weights(%w : tensor<7x5xf16, #lumen.packed<rows = 16>>) biases(%b : tensor<7xf32>) -> tensor<?x7xf32>
  bufferization.materialize_in_destination %y in restrict writable %out
    : (tensor<?x7xf32>, memref<?x7xf32>) -> ()
  return
}

// -----

func.func private @groups(%x: memref<?x8xf32>, %g: tensor<3x2xi32>, %weight: memref<512xi8>, %out: memref<?x16xf32>)
    attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x8xf32> to tensor<?x8xf32>
  %w = lumen.from_bytes %weight : memref<512xi8> -> tensor<32x8xf16, #lumen.packed<rows = 16>>
  // expected-error @below {{needs groups in a buffer, got 'tensor<3x2xi32>' made otherwise}}
  %y = lumen.qlinear activations(%0 : tensor<?x8xf32>) weights(%w : tensor<32x8xf16, #lumen.packed<rows = 16>>)
    groups(%g : tensor<3x2xi32>) -> tensor<?x16xf32>
  bufferization.materialize_in_destination %y in restrict writable %out
    : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  return
}

// -----

func.func private @joined(%x: memref<?x8xf32>, %g: memref<3x2xi32>, %weight: memref<512xi8>, %out: memref<?x16xf32>)
    attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x8xf32> to tensor<?x8xf32>
  %1 = bufferization.to_tensor %g restrict : memref<3x2xi32> to tensor<3x2xi32>
  %2 = bufferization.to_tensor %out restrict : memref<?x16xf32> to tensor<?x16xf32>
  %w = lumen.from_bytes %weight : memref<512xi8> -> tensor<32x8xf16, #lumen.packed<rows = 16>>
  %y = lumen.qlinear activations(%0 : tensor<?x8xf32>) weights(%w : tensor<32x8xf16, #lumen.packed<rows = 16>>)
    groups(%1 : tensor<3x2xi32>) -> tensor<?x16xf32>
  %z = lumen.add %y, %2 : tensor<?x16xf32>
  // expected-error @below {{of a product with groups joins it with another buffer}}
  bufferization.materialize_in_destination %z in restrict writable %out
    : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  return
}

// -----

func.func private @tiles(%x: memref<?x8xf32>, %a: memref<256xi8>, %b: memref<256xi8>, %out: memref<?x16xf32>)
    attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x8xf32> to tensor<?x8xf32>
  %v = lumen.from_bytes %a : memref<256xi8> -> tensor<16x8xf16, #lumen.packed<rows = 16>>
  %w = lumen.from_bytes %b : memref<256xi8> -> tensor<16x8xf16, #lumen.packed<rows = 8>>
  %g, %u = lumen.qlinear activations(%0 : tensor<?x8xf32>)
    weights(%v, %w : tensor<16x8xf16, #lumen.packed<rows = 16>>, tensor<16x8xf16, #lumen.packed<rows = 8>>)
    -> tensor<?x16xf32>, tensor<?x16xf32>
  %s = lumen.silu %g : tensor<?x16xf32>
  %z = lumen.mul %s, %u : tensor<?x16xf32>
  // expected-error @below {{joins products of weights in tiles of 16 and 8 rows}}
  bufferization.materialize_in_destination %z in restrict writable %out
    : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  return
}

// -----

func.func private @doubled(%x: memref<?x8xf32>, %a: memref<256xi8>, %out: memref<?x16xf32>)
    attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x8xf32> to tensor<?x8xf32>
  %v = lumen.from_bytes %a : memref<256xi8> -> tensor<16x8xf16, #lumen.packed<rows = 16>>
  // expected-error @below {{is followed by more than 64 values that meet in one result}}
  %1 = lumen.qlinear activations(%0 : tensor<?x8xf32>)
    weights(%v : tensor<16x8xf16, #lumen.packed<rows = 16>>) -> tensor<?x16xf32>
  %2 = lumen.add %1, %1 : tensor<?x16xf32>
  %3 = lumen.add %2, %2 : tensor<?x16xf32>
  %4 = lumen.add %3, %3 : tensor<?x16xf32>
  %5 = lumen.add %4, %4 : tensor<?x16xf32>
  %6 = lumen.add %5, %5 : tensor<?x16xf32>
  %7 = lumen.add %6, %6 : tensor<?x16xf32>
  bufferization.materialize_in_destination %7 in restrict writable %out
    : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  return
}

// -----

func.func private @open(%x: memref<?x8xf32>, %a: memref<?xi8>, %n: index, %out: memref<?x?xf32>)
    attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x8xf32> to tensor<?x8xf32>
  %v = lumen.from_bytes %a, %n : memref<?xi8> -> tensor<?x8xf16, #lumen.packed<rows = 16>>
  // expected-error @below {{in a kernel needs known sizes of at least 1, got 'tensor<?x?xf32>'}}
  %1 = lumen.qlinear activations(%0 : tensor<?x8xf32>)
    weights(%v : tensor<?x8xf16, #lumen.packed<rows = 16>>) -> tensor<?x?xf32>
  bufferization.materialize_in_destination %1 in restrict writable %out
    : (tensor<?x?xf32>, memref<?x?xf32>) -> ()
  return
}

// -----

func.func private @rows(%x: memref<?x8xf32>, %a: memref<?xi8>, %n: index, %out: memref<?x16xf32>)
    attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x8xf32> to tensor<?x8xf32>
  %v = lumen.from_bytes %a, %n : memref<?xi8> -> tensor<?x8xf16, #lumen.packed<rows = 16>>
  // expected-error @below {{needs weights of known sizes, but weight 0 is 'tensor<?x8xf16, #lumen.packed<rows = 16>>'}}
  %1 = lumen.qlinear activations(%0 : tensor<?x8xf32>)
    weights(%v : tensor<?x8xf16, #lumen.packed<rows = 16>>) -> tensor<?x16xf32>
  bufferization.materialize_in_destination %1 in restrict writable %out
    : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  return
}
