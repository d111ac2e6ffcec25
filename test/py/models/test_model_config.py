# SPDX-License-Identifier: Apache-2.0
"""Metadata and tensors of a model file: what is read, and one clear line for all that can be wrong."""

from __future__ import annotations

import numpy as np
import pytest

from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.writer import GGUFWriter
from lumen_mlir.models import Model, Rope, rope_table
from lumen_mlir.models.rope import LongRope

METADATA = {
    "general.architecture": ("qwen2", T.STRING),
    "qwen2.context_length": (128, T.U32),
    "qwen2.embedding_length": (64, T.U32),
    "qwen2.block_count": (2, T.U32),
    "qwen2.feed_forward_length": (96, T.U32),
    "qwen2.attention.head_count": (4, T.U32),
    "qwen2.attention.head_count_kv": (2, T.U32),
    "qwen2.attention.layer_norm_rms_epsilon": (1e-6, T.F32),
    "qwen2.rope.freq_base": (1e6, T.F32),
}


def qwen2_tensors() -> dict[str, tuple[tuple[int, ...], str]]:
    tensors: dict[str, tuple[tuple[int, ...], str]] = {
        "token_embd.weight": ((37, 64), "q8_0"),
        "output_norm.weight": ((64,), "f32"),
    }
    for i in range(2):
        tensors |= {
            f"blk.{i}.attn_norm.weight": ((64,), "f32"),
            f"blk.{i}.attn_q.weight": ((64, 64), "q8_0"),
            f"blk.{i}.attn_q.bias": ((64,), "f32"),
            f"blk.{i}.attn_k.weight": ((32, 64), "q8_0"),
            f"blk.{i}.attn_k.bias": ((32,), "f32"),
            f"blk.{i}.attn_v.weight": ((32, 64), "q8_0"),
            f"blk.{i}.attn_v.bias": ((32,), "f32"),
            f"blk.{i}.attn_output.weight": ((64, 64), "q8_0"),
            f"blk.{i}.ffn_norm.weight": ((64,), "f32"),
            f"blk.{i}.ffn_gate.weight": ((96, 64), "q8_0"),
            f"blk.{i}.ffn_up.weight": ((96, 64), "q8_0"),
            f"blk.{i}.ffn_down.weight": ((64, 96), "q8_0"),
        }
    return tensors


@pytest.fixture
def write(tmp_path):
    """Writes the sample model with some metadata and tensors replaced, or removed where given as None."""

    def go(metadata=None, tensors=None) -> str:
        path = str(tmp_path / "m.gguf")
        writer = GGUFWriter(path)
        for key, entry in (METADATA | (metadata or {})).items():
            if entry is not None:
                writer.add(key, *entry)
        for name, entry in (qwen2_tensors() | (tensors or {})).items():
            if entry is not None:
                shape, kind = entry
                size = T.TYPES_BY_NAME[kind].row_bytes(int(np.prod(shape)))
                writer.add_tensor(name, shape, kind, lambda size=size: [np.zeros(size, np.uint8)])
        writer.write()
        return path

    return go


def test_reads_a_model(write):
    model = Model.open(write())
    config = model.config
    assert (config.vocabulary, config.width, config.layers, config.context) == (37, 64, 2, 128)
    assert (config.heads, config.kv_heads, config.head_size) == (4, 2, 16)
    assert (config.query_width, config.kv_width, config.feed_forward) == (64, 32, 96)
    assert config.rope == Rope(16, 1e6, "neox") and config.epsilon == pytest.approx(1e-6)
    assert list(model.tensors)[:3] == ["token_embd.weight", "blk.0.attn_norm.weight", "blk.0.attn_q.weight"]
    assert list(model.tensors)[-1] == "output_norm.weight"
    assert model.weight("blk.0.attn_k.weight").shape == (32, 68)
    bias = model.weight("blk.0.attn_k.bias")
    assert bias.shape == (32,) and bias.dtype == np.float32
    assert model.cache_shapes(17) == ((2, 2, 4, 16, 16), (2, 2, 4, 16, 16))


