// RUN: lumen-opt %s -lumen-share-loops -split-input-file -verify-diagnostics | FileCheck %s

// Products of other rows and with another epilogue call the same function.
// CHECK-LABEL: func.func private @narrow(
// CHECK:         scf.forall (%[[TILE:.*]]) in (8) {
// CHECK-NEXT:      %[[W:.*]] = memref.cast %{{.*}} : memref<8x4x16xf32> to memref<?x4x16xf32>
// CHECK:           %[[SUMS:.*]]:2 = func.call @[[LOOP:loop_[0-9a-f]+]](%[[W]], %[[TILE]], %{{.*}}) : (memref<?x4x16xf32>, index, memref<?xf32>) -> (vector<16xf32>, vector<16xf32>)
// CHECK-NEXT:      arith.addf %[[SUMS]]#0, %[[SUMS]]#1
func.func private @narrow(%bytes: memref<1024xi8>, %w: memref<8x4x16xf32>, %xs: memref<16xf32>, %y: memref<8x16xf32>)
    attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %zero = arith.constant dense<0.0> : vector<16xf32>
  scf.forall (%tile) in (8) {
    %sums:2 = scf.for %i = %c0 to %c4 step %c1 iter_args(%sum = %zero, %other = %zero) -> (vector<16xf32>, vector<16xf32>) {
      %row = vector.load %w[%tile, %i, %c0] : memref<8x4x16xf32>, vector<16xf32>
      %x = vector.load %xs[%c0] : memref<16xf32>, vector<16xf32>
      %m0 = arith.mulf %row, %x : vector<16xf32>
      %n0 = arith.addf %m0, %row : vector<16xf32>
      %p0 = arith.addf %sum, %n0 : vector<16xf32>
      %q0 = arith.subf %other, %n0 : vector<16xf32>
      %m1 = arith.mulf %row, %x : vector<16xf32>
      %n1 = arith.addf %m1, %row : vector<16xf32>
      %p1 = arith.addf %p0, %n1 : vector<16xf32>
      %q1 = arith.subf %q0, %n1 : vector<16xf32>
      %m2 = arith.mulf %row, %x : vector<16xf32>
      %n2 = arith.addf %m2, %row : vector<16xf32>
      %p2 = arith.addf %p1, %n2 : vector<16xf32>
      %q2 = arith.subf %q1, %n2 : vector<16xf32>
      %m3 = arith.mulf %row, %x : vector<16xf32>
      %n3 = arith.addf %m3, %row : vector<16xf32>
      %p3 = arith.addf %p2, %n3 : vector<16xf32>
      %q3 = arith.subf %q2, %n3 : vector<16xf32>
      %m4 = arith.mulf %row, %x : vector<16xf32>
      %n4 = arith.addf %m4, %row : vector<16xf32>
      %p4 = arith.addf %p3, %n4 : vector<16xf32>
      %q4 = arith.subf %q3, %n4 : vector<16xf32>
      %m5 = arith.mulf %row, %x : vector<16xf32>
      %n5 = arith.addf %m5, %row : vector<16xf32>
      %p5 = arith.addf %p4, %n5 : vector<16xf32>
      %q5 = arith.subf %q4, %n5 : vector<16xf32>
      %m6 = arith.mulf %row, %x : vector<16xf32>
      %n6 = arith.addf %m6, %row : vector<16xf32>
      %p6 = arith.addf %p5, %n6 : vector<16xf32>
      %q6 = arith.subf %q5, %n6 : vector<16xf32>
      %m7 = arith.mulf %row, %x : vector<16xf32>
      %n7 = arith.addf %m7, %row : vector<16xf32>
      %p7 = arith.addf %p6, %n7 : vector<16xf32>
      %q7 = arith.subf %q6, %n7 : vector<16xf32>
      scf.yield %p7, %q7 : vector<16xf32>, vector<16xf32>
    }
    %result = arith.addf %sums#0, %sums#1 : vector<16xf32>
    vector.store %result, %y[%tile, %c0] : memref<8x16xf32>, vector<16xf32>
  }
  return
}

