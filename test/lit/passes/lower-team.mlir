// RUN: lumen-opt %s -lumen-lower-team | FileCheck %s

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
// CHECK:         llvm.call @lumen_barrier(%[[WORKER]]) : (!llvm.ptr) -> ()
func.func private @kernel(%x: memref<?xindex>) {
  %id = lumen.worker_id
  %count = lumen.worker_count
  memref.store %count, %x[%id] : memref<?xindex>
  lumen.barrier
  return
}

// CHECK: llvm.func @lumen_barrier(!llvm.ptr) attributes {no_unwind}
