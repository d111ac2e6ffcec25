// RUN: lumen-opt %s -lumen-plan-memory=remark=1 -split-input-file -verify-diagnostics | FileCheck %s

// Three buffers of 8 x 64 x 4 = 2048 bytes of which two live at a time: %c takes
// the place of %a, and %b stands behind it. The layer's arena is a part of the
// step's for as long as the call takes.
module attributes {lumen.max_tokens = 8 : i64} {
func.func private @kernel(%x: memref<?x64xf32>, %y: memref<?x64xf32>) attributes {lumen.kernel = "rows"} {
  return
}

// CHECK-LABEL: func.func private @layer(
// CHECK-SAME:    %[[X:[a-z0-9_]+]]: memref<?x64xf32>, %[[OUT:[a-z0-9_]+]]: memref<?x64xf32>, %[[ARENA:[a-z0-9_]+]]: memref<4096xi8> {lumen.arena})
// CHECK:         memref.dim
// CHECK-NEXT:    %[[A_AT:[a-z0-9_]+]] = arith.constant 0 : index
// CHECK-NEXT:    %[[A:[a-z0-9_]+]] = memref.view %[[ARENA]][%[[A_AT]]][%{{.*}}] : memref<4096xi8> to memref<?x64xf32>
// CHECK-NEXT:    call @kernel(%[[X]], %[[A]])
// CHECK-NEXT:    %[[B_AT:[a-z0-9_]+]] = arith.constant 2048 : index
// CHECK-NEXT:    %[[B:[a-z0-9_]+]] = memref.view %[[ARENA]][%[[B_AT]]]
// CHECK-NEXT:    call @kernel(%[[A]], %[[B]])
// CHECK-NEXT:    %[[C_AT:[a-z0-9_]+]] = arith.constant 0 : index
// CHECK-NEXT:    %[[C:[a-z0-9_]+]] = memref.view %[[ARENA]][%[[C_AT]]]
// CHECK-NEXT:    call @kernel(%[[B]], %[[C]])
// CHECK-NEXT:    call @kernel(%[[C]], %[[OUT]])
func.func private @layer(%x: memref<?x64xf32>, %out: memref<?x64xf32>) {
  %c0 = arith.constant 0 : index
  %rows = memref.dim %x, %c0 : memref<?x64xf32>
  %a = memref.alloc(%rows) : memref<?x64xf32>
  call @kernel(%x, %a) : (memref<?x64xf32>, memref<?x64xf32>) -> ()
  %b = memref.alloc(%rows) : memref<?x64xf32>
  call @kernel(%a, %b) : (memref<?x64xf32>, memref<?x64xf32>) -> ()
  %c = memref.alloc(%rows) : memref<?x64xf32>
  call @kernel(%b, %c) : (memref<?x64xf32>, memref<?x64xf32>) -> ()
  call @kernel(%c, %out) : (memref<?x64xf32>, memref<?x64xf32>) -> ()
  return
}

// CHECK-LABEL: func.func @step(
// CHECK-SAME:    %[[ARENA:[a-z0-9_]+]]: memref<6144xi8> {lumen.arena})
// CHECK:         memref.dim
// CHECK-NEXT:    %[[Y_AT:[a-z0-9_]+]] = arith.constant 4096 : index
// CHECK-NEXT:    %[[Y:[a-z0-9_]+]] = memref.view %[[ARENA]][%[[Y_AT]]]
// CHECK-NEXT:    %[[L_AT:[a-z0-9_]+]] = arith.constant 0 : index
// CHECK-NEXT:    %[[L:[a-z0-9_]+]] = memref.view %[[ARENA]][%[[L_AT]]][] : memref<6144xi8> to memref<4096xi8>
// CHECK-NEXT:    call @layer(%{{.*}}, %[[Y]], %[[L]])
// CHECK-NEXT:    %[[L2_AT:[a-z0-9_]+]] = arith.constant 0 : index
// CHECK-NEXT:    %[[L2:[a-z0-9_]+]] = memref.view %[[ARENA]][%[[L2_AT]]][] : memref<6144xi8> to memref<4096xi8>
// CHECK-NEXT:    call @layer(%[[Y]], %{{.*}}, %[[L2]])
// CHECK:       llvm.mlir.global external constant @lumen_arena_size_step(6144 : i64) {{.*}} : i64
// expected-remark @+1 {{the arena of 'step' has 6144 bytes for at most 8 tokens}}
func.func @step(%x: memref<?x64xf32>, %out: memref<?x64xf32>) {
  %c0 = arith.constant 0 : index
  %rows = memref.dim %x, %c0 : memref<?x64xf32>
  %y = memref.alloc(%rows) : memref<?x64xf32>
  call @layer(%x, %y) : (memref<?x64xf32>, memref<?x64xf32>) -> ()
  call @layer(%y, %out) : (memref<?x64xf32>, memref<?x64xf32>) -> ()
  return
}
}

// -----

