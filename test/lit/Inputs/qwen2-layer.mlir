// SPDX-License-Identifier: Apache-2.0
//
// The `lumen` stage of a Qwen2-0.5B with two layers instead of 24: Q8_0 weights,
// QKV biases, grouped-query attention (14 query heads on 2 KV heads of 64) and
// one table for the embedding and the output head. This is what the model
// builder writes; the end-to-end tests start from it.

module attributes {
  lumen.max_tokens = 512 : i64,
  lumen.target = #lumen.target<name = "x86-64-v4", triple = "x86_64-unknown-linux-gnu",
    cpu = "x86-64-v4", features = "+avx512vnni",
    vector_registers = 32, vector_bits = 512, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 16, k = 4, lhs = si8, rhs = ui8, acc = i32>,
    pair_dot = <m = 1, n = 16, k = 2, lhs = si16, rhs = si16, acc = i32>,
    rows = 16, tokens = 8>
} {

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  %sign = arith.constant dense<-128> : vector<32xi8>
  %codes = arith.xori %qs, %sign : vector<32xi8>
  %scale = lumen.stored %d bits(16) : f16
  lumen.decoded codes(%codes : vector<32xi8>) scale(%scale : f16)
}

func.func @step(
    %tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>, %runs: tensor<?x3xi32>,
    %places: tensor<?xi32>, %pages: tensor<?x?xi32>,
    %rope: tensor<?x64xf32>,
    %k: tensor<2x2x?x64x16xf16>, %v: tensor<2x2x?x16x64xf16>,
    %token_embd: tensor<151936x896x!lumen.q<@q8_0>> {lumen.name = "token_embd.weight"},
    %attn_norm_0: tensor<896xf32> {lumen.name = "blk.0.attn_norm.weight"},
    %attn_q_0: tensor<896x896x!lumen.q<@q8_0>> {lumen.name = "blk.0.attn_q.weight"},
    %attn_q_bias_0: tensor<896xf32> {lumen.name = "blk.0.attn_q.bias"},
    %attn_k_0: tensor<128x896x!lumen.q<@q8_0>> {lumen.name = "blk.0.attn_k.weight"},
    %attn_k_bias_0: tensor<128xf32> {lumen.name = "blk.0.attn_k.bias"},
    %attn_v_0: tensor<128x896x!lumen.q<@q8_0>> {lumen.name = "blk.0.attn_v.weight"},
    %attn_v_bias_0: tensor<128xf32> {lumen.name = "blk.0.attn_v.bias"},
    %attn_output_0: tensor<896x896x!lumen.q<@q8_0>> {lumen.name = "blk.0.attn_output.weight"},
    %ffn_norm_0: tensor<896xf32> {lumen.name = "blk.0.ffn_norm.weight"},
    %ffn_gate_0: tensor<4864x896x!lumen.q<@q8_0>> {lumen.name = "blk.0.ffn_gate.weight"},
    %ffn_up_0: tensor<4864x896x!lumen.q<@q8_0>> {lumen.name = "blk.0.ffn_up.weight"},
    %ffn_down_0: tensor<896x4864x!lumen.q<@q8_0>> {lumen.name = "blk.0.ffn_down.weight"},
    %attn_norm_1: tensor<896xf32> {lumen.name = "blk.1.attn_norm.weight"},
    %attn_q_1: tensor<896x896x!lumen.q<@q8_0>> {lumen.name = "blk.1.attn_q.weight"},
    %attn_q_bias_1: tensor<896xf32> {lumen.name = "blk.1.attn_q.bias"},
    %attn_k_1: tensor<128x896x!lumen.q<@q8_0>> {lumen.name = "blk.1.attn_k.weight"},
    %attn_k_bias_1: tensor<128xf32> {lumen.name = "blk.1.attn_k.bias"},
    %attn_v_1: tensor<128x896x!lumen.q<@q8_0>> {lumen.name = "blk.1.attn_v.weight"},
    %attn_v_bias_1: tensor<128xf32> {lumen.name = "blk.1.attn_v.bias"},
    %attn_output_1: tensor<896x896x!lumen.q<@q8_0>> {lumen.name = "blk.1.attn_output.weight"},
    %ffn_norm_1: tensor<896xf32> {lumen.name = "blk.1.ffn_norm.weight"},
    %ffn_gate_1: tensor<4864x896x!lumen.q<@q8_0>> {lumen.name = "blk.1.ffn_gate.weight"},
    %ffn_up_1: tensor<4864x896x!lumen.q<@q8_0>> {lumen.name = "blk.1.ffn_up.weight"},
    %ffn_down_1: tensor<896x4864x!lumen.q<@q8_0>> {lumen.name = "blk.1.ffn_down.weight"},
    %output_norm: tensor<896xf32> {lumen.name = "output_norm.weight"})
    -> (tensor<?x151936xf32>, tensor<2x2x?x64x16xf16>, tensor<2x2x?x16x64xf16>) {
  %layer_0 = arith.constant 0 : index
  %layer_1 = arith.constant 1 : index
  %x = lumen.embedding %tokens, %token_embd
    : tensor<?xi32>, tensor<151936x896x!lumen.q<@q8_0>> -> tensor<?x896xf32>
  %x_0, %k_0, %v_0 = func.call @layer_0(%x, %positions, %runs, %places, %pages, %layer_0, %rope, %k, %v,
      %attn_norm_0, %attn_q_0, %attn_q_bias_0, %attn_k_0, %attn_k_bias_0, %attn_v_0, %attn_v_bias_0,
      %attn_output_0, %ffn_norm_0, %ffn_gate_0, %ffn_up_0, %ffn_down_0)
    : (tensor<?x896xf32>, tensor<?xi32>, tensor<?x3xi32>, tensor<?xi32>, tensor<?x?xi32>, index,
       tensor<?x64xf32>,
       tensor<2x2x?x64x16xf16>, tensor<2x2x?x16x64xf16>,
       tensor<896xf32>, tensor<896x896x!lumen.q<@q8_0>>, tensor<896xf32>,
       tensor<128x896x!lumen.q<@q8_0>>, tensor<128xf32>,
       tensor<128x896x!lumen.q<@q8_0>>, tensor<128xf32>, tensor<896x896x!lumen.q<@q8_0>>,
       tensor<896xf32>, tensor<4864x896x!lumen.q<@q8_0>>, tensor<4864x896x!lumen.q<@q8_0>>,
       tensor<896x4864x!lumen.q<@q8_0>>)
    -> (tensor<?x896xf32>, tensor<2x2x?x64x16xf16>, tensor<2x2x?x16x64xf16>)
  %x_1, %k_1, %v_1 = func.call @layer_0(%x_0, %positions, %runs, %places, %pages, %layer_1, %rope, %k_0, %v_0,
      %attn_norm_1, %attn_q_1, %attn_q_bias_1, %attn_k_1, %attn_k_bias_1, %attn_v_1, %attn_v_bias_1,
      %attn_output_1, %ffn_norm_1, %ffn_gate_1, %ffn_up_1, %ffn_down_1)
    : (tensor<?x896xf32>, tensor<?xi32>, tensor<?x3xi32>, tensor<?xi32>, tensor<?x?xi32>, index,
       tensor<?x64xf32>,
       tensor<2x2x?x64x16xf16>, tensor<2x2x?x16x64xf16>,
       tensor<896xf32>, tensor<896x896x!lumen.q<@q8_0>>, tensor<896xf32>,
       tensor<128x896x!lumen.q<@q8_0>>, tensor<128xf32>,
       tensor<128x896x!lumen.q<@q8_0>>, tensor<128xf32>, tensor<896x896x!lumen.q<@q8_0>>,
       tensor<896xf32>, tensor<4864x896x!lumen.q<@q8_0>>, tensor<4864x896x!lumen.q<@q8_0>>,
       tensor<896x4864x!lumen.q<@q8_0>>)
    -> (tensor<?x896xf32>, tensor<2x2x?x64x16xf16>, tensor<2x2x?x16x64xf16>)
  %chosen = lumen.select_rows %x_1, %rows
    : tensor<?x896xf32>, tensor<?xi32> -> tensor<?x896xf32>
  %normed = lumen.rms_norm %chosen, %output_norm {epsilon = 1.0e-06 : f32}
    : tensor<?x896xf32>, tensor<896xf32>
  %output = lumen.dequantize %token_embd
    : tensor<151936x896x!lumen.q<@q8_0>> -> tensor<151936x896xf32>
  %logits = lumen.linear %normed, %output
    : tensor<?x896xf32>, tensor<151936x896xf32> -> tensor<?x151936xf32>
  return %logits, %k_1, %v_1
    : tensor<?x151936xf32>, tensor<2x2x?x64x16xf16>, tensor<2x2x?x16x64xf16>
}