// CHECK-LABEL: func.func private @wide(
// CHECK:           %[[SUMS:.*]]:2 = func.call @[[LOOP]](
// CHECK-NEXT:      arith.mulf %[[SUMS]]#0, %[[SUMS]]#1
func.func private @wide(%bytes: memref<2560xi8>, %w: memref<32x4x16xf32>, %xs: memref<16xf32>, %y: memref<32x16xf32>)
    attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %zero = arith.constant dense<0.0> : vector<16xf32>
  scf.forall (%tile) in (32) {
    %sums:2 = scf.for %i = %c0 to %c4 step %c1 iter_args(%sum = %zero, %other = %zero) -> (vector<16xf32>, vector<16xf32>) {
      %row = vector.load %w[%tile, %i, %c0] : memref<32x4x16xf32>, vector<16xf32>
      %x = vector.load %xs[%c0] : memref<16xf32>, vector<16xf32>
      %m0 = arith.mulf %row, %x : vector<16xf32>
      %n0 = arith.addf %m0, %row : vector<16xf32>
      %p0 = arith.addf %sum, %n0 : vector<16xf32>
      %q0 = arith.subf %other, %n0 : vector<16xf32>
      %m1 = arith.mulf %row, %x : vector<16xf32>
      %n1 = arith.addf %m1, %row : vector<16xf32>
      %p1 = arith.addf %p0, %n1 : vector<16xf32>
      %q1 = arith.subf %q0, %n1 : vector<16xf32>
      %m2 = arith.mulf %row, %x : vector<16xf32>
      %n2 = arith.addf %m2, %row : vector<16xf32>
      %p2 = arith.addf %p1, %n2 : vector<16xf32>
      %q2 = arith.subf %q1, %n2 : vector<16xf32>
      %m3 = arith.mulf %row, %x : vector<16xf32>
      %n3 = arith.addf %m3, %row : vector<16xf32>
      %p3 = arith.addf %p2, %n3 : vector<16xf32>
      %q3 = arith.subf %q2, %n3 : vector<16xf32>
      %m4 = arith.mulf %row, %x : vector<16xf32>
      %n4 = arith.addf %m4, %row : vector<16xf32>
      %p4 = arith.addf %p3, %n4 : vector<16xf32>
      %q4 = arith.subf %q3, %n4 : vector<16xf32>
      %m5 = arith.mulf %row, %x : vector<16xf32>
      %n5 = arith.addf %m5, %row : vector<16xf32>
      %p5 = arith.addf %p4, %n5 : vector<16xf32>
      %q5 = arith.subf %q4, %n5 : vector<16xf32>
      %m6 = arith.mulf %row, %x : vector<16xf32>
      %n6 = arith.addf %m6, %row : vector<16xf32>
      %p6 = arith.addf %p5, %n6 : vector<16xf32>
      %q6 = arith.subf %q5, %n6 : vector<16xf32>
      %m7 = arith.mulf %row, %x : vector<16xf32>
      %n7 = arith.addf %m7, %row : vector<16xf32>
      %p7 = arith.addf %p6, %n7 : vector<16xf32>
      %q7 = arith.subf %q6, %n7 : vector<16xf32>
      scf.yield %p7, %q7 : vector<16xf32>, vector<16xf32>
    }
    %result = arith.mulf %sums#0, %sums#1 : vector<16xf32>
    vector.store %result, %y[%tile, %c0] : memref<32x16xf32>, vector<16xf32>
  }
  return
}

