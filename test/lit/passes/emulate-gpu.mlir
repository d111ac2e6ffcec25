// RUN: lumen-opt %s -pass-pipeline='builtin.module(lumen-emulate-gpu)' | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "x86_64-unknown-linux-gnu", cpu = "x86-64", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

// On a machine that is no GPU, instructions are functions of the emulator.
// CHECK:       llvm.func @lumen_entry_f()
// CHECK:         llvm.call @lumen_gpu_read_ptx_sreg_laneid() : () -> i32
// CHECK:         llvm.call @lumen_scratch()

// What has several results writes them to memory.
// CHECK:       llvm.func @lumen_entry_g(
// CHECK:         %[[RESULTS:[0-9]+]] = llvm.alloca %{{.*}} x !llvm.struct<(i32, i32, i32, i32)>
// CHECK:         llvm.call @lumen_gpu_mma_m16n8k16_row_col_s8(%{{.*}}, %[[RESULTS]]) : (i32, i32, i32, i32, i32, i32, i32, !llvm.ptr) -> ()
// CHECK:         llvm.load %[[RESULTS]] : !llvm.ptr -> !llvm.struct<(i32, i32, i32, i32)>

// CHECK:       llvm.func @lumen_gpu_read_ptx_sreg_laneid() -> i32
module attributes {lumen.target = #target} {

llvm.func @lumen_scratch() -> !llvm.ptr
llvm.func @lumen_entry_f() {
  %lane = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.laneid"() : () -> i32
  %own = llvm.call @lumen_scratch() : () -> !llvm.ptr
  llvm.return
}
llvm.func @lumen_entry_g(%w: i32) -> i32 {
  %s = llvm.call_intrinsic "llvm.nvvm.mma.m16n8k16.row.col.s8"(%w, %w, %w, %w, %w, %w, %w)
     : (i32, i32, i32, i32, i32, i32, i32) -> !llvm.struct<(i32, i32, i32, i32)>
  %first = llvm.extractvalue %s[0] : !llvm.struct<(i32, i32, i32, i32)>
  llvm.return %first : i32
}
}
