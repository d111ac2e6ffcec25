// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --canonicalize --split-input-file | FileCheck %s

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// The embedding reads the quantized table itself.
// CHECK-LABEL: func.func @embedding
// CHECK-NEXT: lumen.embedding %arg0, %arg1 : tensor<?xi32>, tensor<48x64x!lumen.q<@q8_0>>
// CHECK-NEXT: return
func.func @embedding(%tokens: tensor<?xi32>, %table: tensor<48x64x!lumen.q<@q8_0>>)
    -> tensor<?x64xf32> {
  %f = lumen.dequantize %table : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  %x = lumen.embedding %tokens, %f : tensor<?xi32>, tensor<48x64xf32> -> tensor<?x64xf32>
  return %x : tensor<?x64xf32>
}

// -----

// Weights whose results nobody reads go, with their biases.
// CHECK-LABEL: func.func @unread_result
// CHECK-NEXT: %[[Y:.*]]:2 = lumen.qlinear activations(%arg0 : tensor<?x64xf32>)
// CHECK-SAME: weights(%arg1, %arg3 : tensor<48x64xf16>, tensor<16x64xf16>)
// CHECK-SAME: biases(%arg4, %arg6 : tensor<48xf32>, tensor<16xf32>) {note = "kept"}
// CHECK-SAME: -> tensor<?x48xf32>, tensor<?x16xf32>
// CHECK-NEXT: return %[[Y]]#0, %[[Y]]#1
func.func @unread_result(%x: tensor<?x64xf32>, %w0: tensor<48x64xf16>, %w1: tensor<32x64xf16>,
    %w2: tensor<16x64xf16>, %b0: tensor<48xf32>, %b1: tensor<32xf32>, %b2: tensor<16xf32>)
    -> (tensor<?x48xf32>, tensor<?x16xf32>) {
  %0:3 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w0, %w1, %w2 : tensor<48x64xf16>, tensor<32x64xf16>, tensor<16x64xf16>)
    biases(%b0, %b1, %b2 : tensor<48xf32>, tensor<32xf32>, tensor<16xf32>) {note = "kept"}
    -> tensor<?x48xf32>, tensor<?x32xf32>, tensor<?x16xf32>
  return %0#0, %0#2 : tensor<?x48xf32>, tensor<?x16xf32>
}

// CHECK-LABEL: func.func @all_unread
// CHECK-NEXT: return
func.func @all_unread(%x: tensor<?x64xf32>, %w: tensor<48x64xf16>) {
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w : tensor<48x64xf16>)
    -> tensor<?x48xf32>
  return
}

// -----

// CHECK-LABEL: func.func @lookup
// CHECK-DAG: %[[V:.*]] = arith.constant dense<[5, -7, 5, 127]> : vector<4xi8>
// CHECK-DAG: %[[S:.*]] = arith.constant dense<-7> : vector<64xi8>
// CHECK: return %[[V]], %[[S]]
func.func @lookup() -> (vector<4xi8>, vector<64xi8>) {
  %codes = arith.constant dense<[0, 1, 0, 2]> : vector<4xi8>
  %splat = arith.constant dense<1> : vector<64xi8>
  %0 = lumen.lookup %codes [5, -7, 127] : vector<4xi8>
  %1 = lumen.lookup %splat [5, -7, 127] : vector<64xi8>
  return %0, %1 : vector<4xi8>, vector<64xi8>
}

// An index past the table has no value.
// CHECK-LABEL: func.func @lookup_outside
// CHECK: lumen.lookup
func.func @lookup_outside() -> vector<4xi8> {
  %codes = arith.constant dense<[0, 1, 0, 3]> : vector<4xi8>
  %0 = lumen.lookup %codes [5, -7, 127] : vector<4xi8>
  return %0 : vector<4xi8>
}

// What is added to every entry is added to the table, with the wrapping of bytes. An
// entry that is needed by itself is looked up once.
// CHECK-LABEL: func.func @add_to_table
// CHECK-SAME: %[[I:.*]]: vector<64xi8>, %[[J:.*]]: vector<64xi8>
// CHECK-DAG: %[[SUM:.*]] = lumen.lookup %[[I]] [-123, 121, 127] : vector<64xi8>
// CHECK-DAG: %[[ENTRY:.*]] = lumen.lookup %[[J]] [5, -7, -1] : vector<64xi8>
// CHECK-DAG: %[[OTHER:.*]] = arith.addi %[[ENTRY]],
// CHECK: return %[[SUM]], %[[ENTRY]], %[[OTHER]]
func.func @add_to_table(%i: vector<64xi8>, %j: vector<64xi8>)
    -> (vector<64xi8>, vector<64xi8>, vector<64xi8>) {
  %term = arith.constant dense<-128> : vector<64xi8>
  %0 = lumen.lookup %i [5, -7, -1] : vector<64xi8>
  %1 = arith.addi %0, %term : vector<64xi8>
  %2 = lumen.lookup %j [5, -7, -1] : vector<64xi8>
  %3 = arith.addi %2, %term : vector<64xi8>
  return %1, %2, %3 : vector<64xi8>, vector<64xi8>, vector<64xi8>
}
