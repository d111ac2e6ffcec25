// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-quantize-activations | FileCheck %s
// RUN: lumen-opt %s --lumen-quantize-activations=mode=int8 | FileCheck %s
// RUN: lumen-opt %s --lumen-quantize-activations=mode=exact | FileCheck %s --check-prefix=EXACT
// RUN: not lumen-opt %s --lumen-quantize-activations=mode=int4 2>&1 | FileCheck %s --check-prefix=BAD

// EXACT-NOT: lumen.quantize
// BAD: Cannot find option named 'int4'

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
lumen.format @wide block(64) group(64) bits(8) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<64xi8>):
  lumen.decoded codes(%qs : vector<64xi8>) scale(%d : f16)
}
lumen.format @fine block(32) group(16) bits(8) storage(["sc", "qs"]) {
^bb0(%sc: vector<2xi8>, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%sc : vector<2xi8>)
}

// One quantize right after the activation serves all its products.
// CHECK-LABEL: func.func @shared
// CHECK: %[[X:.*]] = lumen.rms_norm
// CHECK-NEXT: %[[C:.*]], %[[S:.*]], %[[O:.*]], %[[M:.*]] = lumen.quantize %[[X]] {bias = -8 : i64} : tensor<?x64xf32>
// CHECK-SAME: -> tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>
// CHECK-NEXT: lumen.qlinear activations(%[[C]], %[[S]], %[[O]], %[[M]] :
// CHECK-NEXT: lumen.qlinear activations(%[[C]], %[[S]], %[[O]], %[[M]] :
// CHECK-NEXT: return
func.func @shared(%x: tensor<?x64xf32>, %n: tensor<64xf32>, %w0: tensor<48x64x!lumen.q<@q8_0>>,
    %w1: tensor<32x64x!lumen.q<@b8>>) -> (tensor<?x48xf32>, tensor<?x32xf32>) {
  %0 = lumen.rms_norm %x, %n {epsilon = 1.0e-06 : f32} : tensor<?x64xf32>, tensor<64xf32>
  %1 = lumen.qlinear activations(%0 : tensor<?x64xf32>)
    weights(%w0 : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  %2 = lumen.qlinear activations(%0 : tensor<?x64xf32>)
    weights(%w1 : tensor<32x64x!lumen.q<@b8>>) -> tensor<?x32xf32>
  return %1, %2 : tensor<?x48xf32>, tensor<?x32xf32>
}

// Blocks of 32 and of 64 both read codes with a scale per 32.
// CHECK-LABEL: func.func @blocks
// CHECK-NEXT: %[[C:.*]], %[[S:.*]], %[[O:.*]], %[[M:.*]] = lumen.quantize %arg0 {bias = -128 : i64} : tensor<?x64xf32> -> tensor<?x64xi8>, tensor<?x2xf32>,
// CHECK-NEXT: lumen.qlinear activations(%[[C]], %[[S]], %[[O]], %[[M]] :
// CHECK-NEXT: lumen.qlinear activations(%[[C]], %[[S]], %[[O]], %[[M]] :
// CHECK-NEXT: return
func.func @blocks(%x: tensor<?x64xf32>, %w0: tensor<48x64x!lumen.q<@q8_0>>,
    %w1: tensor<32x64x!lumen.q<@wide>>) -> (tensor<?x48xf32>, tensor<?x32xf32>) {
  %1 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w0 : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  %2 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w1 : tensor<32x64x!lumen.q<@wide>>) -> tensor<?x32xf32>
  return %1, %2 : tensor<?x48xf32>, tensor<?x32xf32>
}

lumen.format @q4_k block(256) group(32) bits(8) storage(["d", "sc", "m", "mn", "qs"]) {
^bb0(%d: f16, %sc: vector<8xi8>, %m: f16, %mn: vector<8xi8>, %qs: vector<256xi8>):
  lumen.decoded codes(%qs : vector<256xi8>) scale(%d, %sc : f16, vector<8xi8>) min(%m, %mn : f16, vector<8xi8>)
}
lumen.format @q6_k block(256) group(16) bits(6) bias(-32) storage(["d", "sc", "qs"]) {
^bb0(%d: f16, %sc: vector<16xi8>, %qs: vector<256xi8>):
  lumen.decoded codes(%qs : vector<256xi8>) scale(%d, %sc : f16, vector<16xi8>)
}

