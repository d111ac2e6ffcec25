# SPDX-License-Identifier: Apache-2.0
"""Qwen2 and Qwen2.5 (also A.X 4.0): Q, K and V have biases, the output head may be tied."""

from __future__ import annotations

from collections.abc import Iterator

from lumen_mlir.models import blocks
from lumen_mlir.models.architecture import Architecture
from lumen_mlir.models.config import ModelConfig
from lumen_mlir.models.tensors import TensorSpec


class Qwen2(Architecture):
    """``Qwen2ForCausalLM`` of transformers."""

    name = "qwen2"
    rope_style = "neox"

    def layer_tensors(self, config: ModelConfig, index: int) -> Iterator[TensorSpec]:
        yield from blocks.norm_tensors("attn_norm", config.width)
        yield from blocks.attention_tensors(config, qkv_bias=True)
        yield from blocks.norm_tensors("ffn_norm", config.width)
        yield from blocks.swiglu_tensors(config)
