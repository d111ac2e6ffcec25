# SPDX-License-Identifier: Apache-2.0
"""``config.json`` of a Hugging Face folder, in GGUF's terms."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from lumen_mlir.errors import shown
from lumen_mlir.gguf import types as T
from lumen_mlir.hf.json_files import read_json
from lumen_mlir.hf.rope import CONTEXT, HFRope
from lumen_mlir.hf.values import Values
from lumen_mlir.models import Architecture, hf_class_of_type
from lumen_mlir.models.reader import MOST_HEAD_SIZE, MOST_LAYERS

Entries = dict[str, tuple[Any, int]]
"""Metadata by key: value and GGUF value type."""

# Names of one number in the configurations of different classes.
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer")
_EPSILON = ("rms_norm_eps", "layer_norm_epsilon")
_ACTIVATION = ("hidden_act", "activation_function")
_EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts")
_EXPERT_WIDTH = ("moe_intermediate_size", "intermediate_size")
_SHARED = ("n_shared_experts", "num_shared_experts")
_GATINGS = {"softmax": 1, "sigmoid": 2}
_SIGMOID = ("exaone-moe", "glm4moe")
_LAYER_TYPES = ("full_attention", "sliding_attention")


class HFConfig(Values):
    """The configuration of a model, checked key by key.

    Attributes:
      where: config.json.
      model_class: what ``transformers`` runs the model with.
    """

    def __init__(self, path: Path):
        whole = read_json(path)
        # Models of text and images keep what concerns text in an object of its own.
        nested = whole.get("text_config")
        super().__init__(path, {**whole, **nested} if isinstance(nested, dict) else whole)
        self.model_class = self._class(whole)
        method = self.get("quantization_config")
        if method is not None:
            name = method.get("quant_method", "unknown") if isinstance(method, dict) else method
            raise self.error(
                f"the weights are quantized by {shown(name)} ('quantization_config'), which Lumen does not "
                "read; take the folder with the original weights and pass --format"
            )

    def _class(self, whole: dict[str, Any]) -> str:
        classes = whole.get("architectures") or self.get("architectures")
        if isinstance(classes, list) and classes and isinstance(classes[0], str):
            return classes[0]
        # Then transformers goes by the type.
        for values in (whole, self.values):
            model_type = values.get("model_type")
            found = hf_class_of_type(model_type) if isinstance(model_type, str) else None
            if found is not None:
                return found
        raise self.error("'architectures' does not name the model's class, and no known 'model_type' does")

    # --- sizes ----------------------------------------------------------------------------------------------

    @property
    def width(self) -> int:
        return self.integer("hidden_size", "n_embd", least=1)

    @property
    def layers(self) -> int:
        return self.integer(*_LAYERS, most=MOST_LAYERS)

    @property
    def heads(self) -> int:
        return self.integer("num_attention_heads", "n_head", least=1)

    @property
    def kv_heads(self) -> int:
        return self.integer("num_key_value_heads", default=self.heads)

    @property
    def head_size(self) -> int:
        given = self.integer("head_dim", default=0, most=MOST_HEAD_SIZE)
        if not given and self.width % self.heads:
            raise self.error(
                f"'hidden_size' {self.width} is not a multiple of 'num_attention_heads' {self.heads}, "
                "and there is no 'head_dim'"
            )
        size = given or self.width // self.heads
        if size > MOST_HEAD_SIZE:
            raise self.error(f"heads have {size} values; at most {MOST_HEAD_SIZE} were expected")
        return size

    @cached_property
    def rope(self) -> HFRope:
        """The rotary embedding."""
        kinds = set(self._layer_types() or ())
        if self.model_class.startswith("Exaone") and "sliding_attention" in kinds:
            kinds.discard("full_attention")  # heads of these layers do not turn
        return HFRope(self, self.head_size, kinds)

    # --- sliding windows ------------------------------------------------------------------------------------

    def _layer_types(self) -> list[str] | None:
        kinds = self.items("layer_types") if "layer_types" in self else None
        unknown = [kind for kind in kinds or () if kind not in _LAYER_TYPES]
        if unknown:
            raise self.error(
                f"'layer_types' has {shown(unknown[0])}; full and sliding attention are supported"
            )
        if kinds is not None and len(kinds) < self.layers:
            raise self.error(f"'layer_types' has {len(kinds)} entries for {self.layers} layers")
        return None if kinds is None else kinds[: self.layers]

    def _window_entries(self, architecture: str) -> Entries:
        kinds = self._layer_types()
        if kinds is None:
            local = self._local_layers(architecture)
        else:
            local = [kind == "sliding_attention" for kind in kinds]
        if self.get("sliding_window") is None or not any(local):
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
            if isinstance(pattern, str) and pattern:
                return [pattern[index % len(pattern)] == "L" for index in range(layers)]
            period = self.integer("sliding_window_pattern", default=4)
            return [(index + 1) % period != 0 for index in range(layers)] if period else [False] * layers
        if self.model_class.startswith("Mistral"):
            return [True] * layers
        if self.flag("use_sliding_window", False):
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
            count = self.integer(*_SHARED, most=1 << 10)
            entries["expert_shared_count"] = count, T.U32
            entries["expert_shared_feed_forward_length"] = count * width, T.U32
        # Classes that have one way of routing do not name it.
        gating = self.text("scoring_func", "sigmoid" if architecture in _SIGMOID else "softmax")
        if gating not in _GATINGS:
            raise self.error(f"'scoring_func' is {shown(gating)}; supported are {', '.join(_GATINGS)}")
        entries["expert_gating_func"] = _GATINGS[gating], T.U32
        for key, name in (("n_group", "expert_group_count"), ("topk_group", "expert_group_used_count")):
            if self.get(key) is not None:
                entries[name] = self.integer(key), T.U32
        normalized = self.flag("norm_topk_prob", True if architecture in _SIGMOID else None)
        if normalized is not None:
            entries["expert_weights_norm"] = normalized, T.BOOL
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
            raise self.error(f"the activation is {shown(activation)}; 'silu' is supported")
        values: Entries = {
            "context_length": (self.integer(*CONTEXT), T.U32),
            "embedding_length": (self.width, T.U32),
            "block_count": (self.layers, T.U32),
            "feed_forward_length": (self.integer("intermediate_size"), T.U32),
            "attention.head_count": (self.heads, T.U32),
            "attention.head_count_kv": (self.kv_heads, T.U32),
            "attention.key_length": (self.head_size, T.U32),
            "attention.value_length": (self.head_size, T.U32),
            "attention.layer_norm_rms_epsilon": (self.number(*_EPSILON), T.F32),
            "vocab_size": (self.integer("vocab_size"), T.U32),
            **self.rope.entries(),
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
