# SPDX-License-Identifier: Apache-2.0
"""Keys of attention patterns, rotary embeddings and experts: what is read, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lumen_mlir import models
from lumen_mlir.errors import LumenError
from lumen_mlir.models import Attention, Model, Rope, Yarn, llama3_divisors, rope_table
from lumen_mlir.testing.families import FAMILIES, HEAD_SIZE, write_family


def open_with(path, name: str, keys: dict, drop: str = "", **changes) -> Model:
    family = FAMILIES[name]
    kept = {key: value for key, value in family.keys.items() if key != drop}
    return Model.open(write_family(path / "model.gguf", replace(family, keys={**kept, **keys}, **changes)))


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("mixtral", {"expert_used_count": 9}, "'llama.expert_used_count' is 9, but there are 8 experts"),
        ("mixtral", {"expert_gating_func": 3}, "'llama.expert_gating_func' is 3; supported are 1 (softmax)"),
        ("mixtral", {"expert_group_count": 4}, "'llama.expert_group_count' is 4; experts that are chosen by"),
        ("mixtral", {"expert_count": 4}, "'blk.0.ffn_gate_inp.weight' is 8 x 64; by the metadata it should"),
        ("llama-yarn", {"rope.scaling.factor": 0.0}, "'llama.rope.scaling.factor' is 0; a number above 0"),
        ("llama-yarn", {"rope.scaling.yarn_ext_factor": 2.0}, "yarn_ext_factor' is 2; 0 to 1 was expected"),
        (
            "llama-yarn",
            {"rope.scaling.type": "su"},
            "'llama.rope.scaling.type' is 'su'; supported are 'none', ",
        ),
        ("exaone4-hybrid", {"attention.sliding_window_pattern": [True]}, "has 1 entries for 5 layers"),
        ("hyperclovax", {"logit_scale": -1.0}, "'hyperclovax.logit_scale' is -1; a number above 0"),
        ("hyperclovax", {"logit_scale": True}, "'hyperclovax.logit_scale' is a bool; expected a number"),
    ],
)
def test_refused(tmp_path, name, keys, message):
    if "expert_count" in keys:
        # The weights are those of the right number.
        path = tmp_path / "model.gguf"
        write_family(path, name)
        data = bytearray(path.read_bytes())
        at = data.index(b"llama.expert_count") + len(b"llama.expert_count") + 4
        data[at] = keys["expert_count"]
        path.write_bytes(data)
        with pytest.raises(LumenError) as error:
            Model.open(path)
    else:
        with pytest.raises(LumenError) as error:
            open_with(tmp_path, name, keys)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_longrope_needs_its_divisors(tmp_path):
    with pytest.raises(LumenError, match="LongRoPE needs 'rope_factors_short.weight' and 'rope_factors_long"):
        open_with(tmp_path, "llama-longrope", {}, divisors={})


def test_patterns(tmp_path):
    """LLLG by period and by list; with 64 layers EXAONE 4 is hybrid even where the file says nothing."""
    config = open_with(tmp_path, "exaone4-hybrid", {}).config
    assert [config.attention(i).window for i in range(5)] == [8, 8, 8, None, 8]
    assert [config.attention(i).rope is None for i in range(5)] == [False, False, False, True, False]
    assert config.windows == {8: 4, None: 1} and [config.cache_slot(i) for i in range(5)] == [0, 1, 2, 0, 3]
    config = open_with(tmp_path, "qwen3-window", {}).config
    assert config.windows == {9: 2, None: 2} and config.ropes == (config.rope,)
    deep = open_with(tmp_path, "exaone4", {}, layers=64).config
    assert deep.windows == {4096: 48, None: 16} and deep.attention(3) == Attention(None, None)


def test_extra_layers_are_left_out(tmp_path):
    model = open_with(tmp_path, "solar-open", {"nextn_predict_layers": 1})
    assert model.config.layers == 3 and not any(name.startswith("blk.3.") for name in model.tensors)


def test_dense_layers_and_experts(tmp_path):
    model = open_with(tmp_path, "exaone-moe", {})
    config = model.config
    assert [config.has_experts(i) for i in range(4)] == [False, True, True, True]
    assert config.experts == models.Experts(8, 2, 64, 64, "sigmoid", True, 2.5, 1)
    # The matrices of all experts are one matrix.
    assert model.tensors["blk.1.ffn_up_exps.weight"].shape == (8 * 64, 64)
    assert model.weight("blk.1.ffn_up_exps.weight").shape == (8 * 64, 64 * 4)


def test_classes_of_transformers():
    assert models.of_hf_class("MixtralForCausalLM").hf_name("blk.2.ffn_up_exps.weight") == (
        "model.layers.2.block_sparse_moe.experts.{}.w3.weight"
    )
    exaone = models.of_hf_class("ExaoneForCausalLM")
    assert exaone.hf_name("blk.1.attn_q.weight") == "transformer.h.1.attn.attention.q_proj.weight"
    assert exaone.hf_name("token_embd.weight") == "transformer.wte.weight"
    with pytest.raises(LumenError, match=r"unknown model class 'T5Model'; known: Exaone4ForCausalLM, "):
        models.of_hf_class("T5Model")


def test_yarn_by_its_definition():
    """Fast pairs keep their angle, slow ones take a quarter of it, and all grow by 0.1 ln 4 + 1."""
    yarn = Rope(HEAD_SIZE, 1e4, "neox", 4.0, yarn=Yarn(4096), magnitude=0.1 * np.log(4) + 1)
    plain = Rope(HEAD_SIZE, 1e4, "neox").frequencies(1)
    scaled = yarn.frequencies(1)
    turns = 4096 * plain / (2 * np.pi)
    np.testing.assert_allclose(scaled[turns > 40], plain[turns > 40])
    np.testing.assert_allclose(scaled[turns < 0.8], plain[turns < 0.8] / 4)
    assert (np.diff(scaled / plain) <= 0).all()
    table = rope_table(yarn, 3)
    np.testing.assert_allclose(np.hypot(table[:, 0], table[:, HEAD_SIZE // 2]), 1.1386294, rtol=1e-6)


def test_llama3_divisors():
    """Wavelengths below 8192 / 4 stay, those above 8192 / 1 are divided by 8."""
    divisors = np.array(llama3_divisors(128, 5e5, 8.0, 1.0, 4.0, 8192))
    wavelengths = 2 * np.pi / Rope(128, 5e5, "norm").frequencies(1)
    np.testing.assert_array_equal(divisors[wavelengths < 2048], 1)
    np.testing.assert_allclose(divisors[wavelengths > 8192], 8)
    between = (wavelengths > 2048) & (wavelengths < 8192)
    assert between.any() and ((divisors[between] > 1) & (divisors[between] < 8)).all()
    part = rope_table(Rope(128, 5e5, "norm", divisors=tuple(divisors)), 9)
    np.testing.assert_allclose(part[8, 63], np.cos(8 / wavelengths[63] * 2 * np.pi / 8), atol=1e-7)


def test_a_table_continues_where_it_ended():
    rope = Rope(8, 1e4, "norm", factor=2.0)
    np.testing.assert_array_equal(rope_table(rope, 40, 10, 30), rope_table(rope, 40)[10:30])
