# SPDX-License-Identifier: Apache-2.0
"""Values, headers and kinds of files that no folder should have: one clear error each, at little cost."""

from __future__ import annotations

import json
import os
import struct
import time
import tracemalloc

import pytest
from hf_samples import write_folder

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.hf import HFError, HFFolder
from lumen_mlir.hf.json_files import parse_json, read_text
from lumen_mlir.hf.safetensors import SafetensorsFile
from lumen_mlir.hf.values import Values
from lumen_mlir.support.guard import UNFORESEEN, guarded


def refused(folder, message: str, most: int = 64 << 20) -> None:
    """Opening the folder ends in an error that a check raised, within the memory and the time it may take."""
    tracemalloc.start()
    begin = time.process_time()
    with pytest.raises(LumenError, match=message) as caught:
        HFFolder.open(folder)
    assert time.process_time() - begin < 2
    assert tracemalloc.get_traced_memory()[1] < most
    tracemalloc.stop()
    error = caught.value
    assert UNFORESEEN not in str(error) and str(error).isprintable() and len(str(error)) < 1000
    assert str(error).startswith(str(folder))


def rope(kind: str, **values) -> dict:
    return {"rope_parameters": {"rope_type": kind, **values}}


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_hidden_layers": 1 << 31}, "'num_hidden_layers' is 2147483648; a whole number of at most"),
        ({"num_hidden_layers": 1 << 20}, "'num_hidden_layers' is 1048576; a whole number of at most 16384"),
        ({"hidden_size": 10**400}, "'hidden_size' is 10+.*0+; a whole number of at most 2147483647"),
        ({"hidden_size": 0}, "'hidden_size' is 0; a whole number of at least 1"),
        ({"num_attention_heads": 0}, "'num_attention_heads' is 0; a whole number of at least 1"),
        ({"num_attention_heads": {"x": []}}, "'num_attention_heads' is {'x': .*}; a whole number"),
        ({"num_attention_heads": "x" * 9999}, "'num_attention_heads' is 'x+[.]{3}x+'; a whole number"),
        ({"head_dim": 1 << 40}, "'head_dim' is 1099511627776; a whole number of at most 16384"),
        ({"head_dim": None, "hidden_size": 1 << 20}, "heads have 262144 values; at most 16384"),
        ({"vocab_size": 1 << 40}, "'vocab_size' is 1099511627776; a whole number of at most"),
        ({"rms_norm_eps": 10**400}, "'rms_norm_eps' is 10+.*; a finite number"),
        ({"rms_norm_eps": float("nan")}, "'rms_norm_eps' is nan; a finite number"),
        ({"rms_norm_eps": 1e300}, "layer_norm_rms_epsilon' is inf; a number above 0"),
        ({"hidden_act": ["silu"]}, "the activation is .'silu'.; 'silu' is supported"),
        ({"hidden_act": "\x1b[31m"}, r"the activation is '\\x1b\[31m'; 'silu'"),
        ({"architectures": ["a\nb"]}, r"unknown model class 'a\\nb'"),
        ({"quantization_config": {"quant_method": "a\nb"}}, r"quantized by 'a\\nb'"),
        ({"partial_rotary_factor": float("inf")}, "'partial_rotary_factor' is inf; a finite number"),
        ({"partial_rotary_factor": -0.5}, "'partial_rotary_factor' is -0.5; a number above 0, at most 1"),
        ({"partial_rotary_factor": 1e9}, "'partial_rotary_factor' is 1e.09; a number above 0, at most 1"),
        (rope("default", rope_theta=0), "'rope_scaling': 'rope_theta' is 0.0; a number above 0"),
        (rope("default", rope_theta="1e4"), "'rope_scaling': 'rope_theta' is '1e4'; a finite number"),
        (rope(["yarn"]), "'rope_scaling' is of type .'yarn'.; supported are"),
        (rope("a\nb"), r"'rope_scaling' is of type 'a\\nb'; supported are"),
        (rope("linear", factor=0), "'rope_scaling': 'factor' is 0.0; a number above 0"),
        (rope("yarn", factor=4, rope_theta=1), "'llama.rope.freq_base' is 1; YaRN needs a number above 1"),
        (rope("yarn", factor=4, beta_fast=1e-300), "beta_fast' is 0; a number above 0"),
        (rope("yarn", factor=4, original_max_position_embeddings={}), "original_max.* {}; a whole number"),
        (rope("yarn", factor=4, original_max_position_embeddings=0), "original_max.* 0; a whole number of"),
        (rope("yarn", factor=4, mscale=1, mscale_all_dim=-10 / 1.3862943611198906), "magnitude of 0|is inf"),
        (rope("yarn", factor=4, mscale=[1], mscale_all_dim=1), "'rope_scaling': 'mscale' is .1.; a finite"),
        (rope("yarn", factor=4, truncate="no"), "'rope_scaling': 'truncate' is 'no'; true or false"),
        (rope("llama3", **{**LLAMA3, "high_freq_factor": 1}), "low_freq_factor and high_freq_factor 1; they"),
        (rope("llama3", **{**LLAMA3, "factor": 0}), "'rope_scaling': 'factor' is 0.0; a number above 0"),
        (rope("llama3", **LLAMA3, original_max_position_embeddings="x"), "original_max.* 'x'; a whole"),
        (rope("longrope", original_max_position_embeddings=1), "'original_max_position_embeddings' is 1; Lo"),
        (rope("longrope", short_factor=["x"] * 16), "'rope_scaling': 'short_factor' is 'x'; a finite number"),
        (rope("longrope", short_factor=[10**400] * 16), "'short_factor' is 10+.*; a finite number"),
        (rope("longrope", short_factor=[0] * 16, long_factor=[1] * 16), "a divisor that is not above 0"),
        ({"layer_types": "full_attention"}, "'layer_types' is 'full_attention'; an array was expected"),
        ({"layer_types": [{}] * 4}, "'layer_types' has {}; full and sliding attention"),
        ({"sliding_window": "x", "layer_types": ["sliding_attention"] * 4}, "'sliding_window' is 'x'; a"),
    ],
)  # fmt: skip
def test_odd_values(tmp_path, config, message):
    refused(write_folder(tmp_path, "llama", config=config), message)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("exaone4-hybrid", {"sliding_window_pattern": ""}, "'sliding_window_pattern' is ''; a whole number"),
        (
            "exaone4-hybrid",
            {"sliding_window_pattern": [4]},
            "'sliding_window_pattern' is .4.; a whole number",
        ),
        ("qwen3", {"use_sliding_window": "yes"}, "'use_sliding_window' is 'yes'; true or false"),
        ("qwen3moe", {"num_experts": 1 << 40}, "'num_experts' is 1099511627776; a whole number"),
        ("qwen3moe", {"num_experts": 1 << 30}, "no tensor 'model.layers.0.mlp|is 16 x 64; by config.json"),
        ("qwen3moe", {"norm_topk_prob": []}, "'norm_topk_prob' is ..; true or false"),
        ("solar-open", {"scoring_func": ["softmax"]}, "'scoring_func' is .'softmax'.; a string"),
        (
            "solar-open",
            {"n_shared_experts": 1 << 30},
            "'n_shared_experts' is .*; a whole number of at most 1024",
        ),
        ("exaone-moe", {"routed_scaling_factor": {}}, "'routed_scaling_factor' is {}; a finite number"),
    ],
)
def test_odd_values_of_families(tmp_path, name, config, message):
    usual = {"layer_types": None} if "sliding_window_pattern" in config else {}
    refused(write_folder(tmp_path, name, config={**usual, **config}), message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "config.json: has 0 bytes; 1 to"),
        (b"[" * 100_000, "is not JSON: objects and arrays are nested too deeply"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is not JSON: .* nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "is not JSON: Exceeds the limit .4300 digits."),
        (b'{"a": "\\ud800"}', r"is not JSON: it has half a character, U\+D800"),
        (b'{"a": "\xff"}', "is not JSON: byte 7 is not valid UTF-8"),
        (b'{"a": [' + b"[]," * (2 << 20) + b"[]]}", "bytes with .* objects and arrays take too much memory"),
        (b"[1]", "holds a JSON list; an object was expected"),
    ],
)
def test_odd_json(tmp_path, text, message):
    folder = write_folder(tmp_path, "llama")
    (folder / "config.json").write_bytes(text)
    refused(folder, message)


