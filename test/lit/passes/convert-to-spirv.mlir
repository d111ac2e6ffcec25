// RUN: lumen-opt %s -lumen-lower-buffers -lumen-convert-to-spirv -split-input-file -verify-diagnostics | FileCheck %s

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

// CHECK:      spirv.module PhysicalStorageBuffer64 GLSL450 requires #spirv.vce<v1.6, [Shader, Int8,
// CHECK:        spirv.GlobalVariable @arguments
// CHECK:        spirv.func @main() "None" {
// CHECK:          spirv.mlir.loop
// CHECK:            spirv.FAdd %{{.*}} {no_contraction} : f32
// A loop without turns results in what it began with.
// CHECK:          %[[TURNS:.*]] = spirv.SGreaterThan
// CHECK:          %[[SUM:.*]] = spirv.Select %[[TURNS]], %{{.*}}, %cst_f32
// CHECK:          spirv.Store "PhysicalStorageBuffer" %{{.*}}, %[[SUM]] ["Aligned", 4] : f32
// A bit as an index.
// CHECK:          spirv.Select %{{.*}}, %{{.*}}, %{{.*}} : i1, i32
// CHECK:          spirv.UConvert %{{.*}} : i32 to i64
// CHECK:        spirv.EntryPoint "GLCompute" @main, @arguments
// CHECK-NEXT:   spirv.ExecutionMode @main "LocalSize", 32, 1, 1
// CHECK-NEXT:   spirv.ExecutionMode @main "RoundingModeRTE", 16
// CHECK-NEXT:   spirv.ExecutionMode @main "SignedZeroInfNanPreserve", 32
module attributes {lumen.target = #target} {
func.func @sum(%a: memref<?xf32>, %n: index, %bit: i1) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %first = arith.constant 7.0 : f32
  %sum = scf.for %i = %c0 to %n step %c1 iter_args(%acc = %first) -> (f32) {
    %x = memref.load %a[%i] : memref<?xf32>
    %next = arith.addf %acc, %x : f32
    scf.yield %next : f32
  }
  memref.store %sum, %a[%c0] : memref<?xf32>
  %at = arith.index_castui %bit : i1 to index
  memref.store %first, %a[%at] : memref<?xf32>
  return
}
}

// -----

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

// expected-error @below {{has 2 kernels, but a shader is made of one}}
module attributes {lumen.target = #target} {
func.func @a() attributes {lumen.kernel = "rows"} {
  return
}
func.func @b() attributes {lumen.kernel = "rows"} {
  return
}
}
