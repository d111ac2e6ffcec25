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


def norm_tensors(name: str, width: int, required: bool | None = True) -> Iterator[TensorSpec]:
    """The weight of a norm: required (True), absent (False) or used where the file has it (None)."""
    if required is not False:
        yield TensorSpec(f"{name}.weight", (width,), optional=required is None)


def attention_tensors(
    config: ModelConfig, *, qkv_bias: bool | None = False, qk_norm: bool | None = False
) -> Iterator[TensorSpec]:
    """Query, key, value and output projections, and the norms of the heads of queries and keys."""
    yield from linear_tensors("attn_q", config.query_width, config.width, qkv_bias)
    yield from linear_tensors("attn_k", config.kv_width, config.width, qkv_bias)
    yield from linear_tensors("attn_v", config.kv_width, config.width, qkv_bias)
    yield from norm_tensors("attn_q_norm", config.head_size, qk_norm)
    yield from norm_tensors("attn_k_norm", config.head_size, qk_norm)
    yield from linear_tensors("attn_output", config.width, config.query_width, None)


def attention(scope: Scope, x: ir.Value) -> ir.Value:
    """Causal grouped-query self-attention: f32 [T, width] -> [T, width].

    Heads are normalized where the layer has norms for them, and turned where it has positions.
    """
    q, k, v = (scope.linear(x, name) for name in ("attn_q", "attn_k", "attn_v"))
    q, k = scope.turn(q, "attn_q_norm"), scope.turn(k, "attn_k_norm")
    scope.append_kv(k, v)
    return scope.linear(scope.attend(q), "attn_output")


def swiglu_tensors(
    width: int, hidden: int, suffix: str = "", bias: bool | None = None
) -> Iterator[TensorSpec]:
    """Gate, up and down projections, named ``ffn_gate{suffix}`` and so on."""
    yield from linear_tensors(f"ffn_gate{suffix}", hidden, width, bias)
    yield from linear_tensors(f"ffn_up{suffix}", hidden, width, bias)
    yield from linear_tensors(f"ffn_down{suffix}", width, hidden, bias)


def swiglu(scope: Scope, x: ir.Value, suffix: str = "") -> ir.Value:
    """Gated feed-forward block: f32 [T, width] -> [T, width]."""
    gate, up = scope.linear(x, f"ffn_gate{suffix}"), scope.linear(x, f"ffn_up{suffix}")
    hidden = lumen.mul(lumen.silu(gate), up)
    return scope.linear(hidden, f"ffn_down{suffix}")


def feed_forward_tensors(config: ModelConfig, index: int) -> Iterator[TensorSpec]:
    """The tensors of ``feed_forward`` in layer ``index``."""
    if config.has_experts(index):
        yield from expert_tensors(config)
    else:
        yield from swiglu_tensors(config.width, config.feed_forward)


def feed_forward(scope: Scope, x: ir.Value) -> ir.Value:
    """The second half of a layer: f32 [T, width] -> [T, width]."""
    return experts(scope, x) if "ffn_gate_exps.weight" in scope.weights else swiglu(scope, x)


def expert_tensors(config: ModelConfig) -> Iterator[TensorSpec]:
    """Router, experts and the expert that all tokens share."""
    kinds, width = config.experts, config.width
    yield TensorSpec("ffn_gate_inp.weight", (kinds.count, width))
    yield TensorSpec("exp_probs_b.bias", (kinds.count,), optional=True)
    yield TensorSpec("ffn_gate_exps.weight", (kinds.count, kinds.feed_forward, width))
    yield TensorSpec("ffn_up_exps.weight", (kinds.count, kinds.feed_forward, width))
    yield TensorSpec("ffn_down_exps.weight", (kinds.count, width, kinds.feed_forward))
    if kinds.shared:
        yield TensorSpec("ffn_gate_inp_shexp.weight", (1, width), optional=True)
        yield from swiglu_tensors(width, kinds.shared, "_shexp", bias=False)


def experts(scope: Scope, x: ir.Value) -> ir.Value:
    """Mixture of experts: f32 [T, width] -> [T, width].

    The tokens are sorted by their experts, so that every chosen expert's weights are read once.
    """
    kinds = scope.config.experts
    chosen, weights = lumen.route(
        scope.linear(x, "ffn_gate_inp"), kinds.used, kinds.gating, kinds.normalized, kinds.scale,
        scope.weights.get("exp_probs_b.bias"),
    )  # fmt: skip
    source, place, groups = lumen.group_tokens(chosen, kinds.count)

    def product(x: ir.Value, name: str) -> ir.Value:
        return lumen.expert_linear(x, scope.matrix(name), groups)

    rows = lumen.gather_rows(x, source)
    gate, up = product(rows, "ffn_gate_exps"), product(rows, "ffn_up_exps")
    hidden = lumen.mul(lumen.silu(gate), up)
    y = lumen.combine(product(hidden, "ffn_down_exps"), weights, place)
    if not kinds.shared:
        return y
    shared = swiglu(scope, x, "_shexp")
    if "ffn_gate_inp_shexp.weight" in scope.weights:
        shared = lumen.gate(shared, scope.linear(x, "ffn_gate_inp_shexp"))
    return lumen.add(y, shared)


def pre_norm_layer(scope: Scope, x: ir.Value, ffn_norm: str = "ffn_norm") -> ir.Value:
    """The usual decoder layer: each half normalizes its input and adds its output to the residual stream."""
    x = lumen.add(x, attention(scope, scope.rms_norm(x, "attn_norm")))
    return lumen.add(x, feed_forward(scope, scope.rms_norm(x, ffn_norm)))


def post_norm_layer(scope: Scope, x: ir.Value) -> ir.Value:
    """Each half normalizes its output, and not its input."""
    x = lumen.add(x, scope.rms_norm(attention(scope, x), "post_attention_norm"))
    return lumen.add(x, scope.rms_norm(feed_forward(scope, x), "post_ffw_norm"))


def peri_norm_layer(scope: Scope, x: ir.Value) -> ir.Value:
    """Each half normalizes its input, its output where there is a norm for it, and scales what it adds."""

    def add(x: ir.Value, y: ir.Value, norm: str) -> ir.Value:
        y = scope.rms_norm(y, norm) if f"{norm}.weight" in scope.weights else y
        return lumen.add(x, scope.scale(y, scope.config.residual_scale))

    x = add(x, attention(scope, scope.rms_norm(x, "attn_norm")), "post_attention_norm")
    return add(x, feed_forward(scope, scope.rms_norm(x, "ffn_norm")), "post_ffw_norm")
