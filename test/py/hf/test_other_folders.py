# SPDX-License-Identifier: Apache-2.0
"""Folders as people have them after training, merging or saving with several versions of transformers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hf_samples import FAMILIES, hf_config, hf_weights, write_folder, write_json, write_safetensors

from lumen_mlir import LLM
from lumen_mlir.errors import LumenError
from lumen_mlir.generate.model_source import open_model
from lumen_mlir.hf import HFFolder
from lumen_mlir.models import Model

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}


@pytest.fixture
def config_of(tmp_path):
    """The configuration of a folder with entries of config.json changed."""

    def go(name: str = "llama", **config):
        return open_model(write_folder(tmp_path / "model", name, config=config)).config

    return go


def same_weights(folder, usual) -> None:
    assert folder.tensors.keys() == usual.tensors.keys()
    for name in usual.tensors:
        np.testing.assert_array_equal(folder.raw(name), usual.raw(name))


# --- rotary embeddings --------------------------------------------------------------------------------------


def test_which_theta_counts(config_of):
    """As in transformers 5: parameters count before what is outside of them."""
    default = {"rope_type": "default"}
    for theta, config in [
        (1e4, {"rope_parameters": None}),
        (3e4, {"rope_parameters": None, "rope_theta": 3e4}),
        (5e5, {"rope_parameters": {**default, "rope_theta": 5e5}}),
        (5e5, {"rope_parameters": {**default, "rope_theta": 5e5}, "rope_theta": 3e4}),
        (3e4, {"rope_parameters": default, "rope_theta": 3e4}),
        (7e5, {"rope_parameters": {**default, "rope_theta": 5e5}, "rope_scaling": {"rope_theta": 7e5}}),
        (5e5, {"rope_parameters": {**default, "rope_theta": 5e5}, "rope_scaling": {}}),
    ]:
        assert config_of(**config).rope.base == theta, config


def test_scalings_beside_parameters(config_of):
    """What people add by hand to a file of transformers 5 counts."""
    rope = config_of(rope_parameters={"rope_type": "default", "rope_theta": 5e5}, rope_scaling=YARN).rope
    assert (rope.base, rope.factor, rope.yarn.original_context) == (5e5, 4.0, 256)
    older = {"type": "linear", "factor": 2.0}
    assert config_of(rope_parameters={"rope_type": "default"}, rope_scaling=older).rope.factor == 2


def test_dynamic_scaling_is_none_within_the_context(config_of):
    usual = config_of(rope_parameters=None)
    assert config_of(rope_parameters=None, rope_scaling={"type": "dynamic", "factor": 2.0}) == usual


def test_parameters_for_each_type_of_layer(config_of):
    theta, other = {"rope_type": "default", "rope_theta": 3e4}, {"rope_type": "default", "rope_theta": 1e6}
    kinds = ["full_attention"] * 4
    alike = {"full_attention": theta, "sliding_attention": theta}
    assert config_of(rope_parameters=alike, layer_types=kinds).rope.base == 3e4
    # Only the parameters of layers that there are count, and of layers whose heads turn.
    differ = {"full_attention": theta, "sliding_attention": other}
    assert config_of(rope_parameters=differ, layer_types=kinds).rope.base == 3e4
    assert config_of("exaone4-hybrid", rope_parameters=differ).rope.base == 1e6
    with pytest.raises(LumenError, match="'rope_parameters' differs by type of layer, which is not supp"):
        config_of("qwen3-window", rope_parameters=differ)


def test_yarn_lengthens_the_context(config_of, tmp_path):
    """Makers tell people to add it to config.json and to leave max_position_embeddings."""
    config = config_of(rope_parameters=YARN, max_position_embeddings=256)
    assert config.context == 1024
    assert config_of(rope_parameters=YARN, max_position_embeddings=300).context == 1024
    assert config_of(rope_parameters=YARN, max_position_embeddings=2048).context == 2048
    without = {key: value for key, value in YARN.items() if not key.startswith("original")}
    assert config_of(rope_parameters=without, max_position_embeddings=128).context == 512
    folder = write_folder(tmp_path / "a", "llama", config={"rope_parameters": YARN})
    assert LLM(folder, engine="reference", context=1000).context == 1000
    with pytest.raises(LumenError, match="a context of 1025 tokens is longer than the model's own of 1024"):
        LLM(folder, engine="reference", context=1025)


# --- the class and the files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("llama", {"architectures": None}),
        ("llama", {"architectures": []}),
        ("llama", {"architectures": ["LlamaModel"]}),
        ("mixtral", {"architectures": None, "model_type": "mixtral"}),
        ("exaone-moe", {"architectures": [None], "model_type": "exaone_moe"}),
        ("solar-open", {"architectures": None, "model_type": "solar_open"}),
    ],
)
def test_classes_by_another_name(tmp_path, name, config):
    usual = HFFolder.open(write_folder(tmp_path / "usual", name))
    same_weights(HFFolder.open(write_folder(tmp_path / "model", name, config=config)), usual)


def test_every_class_has_a_type():
    from lumen_mlir import models
    from lumen_mlir.models import architecture

    assert set(architecture._HF_TYPES.values()) | {"ExaoneMoEForCausalLM"} == set(architecture._HF_CLASSES)
    assert models.hf_class_of_type("t5") is None


def test_one_file_counts_before_an_index(tmp_path, caplog):
    usual = HFFolder.open(write_folder(tmp_path / "usual", "qwen2"))
    folder = write_folder(tmp_path / "model", "qwen2")
    write_json(
        folder / "model.safetensors.index.json", {"weight_map": {"x": "model-00001-of-00002.safetensors"}}
    )
    write_safetensors(folder / "model-00003-of-00003.safetensors", {"model.norm.weight": np.zeros(64)})
    same_weights(HFFolder.open(folder), usual)
    assert caplog.messages == [
        f"{folder / 'model.safetensors'}: is read alone; left out: 'model.safetensors.index.json', "
        "'model-00003-of-00003.safetensors'"
    ]


def test_parts_without_an_index(tmp_path):
    usual = HFFolder.open(write_folder(tmp_path / "usual", "qwen2"))
    folder = write_folder(tmp_path / "model", "qwen2", shards=3)
    (folder / "model.safetensors.index.json").unlink()
    same_weights(HFFolder.open(folder), usual)


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("llama-yarn", lambda name: name.removeprefix("model.")),  # a base model
        ("exaone", lambda name: name.removeprefix("transformer.")),
        ("llama-yarn", lambda name: f"_orig_mod.{name}"),  # torch.compile
        ("qwen3moe", lambda name: name.replace(".mlp.", "._orig_mod.mlp.")),
        ("llama-yarn", lambda name: f"module.{name}"),  # DistributedDataParallel
        ("llama-yarn", lambda name: f"base_model.model.{name}"),  # PEFT
        ("llama-yarn", lambda name: f"base_model.model._orig_mod.{name}"),
        ("llama-yarn", lambda name: f"language_model.{name}"),  # the language model of LLaVA's classes
    ],
)
def test_names_that_wrappers_leave(tmp_path, name, renamed):
    usual = HFFolder.open(write_folder(tmp_path / "usual", name))
    folder = write_folder(tmp_path / "model", name)
    tensors = {renamed(key): values for key, values in hf_weights(FAMILIES[name]).items()}
    write_safetensors(folder / "model.safetensors", tensors, "F16")
    same_weights(HFFolder.open(folder), usual)


def test_names_that_become_one(tmp_path):
    tensors = hf_weights(FAMILIES["llama"])
    folder = write_folder(tmp_path, "llama")
    write_safetensors(
        folder / "model.safetensors", {**tensors, "module.model.norm.weight": np.ones(64)}, "F16"
    )
    with pytest.raises(LumenError, match="'model.norm.weight' and 'module.model.norm.weight' are the same"):
        HFFolder.open(folder)


def test_adapters_are_not_merged(tmp_path):
    """Weights beside those of the model change what it computes: they are never left out."""
    folder = write_folder(tmp_path, "llama")
    tensors = {f"base_model.model.{name}": values for name, values in hf_weights(FAMILIES["llama"]).items()}
    lora = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"
    write_safetensors(folder / "model.safetensors", {**tensors, lora: np.ones((2, 64))}, "F16")
    with pytest.raises(LumenError, match="1 tensor that LlamaForCausalLM does not use: .*lora_A"):
        HFFolder.open(folder)


def test_biases_that_are_only_announced(tmp_path):
    usual = HFFolder.open(write_folder(tmp_path / "usual", "llama"))
    same_weights(HFFolder.open(write_folder(tmp_path / "b", "llama", config={"attention_bias": True})), usual)


def test_float64(tmp_path):
    usual = HFFolder.open(write_folder(tmp_path / "usual", "llama-yarn", "F32"))
    folder = write_folder(tmp_path / "model", "llama-yarn", "F64")
    wide = HFFolder.open(folder)
    assert wide.stored_type == "f32"
    same_weights(wide, usual)
    assert Model.open(wide).config == replace(Model.open(usual).config, name="model")
    # What float32 cannot hold is no weight.
    weights = {**hf_weights(FAMILIES["llama-yarn"]), "model.norm.weight": np.full(64, 1e300)}
    write_safetensors(folder / "model.safetensors", weights, "F64")
    with pytest.raises(LumenError, match="tensor 'model.norm.weight': cannot .*: some weights are infinite"):
        HFFolder.open(folder).array("output_norm.weight")


@pytest.mark.parametrize(
    "text",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace(", ", ",\r\n").encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("256", "256.0").encode(),
    ],
)
def test_json_of_other_programs(tmp_path, text):
    usual = open_model(write_folder(tmp_path / "usual", "qwen3")).config
    folder = write_folder(tmp_path / "model", "qwen3")
    (folder / "config.json").write_bytes(text(json.dumps(hf_config(FAMILIES["qwen3"]))))
    assert open_model(folder).config == replace(usual, name="model")
