// RUN: lumen-opt %s -lumen-share-loops -split-input-file -verify-diagnostics | FileCheck %s

// Products of other rows and with another epilogue call the same function.
// CHECK-LABEL: func.func private @narrow(
// CHECK:         scf.forall (%[[TILE:.*]]) in (8) {
// CHECK-NEXT:      %[[W:.*]] = memref.cast %{{.*}} : memref<8x4x16xf32> to memref<?x4x16xf32>
// CHECK:           %[[SUMS:.*]] = func.call @[[LOOP:loop_[0-9a-f]+]](%[[W]], %[[TILE]], %{{.*}}) : (memref<?x4x16xf32>, index, memref<?xf32>) -> vector<16xf32>
// CHECK-NEXT:      vector.store %[[SUMS]]
func.func private @narrow(%w: memref<8x4x16xf32>, %xs: memref<16xf32>, %y: memref<8x16xf32>)
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
      %o0 = arith.subf %n0, %m0 : vector<16xf32>
      %p0 = arith.addf %sum, %o0 : vector<16xf32>
      %m1 = arith.mulf %row, %x : vector<16xf32>
      %n1 = arith.addf %m1, %row : vector<16xf32>
      %o1 = arith.subf %n1, %m1 : vector<16xf32>
      %p1 = arith.addf %p0, %o1 : vector<16xf32>
      %m2 = arith.mulf %row, %x : vector<16xf32>
      %n2 = arith.addf %m2, %row : vector<16xf32>
      %o2 = arith.subf %n2, %m2 : vector<16xf32>
      %p2 = arith.addf %p1, %o2 : vector<16xf32>
      %m3 = arith.mulf %row, %x : vector<16xf32>
      %n3 = arith.addf %m3, %row : vector<16xf32>
      %o3 = arith.subf %n3, %m3 : vector<16xf32>
      %p3 = arith.addf %p2, %o3 : vector<16xf32>
      %m4 = arith.mulf %row, %x : vector<16xf32>
      %n4 = arith.addf %m4, %row : vector<16xf32>
      %o4 = arith.subf %n4, %m4 : vector<16xf32>
      %p4 = arith.addf %p3, %o4 : vector<16xf32>
      %m5 = arith.mulf %row, %x : vector<16xf32>
      %n5 = arith.addf %m5, %row : vector<16xf32>
      %o5 = arith.subf %n5, %m5 : vector<16xf32>
      %p5 = arith.addf %p4, %o5 : vector<16xf32>
      %m6 = arith.mulf %row, %x : vector<16xf32>
      %n6 = arith.addf %m6, %row : vector<16xf32>
      %o6 = arith.subf %n6, %m6 : vector<16xf32>
      %p6 = arith.addf %p5, %o6 : vector<16xf32>
      %m7 = arith.mulf %row, %x : vector<16xf32>
      %n7 = arith.addf %m7, %row : vector<16xf32>
      %o7 = arith.subf %n7, %m7 : vector<16xf32>
      %p7 = arith.addf %p6, %o7 : vector<16xf32>
      scf.yield %p7 : vector<16xf32>
    }
    vector.store %sums, %y[%tile, %c0] : memref<8x16xf32>, vector<16xf32>
  }
  return
}

