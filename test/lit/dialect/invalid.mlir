// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --verify-diagnostics --split-input-file

//===----------------------------------------------------------------------===//
// Attributes and types
//===----------------------------------------------------------------------===//

// expected-error@below {{rows must be a power of two of at most 64, got 12}}
func.func private @f(tensor<8x8xf32, #lumen.packed<rows = 12>>)

// -----

// expected-error@below {{rows must be a power of two of at most 64, got 128}}
func.func private @f(tensor<8x8xf32, #lumen.packed<rows = 128>>)

// -----

// expected-error@below {{k must be a power of two of at most 32, got 3}}
func.func private @f(tensor<8x8xf32, #lumen.packed<rows = 8, k = 3>>)

// -----

// expected-error@below {{k must be a power of two of at most 32, got 64}}
func.func private @f(tensor<8x8xf32, #lumen.packed<rows = 8, k = 64>>)

// -----

// expected-error@below {{k must be a power of two of at most 32, got 0}}
func.func private @f(tensor<8x8xf32, #lumen.packed<rows = 8, k = 0>>)

// -----

// expected-error@below {{whole_codes need k = 4, got 8}}
func.func private @f(tensor<8x8xf32, #lumen.packed<rows = 8, k = 8, whole_codes = true>>)

// -----

// expected-error@below {{whole_codes are for quantized elements, got 'f32'}}
func.func private @f(tensor<8x8xf32, #lumen.packed<rows = 8, k = 4, whole_codes = true>>)

// -----

// expected-error@below {{signed_codes are for quantized elements, got 'f16'}}
func.func private @f(tensor<8x8xf16, #lumen.packed<rows = 8, signed_codes = true>>)

// -----

// expected-error@below {{a packed weight has two dimensions, got 1}}
func.func private @f(tensor<8xf32, #lumen.packed<rows = 8>>)

// -----

// expected-error@below {{a packed weight has quantized, f16, bf16 or f32 elements, got 'i8'}}
func.func private @f(tensor<8x8xi8, #lumen.packed<rows = 8>>)

// -----

// expected-error@+1 {{m must be a power of two of at most 64, got 3}}
module attributes {lumen.dot = #lumen.dot<m = 3, n = 4, k = 4, lhs = si8, rhs = ui8, acc = i32>} {}

// -----

// expected-error@+1 {{n must be a power of two of at most 64, got 128}}
module attributes {lumen.dot = #lumen.dot<m = 1, n = 128, k = 4, lhs = si8, rhs = ui8, acc = i32>} {}

// -----

// expected-error@+1 {{k must be a power of two of at most 64, got 0}}
module attributes {lumen.dot = #lumen.dot<m = 1, n = 4, k = 0, lhs = si8, rhs = ui8, acc = i32>} {}

// -----

// expected-error@+1 {{lhs must be a signed or an unsigned integer, got 'i8'}}
module attributes {lumen.dot = #lumen.dot<m = 1, n = 4, k = 4, lhs = i8, rhs = ui8, acc = i32>} {}

// -----

// expected-error@+1 {{rhs must be a signed or an unsigned integer, got 'i8'}}
module attributes {lumen.dot = #lumen.dot<m = 1, n = 4, k = 4, lhs = si8, rhs = i8, acc = i32>} {}

// -----

// expected-error@+1 {{lhs and rhs must be equally wide, got 'si8' and 'ui16'}}
module attributes {lumen.dot = #lumen.dot<m = 1, n = 4, k = 4, lhs = si8, rhs = ui16, acc = i32>} {}

// -----

// expected-error@+1 {{acc must be a signless integer wider than 'si8', got 'si32'}}
module attributes {lumen.dot = #lumen.dot<m = 1, n = 4, k = 4, lhs = si8, rhs = ui8, acc = si32>} {}

// -----

// expected-error@+1 {{acc must be a signless integer wider than 'si8', got 'i8'}}
module attributes {lumen.dot = #lumen.dot<m = 1, n = 4, k = 4, lhs = si8, rhs = ui8, acc = i8>} {}

// -----

// expected-error@+1 {{vector_registers must be 8 to 256, got 4}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 4, vector_bits = 128, fma = true, f16 = true, cache_line = 64,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{vector_registers must be 8 to 256, got 512}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 512, vector_bits = 128, fma = true, f16 = true, cache_line = 64,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{vector_bits must be a power of two of 32 to 2048, got 100}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 100, fma = true, f16 = true, cache_line = 64,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{warp must be 1, or 32 where vector_bits is 1024, got 32}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 64, warp = 32,
  rows = 8, tokens = 4>} {}

// -----

func.func @scratch_of_unknown_size() -> memref<?xf32> {
  // expected-error@+1 {{must be a plain buffer of a known size, got 'memref<?xf32>'}}
  %own = lumen.scratch 0 : memref<?xf32>
  return %own : memref<?xf32>
}

// -----

func.func @block_scratch_of_unknown_size() -> memref<?xf32> {
  // expected-error@+1 {{must be a plain buffer of a known size, got 'memref<?xf32>'}}
  %memory = lumen.block_scratch 0 : memref<?xf32>
  return %memory : memref<?xf32>
}

// -----

// expected-error@+1 {{workers must be 1, or at most 1048576 where these are warps, got 8}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 64, workers = 8,
  rows = 8, tokens = 4>} {}

// -----

func.func @scratch_before_all() -> memref<8xf32> {
  // expected-error@+1 {{cannot begin at byte -64}}
  %own = lumen.scratch -64 : memref<8xf32>
  return %own : memref<8xf32>
}

// -----

func.func @whole_matrix(%w: vector<512xi8>, %x: vector<8xi8>, %a: vector<4xi32>) {
  // expected-error@below {{lhs must have 16 elements in a lane, got 512}}
  %0 = lumen.warp_mma <m = 16, n = 8, k = 32, lhs = si8, rhs = si8, acc = i32, weights_left = true> %w, %x, %a : vector<512xi8>, vector<8xi8>, vector<4xi32>
  return
}

// -----

func.func @not_of_warps(%w: vector<4xi8>, %x: vector<4xi8>, %a: vector<4xi32>) {
  // expected-error@below {{shape must be that of an instruction of warps, got #lumen.dot<m = 16, n = 8, k = 8, lhs = si8, rhs = si8, acc = i32>}}
  %0 = lumen.warp_mma <m = 16, n = 8, k = 8, lhs = si8, rhs = si8, acc = i32> %w, %x, %a : vector<4xi8>, vector<4xi8>, vector<4xi32>
  return
}

// -----

// expected-error@+1 {{mma must have weights_left where a worker is a warp, and only there, got #lumen.dot<m = 16, n = 8, k = 32, lhs = si8, rhs = si8, acc = i32>}}
module attributes {lumen.target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  mma = <m = 16, n = 8, k = 32, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>} {}

// -----

// expected-error@+1 {{cache_line must be a power of two of 16 to 1024 bytes, got 48}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 48,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{dot must multiply integers of 8 bits, got 'si16'}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 64, dot = <m = 1, n = 4, k = 2, lhs = si16, rhs = si16, acc = i32>,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{pair_dot must multiply integers of 16 bits, got 'si8'}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 64, pair_dot = <m = 1, n = 4, k = 4, lhs = si8, rhs = si8, acc = i32>,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{the sums of dot must fill a vector of 256 bits, got 1 x 4 'i32'}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 256, fma = true, f16 = true, cache_line = 64, dot = <m = 1, n = 4, k = 4, lhs = si8, rhs = ui8, acc = i32>,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{the sums of pair_dot must fill a vector of 128 bits, got 2 x 4 'i32'}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 64, pair_dot = <m = 2, n = 4, k = 2, lhs = si16, rhs = si16, acc = i32>,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{mma must add products of signed codes to its sums, got #lumen.dot<m = 2, n = 2, k = 8, lhs = si8, rhs = ui8, acc = i32>}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 64, mma = <m = 2, n = 2, k = 8, lhs = si8, rhs = ui8, acc = i32>,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{mma must have k of 4 to 32, got 64}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 64, mma = <m = 2, n = 2, k = 64, lhs = si8, rhs = si8, acc = i32>,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{rows must be a multiple of the n of mma (4), got 2}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 512, fma = true, f16 = true, cache_line = 64, mma = <m = 4, n = 4, k = 8, lhs = si8, rhs = si8, acc = i32>,
  rows = 2, tokens = 4>} {}

// -----

// expected-error@+1 {{half of 20 registers must hold the sums of mma for a multiple of 2 tokens, at most 64, got 5}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 20, vector_bits = 128, fma = true, f16 = true, cache_line = 64, mma = <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32>,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{the sums of mma must fill vectors of 256 bits with whole rows, got 2 x 2 'i32'}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 256, fma = true, f16 = true, cache_line = 64, mma = <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32>,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{the sums of mma must fill vectors of 128 bits with whole rows, got 4 x 8 'i32'}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 64, mma = <m = 4, n = 8, k = 8, lhs = si8, rhs = si8, acc = i32>,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{mma must have a step of at least 4, got 2}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 64, mma = <m = 4, n = 4, k = 8, lhs = si8, rhs = si8, acc = i32, step = 2>,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{mma must multiply integers of 8 bits to sums of 32 bits, got #lumen.dot<m = 2, n = 2, k = 8, lhs = si16, rhs = si16, acc = i32>}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 64, mma = <m = 2, n = 2, k = 8, lhs = si16, rhs = si16, acc = i32>,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+3 {{step must be a power of two of at most k (8), got 16}}
// expected-error@+2 {{failed to parse Lumen_TargetAttr parameter 'mma'}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 64, mma = <m = 4, n = 4, k = 8, lhs = si8, rhs = si8, acc = i32, step = 16>,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{pair_dot must have k = 2, got 4}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 64, pair_dot = <m = 1, n = 4, k = 4, lhs = si16, rhs = si16, acc = i32>,
  rows = 8, tokens = 4>} {}

// -----

// expected-error@+1 {{rows must be a power of two of at most 64, got 0}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 64,
  rows = 0, tokens = 4>} {}

// -----

// expected-error@+1 {{tokens must be 1 to 32, got 64}}
module attributes {lumen.target = #lumen.target<name = "t", triple = "", cpu = "", features = "",
  vector_registers = 16, vector_bits = 128, fma = true, f16 = true, cache_line = 64,
  rows = 8, tokens = 64>} {}

// -----

// expected-error@+2 {{invalid kind of attribute specified}}
// expected-error@+1 {{failed to parse Lumen_QuantType parameter 'format'}}
func.func private @f(tensor<8x32x!lumen.q<@formats::@q8_0>>)

// -----

//===----------------------------------------------------------------------===//
// lumen.format, lumen.decoded
//===----------------------------------------------------------------------===//

// expected-error@below {{block must be a multiple of 32, got 48}}
lumen.format @f block(48) group(16) bits(8) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<48xi8>):
  lumen.decoded codes(%qs : vector<48xi8>) scale(%d : f16)
}

// -----

// expected-error@below {{group must divide the block of 32, got 24}}
lumen.format @f block(32) group(24) bits(8) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

// expected-error@below {{group must be a multiple of 32 or one of 4, 8, 16, got 2}}
lumen.format @f block(32) group(2) bits(8) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

// expected-error@below {{attribute 'bits' failed to satisfy constraint}}
lumen.format @f block(32) group(32) bits(9) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

// expected-error@below {{names 1 storage fields, but the region has 2 arguments}}
lumen.format @f block(32) group(32) bits(8) storage(["d"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

// expected-error@below {{storage field "d" must be a scalar or 1-D vector of whole bytes, got 'i4'}}
lumen.format @f block(32) group(32) bits(8) storage(["d", "qs"]) {
^bb0(%d: i4, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%qs : vector<32xi8>)
}

// -----

// expected-error@below {{storage field "d" must be a scalar or 1-D vector of whole bytes, got 'index'}}
lumen.format @f block(32) group(32) bits(8) storage(["d", "qs"]) {
^bb0(%d: index, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%qs : vector<32xi8>)
}

// -----

// expected-error@below {{storage field "qs" must be a scalar or 1-D vector of whole bytes, got 'vector<2x16xi8>'}}
lumen.format @f block(32) group(32) bits(8) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<2x16xi8>):
  %0 = vector.shape_cast %qs : vector<2x16xi8> to vector<32xi8>
  lumen.decoded codes(%0 : vector<32xi8>) scale(%d : f16)
}

// -----

// expected-error@below {{table must have 1 to 4 entries, got 5}}
lumen.format @f block(32) group(32) bits(2) table([1, 2, 3, 4, 5]) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

// expected-error@below {{table must have 1 to 16 entries, got 17}}
lumen.format @f block(32) group(32) bits(8)
    table([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

// expected-error@below {{table must have 1 to 4 entries, got 0}}
lumen.format @f block(32) group(32) bits(2) table([]) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

// expected-error@below {{has both a table and a bias of -2}}
lumen.format @f block(32) group(32) bits(2) bias(-2) table([1, 2]) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

// expected-error@below {{region must end in lumen.decoded}}
lumen.format @f block(32) group(32) bits(8) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  %c = arith.constant 0 : i8
}

// -----

lumen.format @f block(32) group(32) bits(8) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<16xi8>):
  // expected-error@below {{codes must have one entry per weight of the block (32), got 16}}
  lumen.decoded codes(%qs : vector<16xi8>) scale(%d : f16)
}

// -----

lumen.format @f block(32) group(16) bits(8) storage(["d", "e", "g", "h", "qs"]) {
^bb0(%d: f16, %e: i8, %g: vector<2xf16>, %h: vector<4xi8>, %qs: vector<32xi8>):
  // expected-error@below {{scale needs at least one factor}}
  "lumen.decoded"(%qs) {operandSegmentSizes = array<i32: 1, 0, 0>} : (vector<32xi8>) -> ()
}

// -----

lumen.format @f block(32) group(16) bits(8) storage(["d", "e", "g", "h", "qs"]) {
^bb0(%d: f16, %e: i8, %g: vector<2xf16>, %h: vector<4xi8>, %qs: vector<32xi8>):
  // expected-error@below {{scale takes at most two factors, got 3}}
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d, %g, %g : f16, vector<2xf16>, vector<2xf16>)
}

// -----

lumen.format @f block(32) group(16) bits(8) storage(["d", "e", "g", "h", "qs"]) {
^bb0(%d: f16, %e: i8, %g: vector<2xf16>, %h: vector<4xi8>, %qs: vector<32xi8>):
  // expected-error@below {{scale factor must be a scalar float or a vector of i8, i32 or floats, got 'i8'}}
  lumen.decoded codes(%qs : vector<32xi8>) scale(%e : i8)
}

// -----

lumen.format @f block(32) group(16) bits(8) storage(["d", "e", "g", "h", "qs"]) {
^bb0(%d: f16, %e: i8, %g: vector<2xf16>, %h: vector<4xi8>, %qs: vector<32xi8>):
  // expected-error@below {{scale factor must have one entry per group (2), got 4}}
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d, %h : f16, vector<4xi8>)
}

// -----

lumen.format @f block(32) group(16) bits(8) storage(["d", "e", "g", "h", "qs"]) {
^bb0(%d: f16, %e: i8, %g: vector<2xf16>, %h: vector<4xi8>, %qs: vector<32xi8>):
  // expected-error@below {{scale takes one scalar factor, then one vector factor}}
  lumen.decoded codes(%qs : vector<32xi8>) scale(%g, %d : vector<2xf16>, f16)
}

// -----

lumen.format @f block(32) group(16) bits(8) storage(["d", "e", "g", "h", "qs"]) {
^bb0(%d: f16, %e: i8, %g: vector<2xf16>, %h: vector<4xi8>, %qs: vector<32xi8>):
  // expected-error@below {{scale takes one scalar factor, then one vector factor}}
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d, %d : f16, f16)
}

// -----

lumen.format @f block(32) group(16) bits(8) storage(["d", "e", "g", "h", "qs"]) {
^bb0(%d: f16, %e: i8, %g: vector<2xf16>, %h: vector<4xi8>, %qs: vector<32xi8>):
  // expected-error@below {{min factor must have one entry per group (2), got 4}}
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16) min(%h : vector<4xi8>)
}

// -----

// expected-error@below {{header takes 2 storage fields, which leaves none of 2 for the block}}
lumen.format @f block(32) group(32) bits(8) header(2) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

lumen.format @f block(32) group(16) bits(8) storage(["sc", "qs"]) {
^bb0(%sc: vector<2xi8>, %qs: vector<32xi8>):
  %kept = lumen.stored %sc bits(8) : vector<2xi8>
  // expected-note@below {{this does not}}
  %swapped = vector.shuffle %kept, %kept [1, 0] : vector<2xi8>, vector<2xi8>
  // expected-error@below {{factor must follow from lumen.stored element by element}}
  lumen.decoded codes(%qs : vector<32xi8>) scale(%swapped : vector<2xi8>)
}

// -----

lumen.format @f block(32) group(16) bits(8) storage(["sc", "qs"]) {
^bb0(%sc: vector<2xi8>, %qs: vector<32xi8>):
  %kept = lumen.stored %sc bits(8) : vector<2xi8>
  %offsets = arith.constant dense<[1, 2]> : vector<2xi8>
  %sum = arith.addi %kept, %offsets : vector<2xi8>
  // expected-error@below {{factor has a constant that differs by group behind lumen.stored}}
  lumen.decoded codes(%qs : vector<32xi8>) scale(%sum : vector<2xi8>)
}

// -----

lumen.format @f block(32) group(16) bits(8) storage(["sc", "qs"]) {
^bb0(%sc: vector<2xi16>, %qs: vector<32xi8>):
  // expected-error@below {{value of 6 bits must have elements of 8, got 'vector<2xi16>'}}
  %kept = lumen.stored %sc bits(6) : vector<2xi16>
  %wide = arith.extsi %kept : vector<2xi16> to vector<2xi32>
  lumen.decoded codes(%qs : vector<32xi8>) scale(%wide : vector<2xi32>)
}

// -----

lumen.format @f block(32) group(16) bits(8) storage(["sc", "qs"]) {
^bb0(%sc: vector<2xf64>, %qs: vector<32xi8>):
  // expected-error@below {{value must have elements of 8, 16 or 32 bits, got 'vector<2xf64>'}}
  %kept = lumen.stored %sc bits(64) : vector<2xf64>
  lumen.decoded codes(%qs : vector<32xi8>) scale(%kept : vector<2xf64>)
}

// -----

func.func @f(%d: f16, %qs: vector<32xi8>) {
  // expected-error@below {{expects parent op 'lumen.format'}}
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

//===----------------------------------------------------------------------===//
// lumen.dequantize, lumen.embedding, lumen.linear
//===----------------------------------------------------------------------===//

func.func @f(%w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{uses the unknown format @q8_0}}
  %0 = lumen.dequantize %w : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  return
}

// -----

// expected-note@below {{the format is described here}}
lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%w: tensor<48x40x!lumen.q<@q8_0>>) {
  // expected-error@below {{needs a weight whose columns are a multiple of the block of @q8_0 (32), got 40}}
  %0 = lumen.dequantize %w : tensor<48x40x!lumen.q<@q8_0>> -> tensor<48x40xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{result must have the shape of the weight, got 'tensor<48x32xf32>'}}
  %0 = lumen.dequantize %w : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x32xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{result must have f32 elements, got 'f16'}}
  %0 = lumen.dequantize %w : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf16>
  return
}

// -----

func.func @f(%t: tensor<?xi32>, %w: tensor<48x64xf16, #lumen.packed<rows = 8>>) {
  // expected-error@below {{table must be in the file's layout, got 'tensor<48x64xf16, #lumen.packed<rows = 8>>'}}
  %0 = lumen.embedding %t, %w
    : tensor<?xi32>, tensor<48x64xf16, #lumen.packed<rows = 8>> -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%t: tensor<3xi32>, %w: tensor<48x64xf16>) {
  // expected-error@below {{result rows must be 3, got 4}}
  %0 = lumen.embedding %t, %w : tensor<3xi32>, tensor<48x64xf16> -> tensor<4x64xf32>
  return
}

// -----

func.func @f(%t: tensor<?xi32>, %w: tensor<48x64xf16>) {
  // expected-error@below {{result columns must be 64, got 48}}
  %0 = lumen.embedding %t, %w : tensor<?xi32>, tensor<48x64xf16> -> tensor<?x48xf32>
  return
}

// -----

func.func @f(%t: tensor<?xi32>, %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{uses the unknown format @q8_0}}
  %0 = lumen.embedding %t, %w : tensor<?xi32>, tensor<48x64x!lumen.q<@q8_0>> -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x32xf32>, %w: tensor<48x64xf16>) {
  // expected-error@below {{weight columns must be 32, got 64}}
  %0 = lumen.linear %x, %w : tensor<?x32xf32>, tensor<48x64xf16> -> tensor<?x48xf32>
  return
}

// -----

func.func @f(%x: tensor<2x64xf32>, %w: tensor<48x64xf16>) {
  // expected-error@below {{result rows must be 2, got 3}}
  %0 = lumen.linear %x, %w : tensor<2x64xf32>, tensor<48x64xf16> -> tensor<3x48xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<48x64xf16>) {
  // expected-error@below {{result columns must be 48, got 64}}
  %0 = lumen.linear %x, %w : tensor<?x64xf32>, tensor<48x64xf16> -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<48x64xf16>, %b: tensor<64xf32>) {
  // expected-error@below {{bias size must be 48, got 64}}
  %0 = lumen.linear %x, %w bias(%b : tensor<64xf32>)
    : tensor<?x64xf32>, tensor<48x64xf16> -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%x: tensor<?x64xf32>, %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{operand #1 must be 2D tensor of 32-bit float or 16-bit float or bfloat16 type values}}
  %0 = lumen.linear %x, %w : tensor<?x64xf32>, tensor<48x64x!lumen.q<@q8_0>> -> tensor<?x48xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// lumen.rms_norm, lumen.rope, lumen.kv_append, lumen.attention
//===----------------------------------------------------------------------===//

func.func @f(%x: tensor<?x64xf32>, %w: tensor<64xf32>) {
  // expected-error@below {{epsilon must not be negative}}
  %0 = lumen.rms_norm %x, %w {epsilon = -1.0 : f32} : tensor<?x64xf32>, tensor<64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<24xf32>) {
  // expected-error@below {{weight size must divide the columns of x (64), got 24}}
  %0 = lumen.rms_norm %x, %w {epsilon = 1.0 : f32} : tensor<?x64xf32>, tensor<24xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %t: tensor<?x16xf32>, %positions: tensor<?xi32>) {
  // expected-error@below {{style must be "neox" or "norm", got "gptj"}}
  %0 = lumen.rope %x, %t, %positions {head_dim = 32 : i64, style = "gptj"}
    : tensor<?x64xf32>, tensor<?x16xf32>, tensor<?xi32>
  return
}

// -----

func.func @f(%x: tensor<?x48xf32>, %t: tensor<?x16xf32>, %positions: tensor<?xi32>) {
  // expected-error@below {{columns of x must be a multiple of head_dim (32), got 48}}
  %0 = lumen.rope %x, %t, %positions {head_dim = 32 : i64, style = "neox"}
    : tensor<?x48xf32>, tensor<?x16xf32>, tensor<?xi32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %t: tensor<?x64xf32>, %positions: tensor<?xi32>) {
  // expected-error@below {{table must have an even number of columns of 2 to head_dim (32), got 64}}
  %0 = lumen.rope %x, %t, %positions {head_dim = 32 : i64, style = "neox"}
    : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %t: tensor<?x15xf32>, %positions: tensor<?xi32>) {
  // expected-error@below {{table must have an even number of columns of 2 to head_dim (32), got 15}}
  %0 = lumen.rope %x, %t, %positions {head_dim = 32 : i64, style = "neox"}
    : tensor<?x64xf32>, tensor<?x15xf32>, tensor<?xi32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %t: tensor<?x16xf32>, %positions: tensor<?xi32>) {
  // expected-error@below {{attribute 'head_dim' failed to satisfy constraint}}
  %0 = lumen.rope %x, %t, %positions {head_dim = 0 : i64, style = "neox"}
    : tensor<?x64xf32>, tensor<?x16xf32>, tensor<?xi32>
  return
}

// -----

func.func @f(%c: tensor<4x2x?x32x16xf16>, %x: tensor<?x64xf32>, %i: index, %places: tensor<?xi32>) {
  // expected-error@below {{kind must be "key" or "value", got "query"}}
  %0 = lumen.kv_append %c, %x, %i, %places {kind = "query"}
    : tensor<4x2x?x32x16xf16>, tensor<?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @f(%c: tensor<4x2x?x16x32xf16>, %x: tensor<?x64xf32>, %i: index, %places: tensor<?xi32>) {
  // expected-error@below {{positions per block must be 16, got 32}}
  %0 = lumen.kv_append %c, %x, %i, %places {kind = "key"}
    : tensor<4x2x?x16x32xf16>, tensor<?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @f(%c: tensor<4x2x?x32x16xf16>, %x: tensor<?x64xf32>, %i: index, %places: tensor<?xi32>) {
  // expected-error@below {{positions per block must be 16, got 32}}
  %0 = lumen.kv_append %c, %x, %i, %places {kind = "value"}
    : tensor<4x2x?x32x16xf16>, tensor<?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @f(%c: tensor<4x2x?x32x16xf16>, %x: tensor<?x32xf32>, %i: index, %places: tensor<?xi32>) {
  // expected-error@below {{columns of x must be 64, got 32}}
  %0 = lumen.kv_append %c, %x, %i, %places {kind = "key"}
    : tensor<4x2x?x32x16xf16>, tensor<?x32xf32>, tensor<?xi32>
  return
}

// -----

func.func @f(%c: tensor<2x?x32x16xf16>, %x: tensor<?x64xf32>, %i: index, %places: tensor<?xi32>) {
  // expected-error@below {{operand #0 must be 5D tensor of 16-bit float or 32-bit float values or 4D tensor of 8-bit signless integer values}}
  %0 = lumen.kv_append %c, %x, %i, %places {kind = "key"}
    : tensor<2x?x32x16xf16>, tensor<?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @f(%c: tensor<4x2x?x512xi8>, %x: tensor<?x64xf32>, %i: index, %places: tensor<?xi32>) {
  // expected-error@below {{bytes per block must be 544, got 512}}
  %0 = lumen.kv_append %c, %x, %i, %places {kind = "key"} : tensor<4x2x?x512xi8>, tensor<?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @f(%c: tensor<4x2x?x128xi8>, %x: tensor<?x12xf32>, %i: index, %places: tensor<?xi32>) {
  // expected-error@below {{with a cache of i8 needs heads of a multiple of 4 values, got 'tensor<?x12xf32>' for 2 heads}}
  %0 = lumen.kv_append %c, %x, %i, %places {kind = "value"} : tensor<4x2x?x128xi8>, tensor<?x12xf32>, tensor<?xi32>
  return
}

// -----

func.func @f(%q: tensor<?x128xf32>, %k: tensor<4x2x?x544xi8>, %v: tensor<4x2x?x16x32xf16>, %i: index, %positions: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>) {
  // expected-error@below {{caches must both be of i8 or both of floats, got 'tensor<4x2x?x544xi8>' and 'tensor<4x2x?x16x32xf16>'}}
  %0 = lumen.attention %q, %k, %v, %i, %positions, %pages, %runs
    {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.125 : f32}
    : tensor<?x128xf32>, tensor<4x2x?x544xi8>, tensor<4x2x?x16x32xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return
}

// -----

func.func @f(%q: tensor<?x128xf32>, %k: tensor<4x2x?x544xi8>, %v: tensor<4x2x?x512xi8>, %i: index, %positions: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>) {
  // expected-error@below {{bytes per block of v must be 544, got 512}}
  %0 = lumen.attention %q, %k, %v, %i, %positions, %pages, %runs
    {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.125 : f32}
    : tensor<?x128xf32>, tensor<4x2x?x544xi8>, tensor<4x2x?x512xi8>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return
}

// -----

func.func @f(%q: tensor<?x128xf32>, %k: tensor<4x2x?x32x16xf16>, %v: tensor<4x2x?x16x32xf16>, %i: index, %positions: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>) {
  // expected-error@below {{heads must be a multiple of kv_heads (2) below 2^31, got 3}}
  %0 = lumen.attention %q, %k, %v, %i, %positions, %pages, %runs
    {heads = 3 : i64, kv_heads = 2 : i64, scale = 0.125 : f32}
    : tensor<?x128xf32>, tensor<4x2x?x32x16xf16>, tensor<4x2x?x16x32xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return
}

// -----

func.func @f(%q: tensor<?x128xf32>, %k: tensor<4x1x?x32x16xf16>, %v: tensor<4x2x?x16x32xf16>, %i: index, %positions: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>) {
  // expected-error@below {{kv heads of k must be 2, got 1}}
  %0 = lumen.attention %q, %k, %v, %i, %positions, %pages, %runs
    {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.125 : f32}
    : tensor<?x128xf32>, tensor<4x1x?x32x16xf16>, tensor<4x2x?x16x32xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return
}

// -----

func.func @f(%q: tensor<?x128xf32>, %k: tensor<4x2x?x32x16xf16>, %v: tensor<4x1x?x16x32xf16>, %i: index, %positions: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>) {
  // expected-error@below {{kv heads of v must be 2, got 1}}
  %0 = lumen.attention %q, %k, %v, %i, %positions, %pages, %runs
    {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.125 : f32}
    : tensor<?x128xf32>, tensor<4x2x?x32x16xf16>, tensor<4x1x?x16x32xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return
}

// -----

func.func @f(%q: tensor<?x128xf32>, %k: tensor<4x2x?x32x8xf16>, %v: tensor<4x2x?x16x32xf16>, %i: index, %positions: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>) {
  // expected-error@below {{positions per block of k must be 16, got 8}}
  %0 = lumen.attention %q, %k, %v, %i, %positions, %pages, %runs
    {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.125 : f32}
    : tensor<?x128xf32>, tensor<4x2x?x32x8xf16>, tensor<4x2x?x16x32xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return
}

// -----

func.func @f(%q: tensor<?x128xf32>, %k: tensor<4x2x?x32x16xf16>, %v: tensor<4x2x?x8x32xf16>, %i: index, %positions: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>) {
  // expected-error@below {{positions per block of v must be 16, got 8}}
  %0 = lumen.attention %q, %k, %v, %i, %positions, %pages, %runs
    {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.125 : f32}
    : tensor<?x128xf32>, tensor<4x2x?x32x16xf16>, tensor<4x2x?x8x32xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return
}

// -----

func.func @f(%q: tensor<?x128xf32>, %k: tensor<4x2x?x32x16xf16>, %v: tensor<4x2x?x16x64xf16>, %i: index, %positions: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>) {
  // expected-error@below {{head dimension of v must be 32, got 64}}
  %0 = lumen.attention %q, %k, %v, %i, %positions, %pages, %runs
    {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.125 : f32}
    : tensor<?x128xf32>, tensor<4x2x?x32x16xf16>, tensor<4x2x?x16x64xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return
}

// -----

func.func @f(%q: tensor<?x64xf32>, %k: tensor<4x2x?x32x16xf16>, %v: tensor<4x2x?x16x32xf16>, %i: index, %positions: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>) {
  // expected-error@below {{columns of q must be 128, got 64}}
  %0 = lumen.attention %q, %k, %v, %i, %positions, %pages, %runs
    {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.125 : f32}
    : tensor<?x64xf32>, tensor<4x2x?x32x16xf16>, tensor<4x2x?x16x32xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return
}

// -----

func.func @f(%x: tensor<3x64xf32>, %t: tensor<?x16xf32>, %positions: tensor<2xi32>) {
  // expected-error@below {{positions must be 3, got 2}}
  %0 = lumen.rope %x, %t, %positions {head_dim = 32 : i64, style = "neox"}
    : tensor<3x64xf32>, tensor<?x16xf32>, tensor<2xi32>
  return
}

// -----

func.func @f(%c: tensor<4x2x?x32x16xf16>, %x: tensor<3x64xf32>, %i: index, %places: tensor<4xi32>) {
  // expected-error@below {{places must be 3, got 4}}
  %0 = lumen.kv_append %c, %x, %i, %places {kind = "key"}
    : tensor<4x2x?x32x16xf16>, tensor<3x64xf32>, tensor<4xi32>
  return
}

// -----

func.func @f(%q: tensor<3x128xf32>, %k: tensor<4x2x?x32x16xf16>, %v: tensor<4x2x?x16x32xf16>, %i: index,
    %positions: tensor<2xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>) {
  // expected-error@below {{positions must be 3, got 2}}
  %0 = lumen.attention %q, %k, %v, %i, %positions, %pages, %runs
    {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.125 : f32}
    : tensor<3x128xf32>, tensor<4x2x?x32x16xf16>, tensor<4x2x?x16x32xf16>, tensor<2xi32>, tensor<?x?xi32>,
      tensor<?x3xi32>
  return
}

// -----

func.func @f(%q: tensor<?x128xf32>, %k: tensor<4x2x?x32x16xf16>, %v: tensor<4x2x?x16x32xf16>, %i: index,
    %positions: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x2xi32>) {
  // expected-error@below {{columns of runs must be 3, got 2}}
  %0 = lumen.attention %q, %k, %v, %i, %positions, %pages, %runs
    {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.125 : f32}
    : tensor<?x128xf32>, tensor<4x2x?x32x16xf16>, tensor<4x2x?x16x32xf16>, tensor<?xi32>, tensor<?x?xi32>,
      tensor<?x2xi32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// lumen.silu, lumen.gelu, lumen.mul, lumen.add, lumen.select_rows
//===----------------------------------------------------------------------===//

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error@below {{failed to verify that all of {x, result} have same type}}
  %0 = "lumen.silu"(%x) : (tensor<?x64xf32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error@below {{failed to verify that all of {x, result} have same type}}
  %0 = "lumen.gelu"(%x) : (tensor<?x64xf32>) -> tensor<2x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %y: tensor<?x32xf32>) {
  // expected-error@below {{failed to verify that all of {lhs, rhs, result} have same type}}
  %0 = "lumen.mul"(%x, %y) : (tensor<?x64xf32>, tensor<?x32xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %y: tensor<2x64xf32>) {
  // expected-error@below {{failed to verify that all of {lhs, rhs, result} have same type}}
  %0 = "lumen.add"(%x, %y) : (tensor<?x64xf32>, tensor<2x64xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %i: index, %rows: tensor<?xi32>) {
  // expected-error@below {{result columns must be 64, got 32}}
  %0 = lumen.select_rows %x, %rows : tensor<?x64xf32>, tensor<?xi32> -> tensor<?x32xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %rows: tensor<3xi32>) {
  // expected-error@below {{result rows must be 3, got 4}}
  %0 = lumen.select_rows %x, %rows : tensor<?x64xf32>, tensor<3xi32> -> tensor<4x64xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// lumen.quantize, lumen.pack
//===----------------------------------------------------------------------===//

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error@below {{group must be at most 4096 and divide the columns of x (64), got 48}}
  %c, %s, %o, %m = lumen.quantize %x {group = 48 : i64} : tensor<?x64xf32>
    -> tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error@below {{sum_group must divide the group (32), got 12}}
  %c, %s, %o, %m = lumen.quantize %x {sum_group = 12 : i64} : tensor<?x64xf32>
    -> tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error@below {{bias must be -255 to 255 and not 0, got 0}}
  %c, %s, %o, %m = lumen.quantize %x {bias = 0 : i64} : tensor<?x64xf32>
    -> tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error@below {{sum_group must divide the group (32), got 64}}
  %c, %s, %o, %m = lumen.quantize %x {sum_group = 64 : i64} : tensor<?x64xf32>
    -> tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error@below {{columns of codes must be 64, got 32}}
  %c, %s, %o, %m = lumen.quantize %x : tensor<?x64xf32>
    -> tensor<?x32xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error@below {{columns of scales must be 2, got 4}}
  %c, %s, %o, %m = lumen.quantize %x : tensor<?x64xf32>
    -> tensor<?x64xi8>, tensor<?x4xf32>, tensor<?x2xi32>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error@below {{columns of offsets must be 4, got 2}}
  %c, %s, %o, %m = lumen.quantize %x {sum_group = 16 : i64} : tensor<?x64xf32>
    -> tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%x: tensor<?x512xf32>) {
  // expected-error@below {{sums of 512 codes do not fit 16 bits}}
  %c, %s, %o, %m = lumen.quantize %x {group = 512 : i64, sum_group = 512 : i64} : tensor<?x512xf32>
    -> tensor<?x512xi8>, tensor<?x1xf32>, tensor<?x1xi32>, tensor<?x1xi16>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error@below {{columns of sums must be 4, got 2}}
  %c, %s, %o, %m = lumen.quantize %x {sum_group = 16 : i64} : tensor<?x64xf32>
    -> tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x4xi32>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%w: tensor<48x64xf16>) {
  // expected-error@below {{result must have the shape and elements of the weight, got 'tensor<64x64xf16, #lumen.packed<rows = 8>>'}}
  %0 = lumen.pack %w : tensor<48x64xf16> -> tensor<64x64xf16, #lumen.packed<rows = 8>>
  return
}

// -----

func.func @f(%w: tensor<48x64xf16>) {
  // expected-error@below {{result must have the shape and elements of the weight, got 'tensor<48x64xf32, #lumen.packed<rows = 8>>'}}
  %0 = lumen.pack %w : tensor<48x64xf16> -> tensor<48x64xf32, #lumen.packed<rows = 8>>
  return
}

// -----

func.func @f(%w: tensor<48x64xf16>) {
  // expected-error@below {{packs a weight in the file's layout into a packed one, got 'tensor<48x64xf16>' to 'tensor<48x64xf16>'}}
  %0 = lumen.pack %w : tensor<48x64xf16> -> tensor<48x64xf16>
  return
}

// -----

func.func @f(%w: tensor<48x64xf16, #lumen.packed<rows = 8>>) {
  // expected-error@below {{packs a weight in the file's layout into a packed one, got 'tensor<48x64xf16, #lumen.packed<rows = 8>>' to 'tensor<48x64xf16, #lumen.packed<rows = 8>>'}}
  %0 = lumen.pack %w : tensor<48x64xf16, #lumen.packed<rows = 8>> -> tensor<48x64xf16, #lumen.packed<rows = 8>>
  return
}

// -----

func.func @f(%w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{uses the unknown format @q8_0}}
  %0 = lumen.pack %w
    : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64x!lumen.q<@q8_0>, #lumen.packed<rows = 8, k = 4>>
  return
}

// -----

//===----------------------------------------------------------------------===//
// lumen.qlinear
//===----------------------------------------------------------------------===//

func.func @f(%c: tensor<?x64xi8>, %s: tensor<?x2xf32>, %o: tensor<?x2xi32>,
    %w: tensor<8x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{offset_bias must be -255 to 255 and not 0, got 0}}
  %0 = lumen.qlinear activations(%c, %s, %o, %s
      : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>)
    weights(%w : tensor<8x64x!lumen.q<@q8_0>>) {offset_bias = 0 : i64} -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<48x64xf16>) {
  // expected-error@below {{takes one float activation or the four results of lumen.quantize, got 2 values}}
  %0 = lumen.qlinear activations(%x, %x : tensor<?x64xf32>, tensor<?x64xf32>)
    weights(%w : tensor<48x64xf16>) -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%c: tensor<?x64xf32>, %s: tensor<?x2xf32>, %o: tensor<?x2xi32>, %m: tensor<?x2xf32>,
    %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{activation codes has the element type 'f32'}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xf32>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>)
    weights(%w : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%c: tensor<?x64xi8>, %s: tensor<?x2xi32>, %o: tensor<?x2xi32>, %m: tensor<?x2xf32>,
    %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{activation scales has the element type 'i32'}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xi8>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>)
    weights(%w : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%c: tensor<?x64xi8>, %s: tensor<?x2xf32>, %o: tensor<?x2xf32>, %m: tensor<?x2xf32>,
    %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{activation offsets has the element type 'f32'}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xf32>)
    weights(%w : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%c: tensor<?x64xi8>, %s: tensor<?x2xf32>, %o: tensor<?x2xi32>, %m: tensor<?x2xi32>,
    %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{activation sums has the element type 'i32'}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xi32>)
    weights(%w : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%c: tensor<?x64xi8>, %s: tensor<?x3xf32>, %o: tensor<?x2xi32>, %m: tensor<?x2xf32>,
    %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{activation scales must divide the codes into equal groups, got 3 for 64 codes}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xi8>, tensor<?x3xf32>, tensor<?x2xi32>, tensor<?x2xf32>)
    weights(%w : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%c: tensor<?x64xi8>, %s: tensor<?x0xf32>, %o: tensor<?x2xi32>, %m: tensor<?x2xf32>,
    %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{activation scales must divide the codes into equal groups, got 0 for 64 codes}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xi8>, tensor<?x0xf32>, tensor<?x2xi32>, tensor<?x2xf32>)
    weights(%w : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%c: tensor<?x64xi8>, %s: tensor<?x4xf32>, %o: tensor<?x2xi32>, %m: tensor<?x2xf32>,
    %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{activation scales must be per a multiple of 32 codes, got one per 16}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xi8>, tensor<?x4xf32>, tensor<?x2xi32>, tensor<?x2xf32>)
    weights(%w : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
lumen.format @wide block(64) group(32) bits(8) storage(["sc", "qs"]) {
^bb0(%sc: vector<2xi8>, %qs: vector<64xi8>):
  lumen.decoded codes(%qs : vector<64xi8>) scale(%sc : vector<2xi8>)
}
func.func @f(%c: tensor<?x64xi8>, %s: tensor<?x1xf32>, %o: tensor<?x2xi32>, %m: tensor<?x2xf32>,
    %w0: tensor<48x64x!lumen.q<@wide>>, %w1: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{activation scales must divide the blocks of 32 codes of the format @q8_0, got one per 64}}
  %0:2 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xi8>, tensor<?x1xf32>, tensor<?x2xi32>, tensor<?x2xf32>)
    weights(%w0, %w1 : tensor<48x64x!lumen.q<@wide>>, tensor<48x64x!lumen.q<@q8_0>>)
    -> tensor<?x48xf32>, tensor<?x48xf32>
  return
}

// -----

lumen.format @odd block(96) group(32) bits(8) storage(["sc", "qs"]) {
^bb0(%sc: vector<3xi8>, %qs: vector<96xi8>):
  lumen.decoded codes(%qs : vector<96xi8>) scale(%sc : vector<3xi8>)
}
func.func @f(%c: tensor<?x192xi8>, %s: tensor<?x3xf32>, %o: tensor<?x6xi32>, %m: tensor<?x6xf32>,
    %w: tensor<48x192x!lumen.q<@odd>>) {
  // expected-error@below {{activation scales must divide the blocks of 96 codes of the format @odd, got one per 64}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x192xi8>, tensor<?x3xf32>, tensor<?x6xi32>, tensor<?x6xf32>)
    weights(%w : tensor<48x192x!lumen.q<@odd>>) -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%c: tensor<?x64xi8>, %s: tensor<?x2xf32>, %o: tensor<?x2xi32>, %m: tensor<?x4xf32>,
    %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{columns of activation sums must be 2, got 4}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x4xf32>)
    weights(%w : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%c: tensor<?x64xi8>, %s: tensor<?x2xf32>, %o: tensor<?x3xi32>, %m: tensor<?x3xf32>,
    %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{activation offsets must divide the codes into equal groups, got 3 for 64 codes}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x3xi32>, tensor<?x3xf32>)
    weights(%w : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%c: tensor<?x64xi8>, %s: tensor<?x2xf32>, %o: tensor<?x0xi32>, %m: tensor<?x0xf32>,
    %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{activation offsets must divide the codes into equal groups, got 0 for 64 codes}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x0xi32>, tensor<?x0xf32>)
    weights(%w : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%c: tensor<2x64xi8>, %s: tensor<?x2xf32>, %o: tensor<3x2xi32>, %m: tensor<?x2xf32>,
    %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{activation rows must be 2, got 3}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<2x64xi8>, tensor<?x2xf32>, tensor<3x2xi32>, tensor<?x2xf32>)
    weights(%w : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%c: tensor<?x64xi8>, %s: tensor<?x2xf32>, %o: tensor<?x1xi32>, %m: tensor<?x1xf32>,
    %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{activation sums must be per 32 codes or finer for the format @q8_0, got one per 64}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x1xi32>, tensor<?x1xf32>)
    weights(%w : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return
}

// -----

func.func @f(%c: tensor<?x64xi8>, %s: tensor<?x2xf32>, %o: tensor<?x2xi32>, %m: tensor<?x2xf32>,
    %w: tensor<48x64x!lumen.q<@q8_0>>) {
  // expected-error@below {{uses the unknown format @q8_0}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>)
    weights(%w : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%c: tensor<?x64xi8>, %s: tensor<?x2xf32>, %o: tensor<?x2xi32>, %m: tensor<?x2xf32>,
    %w: tensor<48x64xf16>) {
  // expected-error@below {{weight 0 must be quantized to meet 8-bit activations, got 'tensor<48x64xf16>'}}
  %0 = lumen.qlinear activations(%c, %s, %o, %m
      : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>)
    weights(%w : tensor<48x64xf16>) -> tensor<?x48xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xi8>, %w: tensor<48x64xf16>) {
  // expected-error@below {{a single activation has f32 or bf16 elements, got 'tensor<?x64xi8>'}}
  %0 = lumen.qlinear activations(%x : tensor<?x64xi8>)
    weights(%w : tensor<48x64xf16>) -> tensor<?x48xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<48x64xf16>) {
  // expected-error@below {{needs one result per weight, got 1 weights and 2 results}}
  %0:2 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w : tensor<48x64xf16>)
    -> tensor<?x48xf32>, tensor<?x48xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error@below {{needs one result per weight, got 0 weights and 0 results}}
  "lumen.qlinear"(%x) {operandSegmentSizes = array<i32: 1, 0, 0, 0>} : (tensor<?x64xf32>) -> ()
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<48x64xf16>, %b: tensor<48xf32>) {
  // expected-error@below {{needs as many biases as weights or none, got 1 biases for 2 weights}}
  %0:2 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w, %w : tensor<48x64xf16>, tensor<48x64xf16>) biases(%b : tensor<48xf32>)
    -> tensor<?x48xf32>, tensor<?x48xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<48x64xf16>, %b: tensor<64xf32>) {
  // expected-error@below {{bias size must be 48, got 64}}
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w : tensor<48x64xf16>) biases(%b : tensor<64xf32>)
    -> tensor<?x48xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<48x64xf16>) {
  // expected-error@below {{result columns must be 48, got 64}}
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w : tensor<48x64xf16>)
    -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x32xf32>, %w: tensor<48x64xf16>) {
  // expected-error@below {{weight columns must be 32, got 64}}
  %0 = lumen.qlinear activations(%x : tensor<?x32xf32>)
    weights(%w : tensor<48x64xf16>) -> tensor<?x48xf32>
  return
}

// -----

func.func @f(%x: tensor<2x64xf32>, %w: tensor<48x64xf16>) {
  // expected-error@below {{result rows must be 2, got 3}}
  %0 = lumen.qlinear activations(%x : tensor<2x64xf32>)
    weights(%w : tensor<48x64xf16>) -> tensor<3x48xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Bytes and registers
//===----------------------------------------------------------------------===//

func.func @f(%b: memref<?xi8>, %n: index) {
  // expected-error@below {{needs one size per dynamic dimension (2), got 1}}
  %0 = lumen.from_bytes %b, %n : memref<?xi8> -> tensor<?x?xf16>
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @f(%b: memref<6144xi8>) {
  // expected-error@below {{bytes must hold the weight exactly (3264 bytes), got 6144}}
  %0 = lumen.from_bytes %b : memref<6144xi8> -> tensor<48x64x!lumen.q<@q8_0>>
  return
}

// -----

func.func @f(%b: memref<6100xi8>) {
  // expected-error@below {{bytes must hold the weight exactly (8192 bytes), got 6100}}
  %0 = lumen.from_bytes %b
    : memref<6100xi8> -> tensor<17x64xf32, #lumen.packed<rows = 16>>
  return
}

// -----

func.func @f(%b: memref<?xi8>) {
  // expected-error@below {{uses the unknown format @q8_0}}
  %0 = lumen.from_bytes %b : memref<?xi8> -> tensor<48x64x!lumen.q<@q8_0>>
  return
}

// -----

func.func @f(%c: vector<32xi16>, %x: vector<4xi16>, %a: vector<16xi32>) {
  // expected-error@below {{x must have 2 elements, got 4}}
  %0 = lumen.dot2 %c, %x, %a : vector<32xi16>, vector<4xi16>, vector<16xi32>
  return
}

// -----

func.func @f(%c: vector<32xbf16>, %x: vector<2xi16>, %a: vector<16xf32>) {
  // expected-error@below {{x must have 'bf16' elements where codes have 'bf16', got 'i16'}}
  %0 = lumen.dot2 %c, %x, %a : vector<32xbf16>, vector<2xi16>, vector<16xf32>
  return
}

// -----

func.func @f(%c: vector<32xbf16>, %x: vector<2xbf16>, %a: vector<16xi32>) {
  // expected-error@below {{acc must have 'f32' elements where codes have 'bf16', got 'i32'}}
  %0 = lumen.dot2 %c, %x, %a : vector<32xbf16>, vector<2xbf16>, vector<16xi32>
  return
}

// -----

func.func @f(%c: vector<32xi16>, %x: vector<2xi16>, %a: vector<16xf32>) {
  // expected-error@below {{acc must have 'i32' elements where codes have 'i16', got 'f32'}}
  %0 = lumen.dot2 %c, %x, %a : vector<32xi16>, vector<2xi16>, vector<16xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error@below {{result must have the shape of x, got 'tensor<?x32xbf16>'}}
  %0 = lumen.to_bf16 %x : tensor<?x64xf32> -> tensor<?x32xbf16>
  return
}

// -----

func.func @f(%x: tensor<?x64xbf16>, %v: tensor<48x64xbf16>, %w: tensor<48x64xf16>) {
  // expected-error@below {{weight 1 must be bf16 to meet bf16 activations, got 'tensor<48x64xf16>'}}
  %0, %1 = lumen.qlinear activations(%x : tensor<?x64xbf16>)
    weights(%v, %w : tensor<48x64xbf16>, tensor<48x64xf16>) -> tensor<?x48xf32>, tensor<?x48xf32>
  return
}

// -----

func.func @f(%c: vector<64xi8>, %x: vector<64xi8>, %a: vector<16xi32>) {
  // expected-error@below {{x must have 4 elements, got 64}}
  %0 = lumen.dot4 %c, %x, %a {bits = 8 : i64} : vector<64xi8>, vector<64xi8>, vector<16xi32>
  return
}

// -----

func.func @f(%c: vector<32xi16>, %x: vector<2xi16>, %a: vector<8xi32>) {
  // expected-error@below {{codes must have two elements per lane of acc (16), got 32}}
  %0 = lumen.dot2 %c, %x, %a : vector<32xi16>, vector<2xi16>, vector<8xi32>
  return
}

// -----

func.func @f(%c: vector<64xi8>, %x: vector<8xi8>, %a: vector<16xi32>) {
  // expected-error@below {{x must have 4 elements, got 8}}
  %0 = lumen.dot4 %c, %x, %a {bits = 8 : i64} : vector<64xi8>, vector<8xi8>, vector<16xi32>
  return
}

// -----

func.func @f(%c: vector<64xi8>, %x: vector<4xi8>, %a: vector<8xi32>) {
  // expected-error@below {{codes must have four elements per lane of acc (32), got 64}}
  %0 = lumen.dot4 %c, %x, %a {bits = 8 : i64} : vector<64xi8>, vector<4xi8>, vector<8xi32>
  return
}

// -----

func.func @f(%x: vector<16xi8>, %w: vector<32xi8>, %a: vector<4xi32>) {
  // expected-error@below {{rhs must have 2 x 8 elements, got 32}}
  %0 = lumen.mma <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32> %x, %w, %a : vector<16xi8>, vector<32xi8>, vector<4xi32>
  return
}

// -----

func.func @f(%x: vector<4xi8>, %w: vector<4xi8>, %a: vector<4xi32>) {
  // expected-error@below {{lhs must have 2 x 8 elements, got 4}}
  %0 = lumen.mma <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32> %x, %w, %a : vector<4xi8>, vector<4xi8>, vector<4xi32>
  return
}

// -----

func.func @f(%x: vector<16xi8>, %w: vector<16xi8>, %a: vector<8xi32>) {
  // expected-error@below {{acc must have 2 x 2 elements, got 8}}
  %0 = lumen.mma <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32> %x, %w, %a : vector<16xi8>, vector<16xi8>, vector<8xi32>
  return
}

// -----

func.func @f(%x: vector<16xi8>, %w: vector<16xi8>, %a: vector<4xi32>) {
  // expected-error@below {{shape must add products of 8-bit codes to sums of 32 bits, got #lumen.dot<m = 2, n = 2, k = 8, lhs = si16, rhs = si16, acc = i32>}}
  %0 = lumen.mma <m = 2, n = 2, k = 8, lhs = si16, rhs = si16, acc = i32> %x, %w, %a : vector<16xi8>, vector<16xi8>, vector<4xi32>
  return
}

// -----

func.func @f(%c: vector<64xi8>, %x: vector<4xi8>, %a: vector<16xi32>) {
  // expected-error@below {{attribute 'bits' failed to satisfy constraint}}
  %0 = lumen.dot4 %c, %x, %a {bits = 9 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
  return
}

// -----

func.func @f(%c: vector<64xi8>) {
  // expected-error@below {{table must have 1 to 16 entries, got 0}}
  %0 = lumen.lookup %c [] : vector<64xi8>
  return
}

// -----

func.func @f(%c: vector<64xi8>) {
  // expected-error@below {{table must have 1 to 16 entries, got 17}}
  %0 = lumen.lookup %c [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17] : vector<64xi8>
  return
}

// -----

func.func @f(%c: vector<64xi32>) {
  // expected-error@below {{index must be i8, got 'vector<64xi32>'}}
  %0 = lumen.lookup %c [1] : vector<64xi32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Experts
//===----------------------------------------------------------------------===//

func.func @f(%x: tensor<?x64xf32>, %g: tensor<?x2xf32>) {
  // expected-error@below {{columns of gate must be 1, got 2}}
  %0 = lumen.gate %x, %g : tensor<?x64xf32>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>) {
  // expected-error@below {{gating must be "softmax" or "sigmoid", got "relu"}}
  %e, %w = lumen.route %x {gating = "relu", normalized = true, scale = 1.0 : f32}
    : tensor<?x8xf32> -> tensor<?x2xi32>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%x: tensor<?x?xf32>) {
  // expected-error@below {{needs known numbers of experts}}
  %e, %w = lumen.route %x {gating = "softmax", normalized = true, scale = 1.0 : f32}
    : tensor<?x?xf32> -> tensor<?x2xi32>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>) {
  // expected-error@below {{must choose 1 to 8 experts per token, got 9}}
  %e, %w = lumen.route %x {gating = "softmax", normalized = true, scale = 1.0 : f32}
    : tensor<?x8xf32> -> tensor<?x9xi32>, tensor<?x9xf32>
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>) {
  // expected-error@below {{columns of weights must be 2, got 3}}
  %e, %w = lumen.route %x {gating = "softmax", normalized = true, scale = 1.0 : f32}
    : tensor<?x8xf32> -> tensor<?x2xi32>, tensor<?x3xf32>
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>, %b: tensor<9xf32>) {
  // expected-error@below {{bias size must be 8, got 9}}
  %e, %w = lumen.route %x bias(%b : tensor<9xf32>)
      {gating = "softmax", normalized = true, scale = 1.0 : f32}
    : tensor<?x8xf32> -> tensor<?x2xi32>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%e: tensor<?x2xi32>) {
  // expected-error@below {{source and place must be like experts}}
  %s, %p, %g = lumen.group_tokens %e
    : tensor<?x2xi32> -> tensor<?x3xi32>, tensor<?x2xi32>, tensor<9x2xi32>
  return
}

// -----

func.func @f(%e: tensor<?x2xi32>) {
  // expected-error@below {{groups must have one row per expert and one more, of two columns, got}}
  %s, %p, %g = lumen.group_tokens %e
    : tensor<?x2xi32> -> tensor<?x2xi32>, tensor<?x2xi32>, tensor<9x3xi32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %s: tensor<?x2xi32>) {
  // expected-error@below {{result columns must be 128, got 64}}
  %0 = lumen.gather_rows %x, %s : tensor<?x64xf32>, tensor<?x2xi32> -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x128xf32>, %w: tensor<256x96xf32>, %g: tensor<9x2xi32>) {
  // expected-error@below {{columns of x must be a multiple of the weight columns (96), got 128}}
  %0 = lumen.expert_linear %x, %w, %g
    : tensor<?x128xf32>, tensor<256x96xf32>, tensor<9x2xi32> -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x128xf32>, %w: tensor<257x64xf32>, %g: tensor<9x2xi32>) {
  // expected-error@below {{weight rows must be a multiple of the experts (8), got 257}}
  %0 = lumen.expert_linear %x, %w, %g
    : tensor<?x128xf32>, tensor<257x64xf32>, tensor<9x2xi32> -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x128xf32>, %w: tensor<256x64xf32>, %g: tensor<9x2xi32>) {
  // expected-error@below {{result columns must be 64, got 32}}
  %0 = lumen.expert_linear %x, %w, %g
    : tensor<?x128xf32>, tensor<256x64xf32>, tensor<9x2xi32> -> tensor<?x32xf32>
  return
}

// -----

func.func @f(%x: tensor<?x128xf32>, %w: tensor<?x2xf32>, %p: tensor<?x2xi32>) {
  // expected-error@below {{columns of x must be 192, got 128}}
  %0 = lumen.combine %x, %w, %p
    : tensor<?x128xf32>, tensor<?x2xf32>, tensor<?x2xi32> -> tensor<?x96xf32>
  return
}

// -----

func.func @f(%x: tensor<?x128xf32>, %w: tensor<?x3xf32>, %p: tensor<?x2xi32>) {
  // expected-error@below {{columns of weights must be 2, got 3}}
  %0 = lumen.combine %x, %w, %p
    : tensor<?x128xf32>, tensor<?x3xf32>, tensor<?x2xi32> -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x128xf32>, %w: tensor<256x64xf32>, %b: tensor<256xf32>, %g: tensor<9x2xi32>) {
  // expected-error@below {{with groups takes no biases}}
  %0 = lumen.qlinear activations(%x : tensor<?x128xf32>) weights(%w : tensor<256x64xf32>)
    biases(%b : tensor<256xf32>) groups(%g : tensor<9x2xi32>) -> tensor<?x64xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Attributes of modules and arguments, absurd sizes
//===----------------------------------------------------------------------===//

// expected-error@+2 {{unknown  type `x` in dialect `lumen`}}
// A null element type reaches the verifier of the encoding.
func.func private @f(tensor<8x8x!lumen.x, #lumen.packed<rows = 16>>)

// -----

// expected-error@+1 {{lumen.max_tokens must be an i64 of 1 to 2147483647, got 0 : i64}}
module attributes {lumen.max_tokens = 0 : i64} {}

// -----

// expected-error@+1 {{lumen.max_tokens must be an i64 of 1 to 2147483647, got "x"}}
module attributes {lumen.max_tokens = "x"} {}

// -----

// expected-error@+1 {{lumen.target must be a #lumen.target, got "x86-64-v3"}}
module attributes {lumen.target = "x86-64-v3"} {}

// -----

// expected-error@+1 {{lumen.name of argument 0 must be a string, got 1 : i64}}
func.func @f(%a: memref<4xf32> {lumen.name = 1 : i64}) { return }

// -----

// expected-error@+1 {{lumen.out of argument 0 must be a unit attribute, got true}}
func.func @f(%a: memref<4xf32> {lumen.out = true}) { return }

// -----

// expected-error@+1 {{lumen.tile of argument 0 must be a #lumen.packed, got 65 : i64}}
func.func @f(%a: memref<4xf32> {lumen.tile = 65 : i64}) { return }

// -----

// expected-error@+1 {{lumen.result of argument 0 must be an i64 of at least 0, got "x"}}
func.func @f(%a: memref<4xf32> {lumen.result = "x"}) { return }

// -----

// expected-error@+1 {{lumen.result of argument 0 must be less than the number of arguments (1), got 1 : i64}}
func.func @f(%a: memref<4xf32> {lumen.result = 1 : i64}) { return }

// -----

// expected-error@+1 {{lumen.rows of argument 0 must be the number of an argument, an i64, got 99 : i64}}
func.func @f(%a: memref<4xf32> {lumen.rows = 99 : i64, lumen.out}) { return }

// -----

func.func @f(%a: tensor<2x2xf32>) {
  // expected-error@+1 {{lumen.prefetch must be an i64 of 0 to 2147483647, got -1 : i64}}
  %0 = lumen.add %a, %a {lumen.prefetch = -1 : i64} : tensor<2x2xf32>
  return
}

// -----

func.func @f(%a: tensor<2x9223372036854775807xf32>) {
  // expected-error@+1 {{takes dimensions below 2^31 and at most 2^48 elements, got 'tensor<2x9223372036854775807xf32>'}}
  %0 = lumen.add %a, %a : tensor<2x9223372036854775807xf32>
  return
}

// -----

// expected-error@below {{block must be at most 4096, got 8192}}
lumen.format @f block(8192) group(32) bits(8) storage(["qs", "d"]) {
^bb0(%qs: vector<32xi8>, %d: f16):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

// expected-error@below {{bias must be -255 to 255, got 256}}
lumen.format @f block(32) group(32) bits(8) bias(256) storage(["qs", "d"]) {
^bb0(%qs: vector<32xi8>, %d: f16):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

lumen.format @f block(32) group(32) bits(8) storage(["qs", "d"]) {
^bb0(%qs: vector<32xi8>, %d: f16):
  // expected-error@+1 {{is not allowed in a format: it has regions or effects}}
  %a = memref.alloc() : memref<4xf32>
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

lumen.format @f block(32) group(32) bits(8) storage(["qs", "d"]) {
^bb0(%qs: vector<32xi8>, %d: f16):
  // expected-error@+1 {{is not allowed in a format: it has 2 results, not one}}
  %a, %b = arith.addui_extended %qs, %qs : vector<32xi8>, vector<32xi1>
  lumen.decoded codes(%a : vector<32xi8>) scale(%d : f16)
}

// -----

lumen.format @f block(32) group(32) bits(8) storage(["qs", "d"]) {
^bb0(%qs: vector<32xi8>, %d: f16):
  %i = arith.constant 0 : index
  %t = arith.constant dense<1> : tensor<4xi8>
  // expected-error@+1 {{is not allowed in a format: operand 0 is 'tensor<4xi8>'}}
  %a = tensor.extract %t[%i] : tensor<4xi8>
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

lumen.format @f block(32) group(32) bits(8) storage(["qs", "d"]) {
^bb0(%qs: vector<32xi8>, %d: f16):
  // expected-error@+1 {{is not allowed in a format: it gives 'vector<1x32xi8>'}}
  %a = vector.broadcast %qs : vector<32xi8> to vector<1x32xi8>
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

lumen.format @f block(32) group(32) bits(8) storage(["qs", "d"]) {
^bb0(%qs: vector<32xi8>, %d: f16):
  %t = arith.constant dense<1.0> : tensor<4xf32>
  // expected-error@+1 {{is not allowed in a format: operand 0 is 'tensor<4xf32>'}}
  %s = lumen.stored %t bits(32) : tensor<4xf32>
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

lumen.format @f block(32) group(32) bits(8) storage(["qs", "d"]) {
^bb0(%qs: vector<32xi8>, %d: f16):
  // expected-error@+1 {{value of 9223372036854775807 bits does not fit elements of 8}}
  %s = lumen.stored %qs bits(9223372036854775807) : vector<32xi8>
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// -----

func.func @f(%x: tensor<?x96xf32>) {
  // expected-error@below {{sum_group must be a power of two or the group (96), got 24}}
  %c, %s, %o, %m = lumen.quantize %x {group = 96 : i64, sum_group = 24 : i64}
    : tensor<?x96xf32> -> tensor<?x96xi8>, tensor<?x1xf32>, tensor<?x4xi32>, tensor<?x4xf32>
  return
}

// -----

func.func @f(%q: tensor<?x64xf32>, %k: tensor<1x1x?x64x16xf32>, %v: tensor<1x1x?x16x64xf32>, %i: index, %positions: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>) {
  // expected-error@below {{window must be below 2^31, got 2147483648}}
  %0 = lumen.attention %q, %k, %v, %i, %positions, %pages, %runs
      {heads = 1 : i64, kv_heads = 1 : i64, scale = 1.0 : f32, window = 2147483648 : i64}
    : tensor<?x64xf32>, tensor<1x1x?x64x16xf32>, tensor<1x1x?x16x64xf32>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return
}

// -----

func.func @f(%logits: tensor<?x4097xf32>) {
  // expected-error@below {{takes at most 4096 experts, got 4097}}
  %e, %w = lumen.route %logits {gating = "softmax", normalized = true, scale = 1.0 : f32}
    : tensor<?x4097xf32> -> tensor<?x2xi32>, tensor<?x2xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// lumen.group_keys, lumen.largest_groups
//===----------------------------------------------------------------------===//

func.func @f(%x: tensor<?x300xf32>) {
  // expected-error@below {{attribute 'group' failed to satisfy constraint}}
  %0 = lumen.group_keys %x {group = 48 : i64} : tensor<?x300xf32> -> tensor<?x128xi32>
  return
}

// -----

func.func @f(%x: tensor<?x63xf32>) {
  // expected-error@below {{x must have at least 64 columns, got 63}}
  %0 = lumen.group_keys %x {group = 64 : i64} : tensor<?x63xf32> -> tensor<?x128xi32>
  return
}

// -----

func.func @f(%x: tensor<3x300xf32>) {
  // expected-error@below {{result rows must be 3, got 4}}
  %0 = lumen.group_keys %x {group = 64 : i64} : tensor<3x300xf32> -> tensor<4x128xi32>
  return
}

// -----

func.func @f(%x: tensor<?x300xf32>) {
  // expected-error@below {{result columns must be 128, got 5}}
  %0 = lumen.group_keys %x {group = 64 : i64} : tensor<?x300xf32> -> tensor<?x5xi32>
  return
}

// -----

func.func @f(%x: tensor<?x300xf32>, %k: tensor<?x128xi32>, %rows: tensor<?xi32>,
    %ranks: tensor<?xi32>) {
  // expected-error@below {{values columns must be a power of 2 from 32 to 256, got 16}}
  %0:2 = lumen.largest_groups %x, %k, %rows, %ranks
    : tensor<?x300xf32>, tensor<?x128xi32>, tensor<?xi32>, tensor<?xi32>
    -> tensor<?x16xf32>, tensor<?x1xi32>
  return
}

// -----

func.func @f(%x: tensor<?x300xf32>, %k: tensor<?x128xi32>, %rows: tensor<?xi32>,
    %ranks: tensor<?xi32>) {
  // expected-error@below {{values columns must be a power of 2 from 32 to 256, got 96}}
  %0:2 = lumen.largest_groups %x, %k, %rows, %ranks
    : tensor<?x300xf32>, tensor<?x128xi32>, tensor<?xi32>, tensor<?xi32>
    -> tensor<?x96xf32>, tensor<?x1xi32>
  return
}

// -----

func.func @f(%x: tensor<?x255xf32>, %k: tensor<?x128xi32>, %rows: tensor<?xi32>,
    %ranks: tensor<?xi32>) {
  // expected-error@below {{x must have at least 256 columns, got 255}}
  %0:2 = lumen.largest_groups %x, %k, %rows, %ranks
    : tensor<?x255xf32>, tensor<?x128xi32>, tensor<?xi32>, tensor<?xi32>
    -> tensor<?x256xf32>, tensor<?x1xi32>
  return
}

// -----

func.func @f(%x: tensor<3x300xf32>, %k: tensor<4x128xi32>, %rows: tensor<?xi32>,
    %ranks: tensor<?xi32>) {
  // expected-error@below {{keys rows must be 3, got 4}}
  %0:2 = lumen.largest_groups %x, %k, %rows, %ranks
    : tensor<3x300xf32>, tensor<4x128xi32>, tensor<?xi32>, tensor<?xi32>
    -> tensor<?x64xf32>, tensor<?x1xi32>
  return
}

// -----

func.func @f(%x: tensor<?x300xf32>, %k: tensor<?x5xi32>, %rows: tensor<?xi32>,
    %ranks: tensor<?xi32>) {
  // expected-error@below {{keys columns must be 128, got 5}}
  %0:2 = lumen.largest_groups %x, %k, %rows, %ranks
    : tensor<?x300xf32>, tensor<?x5xi32>, tensor<?xi32>, tensor<?xi32>
    -> tensor<?x64xf32>, tensor<?x1xi32>
  return
}

// -----

func.func @f(%x: tensor<?x300xf32>, %k: tensor<?x128xi32>, %rows: tensor<3xi32>,
    %ranks: tensor<4xi32>) {
  // expected-error@below {{ranks size must be 3, got 4}}
  %0:2 = lumen.largest_groups %x, %k, %rows, %ranks
    : tensor<?x300xf32>, tensor<?x128xi32>, tensor<3xi32>, tensor<4xi32>
    -> tensor<?x64xf32>, tensor<?x1xi32>
  return
}

// -----

func.func @f(%x: tensor<?x300xf32>, %k: tensor<?x128xi32>, %rows: tensor<3xi32>,
    %ranks: tensor<3xi32>) {
  // expected-error@below {{values rows must be 3, got 4}}
  %0:2 = lumen.largest_groups %x, %k, %rows, %ranks
    : tensor<?x300xf32>, tensor<?x128xi32>, tensor<3xi32>, tensor<3xi32>
    -> tensor<4x64xf32>, tensor<?x1xi32>
  return
}

// -----

func.func @f(%x: tensor<?x300xf32>, %k: tensor<?x128xi32>, %rows: tensor<3xi32>,
    %ranks: tensor<3xi32>) {
  // expected-error@below {{numbers rows must be 3, got 4}}
  %0:2 = lumen.largest_groups %x, %k, %rows, %ranks
    : tensor<?x300xf32>, tensor<?x128xi32>, tensor<3xi32>, tensor<3xi32>
    -> tensor<3x64xf32>, tensor<4x1xi32>
  return
}

// -----

func.func @f(%x: tensor<?x300xf32>, %k: tensor<?x128xi32>, %rows: tensor<?xi32>,
    %ranks: tensor<?xi32>) {
  // expected-error@below {{numbers columns must be 1, got 2}}
  %0:2 = lumen.largest_groups %x, %k, %rows, %ranks
    : tensor<?x300xf32>, tensor<?x128xi32>, tensor<?xi32>, tensor<?xi32>
    -> tensor<?x64xf32>, tensor<?x2xi32>
  return
}
