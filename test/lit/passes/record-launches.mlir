// RUN: lumen-opt %s -lumen-record-launches -split-input-file -verify-diagnostics | FileCheck %s

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

// A launch of kernel 1: its number, five words, and these: an address and its
// rows, a float, and a constant of 12 bytes. (And one word for how many there are.)
// CHECK:       llvm.mlir.global external constant @lumen_launch_words(10 : i64)
// CHECK:       llvm.mlir.global external constant @lumen_launch_names("other\0Akernel\0A\00")
// CHECK-LABEL: func.func @step(%arg0: memref<?x4xf32>, %arg1: f32, %arg2: !llvm.ptr {lumen.worker})
// CHECK:         call @layer(%arg0, %arg1, %arg2)
// CHECK-LABEL: func.func private @layer(
// CHECK:         %[[ADDRESS:.*]] = memref.extract_aligned_pointer_as_index %arg0
// CHECK:         arith.index_cast %[[ADDRESS]] : index to i64
// CHECK:         memref.dim %arg0
// CHECK:         %[[BITS:.*]] = arith.bitcast %arg1 : f32 to i32
// CHECK:         arith.extui %[[BITS]] : i32 to i64
// CHECK:         %[[USED:.*]] = llvm.load %arg2 {alignment = 8 : i64} : !llvm.ptr -> i64
// CHECK:         %[[BEGIN:.*]] = llvm.getelementptr %arg2[%[[USED]]]
// CHECK:         %[[NUMBER:.*]] = llvm.getelementptr %[[BEGIN]][1]
// CHECK:         llvm.store %c1_i64{{.*}}, %[[NUMBER]]
// CHECK:         %[[COUNT:.*]] = llvm.getelementptr %[[BEGIN]][2]
// CHECK:         llvm.store %c5_i64, %[[COUNT]]
// CHECK:         %[[TABLE:.*]] = llvm.getelementptr %[[BEGIN]][6]
// CHECK:         "llvm.intr.memcpy"(%[[TABLE]],
// CHECK:         %[[NEXT:.*]] = arith.addi %[[USED]], %c7_i64
// CHECK:         llvm.store %[[NEXT]], %arg2
// CHECK-LABEL: func.func @other(
// CHECK-LABEL: func.func @kernel(
// CHECK-SAME:      attributes {lumen.kernel = "rows"}
module attributes {lumen.target = #target} {
memref.global "private" constant @table : memref<3xi32> = dense<[1, 2, 3]>
func.func @step(%a: memref<?x4xf32>, %b: f32) {
  call @layer(%a, %b) : (memref<?x4xf32>, f32) -> ()
  call @other() : () -> ()
  return
}
func.func private @layer(%a: memref<?x4xf32>, %b: f32) {
  call @kernel(%a, %b) : (memref<?x4xf32>, f32) -> ()
  return
}
func.func private @other() attributes {lumen.kernel = "rows"} {
  return
}
func.func private @kernel(%a: memref<?x4xf32>, %b: f32) attributes {lumen.kernel = "rows"} {
  %table = memref.get_global @table : memref<3xi32>
  return
}
}

// -----

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {
func.func @step(%n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %n step %c1 {
    // expected-error @below {{stands inside of a loop or branch, so nobody knows how many launches there are}}
    func.call @kernel() : () -> ()
  }
  return
}
func.func private @kernel() attributes {lumen.kernel = "rows"} {
  return
}
}

// -----

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {
func.func @step(%a: vector<4xf32>) {
  // expected-error @below {{cannot be recorded: it passes 'vector<4xf32>'}}
  call @kernel(%a) : (vector<4xf32>) -> ()
  return
}
func.func private @kernel(%a: vector<4xf32>) attributes {lumen.kernel = "rows"} {
  return
}
}

// -----

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, workers = 1728, rows = 32, tokens = 4>

// Code for NVIDIA's GPUs has its constants itself, and says where buffers begin.
// Loops stay what kernels call.
// CHECK:       llvm.mlir.global external constant @lumen_launch_words(5 : i64)
// CHECK-LABEL: func.func @step(
// CHECK-NOT:     llvm.intr.memcpy
// CHECK-LABEL: func.func @kernel(
// CHECK-SAME:      %arg0: memref<?x4xf32> {llvm.align = 64 : i64}) attributes {lumen.kernel = "rows"}
// CHECK:         memref.get_global @table
// CHECK:         call @loop(%arg0) : (memref<?x4xf32>) -> ()
// CHECK-LABEL: func.func private @loop(%arg0: memref<?x4xf32>) attributes {lumen.loop}
module attributes {lumen.target = #target} {
memref.global "private" constant @table : memref<3xi32> = dense<[1, 2, 3]>
func.func @step(%rows: index, %arena: memref<4096xi8> {lumen.arena}) {
  %c64 = arith.constant 64 : index
  %a = memref.view %arena[%c64][%rows] : memref<4096xi8> to memref<?x4xf32>
  call @kernel(%a) : (memref<?x4xf32>) -> ()
  return
}
func.func private @kernel(%a: memref<?x4xf32>) attributes {lumen.kernel = "rows"} {
  %table = memref.get_global @table : memref<3xi32>
  call @loop(%a) : (memref<?x4xf32>) -> ()
  return
}
func.func private @loop(%a: memref<?x4xf32>) attributes {lumen.loop} {
  return
}
}
