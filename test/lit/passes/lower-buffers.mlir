// RUN: lumen-opt %s -lumen-lower-buffers -canonicalize -cse -split-input-file -verify-diagnostics | FileCheck %s

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

// CHECK-DAG:   spirv.GlobalVariable @arguments : !spirv.ptr<!spirv.struct<(i64 [0])>, PushConstant>
// CHECK-DAG:   spirv.GlobalVariable @scratch : !spirv.ptr<!spirv.array<8 x f32>, Workgroup>
// CHECK-LABEL: func.func @f() attributes {lumen.kernel = "rows"} {
// CHECK-DAG:     %[[LIST:.*]] = spirv.Load "PushConstant"
// CHECK-DAG:     spirv.Variable : !spirv.ptr<!spirv.array<2 x i64>, Function>
// Four bytes in a word are read as one, and others where they lie.
// CHECK:         %[[WORD:.*]] = spirv.Load "PhysicalStorageBuffer" %{{.*}} ["Aligned", 4] : i32
// CHECK:         spirv.Bitcast %[[WORD]] : i32 to vector<4xi8>
// CHECK:         spirv.Load "PhysicalStorageBuffer" %{{.*}} ["Aligned", 1] : vector<4xi8>
// Bits of bf16 are moved.
// CHECK:         %[[BITS:.*]] = spirv.Load "PhysicalStorageBuffer" %{{.*}} ["Aligned", 2] : i16
// CHECK:         arith.bitcast %[[BITS]] : i16 to bf16
// The constant stands behind four words of arguments.
// CHECK:         %[[TABLE:.*]] = arith.addi %[[LIST]], %c32_i64 : i64
// CHECK:         spirv.Store "Workgroup"
module attributes {lumen.target = #target} {
memref.global "private" constant @table : memref<3xi32> = dense<[1, 2, 3]>
func.func @f(%a: memref<64xi8>, %b: memref<?xbf16>, %i: index) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %c4 = arith.constant 4 : index
  %own = memref.alloca() : memref<2xindex>
  %scratch = lumen.scratch 0 : memref<2x4xf32>
  %view = memref.view %a[%c4][] : memref<64xi8> to memref<8xi32>
  %words = vector.load %a[%i] {alignment = 4 : i64} : memref<64xi8>, vector<4xi8>
  %bytes = vector.load %a[%c0] : memref<64xi8>, vector<4xi8>
  %bits = memref.load %b[%i] : memref<?xbf16>
  %table = memref.get_global @table : memref<3xi32>
  %entry = memref.load %table[%i] : memref<3xi32>
  %x = arith.extf %bits : bf16 to f32
  memref.store %x, %scratch[%c0, %i] : memref<2x4xf32>
  memref.store %entry, %view[%i] : memref<8xi32>
  %both = arith.addi %words, %bytes : vector<4xi8>
  vector.store %both, %a[%i] : memref<64xi8>, vector<4xi8>
  %n = memref.dim %b, %c0 : memref<?xbf16>
  memref.store %n, %own[%c0] : memref<2xindex>
  return
}
}

// -----

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {
func.func @two_types() attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %scratch = lumen.scratch 0 : memref<64xi8>
  // expected-error @below {{gives memory of a workgroup another type, which it cannot have}}
  %view = memref.view %scratch[%c0][] : memref<64xi8> to memref<8xi32>
  return
}
}

// -----

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {
func.func @chosen(%a: memref<8xi8>, %b: memref<8xi8>, %c: i1) attributes {lumen.kernel = "rows"} {
  // expected-error @below {{works on a buffer in a way that code for Vulkan cannot}}
  %either = arith.select %c, %a, %b : memref<8xi8>
  return
}
}
