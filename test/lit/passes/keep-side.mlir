// RUN: lumen-opt %s -pass-pipeline='builtin.module(lumen-keep-side{side=device})' | FileCheck %s --check-prefix=DEVICE
// RUN: lumen-opt %s -pass-pipeline='builtin.module(lumen-keep-side{side=host})' | FileCheck %s --check-prefix=HOST
// RUN: not lumen-opt %s -pass-pipeline='builtin.module(lumen-keep-side{side=both})' 2>&1 | FileCheck %s --check-prefix=WRONG

// WRONG: side is device or host, not 'both'

// Loops go with the kernels that call them, and constants with what reads them.
// DEVICE:      llvm.mlir.global external constant @lumen_scratch_size
// DEVICE-NEXT: memref.global "private" constant @table
// DEVICE-NEXT: func.func @kernel(
// DEVICE:        call @loop()
// DEVICE:      func.func private @loop(
// DEVICE-NOT:  func.func

// HOST:      llvm.mlir.global external constant @lumen_scratch_size
// HOST-NEXT: func.func @step(
// HOST:        call @layer(
// HOST:      func.func private @layer(
// HOST-NOT:  func.func
module {
llvm.mlir.global external constant @lumen_scratch_size(64 : i64) : i64
memref.global "private" constant @table : memref<3xi32> = dense<[1, 2, 3]>
func.func @step(%launches: !llvm.ptr) {
  call @layer(%launches) : (!llvm.ptr) -> ()
  return
}
func.func private @layer(%launches: !llvm.ptr) {
  return
}
func.func @kernel() attributes {lumen.kernel = "rows"} {
  %table = memref.get_global @table : memref<3xi32>
  call @loop() : () -> ()
  return
}
func.func private @loop() attributes {lumen.loop} {
  return
}
}
