# SPDX-License-Identifier: Apache-2.0
"""GGUF files as other engines read them, and what no file may cost."""

from __future__ import annotations

import logging
import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from lumen_mlir import LLM
from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.writer import GGUFWriter
from lumen_mlir.models import Model, Rope, rope_table
from lumen_mlir.testing import families
from lumen_mlir.testing.families import FAMILIES, write_family

VOCABULARY = 283


@pytest.fixture
def rewritten(tmp_path):
    """A tiny model with metadata added or replaced (or left out: None), and tensors of other types."""

    def go(name="llama", kinds=None, architecture=None, **changes) -> str:
        source = write_family(tmp_path / "source.gguf", name, vocabulary=VOCABULARY)
        prefix = architecture or FAMILIES[name].architecture
        keys = {
            (key if key.startswith(("general.", "tokenizer.")) else f"{prefix}.{key}"): entry
            for key, entry in changes.pop("keys", {}).items()
        }
        writer = GGUFWriter(tmp_path / "model.gguf")
        writer.copy_metadata(source.metadata, without=keys)
        for key, entry in keys.items():
            if entry is not None:
                writer.add(key, *entry)
        for info in source.tensors.values():
            kind = (kinds or {}).get(info.name, info.type)
            values = source.array(info.name).astype({"f32": "<f4", "f64": "<f8"}[kind])
            data = [np.ascontiguousarray(values).reshape(-1).view(np.uint8)]
            writer.add_tensor(info.name, info.shape, kind, lambda data=data: data)
        writer.write()
        return str(tmp_path / "model.gguf")

    return go


@pytest.mark.parametrize(
    ("keys", "factor"),
    [
        ({}, 1),
        ({"rope.scale_linear": 4.0}, 4),  # the key's older name
        ({"rope.scaling.factor": 4.0}, 4),  # linear, where there is no type
        ({"rope.scaling.factor": 2.0, "rope.scale_linear": 4.0}, 2),
        ({"rope.scaling.type": "linear", "rope.scale_linear": 4.0}, 4),
        ({"rope.scaling.type": "none", "rope.scaling.factor": 4.0}, 1),
        ({"rope.scaling.type": "none", "rope.scale_linear": 4.0}, 1),
    ],
)
def test_factors_of_positions(rewritten, keys, factor):
    typed = {key: (value, T.STRING if isinstance(value, str) else T.F32) for key, value in keys.items()}
    assert Model.open(rewritten(keys=typed)).config.rope.factor == factor


def test_yarn_lengthens_the_context(rewritten, tmp_path):
    yarn = {
        "rope.scaling.type": ("yarn", T.STRING),
        "rope.scaling.factor": (4.0, T.F32),
        "rope.scaling.original_context_length": (families.CONTEXT, T.U32),
    }
    path = rewritten(keys=yarn)
    assert Model.open(path).config.context == 4 * families.CONTEXT
    assert LLM(path, engine="reference", context=3 * families.CONTEXT).context == 3 * families.CONTEXT
    # A file that gives the longer one already keeps it, and other scalings change nothing.
    longer = {**yarn, "context_length": (5 * families.CONTEXT, T.U32)}
    assert Model.open(rewritten(keys=longer)).config.context == 5 * families.CONTEXT
    linear = {"rope.scaling.type": ("linear", T.STRING), "rope.scaling.factor": (4.0, T.F32)}
    assert Model.open(rewritten(keys=linear)).config.context == families.CONTEXT


def test_counts_of_each_layer(rewritten):
    usual = Model.open(rewritten()).config
    layers = usual.layers
    keys = {
        "attention.head_count": ([4] * layers, T.U32),
        "attention.head_count_kv": ([2] * layers, T.I32),
        "feed_forward_length": ([families.HIDDEN] * layers, T.U64),
    }
    assert Model.open(rewritten(keys=keys)).config == usual
    for values, message in [
        ([2, 2, 1, 2], "head_count_kv' is from 1 to 2; layers that differ in it are not supported"),
        ([], "head_count_kv' is an empty array"),
        ([0] * 4, "head_count_kv' is 0; 1 to"),
    ]:
        with pytest.raises(LumenError, match=message):
            Model.open(rewritten(keys={"attention.head_count_kv": (values, T.U32)}))
    with pytest.raises(LumenError, match="'llama.attention.head_count_kv' is an array of float32; expected"):
        Model.open(rewritten(keys={"attention.head_count_kv": ([2.0] * 4, T.F32)}))


def test_float64(rewritten, caplog):
    usual = LLM(rewritten(), engine="reference", context=16).logits([1, 2, 3])
    for names in (
        ("token_embd.weight", "blk.0.attn_q.weight", "blk.1.attn_norm.weight", "output_norm.weight"),
        tuple(GGUFFile.open(rewritten()).tensors),
    ):
        path = rewritten(kinds=dict.fromkeys(names, "f64"))
        for engine in ("reference", "compiled"):
            with caplog.at_level(logging.WARNING):
                llm = LLM(path, engine=engine, context=16, threads=1, activations="exact")
            np.testing.assert_allclose(llm.logits([1, 2, 3]), usual, atol=1e-3)
        said = f"{path}: {len(names)} tensors of type f64 are used as float32"
        assert caplog.messages.count(said) == 2


