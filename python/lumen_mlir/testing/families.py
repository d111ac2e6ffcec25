# SPDX-License-Identifier: Apache-2.0
"""Tiny random models of every family, which other engines run too.

A model's weights follow from its name and a seed alone, so a test needs no more than another engine's logits
to compare with. They are far from trivial (norms, biases, selection biases), exact in float16, and windows
are shorter than the prompts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lumen_mlir import models
from lumen_mlir.gguf import GGUFFile, TensorInfo
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.writer import GGUFWriter
from lumen_mlir.models import llama3_divisors
from lumen_mlir.testing.synthetic import seeded_generator
from lumen_mlir.testing.vocabulary import synthetic_vocabulary

VOCABULARY, TOKENS, SEED = 97, 60, 7
WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_SIZE, HIDDEN, CONTEXT = 64, 4, 4, 2, 32, 96, 256


@dataclass(frozen=True)
class Family:
    """One tiny model.

    Attributes:
      name: of the model.
      architecture: as in ``general.architecture``.
      hf_class: the class of ``transformers``, "" where it has none.
      keys: metadata besides the usual sizes, without the architecture's prefix.
      hf: arguments of the class's configuration besides the usual sizes.
      divisors: tensors that divide the frequencies of rotary embeddings.
      layers: number of layers.
      tied: there is no own output matrix.
      head_size: 16 where heads must be as wide as the model together.
      seed: of the weights; one with which no choice of experts is so close that rounding decides it.
      llama_cpp: llama.cpp runs it and computes the same.
    """

    name: str
    architecture: str
    hf_class: str = ""
    keys: Mapping[str, Any] = field(default_factory=dict)
    hf: Mapping[str, Any] = field(default_factory=dict)
    divisors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    layers: int = LAYERS
    tied: bool = False
    head_size: int = HEAD_SIZE
    seed: int = SEED
    llama_cpp: bool = True


def _experts(count: int, used: int, **more: Any) -> dict[str, Any]:
    return {"expert_count": count, "expert_used_count": used, "expert_feed_forward_length": 64, **more}


_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_ROPE = {"rope_theta": 5000.0}
_YARN = {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 32,
}
_YARN_HF = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, **_ROPE}
_LLAMA3_HF = {"rope_type": "llama3", "original_max_position_embeddings": 64, **_LLAMA3, **_ROPE}
_LLAMA3_DIVISORS, _LLAMA3_SMALL = (
    {"rope_freqs.weight": llama3_divisors(size, 5000.0, *_LLAMA3.values(), 64)} for size in (HEAD_SIZE, 16)
)
_SHORT = tuple(1 + i / 16 for i in range(HEAD_SIZE // 2))
_LONG = tuple(1 + i / 4 for i in range(HEAD_SIZE // 2))

FAMILIES = {
    family.name: family
    for family in [
        Family("qwen2", "qwen2", "Qwen2ForCausalLM", _YARN, {"rope_parameters": _YARN_HF}, head_size=16),
        Family("qwen3", "qwen3", "Qwen3ForCausalLM", tied=True),
        Family(
            "qwen3-window", "qwen3", "Qwen3ForCausalLM",
            {"attention.sliding_window": 9, "attention.sliding_window_pattern": [True, False, True, False]},
            {"use_sliding_window": True, "sliding_window": 9,
             "layer_types": ["sliding_attention", "full_attention"] * 2},
            llama_cpp=False,  # It ignores the window.
        ),
        Family("llama", "llama", "LlamaForCausalLM", tied=True),
        Family(
            "llama-3.1", "llama", "LlamaForCausalLM",
            hf={"rope_parameters": _LLAMA3_HF}, divisors=_LLAMA3_DIVISORS,
        ),
        Family(
            "llama-linear", "llama", "LlamaForCausalLM",
            {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0, "biases": True},
            {"rope_parameters": {"rope_type": "linear", "factor": 4.0, **_ROPE},
             "attention_bias": True, "mlp_bias": True},
        ),
        Family("llama-yarn", "llama", "LlamaForCausalLM", _YARN, {"rope_parameters": _YARN_HF}),
        Family(
            "llama-longrope", "llama", "LlamaForCausalLM",
            {"rope.scaling.type": "longrope", "rope.scaling.original_context_length": 32,
             "rope.scaling.attn_factor": 1.25},
            {"rope_parameters": {
                "rope_type": "longrope", "original_max_position_embeddings": 32, "factor": 8.0,
                "short_factor": list(_SHORT), "long_factor": list(_LONG), "attention_factor": 1.25, **_ROPE}},
            divisors={"rope_factors_short.weight": _SHORT, "rope_factors_long.weight": _LONG},
        ),
        Family(
            "mistral-window", "llama", "MistralForCausalLM",
            {"attention.sliding_window": 8}, {"sliding_window": 8}, llama_cpp=False,
        ),
        Family("exaone", "exaone", divisors=_LLAMA3_DIVISORS),
        Family(
            "exaone4", "exaone4", "Exaone4ForCausalLM",
            hf={"sliding_window": None, "sliding_window_pattern": None,
                "layer_types": ["full_attention"] * LAYERS, "rope_parameters": _LLAMA3_HF},
            divisors=_LLAMA3_SMALL, tied=True, head_size=16,
        ),
        Family(
            "exaone4-hybrid", "exaone4", "Exaone4ForCausalLM",
            {"attention.sliding_window": 8, "attention.sliding_window_pattern": 4},
            {"sliding_window": 8, "sliding_window_pattern": 4,
             "layer_types": [*["sliding_attention"] * 3, "full_attention", "sliding_attention"]},
            layers=5, llama_cpp=False,  # It has windows only where there are 64 layers.
        ),
        Family(
            "hyperclovax", "hyperclovax", "HyperCLOVAXForCausalLM",
            {"attention.scale": 0.25, "embedding_scale": 3.0, "residual_scale": 0.5, "logit_scale": 0.125,
             "post_norms": True},
            {"attention_multiplier": 0.25, "embedding_multiplier": 3.0, "residual_multiplier": 0.5,
             "logits_scaling": 0.125, "use_post_norm": True},
            llama_cpp=False,
        ),
        Family(
            "hyperclovax-bias", "hyperclovax", "HyperCLOVAXForCausalLM",
            {"attention.scale": 0.2, "residual_scale": 0.75, "biases": True},
            {"attention_multiplier": 0.2, "residual_multiplier": 0.75, "attention_bias": True,
             "mlp_bias": True, "use_post_norm": False},
            tied=True, llama_cpp=False,
        ),
        Family(
            "qwen2moe", "qwen2moe", "Qwen2MoeForCausalLM",
            _experts(8, 3, expert_shared_feed_forward_length=96),
            {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 64,
             "shared_expert_intermediate_size": 96, "norm_topk_prob": False, "decoder_sparse_step": 1},
            head_size=16, seed=8,
        ),
        Family(
            "qwen3moe", "qwen3moe", "Qwen3MoeForCausalLM", _experts(16, 4),
            {"num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 64,
             "norm_topk_prob": True, "decoder_sparse_step": 1},
        ),
        Family(
            "mixtral", "llama", "MixtralForCausalLM", {**_experts(8, 2), "feed_forward_length": 64},
            {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 64,
             "sliding_window": None},
        ),
        Family(
            "exaone-moe", "exaone-moe", "ExaoneMoeForCausalLM",
            _experts(8, 2, expert_shared_count=1, leading_dense_block_count=1, expert_gating_func=2,
                     expert_weights_scale=2.5, expert_weights_norm=True,
                     **{"attention.sliding_window": 8, "attention.sliding_window_pattern": 4}),
            {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
             "num_shared_experts": 1, "first_k_dense_replace": 1, "sliding_window": 8,
             "sliding_window_pattern": 4, "routed_scaling_factor": 2.5},
        ),
        Family(
            "solar-open", "glm4moe", "SolarOpenForCausalLM",
            {**_experts(8, 2, expert_shared_count=1, expert_gating_func=2, expert_weights_scale=1.0,
                        expert_weights_norm=True), **_YARN},
            {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
             "n_shared_experts": 1, "routed_scaling_factor": 1.0, "rope_parameters": _YARN_HF},
        ),
    ]
}  # fmt: skip


def metadata(family: Family, vocabulary: int = VOCABULARY) -> dict[str, tuple[Any, int]]:
    """Keys, values and GGUF types of the model's metadata, without a tokenizer."""
    sizes = {
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "block_count": family.layers,
        "feed_forward_length": HIDDEN,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.key_length": family.head_size,
        "attention.value_length": family.head_size,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": family.head_size,
        "rope.freq_base": 5000.0,
        "vocab_size": vocabulary,
    }
    result: dict[str, tuple[Any, int]] = {
        "general.architecture": (family.architecture, T.STRING),
        "general.name": (f"tiny random {family.name}", T.STRING),
    }
    kinds = {bool: T.BOOL, int: T.U32, float: T.F32, str: T.STRING}
    for key, value in {**sizes, **family.keys}.items():
        if key not in ("biases", "post_norms"):
            kind = kinds[type(value[0] if isinstance(value, list) else value)]
            result[f"{family.architecture}.{key}"] = value, kind
    return result


