// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-vectorize-product --split-input-file --verify-diagnostics

// expected-error @below {{is a kernel and must have one block, got 0}}
func.func private @declared(%x: memref<?x64xf32>) attributes {lumen.kernel = "product"}

// -----

#row = affine_map<(d0) -> (d0)>
func.func private @used(%y: memref<8xf32>) attributes {lumen.kernel = "product"} {
  %zero = arith.constant dense<0.0> : tensor<8xf32>
  %i = arith.constant 0 : index
  // expected-error @below {{in a product kernel uses the tensor of arith.constant, which becomes registers}}
  %x = tensor.extract %zero[%i] : tensor<8xf32>
  memref.store %x, %y[%i] : memref<8xf32>
  return
}

// -----

func.func private @point() attributes {lumen.kernel = "product"} {
  // expected-error @below {{in a product kernel needs one value in all lanes}}
  %zero = arith.constant dense<0.0> : tensor<f32>
  return
}

// -----

func.func private @empty(%n: index) attributes {lumen.kernel = "product"} {
  // expected-error @below {{in a product kernel needs a static shape}}
  %0 = tensor.empty(%n) : tensor<?xf32>
  return
}

// -----

func.func private @unranked(%x: memref<*xf32>) attributes {lumen.kernel = "product"} {
  // expected-error @below {{in a product kernel needs a buffer of known rank}}
  %0 = bufferization.to_tensor %x restrict : memref<*xf32> to tensor<*xf32>
  return
}

// -----

#row = affine_map<(d0, d1) -> (d0)>
#all = affine_map<(d0, d1) -> (d0, d1)>
func.func private @points(%x: memref<1024xf32>) attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<1024xf32> to tensor<1024xf32>
  %1 = arith.constant dense<0.0> : tensor<1024x1024xf32>
  %2 = arith.constant dense<0.0> : tensor<1024xf32>
  %c = arith.constant 0 : index
  %3 = linalg.generic {indexing_maps = [#row, #all], iterator_types = ["parallel", "parallel"]}
      ins(%0 : tensor<1024xf32>) outs(%1 : tensor<1024x1024xf32>) {
  ^bb0(%a: f32, %b: f32):
    %n = memref.dim %x, %c : memref<1024xf32>
    // expected-error @below {{in a product kernel is no arithmetic on scalars}}
    %s, %t = arith.mului_extended %n, %n : index
    linalg.yield %a : f32
  } -> tensor<1024x1024xf32>
  return
}

// -----

#row = affine_map<(d0, d1, d2) -> (d2)>
#all = affine_map<(d0, d1, d2) -> (d0, d1)>
func.func private @endless(%x: memref<1024xf32>) attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<1024xf32> to tensor<1024xf32>
  %1 = arith.constant dense<0.0> : tensor<1024x1024xf32>
  // expected-error @below {{has more than 1048576 points to unroll, or none}}
  %2 = linalg.generic {indexing_maps = [#row, #all], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%0 : tensor<1024xf32>) outs(%1 : tensor<1024x1024xf32>) {
  ^bb0(%a: f32, %b: f32):
    linalg.yield %a : f32
  } -> tensor<1024x1024xf32>
  return
}

// -----

func.func private @store(%x: tensor<8xf32>) attributes {lumen.kernel = "product"} {
  %0 = arith.constant dense<0.0> : tensor<8xf32>
  // expected-error @below {{in a product kernel stores a register tile to a buffer}}
  %1 = bufferization.materialize_in_destination %0 in %x : (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
  return
}

// -----

func.func private @yield(%a: index, %b: index, %c: index) attributes {lumen.kernel = "product"} {
  %0 = arith.constant dense<0.0> : tensor<8xf32>
  %1 = scf.for %i = %a to %b step %c iter_args(%acc = %0) -> tensor<8xf32> {
    %2 = scf.execute_region -> tensor<8xf32> {
      scf.yield %acc : tensor<8xf32>
    }
    // expected-error @below {{in a product kernel gives register tiles of the shape of those the loop begins with}}
    scf.yield %2 : tensor<8xf32>
  }
  return
}

// -----

#row = affine_map<(d0) -> (d0)>
func.func private @captured(%v: vector<4xf32>) attributes {lumen.kernel = "product"} {
  %0 = arith.constant dense<0.0> : tensor<8xf32>
  // expected-error @below {{uses 'vector<4xf32>' as a scalar}}
  %1 = linalg.generic {indexing_maps = [#row], iterator_types = ["parallel"]} outs(%0 : tensor<8xf32>) {
  ^bb0(%b: f32):
    %s = vector.extract %v[0] : f32 from vector<4xf32>
    linalg.yield %s : f32
  } -> tensor<8xf32>
  return
}

// -----

func.func private @half_a_vector() attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %0 = arith.constant dense<0.0> : tensor<2x8xf32>
  // expected-error @below {{in a product kernel takes one vector of a register tile}}
  %1 = vector.transfer_read %0[%c0, %c0], %zero {in_bounds = [true]} : tensor<2x8xf32>, vector<4xf32>
  return
}

// -----

func.func private @behind_the_tile() attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %c2 = arith.constant 2 : index
  %zero = arith.constant 0.0 : f32
  %0 = arith.constant dense<0.0> : tensor<2x8xf32>
  // expected-error @below {{in a product kernel takes one vector of a register tile}}
  %1 = vector.transfer_read %0[%c2, %c0], %zero {in_bounds = [true]} : tensor<2x8xf32>, vector<8xf32>
  return
}
