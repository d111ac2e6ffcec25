// SPDX-License-Identifier: Apache-2.0
//
// No float copy of a quantized weight exists on the fast path. The step of a Qwen2
// is lowered to vectors; weights arrive as bytes, and all memory besides is one
// arena, whose size is that of the activations of 512 tokens.
//
// RUN: lumen-opt %S/../Inputs/qwen2-layer.mlir --pass-pipeline='builtin.module( \
// RUN:     lumen-fuse-quantized-linear, lumen-quantize-activations{mode=int8}, \
// RUN:     lumen-merge-linears, lumen-pack-weights, lumen-form-kernels, lumen-check-fused, \
// RUN:     lumen-bufferize, lumen-synthesize-product, lumen-synthesize-rows, \
// RUN:     lumen-synthesize-attention, lumen-synthesize-pack, cse, \
// RUN:     lumen-check-stage{stage=loops}, lumen-vectorize-product, lumen-plan-memory, \
// RUN:     canonicalize, cse, lumen-check-stage{stage=vector})' -o %t
// RUN: FileCheck %s --input-file=%t
// RUN: FileCheck %s --input-file=%t --check-prefix=COUNT

// Two-dimensional float buffers have a row per token; none has the rows of a weight.
// CHECK-NOT: memref.alloc{{[ (]}}
// CHECK-NOT: memref<{{[0-9][0-9][0-9]+}}x{{[0-9]+}}xf32
// CHECK-NOT: tensor<

// The weights of the step are bytes: 8.5 bits each, raw or packed.
// COUNT-LABEL: func.func @step(
// COUNT-SAME: memref<144643072xi8> {lumen.name = "token_embd.weight"}
// COUNT-SAME: memref<144643072xi8> {llvm.align = 64 : i64, lumen.name = "token_embd.weight", lumen.tile = #lumen.packed<rows = 16, k = 4>}

// 18.9 MB for 512 tokens; the weights of one layer alone would be 59.6 MB in float32.
// COUNT: llvm.mlir.global external constant @lumen_arena_size_step(18890752 : i64)

// All buffers of a layer have one row per token: 22 views of the arena.
// COUNT-LABEL: func.func private @layer_0(
// COUNT-COUNT-22: memref.view %{{.*}} : memref<15220736xi8> to memref<?x
// COUNT-NOT: memref.view
// COUNT: return
