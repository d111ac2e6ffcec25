// RUN: lumen-opt %s -lumen-lower-workgroups -canonicalize | FileCheck %s

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

// CHECK-DAG:     spirv.GlobalVariable @exchanged : !spirv.ptr<!spirv.array<32 x i32>, Workgroup>
// CHECK-DAG:     spirv.GlobalVariable @__builtin__LocalInvocationId__ built_in("LocalInvocationId")
// CHECK-LABEL:   func.func @f(
// Narrow values are exchanged as words.
// CHECK:         %[[WORD:.*]] = arith.extui %{{.*}} : i16 to i32
// CHECK:         spirv.Store "Workgroup" %{{.*}}, %[[WORD]] : i32
// CHECK-NEXT:    spirv.ControlBarrier <Workgroup>, <Workgroup>, <AcquireRelease|WorkgroupMemory>
// CHECK:         spirv.Load "Workgroup"
// CHECK-NEXT:    spirv.ControlBarrier <Workgroup>, <Workgroup>, <AcquireRelease|WorkgroupMemory>
// Wide ones in two.
// CHECK-COUNT-2: spirv.Store "Workgroup"
// CHECK-NOT:     spirv.Store
// CHECK:         spirv.ControlBarrier <Workgroup>, <Workgroup>, <AcquireRelease|UniformMemory|WorkgroupMemory>
// CHECK:         spirv.mlir.addressof @__builtin__WorkgroupId__
// CHECK:         spirv.mlir.addressof @__builtin__NumWorkgroups__
module attributes {lumen.target = #target} {
func.func @f(%x: f16, %y: i64) -> (f16, i64, index, index) attributes {lumen.kernel = "rows"} {
  %lane = lumen.lane
  %a = lumen.shuffle %x, %lane : f16
  %b = lumen.shuffle %y, %lane : i64
  lumen.warp_barrier
  %id = lumen.worker_id
  %count = lumen.worker_count
  return %a, %b, %id, %count : f16, i64, index, index
}
}
