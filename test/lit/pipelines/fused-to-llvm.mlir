// SPDX-License-Identifier: Apache-2.0
//
// The stages behind the fused one on a Qwen2 of two layers, for a step of one
// token: besides its arguments, the step has its arena and nothing else. 1,161,216
// bytes hold the parts of one layer's attention that workers compute for each
// other, for up to four sequences, and 12,032 the other activations of a token. A
// float copy of the smallest weight (128 x 896) would take 458,752 bytes.
//
// RUN: sed 's/lumen.max_tokens = 512/lumen.max_tokens = 1/' %S/../Inputs/qwen2-layer.mlir \
// RUN:   | lumen-opt --pass-pipeline='%{pipeline-fused}' \
// RUN:   | lumen-opt --pass-pipeline='%{pipeline-loops}' -o %t.loops.mlir
// RUN: FileCheck %s --check-prefix=LOOPS --input-file=%t.loops.mlir
// RUN: lumen-opt %t.loops.mlir --pass-pipeline='%{pipeline-vector}' -o %t.vector.mlir
// RUN: FileCheck %s --check-prefix=VECTOR --input-file=%t.vector.mlir
// RUN: lumen-opt %t.vector.mlir --pass-pipeline='%{pipeline-llvm}' -o %t.llvm.mlir
// RUN: FileCheck %s --check-prefix=LLVM --input-file=%t.llvm.mlir

// Kernels take the bytes of a weight: 56 tiles of 28 spans, 544 bytes each.
// LOOPS:        func.func private @layer_0(
// LOOPS-NOT:    tensor<
// LOOPS:        return
// LOOPS:        func.func private @qlinear_q8_0_896x896_add(
// LOOPS-SAME:   %{{[a-z0-9]+}}: memref<852992xi8>
// LOOPS-NOT:    memref.alloc(
// LOOPS:        scf.forall
// LOOPS:        linalg.generic

// VECTOR:       func.func @step(
// VECTOR-SAME:  memref<[[ARENA:1173248]]xi8> {lumen.arena}) {
// VECTOR-NOT:   memref.alloc
// VECTOR:       call @layer_0(
// VECTOR-NOT:   memref.alloc
// VECTOR:       return
// VECTOR:       llvm.mlir.global external constant @lumen_arena_size_step([[ARENA]] : i64)
// VECTOR-NOT:   memref.alloc(
// VECTOR:       lumen.dot4
// VECTOR-NOT:   memref.alloc(
// VECTOR:       func.func private @qlinear_q8_0_896x4864_add(
// VECTOR-NOT:   memref.alloc(

// Nothing is allocated behind the back of the arena either.
// LLVM-NOT:     @malloc
// LLVM-NOT:     lumen.dot4
// LLVM:         llvm.func @lumen_entry_step(%{{[a-z0-9]+}}: !llvm.ptr {{.*}}, %{{[a-z0-9]+}}: !llvm.ptr
// LLVM-NOT:     @malloc
// LLVM:         llvm.func internal @step(
// LLVM-NOT:     @malloc
// LLVM:         llvm.mlir.global external constant @lumen_arena_size_step(
// LLVM-NOT:     @malloc
// LLVM:         llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// LLVM-NOT:     @malloc
