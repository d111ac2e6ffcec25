// RUN: lumen-opt %s -pass-pipeline='builtin.module(func.func(lumen-narrow-indices),canonicalize)' | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

// Numbers of rows and workers have 32 bits, and so does what is counted up to them. In two loops that lie in
// each other, LLVM makes pointers of addresses.
// CHECK-LABEL: func.func @rows(
// CHECK-SAME:    %[[X:.*]]: memref<?x64xf32>)
// CHECK:         %[[ROWS:.*]] = memref.dim %[[X]]
// CHECK:         %[[SHORT:.*]] = arith.index_cast{{(ui)?}} %[[ROWS]] : index to i32
// CHECK:         arith.divui %[[SHORT]], %{{.*}} : i32
// CHECK:         scf.for %[[I:.*]] = %{{.*}} to %{{.*}} step %{{.*}} : i32 {
// CHECK:           arith.divui %[[I]], %{{.*}} : i32
// CHECK:           scf.for %[[J:.*]] = %c0 to %c5 step %c1 {
// CHECK:             scf.for %[[K:.*]] = %c0 to %c8 step %c1 {
// CHECK:               arith.muli %[[J]], %{{.*}} : index
func.func @rows(%x: memref<?x64xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c5 = arith.constant 5 : index
  %c8 = arith.constant 8 : index
  %c32 = arith.constant 32 : i32
  %v = arith.constant 1.0 : f32
  %thread = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.tid.x"() : () -> i32
  %warp = arith.divui %thread, %c32 : i32
  %worker = arith.index_castui %warp : i32 to index
  %rows = memref.dim %x, %c0 : memref<?x64xf32>
  %end = arith.divui %rows, %c8 : index
  scf.for %i = %worker to %end step %c8 {
    %at = arith.divui %i, %c5 : index
    scf.for %j = %c0 to %c5 step %c1 {
      scf.for %k = %c0 to %c8 step %c1 {
        %first = arith.muli %j, %c8 : index
        %column = arith.addi %first, %k : index
        memref.store %v, %x[%at, %column] : memref<?x64xf32>
      }
    }
  }
  return
}

// Bytes of a weight may be more: 4 * 2^30 is. 4 * (2^29 - 1) is not.
// CHECK-LABEL: func.func @offsets(
// CHECK:         scf.for %{{.*}} : i32 {
// CHECK-DAG:       arith.muli %{{.*}}, %c1073741824{{.*}} : index
// CHECK-DAG:       arith.muli %{{.*}}, %c536870911{{.*}} : i32
func.func @offsets(%x: memref<8589934592xi8>, %y: memref<5xi8>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c5 = arith.constant 5 : index
  %large = arith.constant 1073741824 : index
  %less = arith.constant 536870911 : index
  scf.for %i = %c0 to %c5 step %c1 {
    %far = arith.muli %i, %large : index
    %near = arith.muli %i, %less : index
    scf.for %j = %c0 to %c5 step %c1 {
      scf.for %k = %c0 to %c5 step %c1 {
        %a = memref.load %x[%far] : memref<8589934592xi8>
        %b = memref.load %x[%near] : memref<8589934592xi8>
        %sum = arith.addi %a, %b : i8
        memref.store %sum, %y[%j] : memref<5xi8>
      }
    }
  }
  return
}

// Of a buffer of one dimension, nobody knows how large it is: it may be a weight.
// CHECK-LABEL: func.func @bytes(
// CHECK:         %[[SIZE:.*]] = memref.dim
// CHECK:         arith.divui %[[SIZE]], %{{.*}} : index
func.func @bytes(%x: memref<?xi8>) {
  %c0 = arith.constant 0 : index
  %c3 = arith.constant 3 : index
  %v = arith.constant 0 : i8
  %size = memref.dim %x, %c0 : memref<?xi8>
  %third = arith.divui %size, %c3 : index
  memref.store %v, %x[%third] : memref<?xi8>
  return
}

// A counter that would be a step beyond what 32 bits have: at most 2^31 - 2, and 2 more.
// CHECK-LABEL: func.func @beyond(
// CHECK:         scf.for %{{.*}} = %{{.*}} to %{{.*}} step %{{.*}} : i32 {
// CHECK:         scf.for %{{.*}} = %c0 to %c2147483647 step %c2 {
func.func @beyond(%x: memref<1xi8>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %most = arith.constant 2147483647 : index
  %v = arith.constant 0 : i8
  scf.for %i = %c0 to %most step %c1 {
    scf.for %j = %c0 to %c2 step %c1 {
      scf.for %k = %c0 to %c2 step %c1 {
        memref.store %v, %x[%i] : memref<1xi8>
      }
    }
  }
  scf.for %i = %c0 to %most step %c2 {
    scf.for %j = %c0 to %c2 step %c1 {
      scf.for %k = %c0 to %c2 step %c1 {
        memref.store %v, %x[%i] : memref<1xi8>
      }
    }
  }
  return
}
}