// Views of planes are made inside, for any number of rows.
// CHECK-LABEL: func.func private @narrow_planes(
// CHECK:           %[[ROWS:.*]] = arith.constant 8 : index
// CHECK:           func.call @[[PLANES:loop_[0-9a-f]+]](%{{.*}}, %[[ROWS]]) :
func.func private @narrow_planes(%bytes: memref<1024xi8>, %w: memref<8x4x16xf32>, %xs: memref<16xf32>, %y: memref<8x16xf32>)
    attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %zero = arith.constant dense<0.0> : vector<16xf32>
  %plane = memref.reinterpret_cast %bytes to offset: [512], sizes: [8, 4, 16], strides: [64, 16, 1]
      : memref<1024xi8> to memref<8x4x16xi8, strided<[64, 16, 1], offset: 512>>
  scf.forall (%tile) in (8) {
    %sums:2 = scf.for %i = %c0 to %c4 step %c1 iter_args(%sum = %zero, %other = %zero) -> (vector<16xf32>, vector<16xf32>) {
      %row = vector.load %w[%tile, %i, %c0] : memref<8x4x16xf32>, vector<16xf32>
      %code = vector.load %plane[%tile, %i, %c0] : memref<8x4x16xi8, strided<[64, 16, 1], offset: 512>>, vector<16xi8>
      %x = vector.load %xs[%c0] : memref<16xf32>, vector<16xf32>
      %m0 = arith.mulf %row, %x : vector<16xf32>
      %n0 = arith.addf %m0, %row : vector<16xf32>
      %p0 = arith.addf %sum, %n0 : vector<16xf32>
      %q0 = arith.subf %other, %n0 : vector<16xf32>
      %m1 = arith.mulf %row, %x : vector<16xf32>
      %n1 = arith.addf %m1, %row : vector<16xf32>
      %p1 = arith.addf %p0, %n1 : vector<16xf32>
      %q1 = arith.subf %q0, %n1 : vector<16xf32>
      %m2 = arith.mulf %row, %x : vector<16xf32>
      %n2 = arith.addf %m2, %row : vector<16xf32>
      %p2 = arith.addf %p1, %n2 : vector<16xf32>
      %q2 = arith.subf %q1, %n2 : vector<16xf32>
      %m3 = arith.mulf %row, %x : vector<16xf32>
      %n3 = arith.addf %m3, %row : vector<16xf32>
      %p3 = arith.addf %p2, %n3 : vector<16xf32>
      %q3 = arith.subf %q2, %n3 : vector<16xf32>
      %m4 = arith.mulf %row, %x : vector<16xf32>
      %n4 = arith.addf %m4, %row : vector<16xf32>
      %p4 = arith.addf %p3, %n4 : vector<16xf32>
      %q4 = arith.subf %q3, %n4 : vector<16xf32>
      %m5 = arith.mulf %row, %x : vector<16xf32>
      %n5 = arith.addf %m5, %row : vector<16xf32>
      %p5 = arith.addf %p4, %n5 : vector<16xf32>
      %q5 = arith.subf %q4, %n5 : vector<16xf32>
      %m6 = arith.mulf %row, %x : vector<16xf32>
      %n6 = arith.addf %m6, %row : vector<16xf32>
      %p6 = arith.addf %p5, %n6 : vector<16xf32>
      %q6 = arith.subf %q5, %n6 : vector<16xf32>
      %m7 = arith.mulf %row, %x : vector<16xf32>
      %n7 = arith.addf %m7, %row : vector<16xf32>
      %p7 = arith.addf %p6, %n7 : vector<16xf32>
      %q7 = arith.subf %q6, %n7 : vector<16xf32>
      scf.yield %p7, %q7 : vector<16xf32>, vector<16xf32>
    }
    %result = arith.addf %sums#0, %sums#1 : vector<16xf32>
    vector.store %result, %y[%tile, %c0] : memref<8x16xf32>, vector<16xf32>
  }
  return
}

