// SPDX-License-Identifier: Apache-2.0
//
// RUN: lumen-opt %s --lumen-synthesize-pack --canonicalize --cse -split-input-file \
// RUN:     -verify-diagnostics | FileCheck %s

lumen.format @five block(32) group(32) bits(5) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  %mask = arith.constant dense<31> : vector<32xi8>
  %codes = arith.andi %qs, %mask : vector<32xi8>
  lumen.decoded codes(%codes : vector<32xi8>) scale(%d : f16)
}

// Five bits are a plane of four and one of one, side by side; then the scales.
// CHECK-LABEL: func.func @pack(
// CHECK-SAME: %[[RAW:.*]]: memref<?xi8>, %[[N:.*]]: index, %[[K:.*]]: index, %[[OUT:.*]]: memref<?xi8>)
// CHECK: %[[TILES:.*]] = arith.ceildivui %[[N]], %c16
// CHECK: %[[PLANES:.*]] = memref.view %[[OUT]]{{.*}} : memref<?xi8> to memref<?xi32>
// CHECK: %[[SCALES:.*]] = memref.view %[[OUT]]{{.*}} : memref<?xi8> to memref<?xf16>
// CHECK: scf.forall (%{{.*}}) in (%[[TILES]]) {
// CHECK: scf.if
// CHECK: vector.load %[[RAW]]
// Two steps share a byte of the first plane, eight one of the second.
// CHECK: vector.shuffle %{{.*}} [0, 2, 4, 6] : vector<8xi32>, vector<8xi32>
// CHECK: vector.shuffle %{{.*}} [1, 3, 5, 7] : vector<8xi32>, vector<8xi32>
// CHECK-COUNT-5: memref.store %{{.*}}, %[[PLANES]]
// CHECK: memref.store %{{.*}}, %[[SCALES]]
// Rows past the last are zeros.
// CHECK: else
// CHECK: memref.store %c0_i32, %[[PLANES]]
func.func @pack(%raw: memref<?xi8>, %n: index, %k: index, %out: memref<?xi8>)
    attributes {lumen.kernel = "pack"} {
  %w = lumen.from_bytes %raw, %n, %k : memref<?xi8> -> tensor<?x?x!lumen.q<@five>>
  %p = lumen.pack %w : tensor<?x?x!lumen.q<@five>>
    -> tensor<?x?x!lumen.q<@five>, #lumen.packed<rows = 16, k = 4>>
  lumen.to_bytes %p into %out : tensor<?x?x!lumen.q<@five>, #lumen.packed<rows = 16, k = 4>>, memref<?xi8>
  return
}

// -----

// What a lumen.stored marks is packed, two groups of four bits in a byte; the scale of the row stands before its
// blocks. Codes are looked up in a global.
lumen.format @narrow block(32) group(16) bits(2) header(1) storage(["d", "sc", "qs"]) {
^bb0(%d: f32, %sc: vector<2xi8>, %qs: vector<4xi8>):
  %kept = lumen.stored %sc bits(4) : vector<2xi8>
  %wide = arith.extui %kept : vector<2xi8> to vector<2xi32>
  %table = arith.constant dense<[0, 72057594037927937]> : tensor<2xi64>
  %zero = arith.constant 0 : index
  %all = arith.constant dense<true> : vector<4xi1>
  %none = arith.constant dense<0> : vector<4xi64>
  %index = arith.extui %qs : vector<4xi8> to vector<4xi32>
  %points = vector.gather %table[%zero] [%index], %all, %none
    : tensor<2xi64>, vector<4xi32>, vector<4xi1>, vector<4xi64> into vector<4xi64>
  %codes = vector.bitcast %points : vector<4xi64> to vector<32xi8>
  lumen.decoded codes(%codes : vector<32xi8>) scale(%d, %wide : f32, vector<2xi32>)
}

// CHECK: memref.global "private" constant @narrow_table0 : memref<2xi64> = dense<[0, 72057594037927937]>
// CHECK-LABEL: func.func @pack_narrow(
// CHECK: %[[BYTES:.*]] = memref.view %{{.*}} : memref<?xi8> to memref<?xi8>
// CHECK: %[[ROW:.*]] = memref.view %{{.*}} : memref<?xi8> to memref<?xf32>
// CHECK: %[[TABLE:.*]] = memref.get_global @narrow_table0
// CHECK-COUNT-4: memref.load %[[TABLE]]
// CHECK: %[[HIGH:.*]] = arith.shli %{{.*}} : vector<1xi8>
// CHECK: arith.ori %{{.*}}, %[[HIGH]] : vector<1xi8>
// CHECK: memref.store %{{.*}}, %[[BYTES]]
// CHECK: memref.store %{{.*}}, %[[ROW]]
func.func @pack_narrow(%raw: memref<?xi8>, %n: index, %k: index, %out: memref<?xi8>)
    attributes {lumen.kernel = "pack"} {
  %w = lumen.from_bytes %raw, %n, %k : memref<?xi8> -> tensor<?x?x!lumen.q<@narrow>>
  %p = lumen.pack %w : tensor<?x?x!lumen.q<@narrow>>
    -> tensor<?x?x!lumen.q<@narrow>, #lumen.packed<rows = 16, k = 4>>
  lumen.to_bytes %p into %out : tensor<?x?x!lumen.q<@narrow>, #lumen.packed<rows = 16, k = 4>>, memref<?xi8>
  return
}