// Two formats of one block share the codes, and the finer sums: of 16 bits, which minima that are integers of
// the group meet in pairs.
// CHECK-LABEL: func.func @long_blocks
// CHECK-NEXT: %[[C:.*]], %[[S:.*]], %[[O:.*]], %[[M:.*]] = lumen.quantize %arg0 {bias = -32 : i64, group = 256 : i64, sum_group = 16 : i64} : tensor<?x768xf32>
// CHECK-SAME: -> tensor<?x768xi8>, tensor<?x3xf32>, tensor<?x48xi32>, tensor<?x48xi16>
// CHECK-NEXT: lumen.qlinear activations(%[[C]], %[[S]], %[[O]], %[[M]] :
// CHECK-NEXT: lumen.qlinear activations(%[[C]], %[[S]], %[[O]], %[[M]] :
// CHECK-NEXT: return
func.func @long_blocks(%x: tensor<?x768xf32>, %w0: tensor<48x768x!lumen.q<@q4_k>>,
    %w1: tensor<32x768x!lumen.q<@q6_k>>) -> (tensor<?x48xf32>, tensor<?x32xf32>) {
  %1 = lumen.qlinear activations(%x : tensor<?x768xf32>)
    weights(%w0 : tensor<48x768x!lumen.q<@q4_k>>) -> tensor<?x48xf32>
  %2 = lumen.qlinear activations(%x : tensor<?x768xf32>)
    weights(%w1 : tensor<32x768x!lumen.q<@q6_k>>) -> tensor<?x32xf32>
  return %1, %2 : tensor<?x48xf32>, tensor<?x32xf32>
}

lumen.format @b96 block(96) group(96) bits(8) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<96xi8>):
  lumen.decoded codes(%qs : vector<96xi8>) scale(%d : f16)
}
lumen.format @float_min block(256) group(32) bits(8) storage(["d", "m", "qs"]) {
^bb0(%d: f16, %m: vector<8xf16>, %qs: vector<256xi8>):
  lumen.decoded codes(%qs : vector<256xi8>) scale(%d : f16) min(%m : vector<8xf16>)
}

lumen.format @wide_min block(256) group(32) bits(8) storage(["d", "m", "mn", "qs"]) {
^bb0(%d: f16, %m: f16, %mn: vector<8xi8>, %qs: vector<256xi8>):
  %n = arith.extui %mn : vector<8xi8> to vector<8xi32>
  lumen.decoded codes(%qs : vector<256xi8>) scale(%d : f16) min(%m, %n : f16, vector<8xi32>)
}
lumen.format @large_min block(256) group(32) bits(8) storage(["d", "m", "mn", "qs"]) {
^bb0(%d: f16, %m: f16, %mn: vector<8xi32>, %qs: vector<256xi8>):
  lumen.decoded codes(%qs : vector<256xi8>) scale(%d : f16) min(%m, %mn : f16, vector<8xi32>)
}

// Integers of the storage count too, where they are bytes; wider ones may not fit.
// CHECK-LABEL: func.func @stored_minima
// CHECK-DAG: lumen.quantize %arg0 {group = 256 : i64} : {{.*}} tensor<?x24xi32>, tensor<?x24xi16>
// CHECK-DAG: lumen.quantize %arg1 {group = 256 : i64} : {{.*}} tensor<?x24xi32>, tensor<?x24xf32>
func.func @stored_minima(%x: tensor<?x768xf32>, %y: tensor<?x768xf32>,
    %w0: tensor<48x768x!lumen.q<@wide_min>>,
    %w1: tensor<32x768x!lumen.q<@large_min>>) -> (tensor<?x48xf32>, tensor<?x32xf32>) {
  %1 = lumen.qlinear activations(%x : tensor<?x768xf32>)
    weights(%w0 : tensor<48x768x!lumen.q<@wide_min>>) -> tensor<?x48xf32>
  %2 = lumen.qlinear activations(%y : tensor<?x768xf32>)
    weights(%w1 : tensor<32x768x!lumen.q<@large_min>>) -> tensor<?x32xf32>
  return %1, %2 : tensor<?x48xf32>, tensor<?x32xf32>
}

// Where another weight has minima that are not, sums stay floats.
// CHECK-LABEL: func.func @float_minima
// CHECK: lumen.quantize %arg0 {group = 256 : i64} : {{.*}} tensor<?x24xi32>, tensor<?x24xf32>
func.func @float_minima(%x: tensor<?x768xf32>, %w0: tensor<48x768x!lumen.q<@q4_k>>,
    %w1: tensor<32x768x!lumen.q<@float_min>>) -> (tensor<?x48xf32>, tensor<?x32xf32>) {
  %1 = lumen.qlinear activations(%x : tensor<?x768xf32>)
    weights(%w0 : tensor<48x768x!lumen.q<@q4_k>>) -> tensor<?x48xf32>
  %2 = lumen.qlinear activations(%x : tensor<?x768xf32>)
    weights(%w1 : tensor<32x768x!lumen.q<@float_min>>) -> tensor<?x32xf32>
  return %1, %2 : tensor<?x48xf32>, tensor<?x32xf32>
}
lumen.format @b512 block(512) group(512) bits(8) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<512xi8>):
  lumen.decoded codes(%qs : vector<512xi8>) scale(%d : f16)
}

