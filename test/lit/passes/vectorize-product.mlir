// SPDX-License-Identifier: Apache-2.0
//
// RUN: lumen-opt %S/../Inputs/product.mlir \
// RUN:     --pass-pipeline='builtin.module(lumen-synthesize-product{tokens=2}, \
// RUN:         lumen-vectorize-product, canonicalize, cse)' | FileCheck %s

// CHECK-LABEL: func.func private @product(
// CHECK-NOT: tensor<
// CHECK-NOT: linalg
// What the tile will read and write at last is fetched first.
// CHECK-COUNT-2: memref.prefetch %arg6[%{{.*}}, %{{.*}}], read, locality<3>, data
// CHECK-COUNT-2: memref.prefetch %arg7[%{{.*}}, %{{.*}}], write, locality<3>, data
// Accumulators of two tokens are vectors that the loop carries.
// CHECK: scf.for {{.*}} iter_args(%{{.*}} = %{{.*}}, %{{.*}} = %{{.*}}) -> (vector<16xf32>, vector<16xf32>) {
// A slice has one address, from which everything lies at constant distances.
// CHECK: %[[SPAN:.*]] = memref.subview %{{.*}}[%{{.*}}, %{{.*}}, 0, 0, 0, 0] [1, 1, 2, 2, 16, 4]
// CHECK: %[[STEPS:.*]] = memref.collapse_shape %[[SPAN]]
// Every byte is loaded once and used for two steps of both tokens.
// CHECK: memref.prefetch %[[STEPS]][%c0, %c0, %c0, %c0, %c4096], read
// CHECK-NEXT: %[[BYTES:.*]] = vector.load %[[STEPS]]{{.*}} vector<64xi8>
// CHECK: %[[LOW:.*]] = arith.andi %[[BYTES]]
// CHECK: %[[X0:.*]] = vector.load %{{.*}} vector<4xi8>
// CHECK: %[[A0:.*]] = lumen.dot4 %[[LOW]], %[[X0]], %{{.*}} {bits = 4 : i64}
// CHECK: %[[X1:.*]] = vector.load %{{.*}} vector<4xi8>
// CHECK: %[[A1:.*]] = lumen.dot4 %[[LOW]], %[[X1]], %{{.*}} {bits = 4 : i64}
// CHECK: %[[SHIFTED:.*]] = arith.shrui %[[BYTES]]
// CHECK: %[[HIGH:.*]] = arith.andi %[[SHIFTED]]
// CHECK: lumen.dot4 %[[HIGH]], %{{.*}}, %[[A0]]
// CHECK: lumen.dot4 %[[HIGH]], %{{.*}}, %[[A1]]
// CHECK-COUNT-12: lumen.dot4
// CHECK: arith.sitofp
// CHECK: scf.yield %{{.*}}, %{{.*}} : vector<16xf32>, vector<16xf32>
// The whole tile, then the ten rows of the last.
// CHECK: vector.store %{{.*}} vector<16xf32>
// CHECK: vector.store %{{.*}} vector<10xf32>
// One token: memory is the limit, and every stream is fetched a page ahead.
// CHECK: memref.prefetch %[[CODES:.*]][%c0, %c0, %c0, %c0, %c4096], read, locality<3>, data
// CHECK-NEXT: vector.load %[[CODES]][%c0, %c0, %c0, %c0, %c0]
// CHECK: memref.prefetch %[[SCALES:.*]][%c0, %c0, %c2048], read, locality<3>, data
// CHECK-NEXT: vector.load %[[SCALES]][%c0, %c0, %c0]