// What a repeated call reads is in use until all workers have ended another one: %c cannot take the place of %a. One
// of two buffers is in use as long as either may be.
module attributes {lumen.max_tokens = 8 : i64} {
func.func private @kernel(%x: memref<?x64xf32>, %y: memref<?x64xf32>) attributes {lumen.kernel = "rows"} {
  return
}

// CHECK-LABEL: func.func private @repeated(
// CHECK-SAME:    memref<6144xi8> {lumen.arena})
// CHECK:         memref.view %{{.*}}[%c0_0]
// CHECK:         memref.view %{{.*}}[%c2048]
// CHECK:         lumen.in_blocks
// CHECK:         memref.view %{{.*}}[%c4096]
func.func private @repeated(%x: memref<?x64xf32>, %own: memref<?x64xf32>, %few: i1, %out: memref<?x64xf32>) {
  %c0 = arith.constant 0 : index
  %rows = memref.dim %x, %c0 : memref<?x64xf32>
  %a = memref.alloc(%rows) : memref<?x64xf32>
  call @kernel(%x, %a) : (memref<?x64xf32>, memref<?x64xf32>) -> ()
  %b = memref.alloc(%rows) : memref<?x64xf32>
  %either = arith.select %few, %own, %b : memref<?x64xf32>
  call @kernel(%a, %either) {lumen.in_blocks} : (memref<?x64xf32>, memref<?x64xf32>) -> ()
  %c = memref.alloc(%rows) : memref<?x64xf32>
  call @kernel(%either, %c) : (memref<?x64xf32>, memref<?x64xf32>) -> ()
  call @kernel(%c, %out) : (memref<?x64xf32>, memref<?x64xf32>) -> ()
  return
}
}

// -----

// Sizes are multiples of 64; 512 tokens where the module says nothing. A public
// kernel has an arena of no bytes.
// CHECK-LABEL: func.func @pack(
// CHECK-SAME:    memref<0xi8> {lumen.arena})
// CHECK:       llvm.mlir.global external constant @lumen_arena_size_pack(0 : i64)
// expected-remark @+1 {{the arena of 'pack' has 0 bytes for at most 512 tokens}}
func.func @pack(%x: memref<?xi8>) attributes {lumen.kernel = "pack"} {
  return
}
func.func private @kernel(%x: memref<3xi8>, %y: memref<?x3xi8>) attributes {lumen.kernel = "rows"} {
  return
}
// CHECK-LABEL: func.func @f(
// CHECK-SAME:    memref<1600xi8> {lumen.arena})
// expected-remark @+1 {{the arena of 'f' has 1600 bytes for at most 512 tokens}}
func.func @f(%rows: index) {
  %a = memref.alloc() : memref<3xi8>
  %b = memref.alloc(%rows) : memref<?x3xi8>
  call @kernel(%a, %b) : (memref<3xi8>, memref<?x3xi8>) -> ()
  return
}

// -----

func.func private @kernel(%n: index, %x: i8) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %n step %c1 {
    // expected-error @+1 {{must stand at the top level of a function}}
    %a = memref.alloc() : memref<3xi8>
    memref.store %x, %a[%c0] : memref<3xi8>
  }
  return
}

// -----

module attributes {lumen.max_tokens = 128 : i64} {
// Every size that a call chooses counts as that, and what is computed from
// them follows, also where the kernel is called.
func.func private @sums(%rows: index, %columns: index) {
  %c2 = arith.constant 2 : index
  %more = arith.addi %rows, %c2 : index
  %a = memref.alloc(%more, %columns) : memref<?x?xi8>
  memref.dealloc %a : memref<?x?xi8>
  return
}
// expected-remark @+1 {{the arena of 'f' has 15232 bytes for at most 128 tokens}}
func.func @f(%rows: index) {
  %c3 = arith.constant 3 : index
  %columns = arith.muli %c3, %c3 : index
  %all = arith.maxui %columns, %c3 : index
  %thirteen = arith.constant 13 : index
  %n = arith.muli %thirteen, %all : index
  call @sums(%rows, %n) : (index, index) -> ()
  return
}
}

// -----

module attributes {lumen.max_tokens = 1024 : i64} {
func.func private @endless(%rows: index) {
  // expected-error @+1 {{takes more than 2^47 bytes for 1024 tokens: 'memref<?x9223372036854775807xi8>'}}
  %a = memref.alloc(%rows) : memref<?x9223372036854775807xi8>
  memref.dealloc %a : memref<?x9223372036854775807xi8>
  return
}
}

// -----

func.func private @elements() {
  // expected-error @+1 {{must be a plain buffer of numbers, got 'memref<4xvector<4xi8>>'}}
  %a = memref.alloc() : memref<4xvector<4xi8>>
  memref.dealloc %a : memref<4xvector<4xi8>>
  return
}

// -----

func.func private @chosen(%c: i1, %other: memref<4xi8>) {
  %a = memref.alloc() : memref<4xi8>
  %b = scf.if %c -> memref<4xi8> {
    // expected-error @+1 {{passes a buffer on, so that nobody can see how long it is in use}}
    scf.yield %a : memref<4xi8>
  } else {
    scf.yield %other : memref<4xi8>
  }
  memref.dealloc %b : memref<4xi8>
  return
}

// -----

// expected-error @+1 {{must be a straight line of one block, got 2 blocks}}
func.func private @blocks() {
  %a = memref.alloc() : memref<4xi8>
  memref.dealloc %a : memref<4xi8>
  cf.br ^end
^end:
  return
}

// -----

memref.global @lumen_arena_size_f : memref<1xi64> = dense<1>
// expected-error @+1 {{needs the name 'lumen_arena_size_f', which the module has already}}
func.func @f() {
  return
}
