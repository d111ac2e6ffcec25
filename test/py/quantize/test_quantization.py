# SPDX-License-Identifier: Apache-2.0
"""Quantizing files by the Python API: errors, importance, experts, streaming, and the rules of mixtures."""

from __future__ import annotations

import logging
import os
import struct

import numpy as np
import pytest

from lumen_mlir import formats
from lumen_mlir.errors import LumenError
from lumen_mlir.formats.quantize import quantize
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.writer import GGUFWriter
from lumen_mlir.quantize import mixtures, quantization
from lumen_mlir.quantize.importance import ImportanceMatrix
from lumen_mlir.quantize.quantization import Choices, plan, quantize_file


def write(path, tensors, **metadata):
    """A file of float32 tensors."""
    writer = GGUFWriter(path)
    writer.add("general.architecture", "test", T.STRING)
    for key, value in metadata.items():
        writer.add(f"test.{key}", value, T.U32)
    for name, values in tensors.items():
        values = np.asarray(values, np.float32)
        writer.add_tensor(name, values.shape, "f32", lambda values=values: [values])
    writer.write()
    return GGUFFile.open(path)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def read(path, name):
    file = GGUFFile.open(path)
    info = file.tensors[name]
    return info.type, file.raw(name).reshape(*info.shape[:-1], -1)


def test_bytes_are_those_of_the_quantizer(tmp_path, monkeypatch):
    monkeypatch.setattr(quantization, "_PIECE", 3 * 256)
    w, e = normal(37, 256), normal(3, 5, 256, seed=1)
    source = write(
        tmp_path / "a", {"blk.0.ffn_up.weight": w, "blk.0.ffn_up_exps.weight": e, "v.weight": w[0]}
    )
    seen = []
    for threads in (1, 3):
        done = quantize_file(
            source, tmp_path / "b", "q4_k_s", threads=threads, progress=lambda *a: seen.append(a)
        )
        assert read(tmp_path / "b", "v.weight")[0] == "f32"
        for name, values in (("blk.0.ffn_up.weight", w), ("blk.0.ffn_up_exps.weight", e)):
            kind, raw = read(tmp_path / "b", name)
            assert kind == "q4_k" and np.array_equal(raw, quantize("q4_k", values))
        assert done.nbytes == sum(info.nbytes for info in GGUFFile.open(tmp_path / "b").tensors.values())
        assert seen[-1] == ("quantize", done.weights, done.weights)
        assert [what for what, *_ in seen] == ["quantize"] * len(seen)
        assert [count for _, count, _ in seen] == sorted(count for _, count, _ in seen)
        seen.clear()