// CHECK-LABEL: func.func private @wide(
// CHECK:           %[[SUMS:.*]] = func.call @[[LOOP]](
// CHECK-NEXT:      arith.addf %[[SUMS]], %[[SUMS]]
func.func private @wide(%w: memref<32x4x16xf32>, %xs: memref<16xf32>, %y: memref<32x16xf32>)
    attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %zero = arith.constant dense<0.0> : vector<16xf32>
  scf.forall (%tile) in (32) {
    %sums = scf.for %i = %c0 to %c4 step %c1 iter_args(%sum = %zero) -> (vector<16xf32>) {
      %row = vector.load %w[%tile, %i, %c0] : memref<32x4x16xf32>, vector<16xf32>
      %x = vector.load %xs[%c0] : memref<16xf32>, vector<16xf32>
      %m0 = arith.mulf %row, %x : vector<16xf32>
      %n0 = arith.addf %m0, %row : vector<16xf32>
      %o0 = arith.subf %n0, %m0 : vector<16xf32>
      %p0 = arith.addf %sum, %o0 : vector<16xf32>
      %m1 = arith.mulf %row, %x : vector<16xf32>
      %n1 = arith.addf %m1, %row : vector<16xf32>
      %o1 = arith.subf %n1, %m1 : vector<16xf32>
      %p1 = arith.addf %p0, %o1 : vector<16xf32>
      %m2 = arith.mulf %row, %x : vector<16xf32>
      %n2 = arith.addf %m2, %row : vector<16xf32>
      %o2 = arith.subf %n2, %m2 : vector<16xf32>
      %p2 = arith.addf %p1, %o2 : vector<16xf32>
      %m3 = arith.mulf %row, %x : vector<16xf32>
      %n3 = arith.addf %m3, %row : vector<16xf32>
      %o3 = arith.subf %n3, %m3 : vector<16xf32>
      %p3 = arith.addf %p2, %o3 : vector<16xf32>
      %m4 = arith.mulf %row, %x : vector<16xf32>
      %n4 = arith.addf %m4, %row : vector<16xf32>
      %o4 = arith.subf %n4, %m4 : vector<16xf32>
      %p4 = arith.addf %p3, %o4 : vector<16xf32>
      %m5 = arith.mulf %row, %x : vector<16xf32>
      %n5 = arith.addf %m5, %row : vector<16xf32>
      %o5 = arith.subf %n5, %m5 : vector<16xf32>
      %p5 = arith.addf %p4, %o5 : vector<16xf32>
      %m6 = arith.mulf %row, %x : vector<16xf32>
      %n6 = arith.addf %m6, %row : vector<16xf32>
      %o6 = arith.subf %n6, %m6 : vector<16xf32>
      %p6 = arith.addf %p5, %o6 : vector<16xf32>
      %m7 = arith.mulf %row, %x : vector<16xf32>
      %n7 = arith.addf %m7, %row : vector<16xf32>
      %o7 = arith.subf %n7, %m7 : vector<16xf32>
      %p7 = arith.addf %p6, %o7 : vector<16xf32>
      scf.yield %p7 : vector<16xf32>
    }
    %twice = arith.addf %sums, %sums : vector<16xf32>
    vector.store %twice, %y[%tile, %c0] : memref<32x16xf32>, vector<16xf32>
  }
  return
}

// A loop that writes stays, and so does one of another kind of kernel.
// CHECK-LABEL: func.func private @writes(
// CHECK-NOT:     call
func.func private @writes(%w: memref<8x4x16xf32>, %xs: memref<16xf32>, %y: memref<8x16xf32>)
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
      %o0 = arith.subf %n0, %m0 : vector<16xf32>
      %p0 = arith.addf %sum, %o0 : vector<16xf32>
      %m1 = arith.mulf %row, %x : vector<16xf32>
      %n1 = arith.addf %m1, %row : vector<16xf32>
      %o1 = arith.subf %n1, %m1 : vector<16xf32>
      %p1 = arith.addf %p0, %o1 : vector<16xf32>
      %m2 = arith.mulf %row, %x : vector<16xf32>
      %n2 = arith.addf %m2, %row : vector<16xf32>
      %o2 = arith.subf %n2, %m2 : vector<16xf32>
      %p2 = arith.addf %p1, %o2 : vector<16xf32>
      %m3 = arith.mulf %row, %x : vector<16xf32>
      %n3 = arith.addf %m3, %row : vector<16xf32>
      %o3 = arith.subf %n3, %m3 : vector<16xf32>
      %p3 = arith.addf %p2, %o3 : vector<16xf32>
      %m4 = arith.mulf %row, %x : vector<16xf32>
      %n4 = arith.addf %m4, %row : vector<16xf32>
      %o4 = arith.subf %n4, %m4 : vector<16xf32>
      %p4 = arith.addf %p3, %o4 : vector<16xf32>
      %m5 = arith.mulf %row, %x : vector<16xf32>
      %n5 = arith.addf %m5, %row : vector<16xf32>
      %o5 = arith.subf %n5, %m5 : vector<16xf32>
      %p5 = arith.addf %p4, %o5 : vector<16xf32>
      %m6 = arith.mulf %row, %x : vector<16xf32>
      %n6 = arith.addf %m6, %row : vector<16xf32>
      %o6 = arith.subf %n6, %m6 : vector<16xf32>
      %p6 = arith.addf %p5, %o6 : vector<16xf32>
      %m7 = arith.mulf %row, %x : vector<16xf32>
      %n7 = arith.addf %m7, %row : vector<16xf32>
      %o7 = arith.subf %n7, %m7 : vector<16xf32>
      %p7 = arith.addf %p6, %o7 : vector<16xf32>
      vector.store %row, %y[%tile, %c0] : memref<8x16xf32>, vector<16xf32>
      scf.yield %p7 : vector<16xf32>
    }
    vector.store %sums, %y[%tile, %c0] : memref<8x16xf32>, vector<16xf32>
  }
  return
}

