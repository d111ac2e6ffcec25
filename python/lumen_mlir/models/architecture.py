# SPDX-License-Identifier: Apache-2.0
"""What an architecture defines, and the registry of those known by the name in ``general.architecture``."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from lumen_mlir import ir
from lumen_mlir.dialects import lumen
from lumen_mlir.errors import quoted
from lumen_mlir.gguf import TensorInfo
from lumen_mlir.models import blocks
from lumen_mlir.models.config import ModelConfig, ModelError
from lumen_mlir.models.reader import ConfigReader, Source
from lumen_mlir.models.scope import Scope
from lumen_mlir.models.tensors import TensorSpec, resolve_tensors

_ARCHITECTURES: dict[str, Architecture] = {}
_HF_CLASSES: dict[str, Architecture] = {}
_HF_TYPES: dict[str, str] = {}

HF_MODULES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.{}.gate_proj",
    "ffn_up_exps": "mlp.experts.{}.up_proj",
    "ffn_down_exps": "mlp.experts.{}.down_proj",
    "ffn_gate_shexp": "mlp.shared_experts.gate_proj",
    "ffn_up_shexp": "mlp.shared_experts.up_proj",
    "ffn_down_shexp": "mlp.shared_experts.down_proj",
    "exp_probs_b": "mlp.gate.e_score_correction",
}
"""Modules of ``transformers``, by the names of GGUF. ``{}`` is the number of an expert, of which GGUF has a
whole layer's in one tensor."""