def test_pairs_of_surrogates_are_text():
    text = json.dumps({"a": "😀", "b": "\\ud800", "c": "a\ud7ff"})
    assert parse_json(text.encode()) == json.loads(text)
    with pytest.raises(ValueError, match="half a character"):
        parse_json(b'["\\udc00\\ud800"]')


@pytest.mark.parametrize(
    "name",
    ["config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja", "generation_config.json"],
)
@pytest.mark.parametrize("kind", ["fifo", "directory", "/dev/zero", "/proc/self/mem", "loop"])
def test_odd_kinds_of_files(tmp_path, name, kind):
    folder = write_folder(tmp_path, "llama")
    path = folder / name
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(name)
        if name not in ("config.json", "tokenizer.json"):
            HFFolder.open(folder)  # as good as not there
            return
    else:
        path.symlink_to(kind)
    missing = {"config.json": "no 'config.json'", "tokenizer.json": "has neither 'tokenizer.json' nor"}
    messages = ["is not a regular file", "has 0 bytes; 1 to", *([missing[name]] if kind == "loop" else [])]
    refused(folder, "|".join(messages))


def test_small_files_are_read_to_their_size(tmp_path):
    path = tmp_path / "a.jinja"
    path.write_bytes(b"\xef\xbb\xbfabc")
    assert read_text(path) == "abc"
    path.write_bytes(b"a\xff")
    with pytest.raises(HFError, match=f"{path}: byte 1 is not valid UTF-8"):
        read_text(path)
    with pytest.raises(HFError, match="is not a regular file"):
        read_text("/dev/zero")
    with pytest.raises(HFError, match="is a directory; a file was expected"):
        read_text(tmp_path)
    with pytest.raises(HFError, match="cannot be read: No such file"):
        read_text(tmp_path / "b")
    with open(path, "wb") as file:
        file.truncate((128 << 20) + 1)
    with pytest.raises(HFError, match="has 134217729 bytes; at most 134217728 were expected"):
        read_text(path)


