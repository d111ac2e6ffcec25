// SPDX-License-Identifier: Apache-2.0
//
// The whole stage on a Qwen2 of two layers: what the fused stage looks like.
//
// RUN: lumen-opt %S/../Inputs/qwen2-layer.mlir --pass-pipeline='builtin.module( \
// RUN:     lumen-fuse-quantized-linear, lumen-quantize-activations{mode=int8}, \
// RUN:     lumen-merge-linears, lumen-pack-weights, lumen-form-kernels, \
// RUN:     lumen-check-fused)' | FileCheck %s
// RUN: lumen-opt %S/../Inputs/qwen2-layer.mlir --pass-pipeline='builtin.module( \
// RUN:     lumen-fuse-quantized-linear, lumen-quantize-activations{mode=exact}, \
// RUN:     lumen-merge-linears, lumen-pack-weights, lumen-form-kernels, \
// RUN:     lumen-check-fused)' | FileCheck %s --check-prefix=EXACT

// The table arrives twice: raw for the embedding, packed for the output head.
// CHECK-NOT: lumen.dequantize
// CHECK-LABEL: func.func @step(
// CHECK-SAME: %[[TOKENS:[a-z0-9]+]]: tensor<?xi32>, %[[POSITIONS:[a-z0-9]+]]: tensor<?xi32>, %[[ROWS:[a-z0-9]+]]: tensor<?xi32>, %[[RUNS:[a-z0-9]+]]: tensor<?x3xi32>, %[[PLACES:[a-z0-9]+]]: tensor<?xi32>, %[[PAGES:[a-z0-9]+]]: tensor<?x?xi32>,
// CHECK-SAME: %[[RAW:[a-z0-9]+]]: tensor<151936x896x!lumen.q<@q8_0>> {lumen.name = "token_embd.weight"}
// CHECK-SAME: %[[PACKED:[a-z0-9]+]]: tensor<151936x896x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>> {lumen.name = "token_embd.weight", lumen.tile = #lumen.packed<rows = 16, k = 4>}
// CHECK-SAME: %[[NORM:[a-z0-9]+]]: tensor<896xf32> {lumen.name = "output_norm.weight"}
// CHECK-DAG: %[[L0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[L1:.*]] = arith.constant 1 : index
// CHECK: %[[E:.*]] = call @embedding_q8_0_151936x896(%[[TOKENS]], %[[RAW]])
// CHECK-NEXT: %[[A:.*]]:3 = call @layer_0(%[[E]], %[[POSITIONS]], %[[RUNS]], %[[PLACES]], %[[PAGES]], %[[L0]],
// CHECK-NEXT: %[[B:.*]]:3 = call @layer_0(%[[A]]#0, %[[POSITIONS]], %[[RUNS]], %[[PLACES]], %[[PAGES]], %[[L1]],
// CHECK-NEXT: %[[Q:.*]]:4 = call @select_rows_rms_norm_quantize_896(%[[B]]#0, %[[ROWS]], %[[NORM]])
// CHECK-NEXT: %[[Y:.*]] = call @qlinear_q8_0_151936x896(%[[Q]]#0, %[[Q]]#1, %[[Q]]#2, %[[Q]]#3, %[[PACKED]])
// CHECK-NEXT: return %[[Y]], %[[B]]#1, %[[B]]#2

// CHECK-LABEL: func.func private @layer_0(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x896xf32>, %[[POSITIONS:[a-z0-9]+]]: tensor<?xi32>, %[[RUNS:[a-z0-9]+]]: tensor<?x3xi32>, %[[PLACES:[a-z0-9]+]]: tensor<?xi32>, %[[PAGES:[a-z0-9]+]]: tensor<?x?xi32>, %[[LAYER:[a-z0-9]+]]: index,
// CHECK-SAME: %[[ROPE:[a-z0-9]+]]: tensor<?x64xf32>, %[[K:[a-z0-9]+]]: tensor<2x2x?x64x16xf16>, %[[V:[a-z0-9]+]]: tensor<2x2x?x16x64xf16>
// CHECK-NEXT: %[[N:.*]]:4 = call @rms_norm_quantize_896(%[[X]], %{{.*}})
// CHECK-NEXT: %[[QKV:.*]]:3 = call @qlinear_q8_0_896x896_128x896_128x896_bias(%[[N]]#0, %[[N]]#1, %[[N]]#2, %[[N]]#3,
// CHECK-NEXT: %[[H:.*]]:3 = call @rope_kv_append_896_128(%[[QKV]]#0, %[[ROPE]], %[[POSITIONS]], %[[QKV]]#1, %[[K]], %[[LAYER]], %[[PLACES]], %[[V]], %[[QKV]]#2)
// CHECK-NEXT: %[[A:.*]]:4 = call @attention_quantize_896(%[[H]]#0, %[[H]]#1, %[[H]]#2, %[[LAYER]], %[[POSITIONS]], %[[PAGES]], %[[RUNS]])
// CHECK-NEXT: %[[R:.*]] = call @qlinear_q8_0_896x896_add(%[[A]]#0, %[[A]]#1, %[[A]]#2, %[[A]]#3, %{{.*}}, %[[X]])
// CHECK-NEXT: %[[M:.*]]:4 = call @rms_norm_quantize_896(%[[R]], %{{.*}})
// CHECK-NEXT: %[[G:.*]] = call @qlinear_q8_0_4864x896_4864x896_silu_mul(%[[M]]#0, %[[M]]#1, %[[M]]#2, %[[M]]#3,
// CHECK-NEXT: %[[D:.*]]:4 = call @quantize_4864(%[[G]])
// CHECK-NEXT: %[[Z:.*]] = call @qlinear_q8_0_896x4864_add(%[[D]]#0, %[[D]]#1, %[[D]]#2, %[[D]]#3, %{{.*}}, %[[R]])
// CHECK-NEXT: return %[[Z]], %[[H]]#1, %[[H]]#2