class Architecture:
    """A decoder-only transformer. A family overrides what differs: attributes, tensors, layer.

    Attributes:
      name: the value of ``general.architecture``.
      hf_classes: the classes of ``transformers`` (``architectures`` in config.json) that are the same model.
      hf_types: which class a ``model_type`` of config.json means, where that names no class.
      hf_modules: where the names of their modules differ from ``HF_MODULES``.
      hf_layer: the module of layer N.
      rope_style: "neox" or "norm" (for which GGUF files have the rows of Q and K permuted).
      qkv_bias: queries, keys and values have biases: True, False, or None where the file decides.
      qk_norm: the heads of queries and keys are normalized, in the same three ways.
      windows: layers may attend to a sliding window, as the file says.
      experts: its own defaults for a mixture of experts, as ``ConfigReader.experts`` takes them; None where
        all models are dense.
    """

    name: ClassVar[str]
    hf_classes: ClassVar[tuple[str, ...]] = ()
    hf_types: ClassVar[Mapping[str, str]] = {}
    hf_modules: ClassVar[Mapping[str, str]] = {}
    hf_layer: ClassVar[str] = "model.layers.{}."
    rope_style: ClassVar[str] = "neox"
    qkv_bias: ClassVar[bool | None] = False
    qk_norm: ClassVar[bool | None] = False
    windows: ClassVar[bool] = False
    experts: ClassVar[Mapping[str, Any] | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        architecture = cls()
        if "name" in vars(cls):
            _ARCHITECTURES[cls.name] = architecture
        _HF_CLASSES.update(dict.fromkeys(vars(cls).get("hf_classes", ()), architecture))
        _HF_TYPES.update(vars(cls).get("hf_types", {}))

    # --- what a model is read from --------------------------------------------------------------------------

    def config(self, source: Source) -> ModelConfig:
        """Reads and checks the hyperparameters."""
        embedding = source.tensors.get("token_embd.weight")
        if embedding is None:
            raise ModelError(f"{source.path}: no tensor 'token_embd.weight', which {self.name} needs")
        return self.read(ConfigReader(source, self.name), embedding.shape[0])

    def read(self, reader: ConfigReader, vocabulary: int) -> ModelConfig:
        """The hyperparameters, where the embedding table has ``vocabulary`` rows."""
        experts = None if self.experts is None else reader.experts(**self.experts)
        config = reader.config(rope_style=self.rope_style, vocabulary=vocabulary, experts=experts)
        if not self.windows:
            return config
        attentions = reader.attentions(config, window=reader.window(), global_rope=config.rope)
        return replace(config, attentions=attentions)

    def layer_tensors(self, config: ModelConfig, index: int) -> Iterator[TensorSpec]:
        """Tensors of layer ``index`` without their prefix, in the order of the layer function's arguments."""
        yield from blocks.norm_tensors("attn_norm", config.width)
        yield from blocks.attention_tensors(config, qkv_bias=self.qkv_bias, qk_norm=self.qk_norm)
        yield from blocks.norm_tensors("ffn_norm", config.width)
        yield from blocks.feed_forward_tensors(config, index)

    def tensors(self, config: ModelConfig) -> Iterator[TensorSpec]:
        """All tensors, in the order of the arguments of ``@step``."""
        yield TensorSpec("token_embd.weight", (config.vocabulary, config.width))
        for index in range(config.layers):
            for spec in self.layer_tensors(config, index):
                yield TensorSpec(f"blk.{index}.{spec.name}", spec.shape, spec.optional)
        yield from blocks.norm_tensors("output_norm", config.width)
        yield TensorSpec("output.weight", (config.vocabulary, config.width), optional=True)
        yield TensorSpec("output.bias", (config.vocabulary,), optional=True)

    def resolve(
        self, config: ModelConfig, tensors: Mapping[str, TensorInfo], path: str
    ) -> dict[str, TensorInfo]:
        """The file's tensors in argument order, with shapes and types checked."""
        unused = range(config.layers, config.layers + config.extra_layers)
        return resolve_tensors(self.tensors(config), tensors, self.name, path, unused)

    def hf_name(self, name: str) -> str:
        """What ``transformers`` calls the tensor ``name``; with ``{}`` for the number of an expert."""
        *layer, module, kind = name.split(".")
        modules = {**HF_MODULES, **self.hf_modules}
        prefix = self.hf_layer.format(layer[1]) if layer else ""
        return f"{prefix}{modules.get(module, module)}{'_' if module == 'exp_probs_b' else '.'}{kind}"

    # --- what a model computes ------------------------------------------------------------------------------

    def variant(self, config: ModelConfig, index: int) -> Hashable:
        """What, besides the types of its tensors, tells the code of layer ``index`` from that of others."""
        return config.attention(index)

    def embed(self, scope: Scope, tokens: ir.Value) -> ir.Value:
        """The first residual stream: f32 [T, width]."""
        x = lumen.embedding(tokens, scope.weights["token_embd.weight"])
        return scope.scale(x, scope.config.embedding_scale)

    def layer(self, scope: Scope, x: ir.Value, index: int) -> ir.Value:
        """One decoder layer: f32 [T, width] -> [T, width]."""
        return blocks.pre_norm_layer(scope, x)

    def last_norm(self, scope: Scope, x: ir.Value) -> ir.Value:
        """The hidden states that logits are made of: f32 [T, width] -> [T, width]."""
        return scope.rms_norm(x, "output_norm")

    def head(self, scope: Scope, x: ir.Value) -> ir.Value:
        """The logits: f32 [T, width] -> [T, vocabulary]. Without an own table, the embedding's is used."""
        tied = "output.weight" not in scope.weights
        # Before the product, where there are fewer numbers to multiply.
        x = scope.scale(self.last_norm(scope, x), scope.config.logit_scale)
        return scope.linear(x, "token_embd" if tied else "output")


def names() -> list[str]:
    """The architectures that are known."""
    return sorted(_ARCHITECTURES)


def get(name: str, path: str = "") -> Architecture:
    """The architecture called ``name``; ModelError, naming the known ones, if there is none."""
    known = names()
    if name not in known:
        where = f"{path}: " if path else ""
        raise ModelError(f"{where}unknown architecture {quoted(name)}; known: {', '.join(known)}")
    return _ARCHITECTURES[name]


def of_hf_class(name: str, path: str = "") -> Architecture:
    """The architecture of a class of ``transformers``; ModelError, naming those known, if none."""
    # A base model, without the output matrix, is a class of its own.
    causal = f"{name.removesuffix('Model')}ForCausalLM"
    found = _HF_CLASSES.get(name) or (_HF_CLASSES.get(causal) if name.endswith("Model") else None)
    if found is None:
        where = f"{path}: " if path else ""
        known = ", ".join(sorted(_HF_CLASSES))
        raise ModelError(f"{where}unknown model class {quoted(name)}; known: {known}")
    return found


def hf_class_of_type(model_type: str) -> str | None:
    """The class of ``transformers`` that a ``model_type`` means; None where it is not known."""
    return _HF_TYPES.get(model_type)
