// RUN: lumen-opt %s -pass-pipeline='builtin.module(lumen-lower-warps,lumen-expand-f16,canonicalize)' | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

// CHECK:       llvm.mlir.global external @lumen_shared() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<0 x i8>
llvm.mlir.global external constant @lumen_scratch_size(48 : i64) : i64

// CHECK-LABEL: func.func @f(
// CHECK-SAME:    %[[X:[a-z0-9_]+]]: f16, %[[Y:[a-z0-9_]+]]: i64
// CHECK:         %[[ALL:[0-9]+]] = llvm.mlir.addressof @lumen_shared : !llvm.ptr<3>
// CHECK:         %[[LANE:[0-9]+]] = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.laneid"() : () -> i32
// Narrow values are moved as words.
// CHECK:         %[[BITS:[0-9]+]] = arith.bitcast %[[X]] : f16 to i16
// CHECK:         %[[WORD:[0-9]+]] = arith.extui %[[BITS]] : i16 to i32
// CHECK:         llvm.call_intrinsic "llvm.nvvm.shfl.sync.idx.i32"(%c-1_i32, %[[WORD]], %[[LANE]], %c31_i32) : (i32, i32, i32, i32) -> i32
// Wide ones in two.
// CHECK-COUNT-2: llvm.call_intrinsic "llvm.nvvm.shfl.sync.idx.i32"
// CHECK:         llvm.call_intrinsic "llvm.nvvm.bar.warp.sync"(%c-1_i32) : (i32) -> ()
// CHECK:         llvm.call_intrinsic "llvm.nvvm.barrier.cta.sync.aligned.all"(%c0_i32) : (i32) -> ()
// A warp's part of the shared memory.
// CHECK:         %[[OFFSET:[0-9]+]] = arith.muli %{{.*}}, %c48_i32
// CHECK:         %[[OWN:[0-9]+]] = llvm.getelementptr %[[ALL]][%[[OFFSET]]] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
// CHECK:         %[[ADDRESS:[0-9]+]] = llvm.addrspacecast %[[OWN]] : !llvm.ptr<3> to !llvm.ptr
// CHECK:         llvm.getelementptr %[[ADDRESS]][64] : (!llvm.ptr) -> !llvm.ptr, i8
func.func @f(%x: f16, %y: i64) -> (f16, i64, memref<8xf32>) {
  %lane = lumen.lane
  %a = lumen.shuffle %x, %lane : f16
  %b = lumen.shuffle %y, %lane : i64
  lumen.warp_barrier
  lumen.block_barrier
  %m = lumen.scratch 64 : memref<8xf32>
  return %a, %b, %m : f16, i64, memref<8xf32>
}

// The first words of both rows, then the second ones.
// CHECK-LABEL: func.func @matrices(
// CHECK-SAME:    %[[W:[a-z0-9_]+]]: vector<16xi8>
// CHECK:         %[[WORDS:[0-9]+]] = vector.bitcast %[[W]] : vector<16xi8> to vector<4xi32>
// CHECK:         %[[A0:[0-9]+]] = vector.extract %[[WORDS]][0]
// CHECK:         %[[A1:[0-9]+]] = vector.extract %[[WORDS]][2]
// CHECK:         %[[A2:[0-9]+]] = vector.extract %[[WORDS]][1]
// CHECK:         %[[A3:[0-9]+]] = vector.extract %[[WORDS]][3]
// CHECK:         %[[ALL:[0-9]+]] = llvm.call_intrinsic "llvm.nvvm.mma.m16n8k32.row.col.s8"(%[[A0]], %[[A1]], %[[A2]], %[[A3]], %{{.*}}) : (i32, i32, i32, i32, i32, i32, i32, i32, i32, i32) -> !llvm.struct<(i32, i32, i32, i32)>
// CHECK:         %[[FIRST:[0-9]+]] = llvm.extractvalue %[[ALL]][0]
// CHECK:         vector.from_elements %[[FIRST]], %{{.*}} : vector<4xi32>
func.func @matrices(%w: vector<16xi8>, %x: vector<8xi8>, %acc: vector<4xi32>) -> vector<4xi32> {
  %s = lumen.warp_mma <m = 16, n = 8, k = 32, lhs = si8, rhs = si8, acc = i32, weights_left = true> %w, %x, %acc
     : vector<16xi8>, vector<8xi8>, vector<4xi32>
  return %s : vector<4xi32>
}
}