# --- safetensors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b'{"a": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}}', "'a' is not described by dtype"),
        (b'{"a": {"dtype": "F32", "shape": "22", "data_offsets": [0, 8]}}', "'a' is not described by dtype"),
        (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4, 8]}}', "'a' is not described by"),
        (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}', "its offsets are -8 bytes apart"),
        (b'{"a": {"dtype": "F32", "shape": [2e400], "data_offsets": [0, 8]}}', "no whole number"),
        (b'{"a": {"dtype": "x\\ny", "shape": [2], "data_offsets": [0, 8]}}', r"the unknown type 'x\\ny'"),
        (b'{"a": 1, "a": 1}', "its header is not JSON: it has 'a' twice"),
        (b'{"a": {"dtype": "F32", "dtype": "F32"}}', "its header is not JSON: it has 'dtype' twice"),
        (b'{"a": {"dtype": "F32", "shape": [' + b"9223372036854775807," * 9 + b'1], "data_offsets": [0, 8]}}',
         "'a' has 10 dimensions; at most 8"),
        (b'{"a": ' + b"[" * 100_000, "its header is not JSON: objects and arrays are nested too deeply"),
        (b'{"a": ' + b"7" * 5000 + b"}", "its header is not JSON: Exceeds the limit"),
    ],
)  # fmt: skip
def test_odd_headers(tmp_path, header, message):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    with pytest.raises(HFError, match=message) as caught:
        SafetensorsFile(str(path))
    assert UNFORESEEN not in str(caught.value) and str(caught.value).isprintable()


def test_headers_are_bounded(tmp_path):
    path = tmp_path / "a.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", 17 << 20))
        file.truncate(32 << 20)
    with pytest.raises(HFError, match="its header has 17825792 bytes; at most 16777216 are allowed"):
        SafetensorsFile(str(path))


@pytest.mark.parametrize(
    "name", ["a/../b.safetensors", "/etc/b.safetensors", "\0.safetensors", "x" * 300 + ".safetensors"]
)
def test_odd_names_in_an_index(tmp_path, name):
    folder = write_folder(tmp_path, "qwen2", shards=2)
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": {**places, "x": name}}))
    refused(folder, "is not a file of this folder|1 of 3 files with weights are missing")


# --- getters and the guard ----------------------------------------------------------------------------------


def test_getters(tmp_path):
    values = Values(
        tmp_path, {"one": 1, "half": 0.5, "whole": 3.0, "text": "x", "flag": 1, "none": None, "a": [1]}
    )
    assert values.integer("none", "one") == 1 and values.integer("whole") == 3
    assert values.number("half") == 0.5 and values.positive("one") == 1.0
    assert values.text("text", "") == "x" and values.text("none", "y") == "y"
    assert values.flag("flag", None) is True and values.flag("none", None) is None
    assert values.items("a") == [1] and values.items("none") == [] and values.numbers("a", 1) == [1.0]
    for call, message in [
        (lambda: values.integer("half"), "'half' is 0.5; a whole number of at least 0"),
        (lambda: values.integer("flag", least=2), "'flag' is 1; a whole number of at least 2"),
        (lambda: values.integer("none"), "has no 'none'"),
        (lambda: values.text("one", ""), "'one' is 1; a string was expected"),
        (lambda: values.flag("text", True), "'text' is 'x'; true or false was expected"),
        (lambda: values.items("text"), "'text' is 'x'; an array was expected"),
        (lambda: values.numbers("a", 2), "has 1 numbers in 'a'; 2 were expected"),
    ]:
        with pytest.raises(HFError, match=message):
            call()
    assert len(shown(["x" * 500] * 500)) < 1000 and shown({"a": {"b": {"c": 1}}}) == "{'a': {'b': {...}}}"


def test_what_no_check_foresees_is_one_error():
    for failure in (
        KeyError("a\nb\x1b"),
        ZeroDivisionError("x"),
        RecursionError("deep"),
        struct.error("s" * 999),
    ):
        with pytest.raises(HFError) as caught, guarded("file", HFError):
            raise failure
        said = str(caught.value)
        assert said.startswith(f"file: {UNFORESEEN} ({type(failure).__name__}: ")
        assert said.isprintable() and len(said) < 300 and caught.value.__cause__ is failure
    with pytest.raises(HFError, match="^own$"), guarded("file", LumenError):
        raise HFError("own")
    with pytest.raises(KeyboardInterrupt), guarded("file", HFError):
        raise KeyboardInterrupt
