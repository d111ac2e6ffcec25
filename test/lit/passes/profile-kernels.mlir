// SPDX-License-Identifier: Apache-2.0
//
// RUN: lumen-opt %s -split-input-file -verify-diagnostics -lumen-profile-kernels | FileCheck %s

// What is no kernel is not measured, and kernels count in the order of the module.
// CHECK-LABEL: func.func @step(
// CHECK-NOT:     @lumen_clock
// CHECK:         call @layer(
// CHECK-NEXT:    %[[BEGIN:.*]] = llvm.call @lumen_clock() : () -> i64
// CHECK-NEXT:    call @second(
// CHECK-NEXT:    %[[END:.*]] = llvm.call @lumen_clock() : () -> i64
// CHECK-NEXT:    %[[TAKEN:.*]] = arith.subi %[[END]], %[[BEGIN]] : i64
// CHECK:         %[[ID:.*]] = lumen.worker_id
// CHECK:         %[[FIRST:.*]] = arith.cmpi eq, %[[ID]], %{{.*}} : index
// CHECK-NEXT:    scf.if %[[FIRST]] {
// CHECK-NEXT:      %[[ROWS:.*]] = llvm.mlir.addressof @lumen_profile : !llvm.ptr
// CHECK:           %[[ONE:.*]] = arith.constant 1 : i64
// CHECK-NEXT:      %[[CALLS:.*]] = llvm.getelementptr %[[ROWS]][2] : (!llvm.ptr) -> !llvm.ptr, i64
// CHECK-NEXT:      %[[BEFORE:.*]] = llvm.load %[[CALLS]] : !llvm.ptr -> i64
// CHECK-NEXT:      %[[AFTER:.*]] = arith.addi %[[BEFORE]], %[[ONE]] : i64
// CHECK-NEXT:      llvm.store %[[AFTER]], %[[CALLS]] : i64, !llvm.ptr
// CHECK-NEXT:      %[[TIME:.*]] = llvm.getelementptr %[[ROWS]][3] : (!llvm.ptr) -> !llvm.ptr, i64
// CHECK-NEXT:      %[[SUM:.*]] = llvm.load %[[TIME]] : !llvm.ptr -> i64
// CHECK-NEXT:      %[[NEXT:.*]] = arith.addi %[[SUM]], %[[TAKEN]] : i64
// CHECK-NEXT:      llvm.store %[[NEXT]], %[[TIME]] : i64, !llvm.ptr
// CHECK-NEXT:    }
// CHECK-NEXT:    return
func.func @step(%x: memref<64xf32>) {
  call @layer(%x) : (memref<64xf32>) -> ()
  call @second(%x) : (memref<64xf32>) -> ()
  return
}

// CHECK-LABEL: func.func private @layer(
// CHECK:         llvm.call @lumen_clock()
// CHECK-NEXT:    call @first(
// CHECK:         llvm.getelementptr %{{.*}}[0]
// CHECK:         llvm.getelementptr %{{.*}}[1]
func.func private @layer(%x: memref<64xf32>) {
  call @first(%x) : (memref<64xf32>) -> ()
  return
}

// CHECK-LABEL: func.func private @first(
// CHECK-NOT:     @lumen_clock
// CHECK:       func.func private @second(
func.func private @first(%x: memref<64xf32>) attributes {lumen.kernel = "rows"} {
  return
}
func.func private @second(%x: memref<64xf32>) attributes {lumen.kernel = "product"} {
  return
}

// CHECK: llvm.func @lumen_clock() -> i64 attributes {no_unwind}
// CHECK: llvm.mlir.global external @lumen_profile() {{.*}} : !llvm.array<4 x i64> {
// CHECK:   llvm.mlir.zero : !llvm.array<4 x i64>

// -----

// expected-error @below {{cannot be profiled: it has a symbol 'lumen_profile' already}}
module {
  llvm.mlir.global external @lumen_profile(0 : i64) : i64
}
