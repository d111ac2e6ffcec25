// RUN: lumen-opt %s -pass-pipeline='builtin.module(lumen-emulate-gpu)' | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "x86_64-unknown-linux-gnu", cpu = "x86-64", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

// On a machine that is no GPU, instructions are functions of the emulator.
// CHECK:       llvm.func @lumen_entry_f()
// CHECK:         llvm.call @lumen_gpu_read_ptx_sreg_laneid() : () -> i32
// CHECK:         llvm.call @lumen_scratch()
// CHECK:       llvm.func @lumen_gpu_read_ptx_sreg_laneid() -> i32
module attributes {lumen.target = #target} {

llvm.func @lumen_scratch() -> !llvm.ptr
llvm.func @lumen_entry_f() {
  %lane = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.laneid"() : () -> i32
  %own = llvm.call @lumen_scratch() : () -> !llvm.ptr
  llvm.return
}
}
