# SPDX-License-Identifier: Apache-2.0
"""The models of ``lumen_mlir.testing.families`` as ``transformers`` has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lumen_mlir import models
from lumen_mlir.testing import families
from lumen_mlir.testing.families import Family


def sizes(family: Family, vocabulary: int) -> dict[str, Any]:
    """What the configuration of the model's class says of it."""
    return {
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
        **family.hf,
    }


def weights(family: Family, vocabulary: int) -> dict[str, np.ndarray]:
    """The weights, still by their names in GGUF and with the experts of a layer in one: float32.

    ``transformers`` computes the divisors of frequencies itself. Where GGUF files have neighbours as the
    pairs that turn, it has pairs half a head apart.
    """
    style = models.get(family.architecture).rope_style
    found = {}
    for name, values in families.weights(family, vocabulary).items():
        if name in family.divisors:
            continue
        if style == "norm" and name.split(".")[-2] in ("attn_q", "attn_k"):
            pairs = values.reshape(-1, family.head_size // 2, 2, *values.shape[1:])
            values = pairs.swapaxes(1, 2).reshape(values.shape)
        found[name] = values
    return found
