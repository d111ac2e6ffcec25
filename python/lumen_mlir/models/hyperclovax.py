# SPDX-License-Identifier: Apache-2.0
"""NAVER's HyperCLOVA X Think (the SEED text models are of the architecture ``llama``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lumen_mlir import ir
from lumen_mlir.models import blocks
from lumen_mlir.models.architecture import Architecture
from lumen_mlir.models.config import ModelConfig
from lumen_mlir.models.reader import ConfigReader
from lumen_mlir.models.scope import Scope
from lumen_mlir.models.tensors import TensorSpec


class HyperCLOVAX(Architecture):
    """``HyperCLOVAXForCausalLM``: norms before and behind each half, and multipliers.

    No other runtime reads such a GGUF file; the name and the keys are Lumen's own, after those of Granite:
    ``attention.scale``, ``embedding_scale``, ``residual_scale`` and ``logit_scale``. Logits are multiplied by
    the last one (Granite's are divided).
    """

    name = "hyperclovax"
    hf_classes = ("HyperCLOVAXForCausalLM",)
    hf_types = {"hyperclovax": "HyperCLOVAXForCausalLM"}
    hf_modules = {"post_attention_norm": "post_norm1", "post_ffw_norm": "post_norm2"}
    qkv_bias = None

    def read(self, reader: ConfigReader, vocabulary: int) -> ModelConfig:
        scales: dict[str, Any] = {
            name: reader.positive(name, 1.0) for name in ("embedding_scale", "residual_scale", "logit_scale")
        }
        return replace(super().read(reader, vocabulary), **scales)

    def layer_tensors(self, config: ModelConfig, index: int) -> Iterator[TensorSpec]:
        yield from super().layer_tensors(config, index)
        yield from blocks.norm_tensors("post_attention_norm", config.width, required=None)
        yield from blocks.norm_tensors("post_ffw_norm", config.width, required=None)

    def layer(self, scope: Scope, x: ir.Value, index: int) -> ir.Value:
        return blocks.peri_norm_layer(scope, x)
