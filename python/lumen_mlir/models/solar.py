# SPDX-License-Identifier: Apache-2.0
"""Upstage's Solar Open (SOLAR 10.7B is of the architecture ``llama``)."""

from __future__ import annotations

from collections.abc import Iterator

from lumen_mlir import ir
from lumen_mlir.models import blocks
from lumen_mlir.models.architecture import Architecture
from lumen_mlir.models.config import ModelConfig
from lumen_mlir.models.scope import Scope
from lumen_mlir.models.tensors import TensorSpec


class Glm4Moe(Architecture):
    """Solar Open 100B, whose GGUF files are of the architecture of GLM 4.5.

    The norm before the feed-forward block is called ``post_attention_norm``.
    """

    name = "glm4moe"
    hf_classes = ("SolarOpenForCausalLM",)
    hf_types = {"solar_open": "SolarOpenForCausalLM"}
    hf_modules = {"post_attention_norm": "post_attention_layernorm"}
    qkv_bias = None
    qk_norm = None
    experts = {"gating": "sigmoid"}

    def layer_tensors(self, config: ModelConfig, index: int) -> Iterator[TensorSpec]:
        yield from blocks.norm_tensors("attn_norm", config.width)
        yield from blocks.attention_tensors(config, qkv_bias=self.qkv_bias, qk_norm=self.qk_norm)
        yield from blocks.norm_tensors("post_attention_norm", config.width)
        yield from blocks.feed_forward_tensors(config, index)

    def layer(self, scope: Scope, x: ir.Value, index: int) -> ir.Value:
        return blocks.pre_norm_layer(scope, x, ffn_norm="post_attention_norm")
