// RUN: lumen-opt %s -pass-pipeline='builtin.module(func.func(lumen-narrow-indices))' -verify-diagnostics

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target, lumen.max_tokens = 1073741825 : i64} {
// expected-error @+1 {{counts at most 1073741824 tokens on a GPU, got lumen.max_tokens = 1073741825}}
func.func @f() {
  return
}
}