// CHECK-LABEL: func.func private @wide_planes(
// CHECK:           %[[ROWS:.*]] = arith.constant 32 : index
// CHECK:           func.call @[[PLANES]](%{{.*}}, %[[ROWS]]) :
func.func private @wide_planes(%bytes: memref<2560xi8>, %w: memref<32x4x16xf32>, %xs: memref<16xf32>, %y: memref<32x16xf32>)
    attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %zero = arith.constant dense<0.0> : vector<16xf32>
  %plane = memref.reinterpret_cast %bytes to offset: [512], sizes: [32, 4, 16], strides: [64, 16, 1]
      : memref<2560xi8> to memref<32x4x16xi8, strided<[64, 16, 1], offset: 512>>
  scf.forall (%tile) in (32) {
    %sums:2 = scf.for %i = %c0 to %c4 step %c1 iter_args(%sum = %zero, %other = %zero) -> (vector<16xf32>, vector<16xf32>) {
      %row = vector.load %w[%tile, %i, %c0] : memref<32x4x16xf32>, vector<16xf32>
      %code = vector.load %plane[%tile, %i, %c0] : memref<32x4x16xi8, strided<[64, 16, 1], offset: 512>>, vector<16xi8>
      %x = vector.load %xs[%c0] : memref<16xf32>, vector<16xf32>
      %m0 = arith.mulf %row, %x : vector<16xf32>
      %n0 = arith.addf %m0, %row : vector<16xf32>
      %p0 = arith.addf %sum, %n0 : vector<16xf32>
      %q0 = arith.subf %other, %n0 : vector<16xf32>
      %m1 = arith.mulf %row, %x : vector<16xf32>
      %n1 = arith.addf %m1, %row : vector<16xf32>
      %p1 = arith.addf %p0, %n1 : vector<16xf32>
      %q1 = arith.subf %q0, %n1 : vector<16xf32>
      %m2 = arith.mulf %row, %x : vector<16xf32>
      %n2 = arith.addf %m2, %row : vector<16xf32>
      %p2 = arith.addf %p1, %n2 : vector<16xf32>
      %q2 = arith.subf %q1, %n2 : vector<16xf32>
      %m3 = arith.mulf %row, %x : vector<16xf32>
      %n3 = arith.addf %m3, %row : vector<16xf32>
      %p3 = arith.addf %p2, %n3 : vector<16xf32>
      %q3 = arith.subf %q2, %n3 : vector<16xf32>
      %m4 = arith.mulf %row, %x : vector<16xf32>
      %n4 = arith.addf %m4, %row : vector<16xf32>
      %p4 = arith.addf %p3, %n4 : vector<16xf32>
      %q4 = arith.subf %q3, %n4 : vector<16xf32>
      %m5 = arith.mulf %row, %x : vector<16xf32>
      %n5 = arith.addf %m5, %row : vector<16xf32>
      %p5 = arith.addf %p4, %n5 : vector<16xf32>
      %q5 = arith.subf %q4, %n5 : vector<16xf32>
      %m6 = arith.mulf %row, %x : vector<16xf32>
      %n6 = arith.addf %m6, %row : vector<16xf32>
      %p6 = arith.addf %p5, %n6 : vector<16xf32>
      %q6 = arith.subf %q5, %n6 : vector<16xf32>
      %m7 = arith.mulf %row, %x : vector<16xf32>
      %n7 = arith.addf %m7, %row : vector<16xf32>
      %p7 = arith.addf %p6, %n7 : vector<16xf32>
      %q7 = arith.subf %q6, %n7 : vector<16xf32>
      scf.yield %p7, %q7 : vector<16xf32>, vector<16xf32>
    }
    %result = arith.addf %sums#0, %sums#1 : vector<16xf32>
    vector.store %result, %y[%tile, %c0] : memref<32x16xf32>, vector<16xf32>
  }
  return
}

// A loop for one token stays, one that writes too, and one of another kind of kernel.
// CHECK-LABEL: func.func private @one_token(
// CHECK-NOT:     call
func.func private @one_token(%bytes: memref<1024xi8>, %w: memref<8x4x16xf32>, %xs: memref<16xf32>, %y: memref<8x16xf32>)
    attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %zero = arith.constant dense<0.0> : vector<16xf32>
  scf.forall (%tile) in (8) {
    %sums = scf.for %i = %c0 to %c4 step %c1 iter_args(%sum = %zero) -> (vector<16xf32>) {
      %row = vector.load %w[%tile, %i, %c0] : memref<8x4x16xf32>, vector<16xf32>
      %x = vector.load %xs[%c0] : memref<16xf32>, vector<16xf32>
      %m0 = arith.mulf %row, %x : vector<16xf32>
      %n0 = arith.addf %m0, %row : vector<16xf32>
      %p0 = arith.addf %sum, %n0 : vector<16xf32>
      %q0 = arith.subf %zero, %n0 : vector<16xf32>
      %m1 = arith.mulf %row, %x : vector<16xf32>
      %n1 = arith.addf %m1, %row : vector<16xf32>
      %p1 = arith.addf %p0, %n1 : vector<16xf32>
      %q1 = arith.subf %q0, %n1 : vector<16xf32>
      %m2 = arith.mulf %row, %x : vector<16xf32>
      %n2 = arith.addf %m2, %row : vector<16xf32>
      %p2 = arith.addf %p1, %n2 : vector<16xf32>
      %q2 = arith.subf %q1, %n2 : vector<16xf32>
      %m3 = arith.mulf %row, %x : vector<16xf32>
      %n3 = arith.addf %m3, %row : vector<16xf32>
      %p3 = arith.addf %p2, %n3 : vector<16xf32>
      %q3 = arith.subf %q2, %n3 : vector<16xf32>
      %m4 = arith.mulf %row, %x : vector<16xf32>
      %n4 = arith.addf %m4, %row : vector<16xf32>
      %p4 = arith.addf %p3, %n4 : vector<16xf32>
      %q4 = arith.subf %q3, %n4 : vector<16xf32>
      %m5 = arith.mulf %row, %x : vector<16xf32>
      %n5 = arith.addf %m5, %row : vector<16xf32>
      %p5 = arith.addf %p4, %n5 : vector<16xf32>
      %q5 = arith.subf %q4, %n5 : vector<16xf32>
      %m6 = arith.mulf %row, %x : vector<16xf32>
      %n6 = arith.addf %m6, %row : vector<16xf32>
      %p6 = arith.addf %p5, %n6 : vector<16xf32>
      %q6 = arith.subf %q5, %n6 : vector<16xf32>
      %m7 = arith.mulf %row, %x : vector<16xf32>
      %n7 = arith.addf %m7, %row : vector<16xf32>
      %p7 = arith.addf %p6, %n7 : vector<16xf32>
      %q7 = arith.subf %q6, %n7 : vector<16xf32>
      scf.yield %p7 : vector<16xf32>
    }
    %result = arith.addf %sums, %sums : vector<16xf32>
    vector.store %result, %y[%tile, %c0] : memref<8x16xf32>, vector<16xf32>
  }
  return
}

