// RUN: lumen-opt %s -pass-pipeline='builtin.module(lumen-define-gpu-runtime)' | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

// Entries can be launched, and the functions that code calls are there.
// CHECK:       llvm.func ptx_kernelcc @lumen_entry_f({{.*}}) attributes {passthrough = {{\[\["nvvm.maxntid", "512"\], \["nvvm.minctasm", "1"\]\]}}}
// CHECK:         llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.laneid"
// CHECK:       llvm.func internal @lumen_grid_barrier(%{{.*}}: !llvm.ptr)
// CHECK-COUNT-2: llvm.call_intrinsic "llvm.nvvm.barrier.cta.sync.aligned.all"
module attributes {lumen.target = #target} {

llvm.func @lumen_grid_barrier(!llvm.ptr)
llvm.func @lumen_entry_f(%words: !llvm.ptr, %team: !llvm.ptr) {
  %lane = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.laneid"() : () -> i32
  llvm.call @lumen_grid_barrier(%team) : (!llvm.ptr) -> ()
  llvm.return
}
}
