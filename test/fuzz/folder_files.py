# SPDX-License-Identifier: Apache-2.0
"""Hugging Face folders of tiny models, and copies of them with something changed."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from fuzz import json_values

# The folders of the tests are what is changed here.
sys.path.insert(0, str(Path(__file__).parent.parent / "py"))

import hf_samples  # noqa: E402

FAMILIES = ("llama", "llama-3.1", "llama-longrope", "qwen2", "qwen3-window", "exaone", "exaone4-hybrid",
            "hyperclovax", "mixtral", "exaone-moe", "solar-open")  # fmt: skip
_CONFIG_KEYS = (
    "architectures", "model_type", "text_config", "quantization_config", "hidden_size", "n_embd",
    "intermediate_size", "num_hidden_layers", "num_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "vocab_size", "max_position_embeddings", "rms_norm_eps", "hidden_act", "rope_theta",
    "rope_scaling", "rope_parameters", "partial_rotary_factor", "original_max_position_embeddings",
    "sliding_window", "sliding_window_pattern", "use_sliding_window", "max_window_layers", "layer_types",
    "tie_word_embeddings", "num_experts", "n_routed_experts", "num_local_experts", "num_experts_per_tok",
    "moe_intermediate_size", "shared_expert_intermediate_size", "n_shared_experts", "scoring_func", "n_group",
    "topk_group", "norm_topk_prob", "routed_scaling_factor", "first_k_dense_replace", "mlp_layer_types",
    "is_moe_layer", "mlp_only_layers", "decoder_sparse_step", "attention_multiplier", "logits_scaling",
    "attention_bias", "factor", "rope_type", "type", "beta_fast", "beta_slow", "mscale", "mscale_all_dim",
    "attention_factor", "low_freq_factor", "high_freq_factor", "short_factor", "long_factor", "truncate",
    "eos_token_id", "bos_token_id", "torch_dtype", "dtype",
)  # fmt: skip
_TOKENIZER_KEYS = (
    "model", "vocab", "merges", "type", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
    "decoder", "byte_fallback", "unk_token", "bos_token", "eos_token", "pad_token", "chat_template",
    "add_bos_token", "add_eos_token", "added_tokens_decoder", "ignore_merges", "content", "special", "id",
    "normalizers", "pretokenizers", "processors", "pattern", "Regex", "single",
)  # fmt: skip
_HEADER_KEYS = ("dtype", "shape", "data_offsets", "__metadata__", "x")
_INDEX_KEYS = ("weight_map", "metadata")
_ODD_PLACES = ("/dev/zero", "/dev/full", "/proc/kmsg", "/proc/self/mem", "/proc/self", "/nonexistent")


@dataclass
class Sample:
    """The files of a sound folder by name."""

    files: dict[str, bytes]


class Changed:
    """A folder of its own, which begins each time as a sample and gets something changed."""

    def __init__(self, folder: Path, samples: list[Sample]):
        self.path, self._samples = folder, samples
        self._is: Sample | None = None
        self._changed: list[str] = []

    def make(self, rng: random.Random) -> Path:
        """Makes the next folder."""
        sample = rng.choice(self._samples)
        self._reset(sample)
        for _ in range(rng.choice((1, 1, 1, 2))):
            what = rng.random()
            if what < 0.55:
                self._json("config.json", _CONFIG_KEYS, rng)
            elif what < 0.72:
                self._weights(rng)
            elif what < 0.88:
                names = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
                self._json(rng.choice(names), _TOKENIZER_KEYS, rng)
            elif what < 0.95:
                self._index(rng)
            else:
                self._kind_of_file(rng)
        return self.path

    def _reset(self, sample: Sample) -> None:
        if self._is is not sample:
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir()
            self._changed, self._is = list(sample.files), sample
        for name in set(self._changed):
            path = self.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            if name in sample.files:
                path.write_bytes(sample.files[name])
        self._changed = []

    def _write(self, name: str, data: bytes) -> None:
        self._changed.append(name)
        path = self.path / name
        # Not through a link: it may lead to memory of this process.
        if not path.is_symlink() and (path.is_file() or not path.exists()):
            path.write_bytes(data)

    def _json(self, name: str, keys: tuple[str, ...], rng: random.Random) -> None:
        value = json_values.changed(json.loads(self._is.files[name]), rng, keys)
        self._write(name, json_values.text_of(value, rng))

    def _weights(self, rng: random.Random) -> None:
        name = rng.choice([name for name in self._is.files if name.endswith(".safetensors")])
        data = self._is.files[name]
        (length,) = struct.unpack_from("<Q", data)
        header, rest = data[8 : 8 + length], data[8 + length :]
        what = rng.random()
        if what < 0.7:
            header = json_values.text_of(json_values.changed(json.loads(header), rng, _HEADER_KEYS), rng)
            length = len(header)
        elif what < 0.8:
            length = rng.choice((0, 1, length - 1, length + 1, 1 << 20, 1 << 40, (1 << 64) - 1))
        elif what < 0.9:
            rest = rest[: rng.randrange(len(rest))]
        else:
            entries = json.loads(header)
            prefix = rng.choice(("_orig_mod.", "module.", "base_model.model.", "x.", ""))
            header = json.dumps(
                {prefix + key.removeprefix("model."): entries[key] for key in entries}
            ).encode()
            length = len(header)
        self._write(name, struct.pack("<Q", length) + header + rest)

    def _index(self, rng: random.Random) -> None:
        name = "model.safetensors.index.json"
        index = json.loads(self._is.files.get(name, b'{"weight_map": {"a": "model.safetensors"}}'))
        self._write(name, json_values.text_of(json_values.changed(index, rng, _INDEX_KEYS), rng))

    def _kind_of_file(self, rng: random.Random) -> None:
        extra = ("tokenizer.model", "added_tokens.json", "special_tokens_map.json", "chat_template.json")
        name = rng.choice((*self._is.files, *extra))
        path = self.path / name
        self._changed.append(name)
        path.unlink(missing_ok=True)
        what = rng.randrange(6)
        if what == 0:
            os.mkfifo(path)
        elif what == 1:
            path.mkdir()
        elif what == 2:
            path.symlink_to(name)
        elif what == 3:
            path.symlink_to(rng.choice(_ODD_PLACES))
        elif what == 4:
            path.write_bytes(b"")


def samples(folder: Path) -> list[Sample]:
    """Sound folders, in one file of weights or two."""
    found = []
    for index, name in enumerate(FAMILIES):
        path = hf_samples.write_folder(folder / name, name, ("F16", "F32", "BF16")[index % 3], 1 + index % 2)
        found.append(Sample({file.name: file.read_bytes() for file in path.iterdir()}))
        shutil.rmtree(path)
    return found