// -----

// Float elements are transposed.
// CHECK-LABEL: func.func @pack_float(
// CHECK: scf.forall
// CHECK: %[[V:.*]] = scf.if %{{.*}} -> (f16)
// CHECK: memref.store %[[V]], %{{.*}} : memref<?xf16>
func.func @pack_float(%raw: memref<?xi8>, %n: index, %k: index, %out: memref<?xi8>)
    attributes {lumen.kernel = "pack"} {
  %w = lumen.from_bytes %raw, %n, %k : memref<?xi8> -> tensor<?x?xf16>
  %p = lumen.pack %w : tensor<?x?xf16> -> tensor<?x?xf16, #lumen.packed<rows = 8>>
  lumen.to_bytes %p into %out : tensor<?x?xf16, #lumen.packed<rows = 8>>, memref<?xi8>
  return
}

// -----

// Steps of eight codes are words of 64 bits, of sixteen two of them.
lumen.format @bytes block(32) group(32) bits(8) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// CHECK-LABEL: func.func @pack_words(
// CHECK: %[[WORDS:.*]] = memref.view %{{.*}} : memref<?xi8> to memref<?xi64>
// CHECK: vector.bitcast %{{.*}} : vector<32xi8> to vector<4xi64>
// CHECK-COUNT-4: memref.store %{{.*}}, %[[WORDS]]
// CHECK: %[[HALVES:.*]] = memref.view %{{.*}} : memref<?xi8> to memref<?xi64>
// CHECK: scf.for %[[LANE:.*]] = %c0 to %c16
// CHECK: %[[WORD:.*]] = arith.muli %[[LANE]], %c2
// CHECK: arith.addi %{{.*}}, %[[WORD]]
// CHECK-COUNT-4: memref.store %{{.*}}, %[[HALVES]]
func.func @pack_words(%raw: memref<?xi8>, %n: index, %k: index, %a: memref<?xi8>, %b: memref<?xi8>)
    attributes {lumen.kernel = "pack"} {
  %w = lumen.from_bytes %raw, %n, %k : memref<?xi8> -> tensor<?x?x!lumen.q<@bytes>>
  %p = lumen.pack %w : tensor<?x?x!lumen.q<@bytes>>
    -> tensor<?x?x!lumen.q<@bytes>, #lumen.packed<rows = 16, k = 8>>
  lumen.to_bytes %p into %a : tensor<?x?x!lumen.q<@bytes>, #lumen.packed<rows = 16, k = 8>>, memref<?xi8>
  %v = lumen.from_bytes %raw, %n, %k : memref<?xi8> -> tensor<?x?x!lumen.q<@bytes>>
  %q = lumen.pack %v : tensor<?x?x!lumen.q<@bytes>>
    -> tensor<?x?x!lumen.q<@bytes>, #lumen.packed<rows = 16, k = 16>>
  lumen.to_bytes %q into %b : tensor<?x?x!lumen.q<@bytes>, #lumen.packed<rows = 16, k = 16>>, memref<?xi8>
  return
}

// -----

// Floats of a step lie together; columns past the last are zeros.
// CHECK-LABEL: func.func @pack_pairs(
// CHECK: %[[UNITS:.*]] = arith.ceildivui %{{.*}}, %c2
// CHECK: scf.forall
// CHECK: arith.divui %[[COLUMN:.*]], %c2
// CHECK: arith.remui %[[COLUMN]], %c2
func.func @pack_pairs(%raw: memref<?xi8>, %n: index, %k: index, %out: memref<?xi8>)
    attributes {lumen.kernel = "pack"} {
  %w = lumen.from_bytes %raw, %n, %k : memref<?xi8> -> tensor<?x?xbf16>
  %p = lumen.pack %w : tensor<?x?xbf16> -> tensor<?x?xbf16, #lumen.packed<rows = 8, k = 2>>
  lumen.to_bytes %p into %out : tensor<?x?xbf16, #lumen.packed<rows = 8, k = 2>>, memref<?xi8>
  return
}

// -----

func.func @nothing_to_pack(%p: tensor<32x32xf16, #lumen.packed<rows = 8>>, %out: memref<?xi8>)
    attributes {lumen.kernel = "pack"} {
  // expected-error @below {{in a pack kernel stores a lumen.pack of a weight in bytes}}
  lumen.to_bytes %p into %out : tensor<32x32xf16, #lumen.packed<rows = 8>>, memref<?xi8>
  return
}

// -----

// expected-error @below {{is a kernel and must have one block, got 0}}
func.func private @declared(%out: memref<?xi8>) attributes {lumen.kernel = "pack"}
