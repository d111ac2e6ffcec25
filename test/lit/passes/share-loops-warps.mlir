// RUN: lumen-opt %s -lumen-share-loops | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

// A tile with its results in memory, which other threads read. Two of them are one function.
// CHECK-LABEL: func.func private @f(
// CHECK:         scf.forall (%[[TILE:.*]]) in (8) {
// CHECK:           %[[ROOM:.*]] = memref.alloca
// CHECK:           lumen.warp_barrier
// CHECK:           func.call @[[LOOP:loop_[0-9a-f]+]](%{{.*}}, %[[TILE]], %[[ROOM]])
// CHECK-NEXT:      lumen.warp_barrier
// CHECK:           lumen.warp_barrier
// CHECK:           func.call @[[LOOP]](
// CHECK-NEXT:      lumen.warp_barrier
// CHECK-NOT:       scf.execute_region
// CHECK:       func.func private @[[LOOP]](%[[W:.*]]: memref<?x32xf32>, %[[TILE:.*]]: index, %[[ROOM:.*]]: memref<32xf32>) attributes {lumen.loop} {
// CHECK:         %[[ROWS:.*]] = vector.load %[[W]][%[[TILE]], %{{.*}}]
// CHECK-NEXT:    vector.store %[[ROWS]], %[[ROOM]]
// CHECK-NOT:   lumen.loop
func.func private @f(%w: memref<8x32xf32>, %y: memref<8x32xf32>) attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  scf.forall (%tile) in (8) {
    %room = memref.alloca() : memref<32xf32>
    scf.execute_region no_inline {
      %rows = vector.load %w[%tile, %c0] : memref<8x32xf32>, vector<32xf32>
      vector.store %rows, %room[%c0] : memref<32xf32>, vector<32xf32>
      scf.yield
    }
    scf.execute_region no_inline {
      %rows = vector.load %w[%tile, %c0] : memref<8x32xf32>, vector<32xf32>
      vector.store %rows, %room[%c0] : memref<32xf32>, vector<32xf32>
      scf.yield
    }
    %result = vector.load %room[%c0] : memref<32xf32>, vector<32xf32>
    vector.store %result, %y[%tile, %c0] : memref<8x32xf32>, vector<32xf32>
  }
  return
}
}