def weights(family: Family, vocabulary: int = VOCABULARY) -> dict[str, np.ndarray]:
    """Every tensor of the model by its name in GGUF: float32, exact in float16."""
    result = {name: np.array(values, np.float32) for name, values in family.divisors.items()}
    architecture = models.get(family.architecture)
    for spec in architecture.tensors(architecture.config(_Described(family, vocabulary))):
        module, kind = spec.name.split(".")[-2:]
        if spec.optional and not (
            (kind == "bias" and module != "output" and family.keys.get("biases"))
            or (module.startswith("post_") and family.keys.get("post_norms"))
            or (module == "exp_probs_b" and family.keys.get("expert_gating_func") == 2)
            or (module == "ffn_gate_inp_shexp" and family.architecture == "qwen2moe")
            or (spec.name == "output.weight" and not family.tied)
        ):
            continue
        values = seeded_generator(family.seed, f"{family.name} {spec.name}").standard_normal(
            spec.shape, np.float32
        )
        if module == "exp_probs_b":
            values *= 0.1
        elif module.startswith("ffn_gate_inp"):
            values *= 3 * spec.shape[-1] ** -0.5
        elif kind == "bias":
            values *= 0.5
        elif len(spec.shape) == 1:
            values = 1 + 0.25 * values
        elif module != "token_embd":
            values *= 1.5 * spec.shape[-1] ** -0.5
        result[spec.name] = values.astype(np.float16).astype(np.float32)
    return result


