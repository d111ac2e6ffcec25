// RUN: lumen-opt %s -pass-pipeline='builtin.module(lumen-distribute-lanes)' -split-input-file -verify-diagnostics

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

func.func private @transposed(%a: memref<32xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %x = vector.load %a[%c0] : memref<32xf32>, vector<32xf32>
  // expected-error@+1 {{cannot be distributed over the lanes of a warp: it makes a 'vector<4x8xf32>'}}
  %y = vector.shape_cast %x : vector<32xf32> to vector<4x8xf32>
  return
}
}

// -----

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

// What is added up in fours is in one lane, but sums are in lanes of their own.
func.func private @apart(%a: memref<512xi8>, %b: memref<128xi32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %zero = arith.constant dense<0> : vector<32xi32>
  %x = vector.load %a[%c0] : memref<512xi8>, vector<4xi8>
  %w = vector.load %a[%c0] : memref<512xi8>, vector<512xi8>
  %words = vector.load %b[%c0] : memref<128xi32>, vector<128xi32>
  %bytes = arith.trunci %words : vector<128xi32> to vector<128xi8>
  %s = lumen.dot4 %bytes, %x, %zero {bits = 8 : i64, signed_codes} : vector<128xi8>, vector<4xi8>, vector<32xi32>
  // expected-error@+1 {{cannot be distributed: lanes have 4 elements of 'vector<128xi32>' at a time, but it needs 1}}
  %t = lumen.dot4 %w, %x, %words {bits = 8 : i64, signed_codes} : vector<512xi8>, vector<4xi8>, vector<128xi32>
  return
}
}

// -----

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

func.func private @from_outside(%x: vector<32xf32>, %a: memref<32xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  // expected-error@+1 {{cannot be distributed over the lanes of a warp: nothing in its kernel makes the vector}}
  vector.store %x, %a[%c0] : memref<32xf32>, vector<32xf32>
  return
}
}

// -----

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

func.func private @gathered(%a: memref<32xf32>, %mask: memref<32xi32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %at = vector.load %mask[%c0] : memref<32xi32>, vector<32xi32>
  %true = arith.constant dense<true> : vector<32xi1>
  %zero = arith.constant dense<0.0> : vector<32xf32>
  // expected-error@+1 {{cannot be distributed over the lanes of a warp}}
  %y = vector.gather %a[%c0] [%at], %true, %zero : memref<32xf32>, vector<32xi32>, vector<32xi1>, vector<32xf32> into vector<32xf32>
  return
}
}

// -----

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

func.func private @table(%a: memref<32xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  // expected-error@+1 {{cannot be distributed: its elements follow no rule that lanes could compute}}
  %squares = arith.constant dense<[0.0, 1.0, 4.0, 9.0]> : vector<4xf32>
  vector.store %squares, %a[%c0] : memref<32xf32>, vector<4xf32>
  return
}
}

// -----

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

func.func private @memory(%n: index) attributes {lumen.kernel = "rows"} {
  // expected-error@+1 {{cannot be memory of a warp: its size is not known}}
  %own = memref.alloca(%n) : memref<?xf32>
  return
}
}
