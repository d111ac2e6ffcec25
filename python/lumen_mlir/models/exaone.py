# SPDX-License-Identifier: Apache-2.0
"""LG's EXAONE families."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lumen_mlir import ir
from lumen_mlir.models import blocks
from lumen_mlir.models.architecture import Architecture
from lumen_mlir.models.config import ModelConfig
from lumen_mlir.models.reader import ConfigReader
from lumen_mlir.models.scope import Scope
from lumen_mlir.models.tensors import TensorSpec


class Exaone(Architecture):
    """EXAONE 3.0, 3.5 and Deep: like Llama, but pairs that turn are half a head apart."""

    name = "exaone"
    hf_classes = ("ExaoneForCausalLM",)
    hf_types = {"exaone": "ExaoneForCausalLM"}
    hf_layer = "transformer.h.{}."
    hf_modules = {
        "token_embd": "transformer.wte",
        "output_norm": "transformer.ln_f",
        "attn_norm": "ln_1",
        "attn_q": "attn.attention.q_proj",
        "attn_k": "attn.attention.k_proj",
        "attn_v": "attn.attention.v_proj",
        "attn_output": "attn.attention.out_proj",
        "ffn_norm": "ln_2",
        "ffn_gate": "mlp.c_fc_0",
        "ffn_up": "mlp.c_fc_1",
        "ffn_down": "mlp.c_proj",
    }


class Exaone4(Architecture):
    """EXAONE 4.0 and the text model of 4.5: norms behind each half only, normalized heads.

    The large models are hybrid: three of four layers have a sliding window, and only these turn heads by
    their positions. Files of 64 layers are, with a window of 4096, even where they do not say so.
    """

    name = "exaone4"
    hf_classes = ("Exaone4ForCausalLM", "Exaone4_5_ForConditionalGeneration")
    hf_types = {"exaone4": "Exaone4ForCausalLM", "exaone4_5": "Exaone4_5_ForConditionalGeneration"}
    hf_modules = {
        "post_attention_norm": "post_attention_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    }
    qk_norm = True

    def read(self, reader: ConfigReader, vocabulary: int) -> ModelConfig:
        config = super().read(reader, vocabulary)
        window = reader.window(4096 if config.layers == 64 else 0)
        return replace(
            config, attentions=reader.attentions(config, window=window, period=4, global_rope=None)
        )

    def layer_tensors(self, config: ModelConfig, index: int) -> Iterator[TensorSpec]:
        yield from blocks.attention_tensors(config, qk_norm=True)
        yield from blocks.norm_tensors("post_attention_norm", config.width)
        yield from blocks.feed_forward_tensors(config, index)
        yield from blocks.norm_tensors("post_ffw_norm", config.width)

    def layer(self, scope: Scope, x: ir.Value, index: int) -> ir.Value:
        return blocks.post_norm_layer(scope, x)


class ExaoneMoe(Architecture):
    """K-EXAONE: hybrid like EXAONE 4.0, norms before each half; experts in all but the first layers."""

    name = "exaone-moe"
    hf_classes = ("ExaoneMoeForCausalLM", "ExaoneMoEForCausalLM")
    hf_types = {"exaone_moe": "ExaoneMoeForCausalLM"}
    qk_norm = True
    experts = {"gating": "sigmoid"}

    def read(self, reader: ConfigReader, vocabulary: int) -> ModelConfig:
        config = super().read(reader, vocabulary)
        attentions = reader.attentions(config, window=reader.window(), period=4, global_rope=None)
        return replace(config, attentions=attentions)
