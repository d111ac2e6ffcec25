# SPDX-License-Identifier: Apache-2.0
"""``config.json`` of a Hugging Face folder, in GGUF's terms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from lumen_mlir.gguf import types as T
from lumen_mlir.hf.errors import HFError, read_json
from lumen_mlir.models import Architecture, llama3_divisors

Entries = dict[str, tuple[Any, int]]
"""Metadata by key: value and GGUF value type."""

# Names of one number in the configurations of different classes.
_CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length")
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer")
_EPSILON = ("rms_norm_eps", "layer_norm_epsilon")
_ACTIVATION = ("hidden_act", "activation_function")
_EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts")
_EXPERT_WIDTH = ("moe_intermediate_size", "intermediate_size")
_SHARED = ("n_shared_experts", "num_shared_experts")

_GATINGS = {"softmax": 1, "sigmoid": 2}
_SIGMOID = ("exaone-moe", "glm4moe")

_SCALINGS = ("default", "linear", "yarn", "llama3", "longrope")


class HFConfig:
    """The configuration of a model, checked key by key.

    Attributes:
      path: of config.json.
      model_class: what ``transformers`` runs the model with.
    """

    def __init__(self, path: Path):
        self.path = path
        whole = read_json(path)
        classes = whole.get("architectures")
        if not isinstance(classes, list) or not classes or not isinstance(classes[0], str):
            raise self.error("'architectures' does not name the model's class")
        self.model_class: str = classes[0]
        # Models of text and images keep what concerns text in an object of its own.
        nested = whole.get("text_config")
        self._values = {**whole, **nested} if isinstance(nested, dict) else whole
        method = self._values.get("quantization_config")
        if method is not None:
            name = method.get("quant_method", "unknown") if isinstance(method, dict) else method
            raise self.error(
                f"the weights are quantized by '{name}' ('quantization_config'), which Lumen does not read; "
                "take the folder with the original weights and pass --format"
            )

    def error(self, message: str) -> HFError:
        return HFError(f"{self.path}: {message}")

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``; ``default`` where it is missing or null."""
        value = self._values.get(key)
        return default if value is None else value

    def integer(self, *keys: str, default: int | None = None) -> int:
        """The first of ``keys`` that is there, a whole number of at least 0."""
        key, value = self._first(keys, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.error(f"'{key}' is {value!r}; a whole number of at least 0 was expected")
        return value

    def number(self, *keys: str, default: float | None = None) -> float:
        """The first of ``keys`` that is there, a finite number."""
        key, value = self._first(keys, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise self.error(f"'{key}' is {value!r}; a finite number was expected")
        return float(value)

    def _first(self, keys: tuple[str, ...], default: Any) -> tuple[str, Any]:
        for key in keys:
            if self._values.get(key) is not None:
                return key, self._values[key]
        if default is None:
            raise self.error(f"has no '{keys[0]}'")
        return keys[0], default

    # --- sizes ----------------------------------------------------------------------------------------------

    @property
    def width(self) -> int:
        return self.integer("hidden_size", "n_embd")

    @property
    def layers(self) -> int:
        return self.integer(*_LAYERS)

    @property
    def heads(self) -> int:
        return self.integer("num_attention_heads", "n_head")

    @property
    def kv_heads(self) -> int:
        return self.integer("num_key_value_heads", default=self.heads)

    @property
    def head_size(self) -> int:
        given = self.integer("head_dim", default=0)
        if not given and self.width % max(self.heads, 1):
            raise self.error(
                f"'hidden_size' {self.width} is not a multiple of 'num_attention_heads' {self.heads}, "
                "and there is no 'head_dim'"
            )
        return given or self.width // self.heads

    @property
    def rotated(self) -> int:
        """Values of a head that turn with its position."""
        return int(
            self.head_size
            * self.number("partial_rotary_factor", default=self._rope("partial_rotary_factor", 1.0))
        )

    # --- rotary embedding -----------------------------------------------------------------------------------

    def _rope(self, key: str, default: Any = None) -> Any:
        """A parameter of the rotary embedding (``rope_scaling`` until transformers 5)."""
        for name in ("rope_parameters", "rope_scaling"):
            values = self._values.get(name)
            if isinstance(values, dict):
                # Some classes have a set of parameters for each type of layer.
                if values and all(isinstance(value, dict) for value in values.values()):
                    raise self.error(f"'{name}' differs by type of layer, which is not supported")
                if values.get(key) is not None:
                    return values[key]
            elif values is not None:
                raise self.error(f"'{name}' is {values!r}; an object was expected")
        return default

    def _rope_number(self, key: str, default: float | None = None) -> float:
        value = self._rope(key, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise self.error(f"'rope_scaling' has {key} {value!r}; a finite number was expected")
        return float(value)

    @property
    def rope_base(self) -> float:
        return self.number("rope_theta", default=self._rope_number("rope_theta", 10000.0))

    @property
    def scaling(self) -> str:
        """How contexts are lengthened: one of ``_SCALINGS``."""
        kind = self._rope("rope_type") or self._rope("type") or "default"
        kind = {"su": "longrope", "none": "default"}.get(kind, kind)
        if kind not in _SCALINGS:
            raise self.error(f"'rope_scaling' is of type '{kind}'; supported are {', '.join(_SCALINGS)}")
        if self._rope("mrope_section") is not None:
            raise self.error(
                "'rope_scaling' has an 'mrope_section': rotary embeddings of images are not supported"
            )
        return kind

    def _original_context(self) -> int:
        value = self._rope("original_max_position_embeddings")
        return (
            int(value)
            if value is not None
            else self.integer("original_max_position_embeddings", default=self.integer(*_CONTEXT))
        )

    def _scaling_entries(self) -> dict[str, tuple[Any, int]]:
        kind = self.scaling
        if kind in ("default", "llama3"):
            return {}
        factor = self._rope_number("factor", 1.0 if kind == "longrope" else None)
        entries: Entries = {"rope.scaling.type": (kind, T.STRING)}
        if kind == "linear":
            return {**entries, "rope.scaling.factor": (factor, T.F32)}
        original = self._original_context()
        entries["rope.scaling.original_context_length"] = original, T.U32
        if kind == "longrope":
            # The factor follows from the lengths where both are there, as in transformers.
            stretch = self.integer(*_CONTEXT) / original
            stretch = stretch if stretch != 1 else factor
            usual = math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0
            return {
                **entries,
                "rope.scaling.attn_factor": (self._rope_number("attention_factor", usual), T.F32),
            }
        if self._rope("truncate") is False:
            raise self.error("'rope_scaling' is YaRN with truncate false, which is not supported")
        entries["rope.scaling.factor"] = factor, T.F32
        for key in ("beta_fast", "beta_slow"):
            if self._rope(key) is not None:
                entries[f"rope.scaling.yarn_{key}"] = self._rope_number(key), T.F32
        usual = _yarn_magnitude(factor, 1.0)
        wanted = usual
        if self._rope("attention_factor") is not None:
            wanted = self._rope_number("attention_factor")
        elif self._rope("mscale") and self._rope("mscale_all_dim"):
            above, below = self._rope_number("mscale"), self._rope_number("mscale_all_dim")
            wanted = _yarn_magnitude(factor, above) / _yarn_magnitude(factor, below)
        if wanted != usual:
            entries["rope.scaling.attn_factor"] = wanted / usual, T.F32
        return entries

    def divisors(self) -> dict[str, np.ndarray]:
        """The tensors, float32 [dimensions / 2], that divide the frequencies of the rotary embedding."""
        if self.scaling == "llama3":
            low, high = (self._rope_number(f"{name}_freq_factor") for name in ("low", "high"))
            values = llama3_divisors(
                self.rotated, self.rope_base, self._rope_number("factor"), low, high, self._original_context()
            )
            return {"rope_freqs.weight": np.array(values, np.float32)}
        if self.scaling != "longrope":
            return {}
        found = {}
        for name in ("short", "long"):
            values = self._rope(f"{name}_factor")
            if not isinstance(values, list) or len(values) != self.rotated // 2:
                count = len(values) if isinstance(values, list) else "no"
                raise self.error(
                    f"'rope_scaling' has {count} numbers in '{name}_factor'; "
                    f"{self.rotated // 2} were expected"
                )
            found[f"rope_factors_{name}.weight"] = np.array(values, np.float32)
        return found

    # --- sliding windows ------------------------------------------------------------------------------------

    def _window_entries(self, architecture: str) -> Entries:
        window = self.get("sliding_window")
        kinds = self.get("layer_types")
        if isinstance(kinds, list):
            unknown = sorted({str(kind) for kind in kinds} - {"full_attention", "sliding_attention"})
            if unknown:
                raise self.error(
                    f"'layer_types' has {unknown[0]!r}; full and sliding attention are supported"
                )
            local = [kind == "sliding_attention" for kind in kinds[: self.layers]]
            if len(local) < self.layers:
                raise self.error(f"'layer_types' has {len(local)} entries for {self.layers} layers")
        else:
            local = self._local_layers(architecture)
        if window is None or not any(local):
            return {}
        entries: Entries = {"attention.sliding_window": (self.integer("sliding_window"), T.U32)}
        if not all(local) or architecture != "llama":
            entries["attention.sliding_window_pattern"] = local, T.BOOL
        return entries

    def _local_layers(self, architecture: str) -> list[bool]:
        """Which layers have the window, where the file does not list them: the rules of the classes."""
        layers = self.layers
        if architecture.startswith("exaone"):
            pattern = self.get("sliding_window_pattern", 4)
            if isinstance(pattern, str):
                return [pattern[index % len(pattern)] == "L" for index in range(layers)]
            return [(index + 1) % pattern != 0 for index in range(layers)] if pattern else [False] * layers
        if self.model_class.startswith("Mistral"):
            return [True] * layers
        if self.get("use_sliding_window", False):
            return [index >= self.integer("max_window_layers", default=0) for index in range(layers)]
        return [False] * layers

    # --- experts --------------------------------------------------------------------------------------------

    def _expert_entries(self, architecture: str) -> Entries:
        if not any(self.get(key) for key in _EXPERTS):
            return {}
        if self.get("mlp_only_layers") or self.get("decoder_sparse_step", 1) != 1:
            raise self.error(
                "has dense layers among those with experts ('mlp_only_layers', 'decoder_sparse_step'), which "
                "is not supported"
            )
        width = self.integer(*_EXPERT_WIDTH)
        entries: Entries = {
            "expert_count": (self.integer(*_EXPERTS), T.U32),
            "expert_used_count": (self.integer("num_experts_per_tok"), T.U32),
            "expert_feed_forward_length": (width, T.U32),
        }
        if self.get("shared_expert_intermediate_size"):
            size = self.integer("shared_expert_intermediate_size")
            entries["expert_shared_feed_forward_length"] = size, T.U32
        elif any(self.get(key) for key in _SHARED):
            count = self.integer(*_SHARED)
            entries["expert_shared_count"] = count, T.U32
            entries["expert_shared_feed_forward_length"] = count * width, T.U32
        # Classes that have one way of routing do not name it.
        gating = self.get("scoring_func", "sigmoid" if architecture in _SIGMOID else "softmax")
        if gating not in _GATINGS:
            raise self.error(f"'scoring_func' is {gating!r}; supported are {', '.join(_GATINGS)}")
        entries["expert_gating_func"] = _GATINGS[gating], T.U32
        for key, name in (("n_group", "expert_group_count"), ("topk_group", "expert_group_used_count")):
            if self.get(key) is not None:
                entries[name] = self.integer(key), T.U32
        normalized = self.get("norm_topk_prob", True if architecture in _SIGMOID else None)
        if normalized is not None:
            entries["expert_weights_norm"] = bool(normalized), T.BOOL
        if self.get("routed_scaling_factor") is not None:
            entries["expert_weights_scale"] = self.number("routed_scaling_factor"), T.F32
        dense = self.get("mlp_layer_types", self.get("is_moe_layer"))
        if self.get("first_k_dense_replace") is not None:
            entries["leading_dense_block_count"] = self.integer("first_k_dense_replace"), T.U32
        elif isinstance(dense, list):
            flags = [kind in (True, "sparse") for kind in dense]
            count = flags.index(True) if True in flags else len(flags)
            if not all(flags[count:]):
                raise self.error("has dense layers behind layers with experts, which is not supported")
            entries["leading_dense_block_count"] = count, T.U32
        return entries

    # --- everything -----------------------------------------------------------------------------------------

    def metadata(self, architecture: Architecture, name: str) -> Entries:
        """What a GGUF file of the model says, but for its tokenizer."""
        activation = self._first(_ACTIVATION, "silu")[1]
        if activation not in ("silu", "swish"):
            raise self.error(f"the activation is '{activation}'; 'silu' is supported")
        values: Entries = {
            "context_length": (self.integer(*_CONTEXT), T.U32),
            "embedding_length": (self.width, T.U32),
            "block_count": (self.layers, T.U32),
            "feed_forward_length": (self.integer("intermediate_size"), T.U32),
            "attention.head_count": (self.heads, T.U32),
            "attention.head_count_kv": (self.kv_heads, T.U32),
            "attention.key_length": (self.head_size, T.U32),
            "attention.value_length": (self.head_size, T.U32),
            "attention.layer_norm_rms_epsilon": (self.number(*_EPSILON), T.F32),
            "rope.dimension_count": (self.rotated, T.U32),
            "rope.freq_base": (self.rope_base, T.F32),
            "vocab_size": (self.integer("vocab_size"), T.U32),
            **self._scaling_entries(),
            **self._window_entries(architecture.name),
            **self._expert_entries(architecture.name),
        }
        multipliers = {
            "attention_multiplier": "attention.scale",
            "embedding_multiplier": "embedding_scale",
            "residual_multiplier": "residual_scale",
            "logits_scaling": "logit_scale",
        }
        for key, scale in multipliers.items():
            if self.get(key) is not None and self.model_class.startswith("HyperCLOVAX"):
                values[scale] = self.number(key), T.F32
        return {
            "general.architecture": (architecture.name, T.STRING),
            "general.type": ("model", T.STRING),
            "general.name": (name, T.STRING),
            **{f"{architecture.name}.{key}": entry for key, entry in values.items()},
        }


def _yarn_magnitude(factor: float, weight: float) -> float:
    """The attention factor of YaRN (arXiv:2309.00071, equation 15)."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0
