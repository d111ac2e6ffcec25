// SPDX-License-Identifier: Apache-2.0
//
// RUN: lumen-opt %s --lumen-lower-dot4 --split-input-file --verify-diagnostics

// A shape that no instruction of the table has: smmla's.
// expected-error@+1 {{no instruction of x86_64 is known for #lumen.dot<m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32>}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "x86_64-unknown-linux-gnu",
  cpu = "", features = "", vector_registers = 16, vector_bits = 128, fma = false, f16 = false, cache_line = 64,
  dot = <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32>, rows = 4, tokens = 4>} {}

// -----

// expected-error@+1 {{no instruction of x86_64 is known for #lumen.dot<m = 1, n = 2, k = 2, lhs = si16, rhs = si16, acc = i64>}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "x86_64-unknown-linux-gnu",
  cpu = "", features = "", vector_registers = 16, vector_bits = 128, fma = false, f16 = false, cache_line = 64,
  pair_dot = <m = 1, n = 2, k = 2, lhs = si16, rhs = si16, acc = i64>, rows = 4, tokens = 4>} {}

// -----

// expected-error@+1 {{sums of #lumen.dot<m = 1, n = 8, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false> need a pair_dot that does not accumulate}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "x86_64-unknown-linux-gnu",
  cpu = "", features = "", vector_registers = 16, vector_bits = 128, fma = false, f16 = false, cache_line = 64,
  dot = <m = 1, n = 8, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false>, rows = 4, tokens = 4>} {}

// -----

// Two rows of activations at once.
// expected-error@+1 {{no instruction of aarch64 is known for #lumen.dot<m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32>}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "aarch64-unknown-linux-gnu",
  cpu = "", features = "", vector_registers = 32, vector_bits = 128, fma = true, f16 = true, cache_line = 64,
  dot = <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32>, rows = 4, tokens = 4>} {}

// -----

// expected-error@+1 {{no instruction of aarch64 is known for #lumen.dot<m = 1, n = 4, k = 2, lhs = si16, rhs = si16, acc = i32>}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "aarch64-unknown-linux-gnu",
  cpu = "", features = "", vector_registers = 32, vector_bits = 128, fma = true, f16 = true, cache_line = 64,
  pair_dot = <m = 1, n = 4, k = 2, lhs = si16, rhs = si16, acc = i32>, rows = 4, tokens = 4>} {}

// -----

// Codes that are unsigned, without the instruction for them.
// expected-error@+1 {{no instruction of aarch64 is known for #lumen.dot<m = 1, n = 4, k = 4, lhs = si8, rhs = ui8, acc = i32>}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "aarch64-unknown-linux-gnu",
  cpu = "", features = "+dotprod", vector_registers = 32, vector_bits = 128, fma = true, f16 = true, cache_line = 64,
  dot = <m = 1, n = 4, k = 4, lhs = si8, rhs = ui8, acc = i32>, rows = 4, tokens = 4>} {}

// -----

// An architecture of which only LLVM's code generator is known.
// expected-error@+1 {{no instruction of riscv64 is known for #lumen.dot<m = 1, n = 4, k = 4, lhs = si8, rhs = si8, acc = i32>}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "riscv64-unknown-linux-gnu",
  cpu = "", features = "", vector_registers = 32, vector_bits = 128, fma = true, f16 = true, cache_line = 64,
  dot = <m = 1, n = 4, k = 4, lhs = si8, rhs = si8, acc = i32>, rows = 4, tokens = 4>} {}

// -----

// The relaxed instruction without its feature.
// expected-error@+1 {{no instruction of wasm32 is known for #lumen.dot<m = 1, n = 4, k = 4, lhs = si8, rhs = ui8, acc = i32>}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "wasm32-unknown-unknown",
  cpu = "", features = "+simd128", vector_registers = 16, vector_bits = 128, fma = false, f16 = false, cache_line = 64,
  dot = <m = 1, n = 4, k = 4, lhs = si8, rhs = ui8, acc = i32>, rows = 4, tokens = 4>} {}

// -----

// Lanes have parts of an instruction's whole k.
// expected-error@+1 {{no instruction of GPUs is known for #lumen.dot<m = 16, n = 8, k = 16, lhs = si8, rhs = si8, acc = i32, weights_left = true>}}
module attributes {lumen.target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>,
  mma = <m = 16, n = 8, k = 16, lhs = si8, rhs = si8, acc = i32, weights_left = true>, warp = 32, rows = 32, tokens = 4>} {}
