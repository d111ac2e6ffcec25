# SPDX-License-Identifier: Apache-2.0
"""The parts that decoder layers are made of: the tensors each needs, and the operations it writes."""

from __future__ import annotations

from collections.abc import Iterator

from lumen_mlir import ir
from lumen_mlir.dialects import lumen
from lumen_mlir.models.config import ModelConfig
from lumen_mlir.models.scope import Scope
from lumen_mlir.models.tensors import TensorSpec


def linear_tensors(name: str, rows: int, columns: int, bias: bool | None) -> Iterator[TensorSpec]:
    """A weight and its bias: required (True), absent (False) or used where the file has it (None)."""
    yield TensorSpec(f"{name}.weight", (rows, columns))
    if bias is not False:
        yield TensorSpec(f"{name}.bias", (rows,), optional=bias is None)


def norm_tensors(name: str, width: int) -> Iterator[TensorSpec]:
    """The weight of a norm."""
    yield TensorSpec(f"{name}.weight", (width,))


def attention_tensors(config: ModelConfig, *, qkv_bias: bool | None = False) -> Iterator[TensorSpec]:
    """Query, key, value and output projections."""
    yield from linear_tensors("attn_q", config.query_width, config.width, qkv_bias)
    yield from linear_tensors("attn_k", config.kv_width, config.width, qkv_bias)
    yield from linear_tensors("attn_v", config.kv_width, config.width, qkv_bias)
    yield from linear_tensors("attn_output", config.width, config.query_width, None)


def attention(scope: Scope, x: ir.Value) -> ir.Value:
    """Causal grouped-query self-attention with rotary positions: f32 [T, width] -> [T, width]."""
    config = scope.config
    q, k, v = (scope.linear(x, name) for name in ("attn_q", "attn_k", "attn_v"))
    q = scope.rope(q)
    scope.append_kv(scope.rope(k), v)
    mixed = lumen.attention(
        q, scope.k, scope.v, scope.layer, scope.position,
        config.heads, config.kv_heads, config.head_size**-0.5,
    )  # fmt: skip
    return scope.linear(mixed, "attn_output")


def swiglu_tensors(config: ModelConfig) -> Iterator[TensorSpec]:
    """Gate, up and down projections."""
    yield from linear_tensors("ffn_gate", config.feed_forward, config.width, False)
    yield from linear_tensors("ffn_up", config.feed_forward, config.width, False)
    yield from linear_tensors("ffn_down", config.width, config.feed_forward, False)


def swiglu(scope: Scope, x: ir.Value) -> ir.Value:
    """Gated feed-forward block: f32 [T, width] -> [T, width]."""
    hidden = lumen.swiglu(scope.linear(x, "ffn_gate"), scope.linear(x, "ffn_up"))
    return scope.linear(hidden, "ffn_down")


def pre_norm_layer(scope: Scope, x: ir.Value) -> ir.Value:
    """The usual decoder layer: each half normalizes its input and adds its output to the residual stream."""
    x = lumen.add(x, attention(scope, scope.rms_norm(x, "attn_norm")))
    return lumen.add(x, swiglu(scope, scope.rms_norm(x, "ffn_norm")))
