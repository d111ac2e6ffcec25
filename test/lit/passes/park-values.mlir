// RUN: lumen-opt %s -split-input-file -pass-pipeline='builtin.module(lumen-park-values)' | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {
llvm.func @tile(!llvm.ptr) attributes {lumen.loop}
llvm.func @other()

// What is the same in all threads waits in the lanes of a register: of 64 bits, in two lanes.
// CHECK-LABEL: llvm.func @kernel(
// CHECK-SAME:    %[[W:.*]]: !llvm.ptr, %[[Y:.*]]: !llvm.ptr<1>, %[[COUNT:.*]]: i32, %[[SCALE:.*]]: f32, %[[ONCE:.*]]: i64)
// CHECK:         %[[LANE:.*]] = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.laneid"
// CHECK:         %[[ADDRESS:.*]] = llvm.ptrtoint %[[Y]] : !llvm.ptr<1> to i64
// CHECK:         %[[LOW:.*]] = llvm.trunc %[[ADDRESS]] : i64 to i32
// CHECK:         %[[HIGH:.*]] = llvm.trunc %{{.*}} : i64 to i32
// CHECK:         %[[BITS:.*]] = llvm.bitcast %[[SCALE]] : f32 to i32
// CHECK:         %[[SECOND:.*]] = llvm.icmp "eq" %[[LANE]], %{{.*}} : i32
// CHECK-NEXT:    %[[TWO:.*]] = llvm.select %[[SECOND]], %[[HIGH]], %[[LOW]]
// CHECK:         %[[THREE:.*]] = llvm.select %{{.*}}, %[[COUNT]], %[[TWO]]
// CHECK:         %[[OWN:.*]] = llvm.select %{{.*}}, %[[BITS]], %[[THREE]]
// CHECK-NOT:     llvm.select
// CHECK:         llvm.call @tile(%[[W]])
// CHECK-COUNT-4: llvm.call_intrinsic "llvm.nvvm.shfl.sync.idx.i32"(%{{.*}}, %[[OWN]], %{{.*}}, %{{.*}})
// CHECK-NOT:     shfl
// CHECK:         %[[AT:.*]] = llvm.inttoptr %{{.*}} : i64 to !llvm.ptr<1>
// CHECK:         %[[X:.*]] = llvm.bitcast %{{.*}} : i32 to f32
// CHECK:         llvm.call @other(
// CHECK:         llvm.store %[[X]], %[[AT]]
// CHECK-NOT:     alloca
llvm.func @kernel(%w: !llvm.ptr, %y: !llvm.ptr<1>, %count: i32, %scale: f32, %once: i64) -> i32 {
  %c1 = llvm.mlir.constant(1 : i64) : i64
  %lane = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.laneid"() : () -> i32
  %unused = llvm.add %once, %c1 : i64
  llvm.call @tile(%w) : (!llvm.ptr) -> ()
  // No tile.
  llvm.call @other() : () -> ()
  llvm.store %scale, %y : f32, !llvm.ptr<1>
  %sum = llvm.add %count, %lane : i32
  llvm.return %sum : i32
}
}

// -----

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {
llvm.func @tile(i32) attributes {lumen.loop}

// A counter comes back from the lanes in each turn. The number of a warp is the same in its threads, that of
// a thread is not.
// CHECK-LABEL: llvm.func @loop(
// CHECK-SAME:    %[[END:.*]]: i32)
// CHECK:         %[[THREAD:.*]] = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.tid.x"
// CHECK:         %[[WARP:.*]] = llvm.lshr %[[THREAD]]
// CHECK:         llvm.br ^bb1(
// CHECK:       ^bb1(%[[A:.*]]: i32, %[[B:.*]]: i32, %[[C:.*]]: i32):
// CHECK:         llvm.call @tile(
// CHECK-COUNT-3: shfl.sync.idx
// CHECK-NOT:     shfl.sync.idx
// CHECK:         llvm.cond_br %{{.*}}, ^bb1(%{{.*}}, %{{.*}}, %{{.*}} : i32, i32, i32), ^bb2
llvm.func @loop(%end: i32) -> i32 {
  %c5 = llvm.mlir.constant(5 : i32) : i32
  %c0 = llvm.mlir.constant(0 : i32) : i32
  %thread = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.tid.x"() : () -> i32
  %warp = llvm.lshr %thread, %c5 : i32
  llvm.br ^bb1(%c0 : i32)
^bb1(%i: i32):
  llvm.call @tile(%i) : (i32) -> ()
  %next = llvm.add %i, %warp : i32
  %isLeft = llvm.icmp "slt" %next, %end : i32
  llvm.cond_br %isLeft, ^bb1(%next : i32), ^bb2
^bb2:
  llvm.return %thread : i32
}

// Where threads go different ways, what the ways give differs, and so do what is loaded from other places and
// what atomic operations return.
// CHECK-LABEL: llvm.func @ways(
// CHECK:         llvm.call @tile(
// CHECK-NOT:     shfl.sync.idx
// CHECK:         llvm.return
llvm.func @ways(%p: !llvm.ptr) -> i32 {
  %c0 = llvm.mlir.constant(0 : i32) : i32
  %c1 = llvm.mlir.constant(1 : i32) : i32
  %lane = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.laneid"() : () -> i32
  %at = llvm.getelementptr %p[%lane] : (!llvm.ptr, i32) -> !llvm.ptr, i32
  %loaded = llvm.load %at : !llvm.ptr -> i32
  %before = llvm.atomicrmw add %p, %c1 monotonic : !llvm.ptr, i32
  %isFirst = llvm.icmp "eq" %lane, %c0 : i32
  llvm.cond_br %isFirst, ^bb1, ^bb2(%c0 : i32)
^bb1:
  llvm.br ^bb2(%c1 : i32)
^bb2(%chosen: i32):
  llvm.call @tile(%c0) : (i32) -> ()
  %one = llvm.add %chosen, %loaded : i32
  %sum = llvm.add %one, %before : i32
  llvm.return %sum : i32
}

// All take an element from the same lane.
// CHECK-LABEL: llvm.func @same(
// CHECK:         shfl.sync.idx
// CHECK:         llvm.call @tile(
// CHECK:         shfl.sync.idx
// CHECK-NOT:     shfl.sync.idx
// CHECK:         llvm.return
llvm.func @same(%w: i32) -> i32 {
  %c0 = llvm.mlir.constant(0 : i32) : i32
  %c31 = llvm.mlir.constant(31 : i32) : i32
  %all = llvm.mlir.constant(-1 : i32) : i32
  %lane = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.laneid"() : () -> i32
  %first = llvm.call_intrinsic "llvm.nvvm.shfl.sync.idx.i32"(%all, %lane, %c0, %c31) : (i32, i32, i32, i32) -> i32
  llvm.call @tile(%c0) : (i32) -> ()
  llvm.return %first : i32
}
}
