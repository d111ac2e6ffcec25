// RUN: lumen-opt %s -pass-pipeline='builtin.module(func.func(lumen-spmd),canonicalize,cse)' | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, workers = 1728, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

// Warps take turns. In a loop behind which they do not wait, those come first that had less to do before.
// CHECK-LABEL: func.func private @turns(
// CHECK-SAME:    %[[N:[a-z0-9_]+]]: index
// CHECK:         %[[ID:.*]] = lumen.worker_id
// CHECK:         %[[COUNT:.*]] = lumen.worker_count
// CHECK:         scf.for %{{.*}} = %[[ID]] to %[[N]] step %[[COUNT]]
// CHECK-NOT:     lumen.barrier
// CHECK:         %[[TAKEN:.*]] = arith.remui %[[N]], %[[COUNT]]
// CHECK:         %[[LEFT:.*]] = arith.subi %[[COUNT]], %[[TAKEN]]
// CHECK:         %[[SUM:.*]] = arith.addi %[[ID]], %[[LEFT]]
// CHECK:         %[[FIRST:.*]] = arith.remui %[[SUM]], %[[COUNT]]
// CHECK:         scf.for %{{.*}} = %[[FIRST]] to %[[N]] step %[[COUNT]]
// CHECK:         lumen.barrier
func.func private @turns(%n: index, %x: f32, %out: memref<?xf32>) {
  scf.forall (%i) in (%n) {
    memref.store %x, %out[%i] : memref<?xf32>
  } {lumen.nowait}
  scf.forall (%i) in (%n) {
    memref.store %x, %out[%i] : memref<?xf32>
  }
  return
}

// Where a block does it alone, its workers are the team.
// CHECK-LABEL: func.func private @in_block(
// CHECK-SAME:    %[[IN_BLOCK:[a-z0-9_]+]]: i1 {lumen.is_in_block})
// CHECK-DAG:     %[[ID:.*]] = lumen.worker_id
// CHECK-DAG:     %[[OWN:.*]] = lumen.block_worker_id
// CHECK-DAG:     %[[FIRST:.*]] = arith.select %[[IN_BLOCK]], %[[OWN]], %[[ID]]
// CHECK-DAG:     %[[OWN_COUNT:.*]] = lumen.block_worker_count
// CHECK-DAG:     %[[STEP:.*]] = arith.select %[[IN_BLOCK]], %[[OWN_COUNT]], %{{.*}}
// CHECK:         scf.for %{{.*}} = %[[FIRST]] to %{{.*}} step %[[STEP]]
// CHECK:         scf.if %[[IN_BLOCK]] {
// CHECK-NEXT:      lumen.block_barrier
// CHECK-NEXT:    } else {
// CHECK-NEXT:      lumen.barrier
func.func private @in_block(%x: f32, %out: memref<8xf32>, %alone: i1 {lumen.is_in_block}) {
  scf.forall (%i) in (8) {
    memref.store %x, %out[%i] : memref<8xf32>
  }
  return
}
}
