// RUN: cat %{targets}/x86-64-v3.mlir %s | lumen-opt -lumen-lower-team | FileCheck %s --check-prefixes=CHECK,X86
// RUN: cat %{targets}/armv8-a.mlir %s | lumen-opt -lumen-lower-team | FileCheck %s --check-prefixes=CHECK,OTHER

module attributes {lumen.target = #target} {

// The worker reaches whoever needs it, through every caller.
// CHECK-LABEL: func.func @step(
// CHECK-SAME:    %{{[a-z0-9]+}}: memref<?xindex>, %[[WORKER:[a-z0-9]+]]: !llvm.ptr {lumen.worker})
// CHECK:         call @plain(%{{[a-z0-9]+}}) : (memref<?xindex>) -> ()
// CHECK:         call @kernel(%{{[a-z0-9]+}}, %[[WORKER]]) : (memref<?xindex>, !llvm.ptr) -> ()
func.func @step(%x: memref<?xindex>) {
  call @plain(%x) : (memref<?xindex>) -> ()
  call @kernel(%x) : (memref<?xindex>) -> ()
  return
}

// CHECK-LABEL: func.func private @plain(
// CHECK-SAME:    %{{[a-z0-9]+}}: memref<?xindex>) {
func.func private @plain(%x: memref<?xindex>) {
  return
}

// CHECK-LABEL: func.func private @kernel(
// CHECK-SAME:    %{{[a-z0-9]+}}: memref<?xindex>, %[[WORKER:[a-z0-9]+]]: !llvm.ptr {lumen.worker})
// CHECK:         %[[ID64:[0-9]+]] = llvm.load %[[WORKER]] invariant {alignment = 8 : i64} : !llvm.ptr -> i64
// CHECK:         %[[ID:[0-9]+]] = arith.index_cast %[[ID64]] : i64 to index
// CHECK:         %[[AT:[0-9]+]] = llvm.getelementptr %[[WORKER]][1] : (!llvm.ptr) -> !llvm.ptr, i64
// CHECK:         %[[COUNT64:[0-9]+]] = llvm.load %[[AT]] invariant
// CHECK:         %[[COUNT:[0-9]+]] = arith.index_cast %[[COUNT64]] : i64 to index
// CHECK:         memref.store %[[COUNT]], %{{[a-z0-9]+}}[%[[ID]]]
// CHECK:         %[[TOTAL:[0-9]+]] = arith.index_cast %[[COUNT]] : index to i64
// CHECK:         %[[PIECE:[0-9]+]] = llvm.call @lumen_claim(%[[WORKER]], %[[TOTAL]]) : (!llvm.ptr, i64) -> !llvm.struct<(i64, i64)>
// CHECK:         %[[FIRST64:[0-9]+]] = llvm.extractvalue %[[PIECE]][0]
// CHECK:         %[[FIRST:[0-9]+]] = arith.index_cast %[[FIRST64]] : i64 to index
// CHECK:         %[[LAST64:[0-9]+]] = llvm.extractvalue %[[PIECE]][1]
// CHECK:         %[[LAST:[0-9]+]] = arith.index_cast %[[LAST64]] : i64 to index
// CHECK:         memref.store %[[LAST]], %{{[a-z0-9]+}}[%[[FIRST]]]
// CHECK:         llvm.call @lumen_barrier(%[[WORKER]]) : (!llvm.ptr) -> ()
func.func private @kernel(%x: memref<?xindex>) {
  %id = lumen.worker_id
  %count = lumen.worker_count
  memref.store %count, %x[%id] : memref<?xindex>
  %first, %last = lumen.claim %count
  memref.store %last, %x[%first] : memref<?xindex>
  lumen.barrier
  return
}

}

// Which registers a call keeps is the architecture's.
// X86-DAG: llvm.func @lumen_claim(!llvm.ptr, i64) -> !llvm.struct<(i64, i64)> attributes {no_unwind, passthrough = ["no_caller_saved_registers"]}
// OTHER-DAG: llvm.func @lumen_claim(!llvm.ptr, i64) -> !llvm.struct<(i64, i64)> attributes {no_unwind}
// CHECK-DAG: llvm.func @lumen_barrier(!llvm.ptr) attributes {no_unwind}