// CHECK-LABEL: func.func private @embedding_q8_0_151936x896({{.*}} attributes {lumen.kernel = "rows"}
// CHECK-NEXT: lumen.embedding
// CHECK-NEXT: return

// CHECK-LABEL: func.func private @select_rows_rms_norm_quantize_896({{.*}} attributes {lumen.kernel = "rows"}
// CHECK-NEXT: lumen.select_rows
// CHECK-NEXT: lumen.rms_norm
// CHECK-NEXT: lumen.quantize
// CHECK-NEXT: return

// CHECK-LABEL: func.func private @qlinear_q8_0_151936x896({{.*}} attributes {lumen.kernel = "product"}
// CHECK-NEXT: lumen.qlinear
// CHECK-NEXT: return

// CHECK-LABEL: func.func private @rms_norm_quantize_896({{.*}} attributes {lumen.kernel = "rows"}
// CHECK-NEXT: lumen.rms_norm
// CHECK-NEXT: lumen.quantize
// CHECK-NEXT: return

// CHECK-LABEL: func.func private @qlinear_q8_0_896x896_128x896_128x896_bias({{.*}} attributes {lumen.kernel = "product"}
// CHECK-NEXT: lumen.qlinear
// CHECK-NEXT: return

// CHECK-LABEL: func.func private @rope_kv_append_896_128({{.*}} attributes {lumen.kernel = "rows"}
// CHECK-NEXT: lumen.rope
// CHECK-NEXT: lumen.rope
// CHECK-NEXT: lumen.kv_append
// CHECK-NEXT: lumen.kv_append
// CHECK-NEXT: return

// CHECK-LABEL: func.func private @attention_quantize_896({{.*}} attributes {lumen.kernel = "attention"}
// CHECK-NEXT: lumen.attention
// CHECK-NEXT: lumen.quantize
// CHECK-NEXT: return

// CHECK-LABEL: func.func private @qlinear_q8_0_896x896_add({{.*}} attributes {lumen.kernel = "product"}
// CHECK-NEXT: lumen.qlinear
// CHECK-NEXT: lumen.add
// CHECK-NEXT: return

// CHECK-LABEL: func.func private @qlinear_q8_0_4864x896_4864x896_silu_mul({{.*}} attributes {lumen.kernel = "product"}
// CHECK-NEXT: lumen.qlinear
// CHECK-NEXT: lumen.silu
// CHECK-NEXT: lumen.mul
// CHECK-NEXT: return

// CHECK-LABEL: func.func private @quantize_4864({{.*}} attributes {lumen.kernel = "rows"}
// CHECK-NEXT: lumen.quantize
// CHECK-NEXT: return

// CHECK-LABEL: func.func private @qlinear_q8_0_896x4864_add({{.*}} attributes {lumen.kernel = "product"}
// CHECK-NEXT: lumen.qlinear
// CHECK-NEXT: lumen.add
// CHECK-NEXT: return
// CHECK-NOT: func.func

// Exact activations are float32 rows all the way.
// EXACT-NOT: lumen.quantize
// EXACT-LABEL: func.func private @layer_0(
// EXACT-NEXT: call @rms_norm_896(
// EXACT-NEXT: call @qlinear_exact_q8_0_896x896_128x896_128x896_bias(
// EXACT-NEXT: call @rope_kv_append_896_128(
// EXACT-NEXT: call @attention_896(
// EXACT-NEXT: call @qlinear_exact_q8_0_896x896_add(
// EXACT-NEXT: call @rms_norm_896(
// EXACT-NEXT: call @qlinear_exact_q8_0_4864x896_4864x896_silu_mul(
// EXACT-NEXT: call @qlinear_exact_q8_0_896x4864_add(
// EXACT-NEXT: return
