# SPDX-License-Identifier: Apache-2.0
"""The tiny models of ``lumen_mlir.testing.families``, run by transformers and llama.cpp."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lumen_mlir import models
from lumen_mlir.testing import families, hf_families
from lumen_mlir.testing.families import Family

LLAMA_VOCABULARY = 283


def hf_config(family: Family, vocabulary: int):
    """The configuration of ``transformers``."""
    import transformers

    cls = getattr(transformers, family.hf_class)
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    sizes = hf_families.sizes(family, vocabulary)
    return cls, cls.config_class(attn_implementation="eager", **tokens, **sizes)


def hf_state(family: Family, vocabulary: int) -> dict:
    """The weights by the names they have inside the model (experts stacked, gate and up joined)."""
    import torch

    architecture = models.get(family.architecture)
    weights = hf_families.weights(family, vocabulary)
    state = {
        architecture.hf_name(name): values
        for name, values in weights.items()
        if not name.endswith("_exps.weight")
    }
    for layer in range(family.layers):
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
    state = hf_state(family, vocabulary)
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
