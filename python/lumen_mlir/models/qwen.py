# SPDX-License-Identifier: Apache-2.0
"""The Qwen families, and what is built like them."""

from __future__ import annotations

from dataclasses import replace

from lumen_mlir.models.architecture import Architecture
from lumen_mlir.models.config import ModelConfig
from lumen_mlir.models.reader import ConfigReader


class Qwen2(Architecture):
    """Qwen2, Qwen2.5 and A.X 4.0: Q, K and V have biases."""

    name = "qwen2"
    hf_classes = ("Qwen2ForCausalLM",)
    qkv_bias = True


class Qwen3(Architecture):
    """Qwen3 and Kanana-2: normalized heads; layers may have a sliding window (Kanana-2 1.3B)."""

    name = "qwen3"
    hf_classes = ("Qwen3ForCausalLM",)
    qk_norm = True

    def read(self, reader: ConfigReader, vocabulary: int) -> ModelConfig:
        config = super().read(reader, vocabulary)
        attentions = reader.attentions(config, window=reader.window(), global_rope=config.rope)
        return replace(config, attentions=attentions)
