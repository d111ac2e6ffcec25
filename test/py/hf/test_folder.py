# SPDX-License-Identifier: Apache-2.0
"""Hugging Face folders: the same models as GGUF files of the families, and what is wrong with broken ones."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hf_samples import (
    FAMILIES,
    VOCABULARY,
    hf_config,
    hf_weights,
    write_folder,
    write_json,
    write_safetensors,
)

from lumen_mlir import LLM
from lumen_mlir.errors import LumenError
from lumen_mlir.generate.model_source import open_model
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.hf import HFFolder, open_quantized
from lumen_mlir.models import Model
from lumen_mlir.quantize import quantization
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing import families
from lumen_mlir.testing.families import write_family

Q_PROJ = "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_folder_is_the_model_that_its_gguf_file_is(tmp_path, name):
    """Down to the bits of every tensor: Q and K reordered, experts stacked, divisors computed."""
    folder = open_model(write_folder(tmp_path / "model", name, "F16", shards=2))
    file = Model.open(write_family(tmp_path / "model.gguf", name, "f16", vocabulary=VOCABULARY))
    assert replace(folder.config, name=file.config.name) == file.config
    assert folder.file.tensors.keys() == file.file.tensors.keys()
    for tensor, info in file.file.tensors.items():
        found = folder.file.tensors[tensor]
        assert (found.shape, found.type, found.nbytes) == (info.shape, info.type, info.nbytes)
        np.testing.assert_array_equal(folder.file.little_endian(tensor), file.file.raw(tensor))
    folder.file.release()


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_weights_keep_their_type(tmp_path, dtype):
    folder = HFFolder.open(write_folder(tmp_path, "llama", dtype))
    assert folder.tensors["blk.0.attn_q.weight"].type == folder.stored_type == dtype.lower()
    assert folder.tensors["blk.0.attn_norm.weight"].type == "f32"
    expected = families.weights(FAMILIES["llama"], VOCABULARY)["blk.1.attn_k.weight"]
    np.testing.assert_allclose(
        folder.array("blk.1.attn_k.weight"), expected, rtol=0 if dtype == "F32" else 2**-8
    )
    # What needs no change is mapped, not copied.
    view = folder.little_endian("blk.0.ffn_up.weight")
    assert not view.flags.owndata and not view.flags.writeable
    with pytest.raises(LumenError, match="no tensor 'x' among"):
        folder.tensor("x")


def test_older_configurations(tmp_path):
    """Before transformers 5: rope_theta and rope_scaling, no layer_types, no tie_word_embeddings."""
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
    old = {"rope_parameters": None, "rope_theta": 5000.0, "tie_word_embeddings": None}
    new = open_model(write_folder(tmp_path / "new", "llama-yarn")).config
    found = open_model(
        write_folder(tmp_path / "a", "llama-yarn", config={**old, "rope_scaling": scaling})
    ).config
    assert found == replace(new, name="a")
    # A factor of attention of its own; an unknown one is the usual.
    own = {**scaling, "attention_factor": 1.5}
    rope = open_model(
        write_folder(tmp_path / "b", "llama-yarn", config={**old, "rope_scaling": own})
    ).config.rope
    assert rope.magnitude == pytest.approx(1.5)
    deepseek = {**scaling, "mscale": 2.0, "mscale_all_dim": 1.0}
    rope = open_model(
        write_folder(tmp_path / "c", "llama-yarn", config={**old, "rope_scaling": deepseek})
    ).config.rope
    assert rope.magnitude == pytest.approx((1 + 0.2 * np.log(4)) / (1 + 0.1 * np.log(4)))
    window = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1, "layer_types": None}
    config = open_model(write_folder(tmp_path / "d", "qwen3", config={**old, **window})).config
    assert [config.attention(index).window for index in range(4)] == [None, 9, 9, 9]
    for pattern in ("LLLG", 4):
        changed = {"layer_types": None, "sliding_window_pattern": pattern}
        config = open_model(write_folder(tmp_path / f"e{pattern}", "exaone4-hybrid", config=changed)).config
        assert [config.attention(index).window for index in range(5)] == [8, 8, 8, None, 8]


def test_a_folder_generates(tmp_path):
    folder = write_folder(tmp_path / "model", "qwen3", "BF16")
    options = {"cache": Cache(tmp_path / "cache"), "threads": 1, "context": 64}
    llm = LLM(folder, **options)
    assert llm.model.file.kind == "Hugging Face folder, 1 safetensors file"
    text = llm.generate("abc", 8, temperature=0, ignore_eos=True).text()
    reference = LLM(folder, engine="reference", **options)
    assert text and text == reference.generate("abc", 8, temperature=0, ignore_eos=True).text()
    assert llm.tokenizer.end_tokens >= {279, 281} and llm.tokenizer.eos == 281
    assert llm.chat([{"role": "user", "content": "a"}], 2).prompt[0] == 280


def test_sampling_of_the_makers(tmp_path, caplog):
    folder = write_folder(tmp_path / "model", "qwen2", "F32")

    def sampling(**config):
        (folder / "generation_config.json").write_text(json.dumps(config))
        return LLM(folder, engine="reference", context=64).sampling

    usual = {"do_sample": True, "temperature": 0.6, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}
    found = sampling(**usual, min_p=None)
    assert (found.temperature, found.top_k, found.top_p, found.min_p) == (0.6, 20, 0.8, 0.05)
    assert found.repeat_penalty == 1.05 and "min_p" not in found.from_model
    assert sampling(**{**usual, "do_sample": False}).temperature == 0
    assert sampling(top_k=0).top_k == 0 and sampling().from_model == ()
    assert sampling(temperature="hot", top_k=1.5, top_p=True, min_p=1e99).from_model == ()
    assert sampling(temperature=-1).from_model == ()
    assert "'general.sampling.temp' is not used: temperature is -1" in caplog.text


def test_quantized_on_load(tmp_path):
    folder = write_folder(tmp_path / "model", "qwen2", "F32")
    cache = Cache(tmp_path / "cache")
    made = []
    options = {"threads": 1, "progress": lambda what, done, total: made.append(what)}
    first = open_quantized(folder, "q8_0", cache=cache, **options)
    assert isinstance(first, GGUFFile) and first.path == str(folder) and set(made) == {"quantize"}
    assert first.tensors["blk.0.attn_q.weight"].type == "q8_0"
    # The file, and its checksums.
    assert [entry.kind for entry in cache.entries()] == ["models", "models"]
    (name,) = {entry.label for entry in cache.entries()} - {""}
    assert name.startswith("model (qwen2 ") and name.endswith(" Q8_0)")
    made.clear()
    again = open_quantized(folder, "q8_0", cache=cache, **options)
    assert not made and again.fingerprint() == first.fingerprint()
    # Without a cache each tensor is quantized when it is asked for: to the same bytes.
    without = open_quantized(folder, "q8_0", cache=Cache(tmp_path / "none", limit=0))
    assert isinstance(without, HFFolder) and without.fingerprint() != HFFolder.open(folder).fingerprint()
    for name in first.tensors:
        np.testing.assert_array_equal(without.little_endian(name), first.raw(name))
    # Another format, and files that have changed, are quantized anew.
    assert open_quantized(folder, "q4_0", cache=cache).tensors["blk.0.attn_q.weight"].type == "q4_0"
    write_folder(tmp_path / "model", "qwen2", "F32", weights={"model.norm.weight": np.zeros(64, np.float32)})
    assert not open_quantized(folder, "q8_0", cache=cache).array("output_norm.weight").any()
    # A damaged entry is made again.
    for entry in cache.entries():
        entry.path.write_bytes(b"GGUF")
    assert open_quantized(folder, "q8_0", cache=cache).tensors["token_embd.weight"]
    llm = LLM(folder, format="q4_0", cache=cache, threads=1, context=64)
    assert llm.model.tensors["blk.0.ffn_up.weight"].type == "q4_0" and not llm.timings.pack_cached
    assert LLM(folder, format="q4_0", cache=cache, threads=1, context=64).timings.pack_cached
    cache.clear()
    assert cache.entries() == []


def test_a_format_is_for_folders(tmp_path):
    path = write_family(tmp_path / "a.gguf", "qwen2", vocabulary=VOCABULARY).path
    with pytest.raises(
        LumenError, match="is a GGUF file already; a format .'q8_0'. is for Hugging Face folders"
    ):
        LLM(path, format="q8_0")


@pytest.mark.parametrize("name", ["llama-3.1", "exaone4-hybrid", "hyperclovax"])
def test_converted_files_are_the_folder(tmp_path, name):
    folder = HFFolder.open(write_folder(tmp_path / "model", name, "BF16"))
    quantization.quantize_file(folder, tmp_path / "a.gguf", quantization.Choices("bf16", keep=("*",)))
    file = GGUFFile.open(tmp_path / "a.gguf")
    assert set(file.metadata) == set(folder.metadata)
    for key in folder.metadata:
        assert file.metadata.type_name(key) == folder.metadata.type_name(key)
        assert np.array_equal(file.metadata[key], folder.metadata[key]), key
    assert Model.open(file).config == Model.open(folder).config
    for tensor in folder.tensors:
        np.testing.assert_array_equal(file.raw(tensor), folder.raw(tensor))


# --- what is wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "unknown model class 'GPT2LMHeadModel'; known: "),
        ({"architectures": None, "model_type": "gpt2"}, "'architectures' does not name the model's class"),
        ({"hidden_size": None}, "config.json: has no 'hidden_size'"),
        ({"num_hidden_layers": "4"}, "'num_hidden_layers' is '4'; a whole number"),
        ({"rms_norm_eps": None}, "has no 'rms_norm_eps'"),
        ({"hidden_act": "gelu"}, "the activation is 'gelu'; 'silu' is supported"),
        ({"rope_scaling": {"rope_type": "ntk", "factor": 2.0}, "rope_parameters": None},
         "'rope_scaling' is of type 'ntk'; supported are default, linear, yarn, llama3, longrope"),
        ({"rope_scaling": [1], "rope_parameters": None}, "'rope_scaling' is .1.; an object was expected"),
        ({"rope_parameters": {"rope_type": "linear"}}, "'rope_scaling': has no 'factor'"),
        ({"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0]}},
         "1 numbers in 'short_factor'; 16 were expected"),
        ({"rope_parameters": {"rope_type": "default", "mrope_section": [1]}}, "'mrope_section'"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "truncate": False}}, "truncate false"),
        ({"layer_types": ["full_attention"]}, "'layer_types' has 1 entries for 4 layers"),
        ({"layer_types": ["linear_attention"] * 4}, "'layer_types' has 'linear_attention'"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized by 'gptq' .'quantization_config'."),
        ({"head_dim": None, "num_attention_heads": 7}, "'hidden_size' 64 is not a multiple of .* 7"),
        ({"vocab_size": 300}, "embed_tokens.weight' is 301 x 64; .* 300 x 64"),
        ({"intermediate_size": 97}, "mlp.gate_proj.weight' is 96 x 64; by config.json it should be 97 x 64"),
        ({"num_hidden_layers": 5}, "no tensor 'model.layers.4.input_layernorm.weight' .64., which Llama"),
        ({"num_hidden_layers": 3}, "9 tensors that LlamaForCausalLM does not use: 'model.layers.3"),
    ],
)  # fmt: skip
def test_unsuitable_configurations(tmp_path, config, message):
    folder = write_folder(tmp_path / "model", "llama", config=config)
    with pytest.raises(LumenError, match=message) as caught:
        HFFolder.open(folder)
    assert str(caught.value).startswith(str(folder)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            {Q_PROJ: np.zeros((64, 64), np.float32)},
            f"'{Q_PROJ}' is 64 x 64; by config.json it should be 128 x 64",
        ),
        ({Q_PROJ: None}, f"no tensor '{Q_PROJ}' .128 x 64., which LlamaForCausalLM needs"),
        (
            {"model.extra.weight": np.zeros(3, np.float32)},
            "1 tensor that .* does not use: 'model.extra.weight'",
        ),
        ({"lm_head.weight": None}, "no tensor 'lm_head.weight' .301 x 64."),
    ],
)
def test_unsuitable_weights(tmp_path, weights, message):
    folder = write_folder(tmp_path / "model", "llama-yarn", weights=weights)
    with pytest.raises(LumenError, match=message):
        HFFolder.open(folder)


def test_an_output_that_is_saved_twice_counts_once(tmp_path):
    table = hf_weights(FAMILIES["llama"])["model.embed_tokens.weight"]
    folder = HFFolder.open(write_folder(tmp_path, "llama", weights={"lm_head.weight": table}))
    assert "output.weight" not in folder.tensors


def test_missing_shards_are_named(tmp_path):
    folder = write_folder(tmp_path, "qwen2", shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(LumenError, match="1 of 3 files with weights are missing: 'model-00002-of-00003"):
        HFFolder.open(folder)


def test_indices_that_lie(tmp_path):
    folder = write_folder(tmp_path, "qwen2", shards=2)
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    first = next(iter(places))
    other = {"model-00001-of-00002.safetensors": "model-00002-of-00002.safetensors"}.get(places[first])
    for value, message in [
        (other, f"tensor '{first}' should be in {other}, but is not"),
        ("../x.safetensors", "'../x.safetensors' is not a file of this folder"),
        ("x.bin", "'x.bin' is not a safetensors file; others are never loaded"),
        (7, "has no 'weight_map'"),
    ]:
        write_json(index, {"weight_map": {**places, first: value}})
        with pytest.raises(LumenError, match=message):
            HFFolder.open(folder)
    index.write_text("{")
    with pytest.raises(LumenError, match="index.json: is not JSON: line 1"):
        HFFolder.open(folder)


def test_pickles_are_never_loaded(tmp_path):
    folder = write_folder(tmp_path, "qwen2")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        LumenError, match="only pickled weights .'pytorch_model.bin'.; loading a pickle may run any code"
    ):
        HFFolder.open(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(LumenError, match="no weights: 'model.safetensors' was expected"):
        HFFolder.open(folder)


def test_folders_that_are_none(tmp_path):
    with pytest.raises(LumenError, match="no 'config.json'; a folder with a Hugging Face model"):
        open_model(tmp_path)
    (tmp_path / "a.gguf").touch()
    with pytest.raises(LumenError, match="name the file: .*a.gguf"):
        open_model(tmp_path)


# --- safetensors --------------------------------------------------------------------------------------------


def safetensors(path: Path, header: dict | bytes, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{", "its header is not JSON"),
        (b"[]", "its header is no JSON object"),
        ({"a": 1}, "'a' is not described by dtype, shape and data_offsets"),
        ({"a": entry(shape=[2.5])}, "'a' has a size or an offset that is no whole number"),
        ({"a": entry(offsets=[-8, 0])}, "'a' has a size or an offset that is no whole number"),
        ({"a": entry(dtype="X4")}, "'a' has the unknown type 'X4'"),
        ({"a": entry(offsets=[0, 4])}, "'a' .F32, 2. takes 8 bytes, but its offsets are 4 bytes apart"),
        ({"a": entry(offsets=[4, 12])}, "truncated: tensor 'a' ends at"),
        ({"a": entry(), "b": entry(shape=[1], offsets=[4, 8])}, "tensor 'b' overlaps tensor 'a'"),
        ({"a": entry(shape=[1 << 62, 1 << 62])}, "'a' .* takes"),
    ],
)
def test_damaged_headers(tmp_path, header, message):
    from lumen_mlir.hf.safetensors import SafetensorsFile

    path = safetensors(tmp_path / "a.safetensors", header, bytes(8))
    with pytest.raises(LumenError, match=message) as caught:
        SafetensorsFile(str(path))
    assert str(caught.value).startswith(f"{path}: ")


def test_files_that_are_cut_off(tmp_path):
    from lumen_mlir.hf.safetensors import SafetensorsFile

    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": np.arange(6.0).reshape(2, 3), "b": np.ones(1)})
    data = path.read_bytes()
    file = SafetensorsFile(str(path))
    assert file.words("a").view("<f4").tolist() == [[0, 1, 2], [3, 4, 5]] and file.type_name("b") == "f32"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(LumenError):
            SafetensorsFile(str(path))


def test_types_without_a_use(tmp_path):
    folder = write_folder(tmp_path, "llama")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data.replace(b'"F16"', b'"I16"', 1))
    with pytest.raises(LumenError, match="tensor '.*' is I16; supported are F32, F16, BF16"):
        HFFolder.open(folder)


def test_configuration_of_text_in_a_model_of_images(tmp_path):
    config = hf_config(FAMILIES["exaone4"])
    nested = {"architectures": ["Exaone4_5_ForConditionalGeneration"], "text_config": config}
    folder = write_folder(tmp_path / "a", "exaone4", config={**dict.fromkeys(config), **nested})
    tensors = hf_weights(FAMILIES["exaone4"])
    renamed = {name.replace("model.", "model.language_model.", 1): values for name, values in tensors.items()}
    renamed["model.visual.patch.weight"] = np.zeros(2, np.float32)
    write_safetensors(folder / "model.safetensors", renamed, "F16")
    whole = open_model(write_folder(tmp_path / "b", "exaone4"))
    model = open_model(folder)
    assert replace(model.config, name="b") == replace(whole.config, name="b")
    for name in whole.tensors:
        np.testing.assert_array_equal(model.file.raw(name), whole.file.raw(name))


def test_selection_biases_by_their_other_name(tmp_path):
    """K-EXAONE's files have them beside the router, not in it."""
    weights = hf_weights(FAMILIES["exaone-moe"])
    biases = {name: values for name, values in weights.items() if "e_score_correction_bias" in name}
    renamed = {name.replace(".gate.e_score", ".e_score"): values for name, values in biases.items()}
    changes = {**dict.fromkeys(biases), **renamed}
    assert len(biases) == 3 and not biases.keys() & renamed.keys()
    usual = HFFolder.open(write_folder(tmp_path / "a", "exaone-moe"))
    other = HFFolder.open(write_folder(tmp_path / "b", "exaone-moe", weights=changes))
    for name in usual.tensors:
        np.testing.assert_array_equal(other.raw(name), usual.raw(name))


def test_experts_that_are_missing(tmp_path):
    lost = "model.layers.1.mlp.experts.5.up_proj.weight"
    folder = write_folder(tmp_path, "qwen3moe", weights={lost: None})
    with pytest.raises(LumenError, match=f"no tensor '{lost}', one of 16 experts'"):
        HFFolder.open(folder)
    # Layers without experts among layers with them.
    folder = write_folder(tmp_path / "dense", "qwen3moe", config={"mlp_only_layers": [1]})
    with pytest.raises(LumenError, match="'mlp_only_layers'"):
        HFFolder.open(folder)
