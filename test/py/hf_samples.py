# SPDX-License-Identifier: Apache-2.0
"""Tiny Hugging Face folders: the models of ``lumen_mlir.testing.families`` as ``transformers`` saves them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import AddedToken

from lumen_mlir import models
from lumen_mlir.formats.arrays import from_float32
from lumen_mlir.formats.graph import bf16
from lumen_mlir.testing import families, hf_families
from lumen_mlir.testing.families import FAMILIES, Family
from lumen_mlir.testing.vocabulary import SPECIAL_TOKENS, synthetic_vocabulary
from lumen_mlir.text.pretokenizers import PRE_TOKENIZERS

VOCABULARY = 301
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_safetensors(path: Path, tensors: dict[str, np.ndarray], dtype: str = "F32") -> None:
    """Writes float arrays as ``dtype`` (F64, F32, F16 or BF16)."""
    header, parts, offset = {}, [], 0
    for name, values in tensors.items():
        data = {
            "F64": lambda v: v.astype("<f8"),
            "F32": lambda v: v.astype("<f4"),
            "F16": lambda v: v.astype("<f2"),
            "BF16": lambda v: from_float32(np.ascontiguousarray(v, np.float32), bf16),
        }[dtype](values).tobytes()
        header[name] = {"dtype": dtype, "shape": values.shape, "data_offsets": [offset, offset + len(data)]}
        parts.append(data)
        offset += len(data)
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def hf_config(family: Family) -> dict[str, Any]:
    """``config.json`` of a family, as transformers 5 writes it."""
    if family.name == "exaone":  # its class is not in transformers, and has names of its own
        scaling = families._LLAMA3_HF
        return {
            "architectures": ["ExaoneForCausalLM"], "model_type": "exaone", "vocab_size": VOCABULARY,
            "hidden_size": families.WIDTH, "intermediate_size": families.HIDDEN, "num_layers": family.layers,
            "num_attention_heads": families.HEADS, "num_key_value_heads": families.KV_HEADS,
            "head_dim": family.head_size, "max_position_embeddings": families.CONTEXT,
            "layer_norm_epsilon": 1e-5, "activation_function": "silu", "rope_theta": 5000.0,
            "rope_scaling": {key: value for key, value in scaling.items() if key != "rope_theta"},
        }  # fmt: skip
    return {
        "architectures": [family.hf_class],
        "model_type": family.architecture,
        "hidden_act": "silu",
        **hf_families.sizes(family, VOCABULARY),
    }


def hf_weights(family: Family) -> dict[str, np.ndarray]:
    """The weights by their names in files of transformers, where experts are one by one."""
    architecture = models.of_hf_class(family.hf_class or "ExaoneForCausalLM")
    found = {}
    for name, values in hf_families.weights(family, VOCABULARY).items():
        stored = architecture.hf_name(name)
        if "{}" in stored:
            found |= {stored.format(expert): values[expert] for expert in range(len(values))}
        else:
            found[stored] = values
    return found


def tokenizer_json(size: int = VOCABULARY, pre: str = "qwen2") -> dict[str, Any]:
    """A byte-level tokenizer of ``size`` tokens by the rules of the family ``pre``."""
    vocabulary, rules = synthetic_vocabulary(size), PRE_TOKENIZERS[pre]
    first = vocabulary.tokens.index(SPECIAL_TOKENS[0])
    ids = {token: index for index, token in enumerate(vocabulary.tokens[:first])}
    merges = [tuple(merge.split(" ")) for merge in vocabulary.merges]
    model = tokenizers.models.BPE(vocab=ids, merges=merges, ignore_merges=rules.ignore_merges)
    built = tokenizers.Tokenizer(model)
    built.pre_tokenizer = rules.splitter()
    built.decoder = tokenizers.decoders.ByteLevel()
    if rules.nfc:
        built.normalizer = rules.normalizer()
    for token in SPECIAL_TOKENS:
        special = token.startswith("<|")
        add = built.add_special_tokens if special else built.add_tokens
        add([AddedToken(token, special=special, normalized=False)])
    return json.loads(built.to_str())


def write_folder(
    folder: Path,
    family: Family | str = "qwen2",
    dtype: str = "F16",
    shards: int = 1,
    config: dict | None = None,
    weights: dict | None = None,
) -> Path:
    """A whole model; entries of ``config`` and ``weights`` replace its own, None leaves them out."""
    family = FAMILIES[family] if isinstance(family, str) else family
    folder.mkdir(exist_ok=True)
    write_json(folder / "config.json", _changed(hf_config(family), config))
    write_json(folder / "tokenizer.json", tokenizer_json())
    write_json(folder / "tokenizer_config.json", {"bos_token": None, "eos_token": "<|im_end|>"})
    write_json(folder / "generation_config.json", {"eos_token_id": [281, 279], "bos_token_id": 279})
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    tensors = _changed(hf_weights(family), weights)
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors, dtype)
        return folder
    names, places = list(tensors), {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        share = names[number::shards]
        write_safetensors(folder / file, {name: tensors[name] for name in share}, dtype)
        places |= dict.fromkeys(share, file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    return folder


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _changed(values: dict, changes: dict | None) -> dict:
    return {key: value for key, value in {**values, **(changes or {})}.items() if value is not None}
