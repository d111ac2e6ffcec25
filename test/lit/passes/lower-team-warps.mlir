// RUN: lumen-opt %s --lumen-lower-team --canonicalize --cse | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, workers = 1728, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

llvm.mlir.global external constant @lumen_block_size(4096 : i64) : i64

// Neighbours are in different blocks.
// CHECK-LABEL: func.func private @numbers(
// CHECK:         %[[THREAD:.*]] = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.tid.x"
// CHECK:         %[[OWN:.*]] = arith.divui %[[THREAD]], %c32_i32
// CHECK:         %[[BLOCKS:.*]] = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.nctaid.x"
// CHECK:         %[[FIRST:.*]] = arith.muli %[[OWN]], %[[BLOCKS]]
// CHECK:         %[[BLOCK:.*]] = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.ctaid.x"
// CHECK:         %[[ID32:.*]] = arith.addi %[[FIRST]], %[[BLOCK]]
// CHECK:         %[[ID:.*]] = arith.index_castui %[[ID32]] : i32 to index
// CHECK:         %[[OWN_ID:.*]] = arith.index_castui %{{.*}} : i32 to index
// CHECK:         memref.store %[[OWN_ID]], %{{.*}}[%[[ID]]]
func.func private @numbers(%x: memref<?xindex>) {
  %id = lumen.worker_id
  %own = lumen.block_worker_id
  memref.store %own, %x[%id] : memref<?xindex>
  %count = lumen.worker_count
  %ofBlock = lumen.block_worker_count
  memref.store %ofBlock, %x[%count] : memref<?xindex>
  return
}

// Behind the counters, the memory of one block after the other.
// CHECK-LABEL: func.func private @memory(
// CHECK-SAME:    %[[TEAM:[a-z0-9_]+]]: !llvm.ptr {lumen.worker})
// CHECK:         %[[BYTES:.*]] = arith.muli %{{.*}}, %c4096_i64
// CHECK:         %[[OFFSET:.*]] = arith.addi %[[BYTES]], %c16704_i64
// CHECK:         llvm.getelementptr %[[TEAM]][%[[OFFSET]]] : (!llvm.ptr, i64) -> !llvm.ptr, i8
func.func private @memory() -> f32 {
  %c0 = arith.constant 0 : index
  %own = lumen.block_scratch 64 : memref<16xf32>
  %x = memref.load %own[%c0] : memref<16xf32>
  return %x : f32
}

// One thread counts its warp. The last one of all leaves the counter as it was.
// CHECK-LABEL: func.func private @last(
// CHECK-SAME:    %[[TEAM:[a-z0-9_]+]]: !llvm.ptr {lumen.worker})
// CHECK:         lumen.warp_barrier
// CHECK:         %[[LANE:.*]] = lumen.lane
// CHECK:         %[[FIRST:.*]] = arith.cmpi eq, %[[LANE]], %c0_i32
// CHECK:         %[[COUNTED:.*]] = scf.if %[[FIRST]] -> (i32) {
// CHECK:           %[[AT:.*]] = llvm.getelementptr %[[TEAM]]
// CHECK:           llvm.fence syncscope("device") acq_rel
// CHECK:           %[[OTHERS:.*]] = llvm.atomicrmw add %[[AT]], %c1_i32 syncscope("device") monotonic
// CHECK:           llvm.fence syncscope("device") acq_rel
// CHECK:           scf.if
// CHECK:             llvm.store %c0_i32, %[[AT]] atomic syncscope("device") monotonic
// CHECK:           scf.yield %[[OTHERS]]
// CHECK:         %[[ALL:.*]] = lumen.shuffle %[[COUNTED]], %c0_i32
// CHECK:         lumen.warp_barrier
// CHECK:         arith.cmpi eq, %[[ALL]], %{{.*}}
func.func private @last(%counter: index, %count: index) -> i1 {
  %last = lumen.arrive %counter, %count
  return %last : i1
}
}
