// RUN: lumen-opt %s --lumen-flatten-arguments | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, workers = 1728, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

// Buffers are in the memory that all threads have.
// CHECK-LABEL: func.func private @kernel(
// CHECK-SAME:    %[[X:[a-z0-9_]+]]: !llvm.ptr<1> {llvm.align = 64 : i64, {{.*}}}, %{{.*}}: index)
// CHECK:         llvm.addrspacecast %[[X]] : !llvm.ptr<1> to !llvm.ptr
func.func private @kernel(%x: memref<?xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %y = memref.load %x[%c0] : memref<?xf32>
  memref.store %y, %x[%c0] : memref<?xf32>
  return
}

// Those of a loop may be a warp's own.
// CHECK-LABEL: func.func private @loop(
// CHECK-SAME:    %{{.*}}: !llvm.ptr {{{.*}}})
func.func private @loop(%x: memref<8xf32>) attributes {lumen.loop} {
  return
}

// Either of two buffers is as aligned as both.
// CHECK-LABEL: func.func private @caller(
// CHECK:         %[[POINTER:.*]] = llvm.extractvalue %{{.*}}[1]
// CHECK:         %[[GLOBAL:.*]] = llvm.addrspacecast %[[POINTER]] : !llvm.ptr to !llvm.ptr<1>
// CHECK:         call @kernel(%[[GLOBAL]], %{{.*}}) : (!llvm.ptr<1>, index) -> ()
func.func private @caller(%x: memref<?xf32> {llvm.align = 64 : i64}, %arena: memref<4096xi8> {lumen.arena}, %first: i1) {
  %c0 = arith.constant 0 : index
  %c64 = arith.constant 64 : index
  %n = memref.dim %x, %c0 : memref<?xf32>
  %y = memref.view %arena[%c64][%n] : memref<4096xi8> to memref<?xf32>
  %either = arith.select %first, %x, %y : memref<?xf32>
  call @kernel(%either) : (memref<?xf32>) -> ()
  return
}

// Who arrives last reads what others wrote, of which no pointer here tells.
// CHECK-LABEL: func.func private @arrival(
// CHECK-SAME:    %{{[a-z0-9_]+}}: !llvm.ptr<1> {llvm.noundef}, %{{.*}}: !llvm.ptr<1> {llvm.noalias, llvm.noundef, llvm.readonly}
func.func private @arrival(%x: memref<8xf32>, %y: memref<8xf32>, %team: !llvm.ptr) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %one = arith.constant 1 : i32
  %z = memref.load %y[%c0] : memref<8xf32>
  memref.store %z, %x[%c0] : memref<8xf32>
  %before = llvm.atomicrmw add %team, %one monotonic : !llvm.ptr, i32
  return
}
}
