// SPDX-License-Identifier: Apache-2.0
//
// A bufferized product kernel: 42 rows (two tiles of 16 and one of 10) of 64
// columns, with a bias and a residual.
module attributes {lumen.target = #lumen.target<name = "x86-64-v4+vnni",
    triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v4", features = "+avx512vnni",
    vector_registers = 32, vector_bits = 512, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 16, k = 4, lhs = si8, rhs = ui8, acc = i32>,
    pair_dot = <m = 1, n = 16, k = 2, lhs = si16, rhs = si16, acc = i32>,
    rows = 16, tokens = 8>} {
  lumen.format @q4_0 block(32) group(32) bits(4) bias(-8) storage(["d", "qs"]) {
  ^bb0(%d: f16, %qs: vector<16xi8>):
    %mask = arith.constant dense<15> : vector<16xi8>
    %four = arith.constant dense<4> : vector<16xi8>
    %lo = arith.andi %qs, %mask : vector<16xi8>
    %hi = arith.shrui %qs, %four : vector<16xi8>
    %codes = vector.shuffle %lo, %hi [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
      15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31]
      : vector<16xi8>, vector<16xi8>
    lumen.decoded codes(%codes : vector<32xi8>) scale(%d : f16)
  }
  func.func private @product(%codes: memref<?x64xi8>, %scales: memref<?x2xf32>,
      %offsets: memref<?x2xi32>, %sums: memref<?x2xf32>, %weight: memref<1728xi8>,
      %bias: memref<42xf32>, %residual: memref<?x42xf32>, %out: memref<?x42xf32>)
      attributes {lumen.kernel = "product"} {
    %c = bufferization.to_tensor %codes restrict : memref<?x64xi8> to tensor<?x64xi8>
    %s = bufferization.to_tensor %scales restrict : memref<?x2xf32> to tensor<?x2xf32>
    %o = bufferization.to_tensor %offsets restrict : memref<?x2xi32> to tensor<?x2xi32>
    %m = bufferization.to_tensor %sums restrict : memref<?x2xf32> to tensor<?x2xf32>
    %w = lumen.from_bytes %weight : memref<1728xi8>
      -> tensor<42x64x!lumen.q<@q4_0>, #lumen.packed<rows = 16, k = 4>>
    %b = bufferization.to_tensor %bias restrict : memref<42xf32> to tensor<42xf32>
    %r = bufferization.to_tensor %residual restrict : memref<?x42xf32> to tensor<?x42xf32>
    %y = lumen.qlinear activations(%c, %s, %o, %m
        : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>)
      weights(%w : tensor<42x64x!lumen.q<@q4_0>, #lumen.packed<rows = 16, k = 4>>)
      biases(%b : tensor<42xf32>) -> tensor<?x42xf32>
    %z = lumen.add %y, %r : tensor<?x42xf32>
    bufferization.materialize_in_destination %z in restrict writable %out
      : (tensor<?x42xf32>, memref<?x42xf32>) -> ()
    return
  }
}