// CHECK-LABEL: func.func private @writes(
// CHECK-NOT:     call
func.func private @writes(%bytes: memref<1024xi8>, %w: memref<8x4x16xf32>, %xs: memref<16xf32>, %y: memref<8x16xf32>)
    attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %zero = arith.constant dense<0.0> : vector<16xf32>
  scf.forall (%tile) in (8) {
    %sums:2 = scf.for %i = %c0 to %c4 step %c1 iter_args(%sum = %zero, %other = %zero) -> (vector<16xf32>, vector<16xf32>) {
      %row = vector.load %w[%tile, %i, %c0] : memref<8x4x16xf32>, vector<16xf32>
      %x = vector.load %xs[%c0] : memref<16xf32>, vector<16xf32>
      %m0 = arith.mulf %row, %x : vector<16xf32>
      %n0 = arith.addf %m0, %row : vector<16xf32>
      %p0 = arith.addf %sum, %n0 : vector<16xf32>
      %q0 = arith.subf %other, %n0 : vector<16xf32>
      %m1 = arith.mulf %row, %x : vector<16xf32>
      %n1 = arith.addf %m1, %row : vector<16xf32>
      %p1 = arith.addf %p0, %n1 : vector<16xf32>
      %q1 = arith.subf %q0, %n1 : vector<16xf32>
      %m2 = arith.mulf %row, %x : vector<16xf32>
      %n2 = arith.addf %m2, %row : vector<16xf32>
      %p2 = arith.addf %p1, %n2 : vector<16xf32>
      %q2 = arith.subf %q1, %n2 : vector<16xf32>
      %m3 = arith.mulf %row, %x : vector<16xf32>
      %n3 = arith.addf %m3, %row : vector<16xf32>
      %p3 = arith.addf %p2, %n3 : vector<16xf32>
      %q3 = arith.subf %q2, %n3 : vector<16xf32>
      %m4 = arith.mulf %row, %x : vector<16xf32>
      %n4 = arith.addf %m4, %row : vector<16xf32>
      %p4 = arith.addf %p3, %n4 : vector<16xf32>
      %q4 = arith.subf %q3, %n4 : vector<16xf32>
      %m5 = arith.mulf %row, %x : vector<16xf32>
      %n5 = arith.addf %m5, %row : vector<16xf32>
      %p5 = arith.addf %p4, %n5 : vector<16xf32>
      %q5 = arith.subf %q4, %n5 : vector<16xf32>
      %m6 = arith.mulf %row, %x : vector<16xf32>
      %n6 = arith.addf %m6, %row : vector<16xf32>
      %p6 = arith.addf %p5, %n6 : vector<16xf32>
      %q6 = arith.subf %q5, %n6 : vector<16xf32>
      %m7 = arith.mulf %row, %x : vector<16xf32>
      %n7 = arith.addf %m7, %row : vector<16xf32>
      %p7 = arith.addf %p6, %n7 : vector<16xf32>
      %q7 = arith.subf %q6, %n7 : vector<16xf32>
      vector.store %row, %y[%tile, %c0] : memref<8x16xf32>, vector<16xf32>
      scf.yield %p7, %q7 : vector<16xf32>, vector<16xf32>
    }
    %result = arith.addf %sums#0, %sums#1 : vector<16xf32>
    vector.store %result, %y[%tile, %c0] : memref<8x16xf32>, vector<16xf32>
  }
  return
}