def test_strings_that_are_no_text(rewritten, tmp_path, caplog):
    """What only people read may be anything; what is needed must be text."""
    odd = b"caf\xe9"
    keys = {
        "general.name": (odd, T.STRING),
        "general.author": (b"\xff\xfe", T.STRING),
        "general.tags": ([b"\xff", b"a"], T.STRING),
    }
    path = rewritten(keys=keys)
    model = Model.open(path)
    assert model.config.name == "caf\ufffd"
    assert caplog.messages == [f"{path}: 'general.name' is not valid UTF-8"]
    with pytest.raises(LumenError, match="'general.author' is not valid UTF-8"):
        model.file.metadata["general.author"]
    # Written again, they stay what they are.
    writer = GGUFWriter(tmp_path / "copy.gguf")
    writer.copy_metadata(model.file.metadata)
    writer.write()
    copied = GGUFFile.open(tmp_path / "copy.gguf").metadata
    assert copied.raw("general.name") == odd and copied.raw("general.tags") == [b"\xff", b"a"]
    assert LLM(path, engine="reference", context=16).generate("a", 1, temperature=0).text() is not None
    for key in ("general.architecture", "tokenizer.ggml.model"):
        with pytest.raises(LumenError, match=f"'{key}' is not valid UTF-8"):
            LLM(rewritten(keys={key: (odd, T.STRING)}), engine="reference", context=16)


def test_a_tokenizer_larger_than_the_model(rewritten, caplog):
    """A token was added to the tokenizer, and the table of embeddings stayed what it was."""
    source = GGUFFile.open(rewritten()).metadata
    tokens, types = source["tokenizer.ggml.tokens"].to_list(), source["tokenizer.ggml.token_type"]
    keys = {
        "tokenizer.ggml.tokens": ([*tokens, "[PAD]"], T.STRING),
        "tokenizer.ggml.token_type": ([*types.tolist(), 3], T.I32),
    }
    path = rewritten(keys=keys)
    llm = LLM(path, engine="reference", context=16)
    assert f"{path}: the tokenizer has 284 tokens, the model only the first 283" in caplog.messages
    assert llm.generate("a", 2, temperature=0, ignore_eos=True).text()
    with pytest.raises(LumenError, match="token id 283 is outside the vocabulary of 283 tokens"):
        llm.logits([283])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"block_count": (2**31 - 1, T.U32)}, "'llama.block_count' is 2147483647; at most 16384 were"),
        ({"attention.key_length": (2**20, T.U32)}, "key_length' is 1048576; 1 to 16384 was expected"),
        ({"rope.freq_base": (1.0, T.F32)}, "'llama.rope.freq_base' is 1; YaRN needs a number above 1"),
        ({"rope.freq_base": (0.5, T.F32)}, "'llama.rope.freq_base' is 0.5; YaRN needs a number above 1"),
        ({"rope.scaling.yarn_beta_slow": (1e-44, T.F32)}, "yarn_beta_slow' is 9.8.*e-45; 1e-06 to"),
        ({"rope.scaling.yarn_beta_fast": (3e38, T.F32)}, "yarn_beta_fast' is 3e.38; 1e-06 to"),
        ({"rope.scaling.yarn_log_multiplier": (-10 / np.log(4), T.F64)}, "which makes a magnitude of"),
        ({"rope.scaling.factor": (5e-324, T.F64)}, "makes angles that are no finite numbers"),
        ({"rope.scaling.type": ("a\n\x1b[31m", T.STRING)}, r"type' is 'a\\n\\x1b\[31m'; supported are"),
        ({"general.architecture": ("x" * 9999, T.STRING)}, "unknown architecture 'x{80}…'; known"),
    ],
)
def test_values_that_no_model_has(rewritten, keys, message):
    tracemalloc.start()
    with pytest.raises(LumenError, match=message) as caught:
        Model.open(rewritten("llama-yarn", keys=keys))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    assert caught.value.__cause__ is None and str(caught.value).isprintable() and len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["blk", "blk.", "blk.²", "blk.x.y", "blk.99999999999999999999.a", "blk.\n"])
def test_names_that_look_like_those_of_layers(tmp_path, name):
    family = replace(FAMILIES["solar-open"], keys={**FAMILIES["solar-open"].keys, "nextn_predict_layers": 1})
    source = write_family(tmp_path / "a.gguf", family)
    writer = GGUFWriter(tmp_path / "b.gguf")
    writer.copy_metadata(source.metadata)
    for info in source.tensors.values():
        writer.add_tensor(info.name, info.shape, info.type, lambda info=info: [source.raw(info.name)])
    writer.add_tensor(name, (4,), "f32", lambda: [np.zeros(16, np.uint8)])
    writer.write()
    with pytest.raises(LumenError, match="1 tensor that this glm4moe model does not use: 'blk"):
        Model.open(tmp_path / "b.gguf")


def test_headers_that_cost_more_than_they_are_long(tmp_path):
    """Millions of entries in a few bytes each take far more memory and time than the file shows."""
    entry = struct.pack("<Q8s", 8, b"%08d") + struct.pack("<IB", T.U8, 0)
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 70_000) + entry * 70_000)
    with pytest.raises(LumenError, match="announces 70000 metadata entries; at most 65536 are allowed"):
        GGUFFile.open(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 70_000, 0) + bytes(70_000 * 40))
    with pytest.raises(LumenError, match="announces 70000 tensors; at most 65536 are allowed"):
        GGUFFile.open(path)
    count = (1 << 23) + 1
    array = struct.pack("<Q1sIIQ", 1, b"a", T.ARRAY, T.STRING, count)
    with open(path, "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + array)
        file.truncate(file.tell() + 8 * count)
    with pytest.raises(LumenError, match="'a' has 8388609 strings; at most 8388608 in all arrays"):
        GGUFFile.open(path)


def test_angles_far_out_are_numbers():
    for rope in (Rope(8, 1e30, "neox"), Rope(8, 1e-4, "neox"), Rope(8, 1e4, "norm", factor=1e-20)):
        assert np.isfinite(rope_table(rope, 8)).all()