// 256 codes share a scale where they divide the block, 32 otherwise: weights of
// other blocks read codes of their own.
// CHECK-LABEL: func.func @other_blocks
// CHECK-DAG: lumen.quantize %arg0 : tensor<?x1536xf32> -> tensor<?x1536xi8>, tensor<?x48xf32>,
// CHECK-DAG: lumen.quantize %arg0 {group = 256 : i64} : tensor<?x1536xf32> -> tensor<?x1536xi8>, tensor<?x6xf32>,
func.func @other_blocks(%x: tensor<?x1536xf32>, %w0: tensor<48x1536x!lumen.q<@b96>>,
    %w1: tensor<32x1536x!lumen.q<@b512>>) -> (tensor<?x48xf32>, tensor<?x32xf32>) {
  %1 = lumen.qlinear activations(%x : tensor<?x1536xf32>)
    weights(%w0 : tensor<48x1536x!lumen.q<@b96>>) -> tensor<?x48xf32>
  %2 = lumen.qlinear activations(%x : tensor<?x1536xf32>)
    weights(%w1 : tensor<32x1536x!lumen.q<@b512>>) -> tensor<?x32xf32>
  return %1, %2 : tensor<?x48xf32>, tensor<?x32xf32>
}

// The finest scale group among the weights decides how fine the sums are.
// CHECK-LABEL: func.func @fine_sums
// CHECK-NEXT: lumen.quantize %arg0 {bias = -128 : i64, sum_group = 16 : i64} : tensor<?x64xf32>
// CHECK-SAME: -> tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x4xi32>, tensor<?x4xf32>
func.func @fine_sums(%x: tensor<?x64xf32>, %w0: tensor<48x64x!lumen.q<@q8_0>>,
    %w1: tensor<32x64x!lumen.q<@fine>>) -> (tensor<?x48xf32>, tensor<?x32xf32>) {
  %1 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w0 : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  %2 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w1 : tensor<32x64x!lumen.q<@fine>>) -> tensor<?x32xf32>
  return %1, %2 : tensor<?x48xf32>, tensor<?x32xf32>
}

// Products with float weights keep the float activation.
// CHECK-LABEL: func.func @mixed
// CHECK-NEXT: %[[C:.*]], %{{.*}}, %{{.*}}, %{{.*}} = lumen.quantize %arg0
// CHECK-NEXT: lumen.qlinear activations(%arg0 : tensor<?x64xf32>) weights(%arg1 :
// CHECK-NEXT: lumen.qlinear activations(%[[C]], {{.*}}) weights(%arg2 :
func.func @mixed(%x: tensor<?x64xf32>, %w0: tensor<48x64xf16>, %w1: tensor<48x64x!lumen.q<@q8_0>>)
    -> (tensor<?x48xf32>, tensor<?x48xf32>) {
  %1 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w0 : tensor<48x64xf16>) -> tensor<?x48xf32>
  %2 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w1 : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  return %1, %2 : tensor<?x48xf32>, tensor<?x48xf32>
}

// CHECK-LABEL: func.func @float_only
// CHECK-NOT: lumen.quantize
// CHECK: return
func.func @float_only(%x: tensor<?x40xf32>, %w: tensor<48x40xf32>) -> tensor<?x48xf32> {
  %1 = lumen.qlinear activations(%x : tensor<?x40xf32>)
    weights(%w : tensor<48x40xf32>) -> tensor<?x48xf32>
  return %1 : tensor<?x48xf32>
}

lumen.format @b8 block(32) group(32) bits(4) bias(-8) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
lumen.format @b3 block(32) group(32) bits(3) bias(-3) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// The offsets are for the bias that divides the others, -1 where none does.
// CHECK-LABEL: func.func @biases
// CHECK-DAG: lumen.quantize %arg0 {bias = -8 : i64} : tensor<?x64xf32>
// CHECK-DAG: lumen.quantize %arg1 : tensor<?x64xf32>
// CHECK: lumen.qlinear {{.*}} {offset_bias = -8 : i64}
// CHECK: lumen.qlinear {{.*}} {offset_bias = -8 : i64}
// CHECK-NOT: offset_bias
func.func @biases(%x: tensor<?x64xf32>, %z: tensor<?x64xf32>, %w0: tensor<48x64x!lumen.q<@q8_0>>,
    %w1: tensor<48x64x!lumen.q<@b8>>, %w2: tensor<48x64x!lumen.q<@b3>>)
    -> (tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x48xf32>) {
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w0 : tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32>
  %1 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w1 : tensor<48x64x!lumen.q<@b8>>) -> tensor<?x48xf32>
  %2 = lumen.qlinear activations(%z : tensor<?x64xf32>)
    weights(%w1 : tensor<48x64x!lumen.q<@b8>>) -> tensor<?x48xf32>
  %3 = lumen.qlinear activations(%z : tensor<?x64xf32>)
    weights(%w2 : tensor<48x64x!lumen.q<@b3>>) -> tensor<?x48xf32>
  return %0, %1, %2, %3 : tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x48xf32>
}