def tokens(vocabulary: int = VOCABULARY) -> np.ndarray:
    """The prompt: int32 [60]."""
    return np.random.default_rng(SEED).integers(0, vocabulary, TOKENS).astype(np.int32)


def write_family(
    path: str | os.PathLike[str],
    family: Family | str,
    type_name: str = "f32",
    *,
    vocabulary: int | None = None,
) -> GGUFFile:
    """Writes the model to a GGUF file with matrices of ``type_name`` ("f32" or "f16"), and opens it.

    With a ``vocabulary`` of so many tokens (at least 283), the file has a tokenizer, without which llama.cpp
    does not load it.
    """
    if isinstance(family, str):
        family = FAMILIES[family]
    size = VOCABULARY if vocabulary is None else vocabulary
    writer = GGUFWriter(path)
    tokenizer = {} if vocabulary is None else synthetic_vocabulary(size).metadata()
    for key, entry in {**metadata(family, size), **tokenizer}.items():
        writer.add(key, *entry)
    for name, values in weights(family, size).items():
        # A matrix of one row is a vector in files. Routers are float32 in all of them, and so are vectors.
        values = values[0] if values.shape[0] == 1 else values
        kind = type_name if values.ndim > 1 and "ffn_gate_inp" not in name else "f32"
        data = values.astype({"f32": np.float32, "f16": np.float16}[kind])
        writer.add_tensor(name, values.shape, kind, lambda data=data: [data.reshape(-1).view(np.uint8)])
    writer.write()
    return GGUFFile.open(path)


class _Described:
    """A source of metadata before there is a file: enough to ask an architecture which tensors it has."""

    def __init__(self, family: Family, vocabulary: int):
        from lumen_mlir.gguf import Metadata

        self.path = family.name
        # Patterns of windows change no tensors.
        plain = {
            k: entry for k, entry in metadata(family, vocabulary).items() if not isinstance(entry[0], list)
        }
        fields = {key: (kind, value) for key, (value, kind) in plain.items()}
        self.metadata = Metadata(self.path, b"", "<", fields)
        self.tensors = {
            "token_embd.weight": TensorInfo("token_embd.weight", (vocabulary, WIDTH), "f32", 0, 0)
        }
        for name, values in family.divisors.items():
            self.tensors[name] = TensorInfo(name, (len(values),), "f32", 0, 0)
        self._divisors = family.divisors

    def array(self, name: str) -> np.ndarray:
        return np.array(self._divisors[name], np.float32)