@pytest.mark.parametrize(
    ("value", "format", "message"),
    [
        (
            np.nan,
            "q4_0",
            "tensor 'blk.1.b.weight': cannot quantize to q4_0: some weights are infinite or NaN",
        ),
        (np.inf, "f16", "tensor 'blk.1.b.weight': cannot quantize to f16: some weights are infinite or NaN"),
        (
            1e30,
            "q8_0",
            "tensor 'blk.1.b.weight': cannot quantize to q8_0: a weight is too large for its scale",
        ),
        (1e6, "f16", "tensor 'blk.1.b.weight': cannot convert to f16: a weight is too large"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, value, format, message):
    bad = normal(4, 256)
    bad[2, 100] = value
    source = write(tmp_path / "a", {"blk.0.b.weight": normal(4, 256), "blk.1.b.weight": bad})
    with pytest.raises(LumenError, match=message):
        quantize_file(source, tmp_path / "b", format)
    assert os.listdir(tmp_path) == ["a"]


def test_zero_rows(tmp_path):
    source = write(
        tmp_path / "a", {"blk.0.ffn_up.weight": np.zeros((3, 256)), "token_embd.weight": normal(2, 256)}
    )
    for name in ("q4_k_m", "iq4_nl", "mxfp4", "tq1_0", "q2_k", "nvfp4"):
        quantize_file(source, tmp_path / "b", name)
        kind, raw = read(tmp_path / "b", "blk.0.ffn_up.weight")
        assert not formats.get(kind).dequantize(raw).any()


def test_an_error_in_the_callers_hands(tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    source = write(tmp_path / "a", {"blk.0.b.weight": normal(64, 256)})
    with pytest.raises(KeyboardInterrupt):
        quantize_file(source, tmp_path / "b", "q6_k", progress=stop)
    assert os.listdir(tmp_path) == ["a"]


def test_a_split_source_becomes_one_file(tmp_path):
    w, name = normal(4, 256), "blk.{}.ffn_up.weight"
    for part in range(2):
        writer = GGUFWriter(tmp_path / f"m-0000{part + 1}-of-00002.gguf")
        writer.add("general.architecture", "test", T.STRING)
        for key, value, kind in (("no", part, T.U16), ("count", 2, T.U16), ("tensors.count", 2, T.I32)):
            writer.add(f"split.{key}", value, kind)
        writer.add_tensor(name.format(part), w.shape, "f32", lambda: [w])
        writer.write()
    quantize_file(GGUFFile.open(tmp_path / "m-00001-of-00002.gguf"), tmp_path / "b", "q5_0")
    file = GGUFFile.open(tmp_path / "b")
    assert list(file.tensors) == [name.format(0), name.format(1)]
    assert not [key for key in file.metadata if key.startswith("split.")]
    assert np.array_equal(read(tmp_path / "b", name.format(1))[1], quantize("q5_0", w))


def test_what_is_left_alone(tmp_path):
    tensors = {
        "blk.0.attn_norm.weight": normal(256),
        "blk.0.attn_q.bias": normal(256),
        "blk.0.ffn_gate_inp.weight": normal(4, 256),
        "blk.0.ssm_conv1d.weight": normal(4, 256),
        "token_types.weight": normal(2, 256),
        "blk.0.ffn_gate.weight": normal(4, 256),
    }
    source = write(tmp_path / "a", tensors)
    types = {item.info.name: item.type for item in plan(source, Choices("q5_0")).items}
    assert types.pop("blk.0.ffn_gate.weight") == "q5_0" and set(types.values()) == {"f32"}


def test_rows_that_are_no_multiple(tmp_path, caplog):
    source = write(
        tmp_path / "a", {"blk.0.ffn_up.weight": normal(2, 96), "blk.0.ffn_gate.weight": normal(2, 90)}
    )
    with caplog.at_level(logging.WARNING):
        done = quantize_file(source, tmp_path / "b", "q5_k_s")
    assert [item.type for item in done.items] == ["q5_1", "f16"]
    (record,) = caplog.records
    assert record.getMessage() == (
        "2 tensors, such as 'blk.0.ffn_up.weight', get another type than planned: "
        "rows are no multiple of its block"
    )
    with pytest.raises(LumenError, match="a row of 90 weights is not a multiple of the block of q8_0, 32"):
        plan(source, Choices("q5_k_s", overrides=[("gate", "q8_0")]))


# --- importance ---------------------------------------------------------------------------------------------


def imatrix_dat(path, columns, calls=4):
    data = struct.pack("<i", len(columns))
    for name, values in columns.items():
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, len(values))
        data += (np.asarray(values, "<f4") * calls).tobytes()
    # llama-imatrix adds the number of its last chunk and the name of the text.
    path.write_bytes(data + struct.pack("<ii", 100, 8) + b"text.txt")
    return path


def imatrix_gguf(path, columns, counts):
    writer = GGUFWriter(path)
    writer.add("general.type", "imatrix", T.STRING)
    for name, values in columns.items():
        values = np.asarray(values, np.float32) * np.float32(counts)[:, None]
        writer.add_tensor(f"{name}.in_sum2", values.shape, "f32", lambda values=values: [values])
        count = np.asarray(counts, np.float32).reshape(-1, 1)
        writer.add_tensor(f"{name}.counts", count.shape, "f32", lambda count=count: [count])
    writer.write()
    return path


def test_importance(tmp_path, caplog):
    w, name = normal(16, 256), "blk.0.ffn_up.weight"
    importance = np.random.default_rng(1).uniform(0, 1, 256).astype(np.float32) ** 4
    source = write(tmp_path / "a", {name: w, "blk.0.ffn_gate.weight": w, "output.weight": w})
    expected = quantize("q4_k", w, importance)
    assert not np.array_equal(expected, quantize("q4_k", w))
    for path in (
        imatrix_dat(tmp_path / "i.dat", {name: importance}),
        imatrix_gguf(tmp_path / "i.gguf", {name: importance[None]}, [4]),
    ):
        caplog.clear()
        matrix = ImportanceMatrix.open(path)
        quantize_file(source, tmp_path / "b", "q4_k_s", importance=matrix)
        assert np.array_equal(read(tmp_path / "b", name)[1], expected)
        assert caplog.messages == [
            f"{path} knows nothing of tensor 'blk.0.ffn_gate.weight' which count evenly"
        ]


def test_importance_of_experts(tmp_path, monkeypatch):
    monkeypatch.setattr(quantization, "_PIECE", 7 * 256)
    w, name = normal(3, 5, 256), "blk.0.ffn_up_exps.weight"
    importance = np.random.default_rng(1).uniform(0, 1, (3, 256)).astype(np.float32) ** 4
    path = imatrix_gguf(tmp_path / "i.gguf", {name: importance}, [4, 8, 0])
    source = write(tmp_path / "a", {name: w, "output.weight": w[0]})
    quantize_file(source, tmp_path / "b", "q4_0", importance=ImportanceMatrix.open(path))
    raw = read(tmp_path / "b", name)[1]
    for expert in range(3):
        # The third expert was never asked.
        expected = quantize("q4_0", w[expert], importance[expert] if expert < 2 else np.ones(256))
        assert np.array_equal(raw[expert], expected)


def test_bad_importance(tmp_path):
    name = "blk.0.ffn_up.weight"
    source = write(tmp_path / "a", {name: normal(2, 256)})
    good = imatrix_dat(tmp_path / "good", {name: np.ones(256)}).read_bytes()
    for number, data in enumerate(
        (b"", b"abc", b"\\xff" * 64, good[:40], struct.pack("<i", 1 << 30), good[:-1040])
    ):
        path = tmp_path / f"bad{number}"
        path.write_bytes(data)
        with pytest.raises(LumenError, match=f"bad{number}: "):
            ImportanceMatrix.open(path)
    with pytest.raises(LumenError, match="is a GGUF file of type 'model', not an importance matrix"):
        writer = GGUFWriter(tmp_path / "model")
        writer.add("general.type", "model", T.STRING)
        writer.write()
        ImportanceMatrix.open(tmp_path / "model")
    with pytest.raises(LumenError, match="'x' holds negative or non-finite"):
        ImportanceMatrix.open(imatrix_dat(tmp_path / "negative", {"x": [1.0, -1.0]}))
    short = ImportanceMatrix.open(imatrix_dat(tmp_path / "short", {name: np.ones(128)}))
    with pytest.raises(LumenError, match="has 128 columns; the tensor has 2 x 256"):
        quantize_file(source, tmp_path / "b", "q4_0", importance=short)


# --- mixtures -----------------------------------------------------------------------------------------------


def test_every_mixture_can_be_made(tmp_path):
    source = write(
        tmp_path / "a",
        {"token_embd.weight": normal(4, 256), "blk.0.attn_v.weight": normal(2, 256)},
        block_count=1,
    )
    for name in mixtures.MIXTURES:
        items = plan(source, Choices(name)).items
        assert all(item.info.shape[-1] % formats.get(item.type).block == 0 for item in items)


def test_rules_of_mixtures():
    """Samples of what llama.cpp does; ``test/peers`` compares whole models."""
    traits = mixtures.Traits(layers=32, group=8)
    eight = mixtures.Traits(layers=32, group=4, experts=8)

    def types(mixture, part, traits=traits, columns=256):
        return [mixtures.matrix_type(mixture, part, columns, i, traits) for i in range(traits.layers)]

    assert types("q3_k_m", "attn_v")[:3] == ["q5_k", "q5_k", "q4_k"]
    assert types("q2_k", "attn_v")[0] == "q4_k" and types("q2_k", "attn_output")[0] == "q3_k"
    assert types("iq4_xs", "ffn_down")[3:5] == ["q5_k", "iq4_xs"]
    assert types("iq4_xs", "ffn_down", mixtures.Traits(32, importance=True))[0] == "iq4_xs"
    assert types("q4_0", "ffn_down", mixtures.Traits(32, importance=True))[3:5] == ["q4_1", "q4_0"]
    assert (
        types("q4_k_m", "attn_k", eight)[0] == "q8_0" and types("q4_k_m", "attn_output", eight)[0] == "q5_k"
    )
    assert types("q4_k_s", "attn_v", mixtures.Traits(80))[40] == "q5_k"
    assert mixtures.matrix_type("tq1_0", "token_embd", 256, -1, traits) == "q4_k"
    assert mixtures.matrix_type("q4_0", "output", 256, -1, traits) == "q6_k"
    assert mixtures.matrix_type("mxfp4_moe", "ffn_up_exps", 256, 0, eight) == "mxfp4"
    assert mixtures.matrix_type("mxfp4_moe", "attn_q", 256, 0, eight) == "q8_0"
    assert mixtures.matrix_type("q3_k_m", "ffn_down_exps", 256, 1, eight) == "q5_k"
    assert mixtures.part_of("blk.11.ffn_down_exps.weight") == "ffn_down_exps"
