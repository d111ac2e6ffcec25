// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-prepare-tensors | FileCheck %s

// Element-wise ops, of arith or of linalg, are one loop.
// CHECK-LABEL: func.func @chain
// CHECK-COUNT-1: linalg.generic
// CHECK: arith.mulf
// CHECK-NEXT: math.exp
// CHECK-NEXT: arith.addf
// CHECK-NOT: linalg.generic
// CHECK: return
func.func @chain(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %y = arith.mulf %x, %x : tensor<4x8xf32>
  %z = math.exp %y : tensor<4x8xf32>
  %w = linalg.add ins(%z, %x : tensor<4x8xf32>, tensor<4x8xf32>) outs(%x : tensor<4x8xf32>) -> tensor<4x8xf32>
  return %w : tensor<4x8xf32>
}

// What two ops read is computed once.
// CHECK-LABEL: func.func @read_twice
// CHECK: %[[E:.*]] = linalg.generic
// CHECK: math.exp
// CHECK: linalg.generic {{.*}} ins(%[[E]]
// CHECK: linalg.generic {{.*}} ins(%[[E]]
func.func @read_twice(%x: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %e = math.exp %x : tensor<4x8xf32>
  %a = arith.negf %e : tensor<4x8xf32>
  %b = math.sqrt %e : tensor<4x8xf32>
  return %a, %b : tensor<4x8xf32>, tensor<4x8xf32>
}

// A product would compute it again for every column.
// CHECK-LABEL: func.func @before_a_product
// CHECK: linalg.generic
// CHECK: math.exp
// CHECK: linalg.generic
// CHECK-NEXT: ^bb0
// CHECK-NEXT: arith.mulf
func.func @before_a_product(%x: tensor<4x8xf32>, %w: tensor<8x6xf32>, %init: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %e = math.exp %x : tensor<4x8xf32>
  %y = linalg.matmul ins(%e, %w : tensor<4x8xf32>, tensor<8x6xf32>) outs(%init : tensor<4x6xf32>) -> tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// CHECK-LABEL: func.func @steps
// CHECK-NOT: tensor.pad
// CHECK-NOT: tensor.concat
// CHECK: tensor.insert_slice
func.func @steps(%x: tensor<4x8xf32>) -> tensor<10x10xf32> {
  %zero = arith.constant 0.0 : f32
  %c = tensor.concat dim(0) %x, %x : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<8x8xf32>
  %p = tensor.pad %c low[1, 1] high[1, 1] {
  ^bb0(%i: index, %j: index):
    tensor.yield %zero : f32
  } : tensor<8x8xf32> to tensor<10x10xf32>
  return %p : tensor<10x10xf32>
}

// Calls are inlined, and the function that nobody calls any more is gone.
// CHECK-NOT: @twice
// CHECK-LABEL: func.func @calls
// CHECK-NOT: call
// CHECK: return
func.func private @twice(%x: tensor<8xf32>) -> tensor<8xf32> {
  %y = arith.addf %x, %x : tensor<8xf32>
  return %y : tensor<8xf32>
}
func.func @calls(%x: tensor<8xf32>) -> tensor<8xf32> {
  %y = call @twice(%x) : (tensor<8xf32>) -> tensor<8xf32>
  %z = call @twice(%y) : (tensor<8xf32>) -> tensor<8xf32>
  return %z : tensor<8xf32>
}

// A result has a buffer of its own.
// CHECK-LABEL: func.func @returned
// CHECK-SAME: %[[X:.*]]: tensor<8xf32>
// CHECK: %[[Y:.*]] = linalg.generic {{.*}} ins(%[[X]] : tensor<8xf32>)
// CHECK: return %[[Y]]
func.func @returned(%x: tensor<8xf32>) -> tensor<8xf32> {
  return %x : tensor<8xf32>
}
