// RUN: lumen-opt %s -lumen-export-entry -split-input-file -verify-diagnostics | FileCheck %s

module attributes {lumen.target = #lumen.target<name = "x86-64-v3", triple = "x86_64-unknown-linux-gnu",
    cpu = "x86-64-v3", features = "",
    vector_registers = 16, vector_bits = 256, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 16, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false>,
    pair_dot = <m = 1, n = 8, k = 2, lhs = si16, rhs = si16, acc = i32, accumulates = false>,
    rows = 8, tokens = 4>} {
// CHECK-NOT: lumen.format
lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// One slot per argument in order; the worker is the entry's own.
// CHECK-LABEL: func.func @lumen_entry_step(
// CHECK-SAME:    %[[SLOTS:[a-z0-9]+]]: !llvm.ptr {llvm.noalias, llvm.noundef}, %[[WORKER:[a-z0-9]+]]: !llvm.ptr {llvm.noalias, llvm.noundef})
// CHECK-SAME:    attributes {passthrough = ["nounwind", ["prefer-vector-width", "256"], "stackrealign"]}
// CHECK-NEXT:    %[[P:[0-9]+]] = llvm.load %[[SLOTS]] {alignment = 8 : i64} : !llvm.ptr -> !llvm.ptr
// CHECK-NEXT:    %[[A1:[0-9]+]] = llvm.getelementptr %[[SLOTS]][1] : (!llvm.ptr) -> !llvm.ptr, i64
// CHECK-NEXT:    %[[W1:[0-9]+]] = llvm.load %[[A1]] {alignment = 8 : i64} : !llvm.ptr -> i64
// CHECK-NEXT:    %[[N:[0-9]+]] = arith.index_cast %[[W1]] : i64 to index
// CHECK-NEXT:    %[[A2:[0-9]+]] = llvm.getelementptr %[[SLOTS]][2]
// CHECK-NEXT:    %[[W2:[0-9]+]] = llvm.load %[[A2]]
// CHECK-NEXT:    %[[I:[0-9]+]] = arith.trunci %[[W2]] : i64 to i32
// CHECK-NEXT:    %[[A3:[0-9]+]] = llvm.getelementptr %[[SLOTS]][3]
// CHECK-NEXT:    %[[W3:[0-9]+]] = llvm.load %[[A3]]
// CHECK-NEXT:    %[[T3:[0-9]+]] = arith.trunci %[[W3]] : i64 to i32
// CHECK-NEXT:    %[[F:[0-9]+]] = arith.bitcast %[[T3]] : i32 to f32
// CHECK-NEXT:    call @step(%[[P]], %[[N]], %[[I]], %[[F]], %[[WORKER]])
// CHECK-NEXT:    return
// CHECK:       func.func private @step(
// CHECK-SAME:    attributes {llvm.linkage = #llvm.linkage<internal>, passthrough = ["nounwind", ["prefer-vector-width", "256"], "stackrealign"]}
func.func @step(%x: !llvm.ptr, %n: index, %i: i32, %f: f32, %worker: !llvm.ptr {lumen.worker}) {
  return
}

// CHECK-LABEL: func.func private @kernel(
// CHECK-SAME:    attributes {llvm.linkage = #llvm.linkage<internal>, lumen.kernel = "rows", passthrough = ["nounwind", "noinline", ["prefer-vector-width", "256"], "stackrealign"]}
func.func private @kernel(%x: !llvm.ptr) attributes {lumen.kernel = "rows"} {
  return
}
}

// -----

// expected-error @+1 {{argument 0 does not fit a slot: 'memref<8xf32>'}}
func.func @f(%x: memref<8xf32>) {
  return
}

// -----

// expected-error @+1 {{cannot be exported: the module has a symbol 'lumen_entry_f' already}}
func.func @f() {
  return
}
func.func private @lumen_entry_f()

// -----

// 32 registers of vectors hold a register tile: the stack is left as it is.
module attributes {lumen.target = #lumen.target<name = "x86-64-v4", triple = "x86_64-unknown-linux-gnu",
    cpu = "x86-64-v4", features = "", vector_registers = 32, vector_bits = 512, fma = true, f16 = true,
    cache_line = 64, rows = 16, tokens = 4>} {
// CHECK-LABEL: func.func private @wide(
// CHECK-SAME:    passthrough = ["nounwind", ["prefer-vector-width", "512"]]}
func.func @wide() {
  return
}
}

// -----

// What is x86's stays there.
module attributes {lumen.target = #lumen.target<name = "armv8-a", triple = "aarch64-unknown-linux-gnu",
    cpu = "generic", features = "", vector_registers = 32, vector_bits = 128, fma = true, f16 = true,
    cache_line = 64, rows = 8, tokens = 4>} {
// CHECK-LABEL: func.func private @other(
// CHECK-SAME:    passthrough = ["nounwind"]}
func.func @other() {
  return
}
}
