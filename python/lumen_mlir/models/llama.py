# SPDX-License-Identifier: Apache-2.0
"""The Llama family: most open models are built like it."""

from __future__ import annotations

from typing import ClassVar

from lumen_mlir.models.architecture import Architecture


class Llama(Architecture):
    """Llama 1 to 3.x, Mistral, TinyLlama, SOLAR 10.7B, Kanana nano and 1.5, Mi:dm 2.0, A.X 3.1.

    So is HyperCLOVA X SEED Text. GGUF files have the rows of Q and K permuted, so that pairs that turn are
    neighbours.
    """

    name = "llama"
    hf_classes: ClassVar[tuple[str, ...]] = ("LlamaForCausalLM", "MistralForCausalLM")
    hf_types = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM"}
    rope_style = "norm"
    qkv_bias = None
    windows = True
    experts = {}


class Mixtral(Llama):
    """Mixtral: in GGUF a Llama with experts, but with other names in a folder."""

    hf_classes = ("MixtralForCausalLM",)
    hf_types = {"mixtral": "MixtralForCausalLM"}
    hf_modules = {
        "ffn_gate_inp": "block_sparse_moe.gate",
        "ffn_gate_exps": "block_sparse_moe.experts.{}.w1",
        "ffn_down_exps": "block_sparse_moe.experts.{}.w2",
        "ffn_up_exps": "block_sparse_moe.experts.{}.w3",
    }
