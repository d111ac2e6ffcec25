# SPDX-License-Identifier: Apache-2.0
"""What the blocks of a model work with while they write its operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lumen_mlir import ir
from lumen_mlir.dialects import lumen
from lumen_mlir.models.config import Attention, ModelConfig


@dataclass
class Scope:
    """The values that a block of a model works with, and the ways to use its weights.

    Attributes:
      config: the model's hyperparameters.
      weights: values of the weights by name; within a layer without the ``blk.N.`` prefix.
      positions: of the tokens of the step, i32 [T].
      layer: index of the layer in the KV caches.
      attention: what the layer's attention sees.
      rope_table: cosines and sines, f32 [?, rope dimensions]; None where heads do not turn.
      k, v: the KV caches, which ``kv_append`` replaces.
      places, pages: where new keys and values go, i32 [T], and where those of sequences lie.
      runs: which rows are of one sequence.
    """

    config: ModelConfig
    weights: Mapping[str, ir.Value]
    positions: ir.Value
    layer: ir.Value | None = None
    attention: Attention | None = None
    rope_table: ir.Value | None = None
    k: ir.Value | None = None
    v: ir.Value | None = None
    places: ir.Value | None = None
    pages: ir.Value | None = None
    runs: ir.Value | None = None
    _dequantized: dict[str, ir.Value] = field(default_factory=dict)

    def matrix(self, name: str) -> ir.Value:
        """The weight ``name`` as floats."""
        if name not in self._dequantized:
            weight = self.weights[f"{name}.weight"]
            self._dequantized[name] = lumen.dequantize(weight) if lumen.is_quantized(weight) else weight
        return self._dequantized[name]

    def linear(self, x: ir.Value, name: str) -> ir.Value:
        """``x`` times the weight ``name``, plus its bias where the model has one."""
        return lumen.linear(x, self.matrix(name), self.weights.get(f"{name}.bias"))

    def rms_norm(self, x: ir.Value, name: str) -> ir.Value:
        """The norm with the weight ``name`` and the model's epsilon."""
        return lumen.rms_norm(x, self.weights[f"{name}.weight"], self.config.epsilon)

    def scale(self, x: ir.Value, factor: float) -> ir.Value:
        """``x`` times ``factor``; ``x`` itself for 1."""
        return x if factor == 1 else lumen.scale(x, factor)

    def turn(self, x: ir.Value, norm: str) -> ir.Value:
        """Queries or keys with their heads normalized, where the layer has ``norm``, and then turned."""
        if f"{norm}.weight" in self.weights:
            x = self.rms_norm(x, norm)
        if self.attention.rope is None:
            return x
        style = self.attention.rope.style
        return lumen.rope(x, self.rope_table, self.positions, self.config.head_size, style)

    def append_kv(self, keys: ir.Value, values: ir.Value) -> None:
        """Writes new keys and values into the caches."""
        self.k = lumen.kv_append(self.k, keys, self.layer, self.places, "key")
        self.v = lumen.kv_append(self.v, values, self.layer, self.places, "value")

    def attend(self, q: ir.Value) -> ir.Value:
        """Attention of queries over what the caches hold of their sequences: f32 [T, heads * head size]."""
        config = self.config
        scale = config.attention_scale or config.head_size**-0.5
        return lumen.attention(
            q, self.k, self.v, self.layer, self.positions, self.pages, self.runs, config.heads,
            config.kv_heads, scale, self.attention.window,
        )  # fmt: skip
