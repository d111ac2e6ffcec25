// RUN: lumen-opt %s -pass-pipeline='builtin.module(func.func(lumen-order-lanes))' | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

// A lane reads what others wrote.
// CHECK-LABEL: func.func private @written_then_read(
// CHECK:         vector.store
// CHECK-NEXT:    lumen.warp_barrier
// CHECK-NEXT:    memref.load
// CHECK-NOT:     lumen.warp_barrier
func.func private @written_then_read(%a: memref<32xf32>, %out: memref<1xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %c5 = arith.constant 5 : index
  %x = vector.load %a[%c0] : memref<32xf32>, vector<32xf32>
  %own = memref.alloca() : memref<32xf32>
  vector.store %x, %own[%c0] : memref<32xf32>, vector<32xf32>
  %y = memref.load %own[%c5] : memref<32xf32>
  memref.store %y, %out[%c0] : memref<1xf32>
  return
}

// Elements that lie anywhere may be those of other lanes.
// CHECK-LABEL: func.func private @scattered(
// CHECK:         vector.scatter
// CHECK-NEXT:    lumen.warp_barrier
// CHECK-NEXT:    vector.gather
// CHECK-NOT:     lumen.warp_barrier
func.func private @scattered(%a: memref<32xf32>, %out: memref<32xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %numbers = arith.constant dense<[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
                                   16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31]> : vector<32xi32>
  %all = arith.constant dense<true> : vector<32xi1>
  %zero = arith.constant dense<0.0> : vector<32xf32>
  %x = vector.load %a[%c0] : memref<32xf32>, vector<32xf32>
  %own = memref.alloca() : memref<32xf32>
  vector.scatter %own[%c0] [%numbers], %all, %x : memref<32xf32>, vector<32xi32>, vector<32xi1>, vector<32xf32>
  %y = vector.gather %own[%c0] [%numbers], %all, %zero
     : memref<32xf32>, vector<32xi32>, vector<32xi1>, vector<32xf32> into vector<32xf32>
  vector.store %y, %out[%c0] : memref<32xf32>, vector<32xf32>
  return
}

// Each lane goes on with what it wrote itself, and buffers of arguments are distinct.
// CHECK-LABEL: func.func private @own_elements(
// CHECK-NOT:     lumen.warp_barrier
// CHECK:         return
func.func private @own_elements(%a: memref<64xf32>, %b: memref<64xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %x = vector.load %a[%c0] : memref<64xf32>, vector<64xf32>
  %y = arith.addf %x, %x : vector<64xf32>
  vector.store %y, %a[%c0] : memref<64xf32>, vector<64xf32>
  %z = vector.load %a[%c0] : memref<64xf32>, vector<64xf32>
  vector.store %z, %b[%c0] : memref<64xf32>, vector<64xf32>
  return
}

// Of 16 elements, two lanes have each: the other one must have read it before.
// CHECK-LABEL: func.func private @half_a_warp(
// CHECK:         vector.load
// CHECK:         lumen.warp_barrier
// CHECK-NEXT:    vector.store
func.func private @half_a_warp(%a: memref<16xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %x = vector.load %a[%c0] : memref<16xf32>, vector<16xf32>
  %y = arith.addf %x, %x : vector<16xf32>
  vector.store %y, %a[%c0] : memref<16xf32>, vector<16xf32>
  return
}

// What the turn before wrote counts, too.
// CHECK-LABEL: func.func private @in_a_loop(
// CHECK:         scf.for
// CHECK-NEXT:      lumen.warp_barrier
// CHECK-NEXT:      memref.load
// CHECK:           lumen.warp_barrier
// CHECK-NEXT:      memref.store
func.func private @in_a_loop(%a: memref<8xi32>, %n: index) attributes {lumen.kernel = "routing"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %one = arith.constant 1 : i32
  scf.for %i = %c0 to %n step %c1 {
    %x = memref.load %a[%c0] : memref<8xi32>
    %y = arith.addi %x, %one : i32
    memref.store %y, %a[%c0] : memref<8xi32>
  }
  return
}

// Threads that pack weights each work for themselves.
// CHECK-LABEL: func.func private @pack(
// CHECK-NOT:     lumen.warp_barrier
// CHECK:         return
func.func private @pack(%a: memref<8xi32>) attributes {lumen.kernel = "pack"} {
  %c0 = arith.constant 0 : index
  %x = memref.load %a[%c0] : memref<8xi32>
  memref.store %x, %a[%c0] : memref<8xi32>
  return
}
}