// CHECK-LABEL: func.func private @rows(
// CHECK-NOT:     call
func.func private @rows(%w: memref<8x4x16xf32>, %xs: memref<16xf32>, %y: memref<8x16xf32>)
    attributes {lumen.kernel = "rows"} {
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
      %o0 = arith.subf %n0, %m0 : vector<16xf32>
      %p0 = arith.addf %sum, %o0 : vector<16xf32>
      %m1 = arith.mulf %row, %x : vector<16xf32>
      %n1 = arith.addf %m1, %row : vector<16xf32>
      %o1 = arith.subf %n1, %m1 : vector<16xf32>
      %p1 = arith.addf %p0, %o1 : vector<16xf32>
      %m2 = arith.mulf %row, %x : vector<16xf32>
      %n2 = arith.addf %m2, %row : vector<16xf32>
      %o2 = arith.subf %n2, %m2 : vector<16xf32>
      %p2 = arith.addf %p1, %o2 : vector<16xf32>
      %m3 = arith.mulf %row, %x : vector<16xf32>
      %n3 = arith.addf %m3, %row : vector<16xf32>
      %o3 = arith.subf %n3, %m3 : vector<16xf32>
      %p3 = arith.addf %p2, %o3 : vector<16xf32>
      %m4 = arith.mulf %row, %x : vector<16xf32>
      %n4 = arith.addf %m4, %row : vector<16xf32>
      %o4 = arith.subf %n4, %m4 : vector<16xf32>
      %p4 = arith.addf %p3, %o4 : vector<16xf32>
      %m5 = arith.mulf %row, %x : vector<16xf32>
      %n5 = arith.addf %m5, %row : vector<16xf32>
      %o5 = arith.subf %n5, %m5 : vector<16xf32>
      %p5 = arith.addf %p4, %o5 : vector<16xf32>
      %m6 = arith.mulf %row, %x : vector<16xf32>
      %n6 = arith.addf %m6, %row : vector<16xf32>
      %o6 = arith.subf %n6, %m6 : vector<16xf32>
      %p6 = arith.addf %p5, %o6 : vector<16xf32>
      %m7 = arith.mulf %row, %x : vector<16xf32>
      %n7 = arith.addf %m7, %row : vector<16xf32>
      %o7 = arith.subf %n7, %m7 : vector<16xf32>
      %p7 = arith.addf %p6, %o7 : vector<16xf32>
      scf.yield %p7 : vector<16xf32>
    }
    vector.store %sums, %y[%tile, %c0] : memref<8x16xf32>, vector<16xf32>
  }
  return
}

// One function, with the constants that it needs.
// CHECK:       func.func private @[[LOOP]](%[[W:.*]]: memref<?x4x16xf32>, %[[TILE:.*]]: index, %{{.*}}: memref<?xf32>) -> vector<16xf32> attributes {lumen.loop} {
// CHECK-DAG:     arith.constant 4 : index
// CHECK-DAG:     arith.constant dense<0.000000e+00> : vector<16xf32>
// CHECK:         %[[SUMS:.*]] = scf.for
// CHECK-NEXT:      vector.load %[[W]][%[[TILE]], %{{.*}}, %{{.*}}] : memref<?x4x16xf32>, vector<16xf32>
// CHECK:         return %[[SUMS]] : vector<16xf32>
// CHECK-NOT:   lumen.loop