def test_heads_need_not_fill_the_width(write):
    """Kanana nano and Qwen3: heads * head_size is not the width."""
    wide = {}
    for i in range(2):
        wide |= {
            f"blk.{i}.attn_q.weight": ((128, 64), "q8_0"),
            f"blk.{i}.attn_q.bias": ((128,), "f32"),
            f"blk.{i}.attn_k.weight": ((64, 64), "q8_0"),
            f"blk.{i}.attn_k.bias": ((64,), "f32"),
            f"blk.{i}.attn_v.weight": ((64, 64), "q8_0"),
            f"blk.{i}.attn_v.bias": ((64,), "f32"),
            f"blk.{i}.attn_output.weight": ((64, 128), "q8_0"),
        }
    lengths = {f"qwen2.attention.{key}_length": (32, T.U32) for key in ("key", "value")}
    config = Model.open(write(lengths, wide)).config
    assert config.head_size == 32 and config.query_width == 128


def test_norms_and_biases_may_be_half_precision(write):
    model = Model.open(write(tensors={"output_norm.weight": ((64,), "f16")}))
    assert model.weight("output_norm.weight").dtype == np.float32


def test_untied_head_and_optional_biases(write):
    more = {"output.weight": ((37, 64), "f16"), "blk.1.attn_output.bias": ((64,), "f32")}
    tensors = Model.open(write(tensors=more)).tensors
    assert "output.weight" in tensors and "blk.1.attn_output.bias" in tensors


