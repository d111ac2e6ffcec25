# SPDX-License-Identifier: Apache-2.0
"""The tiny models of ``lumen_mlir.testing.families``, run by transformers and llama.cpp."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lumen_mlir import models
from lumen_mlir.testing import families
from lumen_mlir.testing.families import Family

LLAMA_VOCABULARY = 283


def hf_config(family: Family, vocabulary: int):
    """The configuration of ``transformers``."""
    import transformers

    cls = getattr(transformers, family.hf_class)
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": families.WIDTH,
        "intermediate_size": families.HIDDEN,
        "num_hidden_layers": family.layers,
        "num_attention_heads": families.HEADS,
        "num_key_value_heads": families.KV_HEADS,
        "head_dim": family.head_size,
        "max_position_embeddings": families.CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
        "tie_word_embeddings": family.tied,
        "attn_implementation": "eager",
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    return cls, cls.config_class(**{**sizes, **family.hf})


def hf_state(family: Family, weights: dict[str, np.ndarray], layers: int) -> dict:
    """The weights by the names they have inside the model (experts stacked, gate and up joined)."""
    import torch

    architecture = models.get(family.architecture)
    state = {}
    for name, values in weights.items():
        if name in family.divisors:
            continue
        module = name.split(".")[-2]
        if architecture.rope_style == "norm" and module in ("attn_q", "attn_k"):
            # Files have neighbours as pairs, transformers has pairs half a head apart.
            shape = (-1, family.head_size // 2, 2, *values.shape[1:])
            values = values.reshape(shape).swapaxes(1, 2).reshape(values.shape)
        if name.endswith("_exps.weight"):
            continue
        state[architecture.hf_name(name)] = values
    for layer in range(layers):
        if f"blk.{layer}.ffn_gate_exps.weight" in weights:
            gate, up, down = (
                weights[f"blk.{layer}.ffn_{part}_exps.weight"] for part in ("gate", "up", "down")
            )
            prefix = architecture.hf_name(f"blk.{layer}.ffn_down_exps.weight").split(".{}")[0]
            state[f"{prefix}.gate_up_proj"] = np.concatenate([gate, up], axis=1)
            state[f"{prefix}.down_proj"] = down
    if family.tied:
        state["lm_head.weight"] = state[architecture.hf_name("token_embd.weight")]
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in state.items()}


def transformers_logits(family: Family, vocabulary: int = families.VOCABULARY) -> np.ndarray:
    """float32 [60, vocabulary]."""
    import torch

    cls, config = hf_config(family, vocabulary)
    model = cls(config).to(torch.float32).eval()
    state = hf_state(family, families.weights(family, vocabulary), family.layers)
    expected = dict(model.named_parameters(remove_duplicate=False)) | {
        name: buffer for name, buffer in model.named_buffers() if "correction_bias" in name
    }
    # Every tensor must arrive: one that keeps its random values would go unnoticed otherwise.
    if state.keys() != expected.keys():
        raise RuntimeError(f"{family.name}: tensors differ: {sorted(state.keys() ^ expected.keys())}")
    model.load_state_dict(state, strict=False)
    with torch.no_grad():
        ids = torch.from_numpy(families.tokens(vocabulary).astype(np.int64))
        return model(ids[None]).logits[0].float().numpy()


def llama_cpp_logits(family: Family, path: Path, type_name: str = "f32") -> np.ndarray:
    """float32 [60, 283] by llama.cpp, with an f32 KV cache."""
    import peers

    families.write_family(path, family, type_name, vocabulary=LLAMA_VOCABULARY)
    return peers.LlamaCpp(path, 128, kv_type="f32").logits(families.tokens(LLAMA_VOCABULARY))
