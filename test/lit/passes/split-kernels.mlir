// RUN: lumen-opt %s -lumen-split-kernels -split-input-file -verify-diagnostics | FileCheck %s

#target = #lumen.target<name = "x86-64-v3", triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v3", features = "",
    vector_registers = 16, vector_bits = 256, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 16, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false>,
    pair_dot = <m = 1, n = 8, k = 2, lhs = si16, rhs = si16, acc = i32, accumulates = false>,
    rows = 8, tokens = 4>

// What is left: declarations, and what calls them. Constants that only kernels read are gone.
// CHECK-LABEL: module attributes {lumen.max_tokens = 512 : i64, lumen.target =
// CHECK-NOT:     memref.global
// CHECK:         memref.global "private" constant @shared
// CHECK-NOT:     memref.global
// CHECK:         func.func private @lumen_kernel_loop(!llvm.ptr) -> vector<8xf32> attributes {lumen.loop}
// CHECK-NEXT:    func.func private @lumen_kernel_add(!llvm.ptr {llvm.noundef}, !llvm.ptr) attributes {lumen.kernel = "rows"}
// CHECK-NEXT:    func.func @step(
// CHECK-NEXT:      call @lumen_kernel_add(
// CHECK-NEXT:      memref.get_global @shared
// CHECK-NEXT:      return

// Loops come before the kernels that call them. A module has the target, but not what memory is planned for.
// CHECK:         module @loop attributes {lumen.target = #lumen.target<
// CHECK-NEXT:      func.func private @lumen_kernel_loop(%{{.*}}: !llvm.ptr) -> vector<8xf32> attributes {lumen.linked, lumen.loop} {

// CHECK:         module @add attributes {lumen.target = #lumen.target<
// CHECK-DAG:       memref.global "private" constant @own
// CHECK-DAG:       memref.global "private" constant @shared
// CHECK-DAG:       func.func private @lumen_kernel_loop(!llvm.ptr) -> vector<8xf32> attributes {lumen.loop}
// CHECK:           func.func private @lumen_kernel_add(%{{.*}}: !llvm.ptr {llvm.noundef}, %{{.*}}: !llvm.ptr) attributes {lumen.kernel = "rows", lumen.linked} {
// CHECK:             call @lumen_kernel_loop(
module attributes {lumen.target = #target, lumen.max_tokens = 512 : i64} {
memref.global "private" constant @own : memref<2xi8> = dense<[1, 2]>
memref.global "private" constant @shared : memref<2xi8> = dense<[3, 4]>
func.func private @loop(%x: !llvm.ptr) -> vector<8xf32> attributes {lumen.loop} {
  %zero = arith.constant dense<0.0> : vector<8xf32>
  return %zero : vector<8xf32>
}
func.func private @add(%x: !llvm.ptr {llvm.noundef}, %worker: !llvm.ptr) attributes {lumen.kernel = "rows"} {
  %own = memref.get_global @own : memref<2xi8>
  %shared = memref.get_global @shared : memref<2xi8>
  %sums = call @loop(%x) : (!llvm.ptr) -> vector<8xf32>
  return
}
func.func @step(%x: !llvm.ptr, %worker: !llvm.ptr) {
  call @add(%x, %worker) : (!llvm.ptr, !llvm.ptr) -> ()
  %shared = memref.get_global @shared : memref<2xi8>
  return
}
}

// -----

// A public kernel keeps its name, and becomes an entry in its own module.
// CHECK-LABEL: module {
// CHECK-NEXT:    module @pack {
// CHECK-NEXT:      func.func @pack(%{{.*}}: !llvm.ptr) attributes {lumen.kernel = "pack"} {
func.func @pack(%x: !llvm.ptr) attributes {lumen.kernel = "pack"} {
  return
}

// -----

// What cannot be by itself stays: kernels that call others or write globals, and those that are not only called.
// CHECK-NOT: module @
memref.global "private" @counter : memref<2xi8> = dense<0>
func.func private @counts(%v: i8) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %counter = memref.get_global @counter : memref<2xi8>
  memref.store %v, %counter[%c0] : memref<2xi8>
  return
}
func.func private @helper() {
  return
}
func.func private @calls() attributes {lumen.kernel = "rows"} {
  call @helper() : () -> ()
  return
}
func.func private @referred() attributes {lumen.kernel = "rows"} {
  return
}
func.func @step() {
  %f = func.constant @referred : () -> ()
  call_indirect %f() : () -> ()
  call @calls() : () -> ()
  return
}

// -----

func.func private @lumen_kernel_add()
// expected-error @+1 {{needs the name 'lumen_kernel_add', which the module has already}}
func.func private @add() attributes {lumen.kernel = "rows"} {
  return
}
