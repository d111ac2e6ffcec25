# SPDX-License-Identifier: Apache-2.0
"""Synthetic models: weight statistics, llama.cpp's mixtures, a sound vocabulary, all-or-nothing files."""

from __future__ import annotations

import errno

import gguf as oracle
import numpy as np
import pytest

from lumen_mlir import formats
from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.storage import atomic_file
from lumen_mlir.testing import synthetic
from lumen_mlir.testing.random_blocks import TYPES, random_weights
from lumen_mlir.testing.synthetic import FORMATS, SHAPES, Shape, matrix_type, write_synthetic
from lumen_mlir.testing.vocabulary import synthetic_vocabulary
from lumen_mlir.text import byte_level


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("columns", [896, 18944])
def test_random_weights(type_name, columns):
    count, deviation = 256 * 4096, columns**-0.5
    data = random_weights(np.random.Generator(np.random.SFC64(1)), type_name, count, deviation)
    fmt = formats.get(type_name)
    assert data.dtype == np.uint8 and data.size == fmt.row_bytes(count)
    if type_name in ("q1_0", "q2_0"):  # which gguf lacks
        weights = fmt.dequantize(data)
    else:
        weights = oracle.quants.dequantize(data, oracle.GGMLQuantizationType[type_name.upper()])
    weights = weights.reshape(-1).astype(np.float64)
    assert np.isfinite(weights).all() and weights.size == count
    assert weights.std() == pytest.approx(deviation, rel=0.3 if type_name in ("mxfp4", "nvfp4") else 0.03)
    assert abs(weights.mean()) < 0.01 * deviation
    assert abs(weights).max() < 8 * deviation


@pytest.mark.parametrize("size", [278, 279, 2048, 151_665, 151_936, 152_064])
def test_vocabulary(size):
    vocabulary = synthetic_vocabulary(size)
    tokens = vocabulary.tokens
    assert len(tokens) == len(set(tokens)) == len(vocabulary.types) == size
    regular = vocabulary.end_of_text
    assert len(vocabulary.merges) == regular - 256
    known = set(tokens[:256])
    for merge, token in zip(vocabulary.merges, tokens[256:regular], strict=True):
        left, right = merge.split(" ")
        assert left in known and right in known and left + right == token
        known.add(token)
    assert tokens[regular] == "<|endoftext|>" and tokens[vocabulary.end_of_turn] == "<|im_end|>"
    if size > 151_000:
        assert regular == 151_643
        assert byte_level.encode("한".encode()) in known and byte_level.encode(b" the") in known


def test_vocabulary_too_small():
    with pytest.raises(ValueError, match="277"):
        synthetic_vocabulary(277)


def test_tiny_file(tmp_path):
    path = tmp_path / "tiny.gguf"
    size = write_synthetic(path, "tiny", "q4_k_m", seed=3)
    f, shape = GGUFFile.open(path), SHAPES["tiny"]
    assert path.stat().st_size == size == f.size
    assert f.metadata.integer("qwen2.block_count") == 2 and f.metadata.integer("general.file_type") == 15
    assert f.tensors["token_embd.weight"].shape == (shape.vocabulary, shape.hidden)
    assert f.tensors["token_embd.weight"].type == "q6_k" and "output.weight" not in f.tensors
    assert f.tensors["blk.1.attn_q.weight"].type == "q4_k"
    assert f.tensors["blk.1.ffn_down.weight"].shape == (shape.hidden, shape.feed_forward)
    norm = f.array("blk.0.attn_norm.weight")
    assert norm.shape == (256,) and abs(norm.mean() - 1) < 0.05 and norm.std() > 0.05
    assert abs(f.array("blk.1.attn_k.bias").mean()) < 0.1
    reader = oracle.GGUFReader(path)
    assert {t.name for t in reader.tensors} == set(f.tensors)
    for t in reader.tensors:
        assert np.array_equal(t.data.reshape(-1).view(np.uint8), f.raw(t.name)), t.name


