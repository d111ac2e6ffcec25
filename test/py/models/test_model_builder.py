# SPDX-License-Identifier: Apache-2.0
"""The module a model becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumen_mlir import ir, models
from lumen_mlir.gguf import TensorInfo
from lumen_mlir.models import ModelConfig, Rope
from lumen_mlir.models.builder import build_module

EXAMPLE = Path(__file__).parents[2] / "lit" / "Inputs" / "qwen2-layer.mlir"


def config(layers: int) -> ModelConfig:
    return ModelConfig(
        architecture="qwen2", name="test", vocabulary=151_936, context=32_768, width=896, layers=layers,
        heads=14, kv_heads=2, head_size=64, feed_forward=4864, epsilon=1e-6, rope=Rope(64, 1e6, "neox"),
    )  # fmt: skip


def tensors(config: ModelConfig, types: dict[str, str] | None = None, untied: bool = False):
    specs = models.get("qwen2").tensors(config)
    return {
        s.name: TensorInfo(
            s.name, s.shape, "f32" if len(s.shape) == 1 else (types or {}).get(s.name, "q8_0"), 0, 0
        )
        for s in specs
        if not s.optional or (untied and s.name == "output.weight")
    }


@pytest.fixture
def context():
    with ir.Context() as context:
        yield context


def functions(module: ir.Module) -> list[str]:
    return [op.attributes["sym_name"].value for op in module.body.operations if op.name == "func.func"]


def test_matches_the_worked_example(context):
    example = ir.Module.parse(EXAMPLE.read_text())
    target = example.operation.attributes["lumen.target"]
    module = build_module(config(2), tensors(config(2)), target=target, max_tokens=512)
    assert str(module) == str(example)


def test_equal_layers_share_a_function(context):
    types = {"blk.1.attn_v.weight": "q5_1", "blk.3.attn_v.weight": "q5_1"}
    module = build_module(config(4), tensors(config(4), types))
    assert functions(module) == ["step", "layer_0", "layer_1"]
    text = str(module)
    calls = [line.split("@")[1].split("(")[0] for line in text.splitlines() if "call @" in line]
    assert calls == ["layer_0", "layer_1", "layer_0", "layer_1"]
    assert text.count("lumen.format @q5_1 ") == text.count("lumen.format @q8_0 ") == 1


def test_depth_does_not_add_functions(context):
    assert functions(build_module(config(40), tensors(config(40)))) == ["step", "layer_0"]


def test_untied_head_and_types(context):
    types = {"output.weight": "q5_1", "token_embd.weight": "f16", "blk.0.ffn_up.weight": "bf16"}
    text = str(build_module(config(1), tensors(config(1), types, untied=True), kv_type="f32"))
    assert "lumen.embedding" in text and "tensor<151936x896xf16>" in text
    assert 'tensor<151936x896x!lumen.q<@q5_1>> {lumen.name = "output.weight"}' in text
    assert "tensor<4864x896xbf16>" in text and "tensor<1x2x?x64x16xf32>" in text
    # Only quantized weights are dequantized.
    assert text.count("lumen.dequantize") == 7


def test_a_layer_dequantizes_each_weight_once(context):
    text = str(build_module(config(3), tensors(config(3))))
    assert text.count("lumen.dequantize") == 8