func.func private @layer_0(
    %x: tensor<?x896xf32>, %positions: tensor<?xi32>, %runs: tensor<?x3xi32>,
    %places: tensor<?xi32>, %pages: tensor<?x?xi32>, %layer: index, %rope: tensor<?x64xf32>,
    %k: tensor<2x2x?x64x16xf16>, %v: tensor<2x2x?x16x64xf16>,
    %attn_norm: tensor<896xf32>,
    %attn_q: tensor<896x896x!lumen.q<@q8_0>>, %attn_q_bias: tensor<896xf32>,
    %attn_k: tensor<128x896x!lumen.q<@q8_0>>, %attn_k_bias: tensor<128xf32>,
    %attn_v: tensor<128x896x!lumen.q<@q8_0>>, %attn_v_bias: tensor<128xf32>,
    %attn_output: tensor<896x896x!lumen.q<@q8_0>>,
    %ffn_norm: tensor<896xf32>,
    %ffn_gate: tensor<4864x896x!lumen.q<@q8_0>>, %ffn_up: tensor<4864x896x!lumen.q<@q8_0>>,
    %ffn_down: tensor<896x4864x!lumen.q<@q8_0>>)
    -> (tensor<?x896xf32>, tensor<2x2x?x64x16xf16>, tensor<2x2x?x16x64xf16>) {
  %attn_in = lumen.rms_norm %x, %attn_norm {epsilon = 1.0e-06 : f32}
    : tensor<?x896xf32>, tensor<896xf32>
  %wq = lumen.dequantize %attn_q : tensor<896x896x!lumen.q<@q8_0>> -> tensor<896x896xf32>
  %query = lumen.linear %attn_in, %wq bias(%attn_q_bias : tensor<896xf32>)
    : tensor<?x896xf32>, tensor<896x896xf32> -> tensor<?x896xf32>
  %wk = lumen.dequantize %attn_k : tensor<128x896x!lumen.q<@q8_0>> -> tensor<128x896xf32>
  %key = lumen.linear %attn_in, %wk bias(%attn_k_bias : tensor<128xf32>)
    : tensor<?x896xf32>, tensor<128x896xf32> -> tensor<?x128xf32>
  %wv = lumen.dequantize %attn_v : tensor<128x896x!lumen.q<@q8_0>> -> tensor<128x896xf32>
  %value = lumen.linear %attn_in, %wv bias(%attn_v_bias : tensor<128xf32>)
    : tensor<?x896xf32>, tensor<128x896xf32> -> tensor<?x128xf32>
  %query_r = lumen.rope %query, %rope, %positions {head_dim = 64 : i64, style = "neox"}
    : tensor<?x896xf32>, tensor<?x64xf32>, tensor<?xi32>
  %key_r = lumen.rope %key, %rope, %positions {head_dim = 64 : i64, style = "neox"}
    : tensor<?x128xf32>, tensor<?x64xf32>, tensor<?xi32>
  %k_new = lumen.kv_append %k, %key_r, %layer, %places {kind = "key"}
    : tensor<2x2x?x64x16xf16>, tensor<?x128xf32>, tensor<?xi32>
  %v_new = lumen.kv_append %v, %value, %layer, %places {kind = "value"}
    : tensor<2x2x?x16x64xf16>, tensor<?x128xf32>, tensor<?xi32>
  %attn = lumen.attention %query_r, %k_new, %v_new, %layer, %positions, %pages, %runs
      {heads = 14 : i64, kv_heads = 2 : i64, scale = 1.250000e-01 : f32}
    : tensor<?x896xf32>, tensor<2x2x?x64x16xf16>, tensor<2x2x?x16x64xf16>, tensor<?xi32>,
      tensor<?x?xi32>, tensor<?x3xi32>
  %wo = lumen.dequantize %attn_output : tensor<896x896x!lumen.q<@q8_0>> -> tensor<896x896xf32>
  %attn_out = lumen.linear %attn, %wo
    : tensor<?x896xf32>, tensor<896x896xf32> -> tensor<?x896xf32>
  %x_attn = lumen.add %x, %attn_out : tensor<?x896xf32>
  %ffn_in = lumen.rms_norm %x_attn, %ffn_norm {epsilon = 1.0e-06 : f32}
    : tensor<?x896xf32>, tensor<896xf32>
  %wg = lumen.dequantize %ffn_gate : tensor<4864x896x!lumen.q<@q8_0>> -> tensor<4864x896xf32>
  %gate = lumen.linear %ffn_in, %wg
    : tensor<?x896xf32>, tensor<4864x896xf32> -> tensor<?x4864xf32>
  %wu = lumen.dequantize %ffn_up : tensor<4864x896x!lumen.q<@q8_0>> -> tensor<4864x896xf32>
  %up = lumen.linear %ffn_in, %wu
    : tensor<?x896xf32>, tensor<4864x896xf32> -> tensor<?x4864xf32>
  %silu = lumen.silu %gate : tensor<?x4864xf32>
  %hidden = lumen.mul %silu, %up : tensor<?x4864xf32>
  %wd = lumen.dequantize %ffn_down : tensor<896x4864x!lumen.q<@q8_0>> -> tensor<896x4864xf32>
  %ffn_out = lumen.linear %hidden, %wd
    : tensor<?x4864xf32>, tensor<896x4864xf32> -> tensor<?x896xf32>
  %y = lumen.add %x_attn, %ffn_out : tensor<?x896xf32>
  return %y, %k_new, %v_new
    : tensor<?x896xf32>, tensor<2x2x?x64x16xf16>, tensor<2x2x?x16x64xf16>
}

}