// CHECK-LABEL: func.func private @rows(
// CHECK-NOT:     call
func.func private @rows(%bytes: memref<1024xi8>, %w: memref<8x4x16xf32>, %xs: memref<16xf32>, %y: memref<8x16xf32>)
    attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %zero = arith.constant dense<0.0> : vector<16xf32>
  scf.forall (%tile) in (8) {
    %sums:2 = scf.for %i = %c0 to %c4 step %c1 iter_args(%sum = %zero, %other = %zero) -> (vector<16xf32>, vector<16xf32>) {
      %row = vector.load %w[%tile, %i, %c0] : memref<8x4x16xf32>, vector<16xf32>
      %x = vector.load %xs[%c0] : memref<16xf32>, vector<16xf32>
      %m0 = arith.mulf %row, %x : vector<16xf32>
      %n0 = arith.addf %m0, %row : vector<16xf32>
      %p0 = arith.addf %sum, %n0 : vector<16xf32>
      %q0 = arith.subf %other, %n0 : vector<16xf32>
      %m1 = arith.mulf %row, %x : vector<16xf32>
      %n1 = arith.addf %m1, %row : vector<16xf32>
      %p1 = arith.addf %p0, %n1 : vector<16xf32>
      %q1 = arith.subf %q0, %n1 : vector<16xf32>
      %m2 = arith.mulf %row, %x : vector<16xf32>
      %n2 = arith.addf %m2, %row : vector<16xf32>
      %p2 = arith.addf %p1, %n2 : vector<16xf32>
      %q2 = arith.subf %q1, %n2 : vector<16xf32>
      %m3 = arith.mulf %row, %x : vector<16xf32>
      %n3 = arith.addf %m3, %row : vector<16xf32>
      %p3 = arith.addf %p2, %n3 : vector<16xf32>
      %q3 = arith.subf %q2, %n3 : vector<16xf32>
      %m4 = arith.mulf %row, %x : vector<16xf32>
      %n4 = arith.addf %m4, %row : vector<16xf32>
      %p4 = arith.addf %p3, %n4 : vector<16xf32>
      %q4 = arith.subf %q3, %n4 : vector<16xf32>
      %m5 = arith.mulf %row, %x : vector<16xf32>
      %n5 = arith.addf %m5, %row : vector<16xf32>
      %p5 = arith.addf %p4, %n5 : vector<16xf32>
      %q5 = arith.subf %q4, %n5 : vector<16xf32>
      %m6 = arith.mulf %row, %x : vector<16xf32>
      %n6 = arith.addf %m6, %row : vector<16xf32>
      %p6 = arith.addf %p5, %n6 : vector<16xf32>
      %q6 = arith.subf %q5, %n6 : vector<16xf32>
      %m7 = arith.mulf %row, %x : vector<16xf32>
      %n7 = arith.addf %m7, %row : vector<16xf32>
      %p7 = arith.addf %p6, %n7 : vector<16xf32>
      %q7 = arith.subf %q6, %n7 : vector<16xf32>
      scf.yield %p7, %q7 : vector<16xf32>, vector<16xf32>
    }
    %result = arith.addf %sums#0, %sums#1 : vector<16xf32>
    vector.store %result, %y[%tile, %c0] : memref<8x16xf32>, vector<16xf32>
  }
  return
}

// One function, with the constants that it needs.
// CHECK:       func.func private @[[LOOP]](%[[W:.*]]: memref<?x4x16xf32>, %[[TILE:.*]]: index, %{{.*}}: memref<?xf32>) -> (vector<16xf32>, vector<16xf32>) attributes {lumen.loop} {
// CHECK-DAG:     arith.constant 4 : index
// CHECK-DAG:     arith.constant dense<0.000000e+00> : vector<16xf32>
// CHECK:         %[[SUMS:.*]]:2 = scf.for
// CHECK-NEXT:      vector.load %[[W]][%[[TILE]], %{{.*}}, %{{.*}}] : memref<?x4x16xf32>, vector<16xf32>
// CHECK:         return %[[SUMS]]#0, %[[SUMS]]#1 : vector<16xf32>, vector<16xf32>
// CHECK:       func.func private @[[PLANES]](
// CHECK-SAME:      %[[BYTES:[a-z0-9]+]]: memref<?xi8>, %{{.*}}: memref<?xf32>, %[[ROWS:[a-z0-9]+]]: index)
// CHECK:         memref.reinterpret_cast %[[BYTES]] to offset: [512], sizes: [%[[ROWS]], 4, 16], strides: [64, 16, 1] : memref<?xi8> to memref<?x4x16xi8, strided<[64, 16, 1], offset: 512>>
// CHECK-NOT:   lumen.loop