@pytest.mark.parametrize(
    ("key", "entry", "message"),
    [
        ("general.architecture", None, "metadata has no 'general.architecture'"),
        ("general.architecture", ("mamba", T.STRING), "unknown architecture 'mamba'; known: exaone, "),
        ("qwen2.block_count", None, "metadata has no 'qwen2.block_count'"),
        ("qwen2.block_count", (0, T.U32), "'qwen2.block_count' is 0; 1 to 2147483647 was expected"),
        ("qwen2.block_count", (3, T.U32), "no tensor 'blk.2.attn_norm.weight' (64), which qwen2 needs"),
        ("qwen2.block_count", (1, T.U32), "12 tensors that this qwen2 model does not use: 'blk.1."),
        ("qwen2.block_count", (2.0, T.F32), "'qwen2.block_count' is a float32; expected an integer"),
        ("qwen2.context_length", (1 << 40, T.U64), "'qwen2.context_length' is 1099511627776; 1 to"),
        ("qwen2.embedding_length", (60, T.U32), "heads of 15 values cannot turn by a rotary embedding"),
        ("qwen2.embedding_length", (56, T.U32), "'token_embd.weight' is 37 x 64; by the metadata it should"),
        ("qwen2.embedding_length", (66, T.U32), "66 is not a multiple of 'qwen2.attention.head_count' 4"),
        ("qwen2.feed_forward_length", (64, T.U32), "'blk.0.ffn_gate.weight' is 96 x 64; by the metadata it"),
        ("qwen2.attention.head_count", (0, T.U32), "'qwen2.attention.head_count' is 0"),
        ("qwen2.attention.head_count_kv", (3, T.U32), "4 is not a multiple of 'qwen2.attention.head_count_"),
        ("qwen2.attention.key_length", (32, T.U32), "is 32 but 'qwen2.attention.value_length' is 16"),
        ("qwen2.attention.layer_norm_rms_epsilon", None, "no 'qwen2.attention.layer_norm_rms_epsilon'"),
        ("qwen2.attention.layer_norm_rms_epsilon", (0.0, T.F32), "is 0; a number above 0 was expected"),
        ("qwen2.rope.freq_base", (float("nan"), T.F32), "'qwen2.rope.freq_base' is nan; a number above 0"),
        ("qwen2.rope.dimension_count", (15, T.U32), "is 15; an even number of at most 16"),
        ("qwen2.rope.dimension_count", (18, T.U32), "is 18; an even number of at most 16"),
        ("qwen2.rope.scaling.type", ("dynamic", T.STRING), "is 'dynamic'; supported are 'none', 'linear', "),
        ("qwen2.rope.scaling.type", ("yarn", T.STRING), "no 'qwen2.rope.scaling.original_context_length'"),
        ("qwen2.nextn_predict_layers", (2, T.U32), "'qwen2.nextn_predict_layers' is 2, of 2 layers"),
        ("qwen2.rope.scaling.attn_factor", (-1.0, T.F32), "attn_factor' is -1; a number above 0"),
        ("qwen2.vocab_size", (38, T.U32), "'qwen2.vocab_size' gives 38 tokens, but the embedding table"),
        ("tokenizer.ggml.tokens", (["a", "b"], T.STRING), "'tokenizer.ggml.tokens' gives 2 tokens, but"),
    ],
)  # fmt: skip
def test_wrong_metadata(write, key, entry, message):
    path = write({key: entry})
    with pytest.raises(LumenError) as error:
        Model.open(path)
    assert message in str(error.value) and path in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("token_embd.weight", None, "no tensor 'token_embd.weight', which qwen2 needs"),
        ("output_norm.weight", None, "no tensor 'output_norm.weight' (64), which qwen2 needs"),
        ("blk.1.attn_k.bias", None, "no tensor 'blk.1.attn_k.bias' (32), which qwen2 needs"),
        ("blk.1.ffn_down.weight", ((96, 64), "q8_0"), "'blk.1.ffn_down.weight' is 96 x 64; by the metadata"),
        ("blk.1.ffn_down.weight", ((64, 96), "i8"), "'blk.1.ffn_down.weight' (64 x 96) has type i8; supp"),
        ("output_norm.weight", ((64,), "q8_0"), "(64) has type q8_0; supported are f32, f16, bf16"),
        ("rope_freqs.weight", ((8,), "f32"), "'rope_freqs.weight' has a divisor that is not above 0"),
        ("rope_freqs.weight", ((7,), "f32"), "'rope_freqs.weight' is f32 [7]; float32 [8], one for each"),
        ("blk.0.attn_q_norm.weight", ((16,), "f32"), "1 tensor that this qwen2 model does not use: 'blk.0"),
    ],
)  # fmt: skip
def test_wrong_tensors(write, name, entry, message):
    path = write(tensors={name: entry})
    with pytest.raises(LumenError) as error:
        Model.open(path)
    assert message in str(error.value) and path in str(error.value) and "\n" not in str(error.value)


def test_rope_table_is_exact_far_out():
    """Position 100,000 of the fastest pair turns by 100,000 radians; float32 angles would be off by 1e-3."""
    table = rope_table(Rope(4, 1e4, "neox"), 100_001)
    assert table.shape == (100_001, 4) and table.dtype == np.float32
    angles = 100_000 * np.array([1.0, 1e-2])
    np.testing.assert_allclose(table[-1], np.concatenate([np.cos(angles), np.sin(angles)]), atol=1e-7)


def test_rope_scaling():
    plain, scaled = rope_table(Rope(8, 1e4, "norm"), 9), rope_table(Rope(8, 1e4, "norm", factor=4.0), 33)
    np.testing.assert_allclose(scaled[::4], plain, atol=1e-7)
    divided = rope_table(Rope(8, 1e4, "norm", divisors=(1.0, 2.0, 4.0, 8.0)), 9)
    np.testing.assert_allclose(divided[8, 3], plain[1, 3], atol=1e-7)


def test_long_rope_begins_behind_the_original_context():
    rope = Rope(4, 100.0, "neox", long=LongRope(64, (1.0, 2.0), (4.0, 8.0)))
    np.testing.assert_allclose(rope.frequencies(64), [1, 0.05])
    np.testing.assert_allclose(rope.frequencies(65), [0.25, 0.0125])
