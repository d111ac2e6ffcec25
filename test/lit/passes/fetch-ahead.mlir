// RUN: lumen-opt %s --lumen-fetch-ahead --canonicalize --cse | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, workers = 1728, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

// Each thread has a line of both weights, if they are as large.
// CHECK-LABEL: func.func private @attention(
// CHECK-SAME:    %{{.*}}: memref<?x64xf32>, %[[FIRST:[a-z0-9_]+]]: memref<?xi8>, %[[SECOND:[a-z0-9_]+]]: memref<?xi8>)
// CHECK:         %[[ID:.*]] = lumen.worker_id
// CHECK:         arith.muli %[[ID]], %c32
// CHECK:         lumen.lane
// CHECK:         %[[OFFSET:.*]] = arith.muli %{{.*}}, %c128
// CHECK:         %[[SIZE:.*]] = memref.dim %[[FIRST]]
// CHECK:         %[[INSIDE:.*]] = arith.cmpi ult, %[[OFFSET]], %[[SIZE]]
// CHECK:         scf.if %[[INSIDE]] {
// CHECK:           %[[BEGIN:.*]] = memref.extract_aligned_pointer_as_index %[[FIRST]]
// CHECK:           arith.addi %[[BEGIN]], %[[OFFSET]]
// CHECK:           llvm.inline_asm has_side_effects{{.*}} "prefetch.global.L2 [$0];", "l" %{{.*}} : (i64) -> ()
// CHECK:         memref.dim %[[SECOND]]
// CHECK:         llvm.inline_asm
// CHECK:         lumen.barrier
func.func private @attention(%y: memref<?x64xf32>) attributes {lumen.kernel = "attention"} {
  lumen.barrier
  return
}

func.func private @rows(%y: memref<?x64xf32>, %few: i1 {lumen.is_in_block}) attributes {lumen.kernel = "rows"} {
  return
}

// Nothing comes behind it, so that it is not told of anything.
// CHECK-LABEL: func.func private @product(
// CHECK-SAME:    memref<?x64xf32>, %{{[a-z0-9_]+}}: memref<8192xi8>, %{{[a-z0-9_]+}}: memref<16384xi8>) attributes
func.func private @product(%y: memref<?x64xf32>, %v: memref<8192xi8>, %w: memref<16384xi8>) attributes {lumen.kernel = "product"} {
  lumen.barrier
  return
}

// The larger one first. Rows that blocks repeat are no reason to wait.
// CHECK-LABEL: func.func private @layer(
// CHECK-SAME:    %{{.*}}: memref<?x64xf32>, %[[V:[a-z0-9_]+]]: memref<8192xi8>, %[[W:[a-z0-9_]+]]: memref<16384xi8>, %{{.*}}: i1)
// CHECK-DAG:     %[[LARGE:.*]] = memref.cast %[[W]] : memref<16384xi8> to memref<?xi8>
// CHECK-DAG:     %[[SMALL:.*]] = memref.cast %[[V]] : memref<8192xi8> to memref<?xi8>
// CHECK:         call @attention(%{{.*}}, %[[LARGE]], %[[SMALL]])
// CHECK-NEXT:    call @rows
// CHECK-NEXT:    call @product(%{{.*}}, %[[V]], %[[W]])
// Before rows that all share, nothing is fetched.
// CHECK:         %[[NONE:.*]] = lumen.block_scratch 0 : memref<0xi8>
// CHECK:         %[[EMPTY:.*]] = memref.cast %[[NONE]]
// CHECK:         call @attention(%{{.*}}, %[[EMPTY]], %{{.*}})
func.func private @layer(%y: memref<?x64xf32>, %v: memref<8192xi8>, %w: memref<16384xi8>, %few: i1) {
  call @attention(%y) : (memref<?x64xf32>) -> ()
  call @rows(%y, %few) {lumen.in_blocks} : (memref<?x64xf32>, i1) -> ()
  call @product(%y, %v, %w) : (memref<?x64xf32>, memref<8192xi8>, memref<16384xi8>) -> ()
  call @attention(%y) : (memref<?x64xf32>) -> ()
  call @rows(%y, %few) : (memref<?x64xf32>, i1) -> ()
  call @product(%y, %v, %w) : (memref<?x64xf32>, memref<8192xi8>, memref<16384xi8>) -> ()
  return
}
}
