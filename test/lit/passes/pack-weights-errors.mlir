// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-pack-weights --split-input-file --verify-diagnostics
// RUN: not lumen-opt %s --lumen-pack-weights=rows=12 --split-input-file 2>&1 | FileCheck %s

// CHECK: error: rows must be a power of two of at most 64, got 12

// expected-error@below {{needs the module attribute lumen.target (lumen-opt --target=native gives it one) or the option rows to choose a packed layout}}
module {
}

// -----

#target = #lumen.target<name = "x86-64-v3", triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v3",
  features = "",
    vector_registers = 16, vector_bits = 256, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 16, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false>,
    pair_dot = <m = 1, n = 8, k = 2, lhs = si16, rhs = si16, acc = i32, accumulates = false>,
    rows = 8, tokens = 4>
module attributes {lumen.target = #target} {
func.func @computed(%x: tensor<64x64xf32>, %a: tensor<64x64xf32>) -> tensor<64x64xf32> {
  // expected-note@below {{the weight is made here}}
  %w = lumen.add %a, %a : tensor<64x64xf32>
  // expected-error@below {{operand 1 is a product weight and must be a function argument to be packed}}
  %y = lumen.qlinear activations(%x : tensor<64x64xf32>)
    weights(%w : tensor<64x64xf32>) -> tensor<64x64xf32>
  return %y : tensor<64x64xf32>
}
}

// -----

#target = #lumen.target<name = "x86-64-v3", triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v3",
  features = "",
    vector_registers = 16, vector_bits = 256, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 16, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false>,
    pair_dot = <m = 1, n = 8, k = 2, lhs = si16, rhs = si16, acc = i32, accumulates = false>,
    rows = 8, tokens = 4>
module attributes {lumen.target = #target} {
func.func @caller(%x: tensor<64x64xf32>, %a: tensor<64x64xf32>) -> tensor<64x64xf32> {
  // expected-note@below {{the weight is made here}}
  %w = lumen.add %a, %a : tensor<64x64xf32>
  // expected-error@below {{operand 1 is a product weight and must be a function argument to be packed}}
  %y = call @layer(%x, %w) : (tensor<64x64xf32>, tensor<64x64xf32>) -> tensor<64x64xf32>
  return %y : tensor<64x64xf32>
}
func.func private @layer(%x: tensor<64x64xf32>, %w: tensor<64x64xf32>) -> tensor<64x64xf32> {
  %y = lumen.qlinear activations(%x : tensor<64x64xf32>)
    weights(%w : tensor<64x64xf32>) -> tensor<64x64xf32>
  return %y : tensor<64x64xf32>
}
}
