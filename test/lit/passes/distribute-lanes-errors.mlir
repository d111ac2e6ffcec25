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

func.func private @compressed(%a: memref<32xf32>, %b: memref<32xi1>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %mask = vector.load %b[%c0] : memref<32xi1>, vector<32xi1>
  %zero = arith.constant dense<0.0> : vector<32xf32>
  // expected-error@+1 {{cannot be distributed over the lanes of a warp}}
  %x = vector.expandload %a[%c0], %mask, %zero : memref<32xf32>, vector<32xi1>, vector<32xf32> into vector<32xf32>
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

// -----

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

func.func private @some_elements(%a: memref<32xf32>, %b: memref<32xi1>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %numbers = arith.constant dense<[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31]> : vector<32xi32>
  %mask = vector.load %b[%c0] : memref<32xi1>, vector<32xi1>
  %zero = arith.constant dense<0.0> : vector<32xf32>
  // expected-error@+1 {{cannot be distributed: its mask may leave some out}}
  %x = vector.gather %a[%c0] [%numbers], %mask, %zero
     : memref<32xf32>, vector<32xi32>, vector<32xi1>, vector<32xf32> into vector<32xf32>
  return
}
}

// -----

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

func.func private @other_shape(%a: memref<256xi8>, %b: memref<64xi32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %w = vector.load %a[%c0] : memref<256xi8>, vector<256xi8>
  %zero = arith.constant dense<0> : vector<64xi32>
  // expected-error@+1 {{cannot be distributed: the instruction of a warp makes 4 sums in each lane}}
  %s = lumen.mma <m = 8, n = 8, k = 32, lhs = si8, rhs = si8, acc = i32, weights_left = true> %w, %w, %zero
     : vector<256xi8>, vector<256xi8>, vector<64xi32>
  return
}
}

// -----

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

// Two lanes change places, and the others do not.
func.func private @no_rule(%a: memref<128xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %w = arith.constant dense<1> : vector<512xi8>
  %x = arith.constant dense<1> : vector<256xi8>
  %zero = arith.constant dense<0> : vector<128xi32>
  %s = lumen.mma <m = 16, n = 8, k = 32, lhs = si8, rhs = si8, acc = i32, weights_left = true> %w, %x, %zero
     : vector<512xi8>, vector<256xi8>, vector<128xi32>
  %f = arith.sitofp %s : vector<128xi32> to vector<128xf32>
  %v = vector.load %a[%c0] : memref<128xf32>, vector<128xf32>
  // expected-error@+1 {{cannot be distributed: lanes take elements by no simple rule}}
  %y = vector.shuffle %v, %v [2, 3, 0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127] : vector<128xf32>, vector<128xf32>
  %z = arith.addf %f, %y : vector<128xf32>
  vector.store %z, %a[%c0] : memref<128xf32>, vector<128xf32>
  return
}
}
