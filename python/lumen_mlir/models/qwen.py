# SPDX-License-Identifier: Apache-2.0
"""The Qwen families, and what is built like them."""

from __future__ import annotations

from lumen_mlir.models.architecture import Architecture


class Qwen2(Architecture):
    """Qwen2, Qwen2.5 and A.X 4.0: Q, K and V have biases."""

    name = "qwen2"
    hf_classes = ("Qwen2ForCausalLM",)
    hf_types = {"qwen2": "Qwen2ForCausalLM"}
    qkv_bias = True


class Qwen3(Architecture):
    """Qwen3 and Kanana-2: normalized heads; layers may have a sliding window (Kanana-2 1.3B)."""

    name = "qwen3"
    hf_classes = ("Qwen3ForCausalLM",)
    hf_types = {"qwen3": "Qwen3ForCausalLM"}
    qk_norm = True
    windows = True


class Qwen2Moe(Qwen2):
    """Qwen1.5-MoE and Qwen2-MoE: one expert is for all tokens, which take as much of it as a gate says."""

    name = "qwen2moe"
    hf_classes = ("Qwen2MoeForCausalLM",)
    hf_types = {"qwen2_moe": "Qwen2MoeForCausalLM"}
    hf_modules = {
        "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
        "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
        "ffn_up_shexp": "mlp.shared_expert.up_proj",
        "ffn_down_shexp": "mlp.shared_expert.down_proj",
    }
    experts = {"normalized": False}


class Qwen3Moe(Architecture):
    """Qwen3-MoE: normalized heads; every layer has experts."""

    name = "qwen3moe"
    hf_classes = ("Qwen3MoeForCausalLM",)
    hf_types = {"qwen3_moe": "Qwen3MoeForCausalLM"}
    qk_norm = True
    experts = {}