def test_same_arguments_same_bytes(tmp_path):
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        write_synthetic(tmp_path / name, "tiny", "q4_0", seed=seed, vocabulary=301)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b and a != c
    write_synthetic(tmp_path / "one", "tiny", "q4_0", layers=1, vocabulary=301)
    one, two = GGUFFile.open(tmp_path / "one"), GGUFFile.open(tmp_path / "a")
    assert all(np.array_equal(one.raw(name), two.raw(name)) for name in one.tensors)


def test_mixture_of_qwen2_half_billion():
    """What llama.cpp's quantizer makes of the real model (its width, 896, is no multiple of 256)."""
    shape = SHAPES["qwen2.5-0.5b"]
    kinds = [matrix_type("attn_v", 896, "q4_k_m", layer, shape) for layer in range(24)]
    assert [layer for layer, kind in enumerate(kinds) if kind == "q8_0"] == [
        0,
        1,
        2,
        5,
        8,
        11,
        14,
        17,
        20,
        21,
        22,
        23,
    ]
    assert set(kinds) == {"q8_0", "q5_0"}
    assert matrix_type("ffn_down", 4864, "q4_k_m", 0, shape) == "q6_k"
    assert matrix_type("ffn_down", 4864, "q4_k_m", 3, shape) == "q4_k"
    assert matrix_type("token_embd", 896, "q4_k_m", -1, shape) == "q8_0"
    assert matrix_type("ffn_up", 896, "q2_k", 3, shape) == "q4_0"
    assert matrix_type("ffn_up", 900, "q4_0", 3, shape) == "f16"


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_and_odd_shapes(tmp_path, format):
    shape = Shape(192, 3, 8, 2, 24, 320, 301, 128, False)
    path = tmp_path / "m.gguf"
    write_synthetic(path, shape, format)
    f = GGUFFile.open(path)
    assert f.tensors["output.weight"].shape == (301, 192)
    assert f.tensors["blk.2.attn_output.weight"].shape == (192, 192)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (dict(shape="qwen9"), ["'qwen9'", "tiny"]),
        (dict(format="q9"), ["'q9'", "q4_k_m"]),
        (dict(layers=0), ["1 layer", "0"]),
        (dict(vocabulary=10), ["278", "10"]),
        (dict(seed=-1), ["seed", "-1"]),
    ],
)
def test_bad_arguments(tmp_path, arguments, parts):
    with pytest.raises(LumenError) as caught:
        write_synthetic(tmp_path / "m.gguf", **arguments)
    assert all(part in str(caught.value) for part in parts)
    assert not list(tmp_path.iterdir())


def test_nothing_left_when_the_disk_is_full(tmp_path, monkeypatch, capsys):
    def full(descriptor, offset, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_file.os, "posix_fallocate", full)
    assert synthetic.main([str(tmp_path / "m.gguf")]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_left_when_interrupted(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "random_weights", interrupt)
    (tmp_path / "m.gguf").write_text("before")
    assert synthetic.main([str(tmp_path / "m.gguf")]) == 130
    assert [p.name for p in tmp_path.iterdir()] == ["m.gguf"] and (
        tmp_path / "m.gguf"
    ).read_text() == "before"


def test_command_line(tmp_path, capsys):
    assert synthetic.main([str(tmp_path / "m.gguf"), "--layers", "1", "--vocab", "300"]) == 0
    assert "MB in" in capsys.readouterr().err
    assert synthetic.main([str(tmp_path / "none" / "m.gguf")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("lumen: error: ") and error.count("\n") == 1


@pytest.mark.parametrize("format", ["q8_0", "q4_k_m", "q2_k", "iq4_xs", "bf16"])
def test_llama_cpp_loads_it(tmp_path, format):
    llama_cpp = pytest.importorskip("llama_cpp", reason="needs llama-cpp-python")
    path = tmp_path / "m.gguf"
    write_synthetic(path, "tiny", format)
    llm = llama_cpp.Llama(str(path), n_ctx=64, logits_all=True, verbose=False)
    llm.eval(llm.tokenize("안녕 the world".encode()))
    logits = np.array(llm.scores[: llm.n_tokens])
    assert np.isfinite(logits).all() and 0.3 < logits.std() < 3
