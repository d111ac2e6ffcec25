// RUN: lumen-opt %s -lumen-split-phases -canonicalize -split-input-file -verify-diagnostics | FileCheck %s

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

// What each phase needs is computed in it, and nothing else. A barrier that is
// only met where there was something to do ends a phase, too.
// CHECK-LABEL: func.func @step(
// CHECK-NEXT:    call @kernel(%arg0, %arg1)
// CHECK-NEXT:    call @kernel_phase1(%arg0, %arg1)
// CHECK-NEXT:    call @public(%arg0)
// CHECK-NEXT:    return
// CHECK-LABEL: func.func private @kernel(
// CHECK-DAG:     %[[N:.*]] = memref.load %arg1
// CHECK-DAG:     lumen.worker_id
// CHECK:         scf.for
// CHECK-NOT:     lumen.barrier
// CHECK:         return
// CHECK-LABEL: func.func private @kernel_phase1(
// CHECK-DAG:     %[[N:.*]] = memref.load %arg1
// CHECK:         arith.muli
// CHECK:         scf.for
// CHECK-NOT:     lumen.barrier
// CHECK:         return

// CHECK-LABEL: func.func @public(%arg0: memref<?xindex> {lumen.out}) {
// CHECK-NEXT:    call @public_kernel(%arg0)
// CHECK-NEXT:    return
// CHECK-LABEL: func.func private @public_kernel(
// CHECK-SAME:      attributes {lumen.kernel = "pack"}
module attributes {lumen.target = #target} {
func.func @step(%a: memref<?xindex>, %n: memref<1xindex>) {
  call @kernel(%a, %n) : (memref<?xindex>, memref<1xindex>) -> ()
  call @public(%a) : (memref<?xindex>) -> ()
  return
}
func.func private @kernel(%a: memref<?xindex>, %n: memref<1xindex>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %c2 = arith.constant 2 : index
  %id = lumen.worker_id
  %count = lumen.worker_count
  %total = memref.load %n[%c0] : memref<1xindex>
  scf.for %i = %id to %total step %count {
    memref.store %i, %a[%i] : memref<?xindex>
  }
  lumen.barrier
  %more = arith.muli %total, %c2 : index
  scf.for %i = %id to %more step %count {
    memref.store %total, %a[%i] : memref<?xindex>
  }
  %some = arith.cmpi ne, %more, %c0 : index
  scf.if %some {
    lumen.barrier
  }
  return
}
func.func @public(%a: memref<?xindex> {lumen.out}) attributes {lumen.kernel = "pack"} {
  %id = lumen.worker_id
  memref.store %id, %a[%id] : memref<?xindex>
  lumen.barrier
  return
}
}

// -----

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {
func.func private @inside(%n: index) attributes {lumen.kernel = "rows"} {
  %id = lumen.worker_id
  %c1 = arith.constant 1 : index
  scf.for %i = %id to %n step %c1 {
    // expected-error @below {{stands inside of a loop or branch, so the kernel cannot be cut there}}
    lumen.barrier
    memref.alloca() : memref<1xf32>
  }
  return
}
}

// -----

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {
func.func private @changed(%a: memref<2xindex>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  // expected-error @below {{is used behind a barrier, and reads what the kernel writes}}
  %before = memref.load %a[%c0] : memref<2xindex>
  memref.store %c1, %a[%c0] : memref<2xindex>
  lumen.barrier
  memref.store %before, %a[%c1] : memref<2xindex>
  return
}
}

// -----

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {
// expected-error @below {{cannot be launched: a kernel is one block without results}}
func.func private @result() -> index attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  return %c0 : index
}
}

// -----

#target = #lumen.target<name = "vulkan", triple = "spirv64-unknown-vulkan1.3", cpu = "generic", features = "",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

// What a loop is given, it may write.
module attributes {lumen.target = #target} {
func.func private @changed(%a: memref<2xindex>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  // expected-error @below {{is used behind a barrier, and reads what the kernel writes}}
  %before = memref.load %a[%c0] : memref<2xindex>
  func.call @loop(%a) : (memref<2xindex>) -> ()
  lumen.barrier
  memref.store %before, %a[%c1] : memref<2xindex>
  return
}
func.func private @loop(%a: memref<2xindex>) attributes {lumen.loop} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  memref.store %c1, %a[%c0] : memref<2xindex>
  return
}
}
