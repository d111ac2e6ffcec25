# SPDX-License-Identifier: Apache-2.0
"""The GGUF reader: agreement with PyPI's gguf, and one clear error for every way a file can be wrong."""

from __future__ import annotations

import os
import random
import struct
import time
import tracemalloc

import gguf as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import GGUFError, GGUFFile
from lumen_mlir.gguf.types import REMOVED_TYPES, TENSOR_TYPES, TYPES_BY_ID
from lumen_mlir.testing.synthetic import write_synthetic

U32, STRING, ARRAY, BOOL = 4, 8, 9, 7


def text(value: bytes | str, order: str = "<") -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(order + "Q", len(data)) + data


def field(key: str, kind: int, payload: bytes, order: str = "<") -> bytes:
    return text(key, order) + struct.pack(order + "I", kind) + payload


def tensor(name: str, dims: list[int], kind: int, offset: int, order: str = "<") -> bytes:
    head = text(name, order) + struct.pack(order + "I", len(dims))
    return head + struct.pack(f"{order}{len(dims)}QIQ", *dims, kind, offset)


def file(fields=(), tensors=(), data=b"", version=3, alignment=32, order="<", counts=None) -> bytes:
    tensor_count, field_count = counts or (len(tensors), len(fields))
    head = b"GGUF" + struct.pack(order + "IQQ", version, tensor_count, field_count)
    head += b"".join(fields) + b"".join(tensors)
    if data:
        head += bytes(-len(head) % alignment)
    return head + data


def sample(order: str = "<") -> bytes:
    """A small file with one of everything."""
    names = b"".join(text(s, order) for s in ["a", "", "영화", "long" * 20])
    fields = [
        field("general.architecture", STRING, text("qwen2", order), order),
        field("general.alignment", U32, struct.pack(order + "I", 64), order),
        field("flag", BOOL, b"\1", order),
        field("names", ARRAY, struct.pack(order + "IQ", STRING, 4) + names, order),
        field("numbers", ARRAY, struct.pack(order + "IQ3i", 5, 3, 1, -2, 3), order),
        field("empty", ARRAY, struct.pack(order + "IQ", 5, 0), order),
        field("flags", ARRAY, struct.pack(order + "IQ", BOOL, 2) + b"\0\1", order),
    ]
    tensors = [tensor("w", [32, 2], 8, 0, order), tensor("n", [4], 0, 128, order)]
    block = struct.pack(order + "e", 0.5) + bytes(range(32))
    data = block * 2 + bytes(60) + struct.pack(order + "4f", 1, 2, 3, 4)
    return file(fields, tensors, data, alignment=64, order=order)


@pytest.fixture
def write(tmp_path):
    def go(data: bytes, name: str = "m.gguf") -> str:
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)

    return go


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [2, 3])
def test_reads_one_of_everything(write, order, version):
    data = bytearray(sample(order))
    data[4:8] = struct.pack(order + "I", version)
    f = GGUFFile.open(write(bytes(data)))
    assert f.version == version and f.byteorder == {"<": "little", ">": "big"}[order]
    assert f.alignment == 64 and f.data_offset % 64 == 0
    m = f.metadata
    assert list(m)[:3] == ["general.architecture", "general.alignment", "flag"]
    assert m["general.architecture"] == "qwen2" and m["flag"] is True
    assert m["names"] == ["a", "", "영화", "long" * 20]
    assert m["names"][2] == "영화" and m["names"][-1] == "long" * 20 and m["names"].raw(1) == b""
    assert m["names"][1:3] == ["", "영화"]
    assert m["numbers"].tolist() == [1, -2, 3] and m["numbers"].dtype == np.int32
    assert len(m["empty"]) == 0 and m["flags"].tolist() == [False, True]
    assert m.type_name("names") == "array of string" and m.type_name("flag") == "bool"
    assert f.tensors["w"].shape == (2, 32) and f.tensors["w"].type == "q8_0" and f.tensors["w"].nbytes == 68
    assert f.raw("w").nbytes == 68 and not f.raw("w").flags.writeable
    assert f.little_endian("w").tobytes() == (struct.pack("<e", 0.5) + bytes(range(32))) * 2
    assert f.array("n").tolist() == [1, 2, 3, 4]
    f.release("w")
    assert f.raw("w").nbytes == 68


@pytest.mark.parametrize("endian", [oracle.GGUFEndian.LITTLE, oracle.GGUFEndian.BIG])
def test_agrees_with_gguf_package(tmp_path, endian):
    path = tmp_path / "o.gguf"
    writer = oracle.GGUFWriter(str(path), "qwen2", endianess=endian)
    writer.add_custom_alignment(128)
    values = {
        "u8": (writer.add_uint8, 200),
        "i8": (writer.add_int8, -3),
        "u16": (writer.add_uint16, 60000),
        "i16": (writer.add_int16, -300),
        "u32": (writer.add_uint32, 4_000_000_000),
        "i32": (writer.add_int32, -5),
        "u64": (writer.add_uint64, 2**63 + 1),
        "i64": (writer.add_int64, -(2**40)),
        "f32": (writer.add_float32, 0.5),
        "f64": (writer.add_float64, 0.1),
        "bool": (writer.add_bool, False),
        "string": (writer.add_string, "안녕"),
        "strings": (writer.add_array, ["x", "안녕", ""]),
        "floats": (writer.add_array, [0.5, 0.25]),
        "bools": (writer.add_array, [True, False]),
    }
    for key, (add, value) in values.items():
        add(key, value)
    rng = np.random.default_rng(0)
    f32 = rng.standard_normal((3, 5, 7), dtype=np.float32)
    f16 = rng.standard_normal((4, 32)).astype(np.float16)
    writer.add_tensor("a", f32.copy())
    writer.add_tensor("b", f16.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    f = GGUFFile.open(path)
    for key, (_, value) in values.items():
        found = f.metadata[key]
        assert (found.tolist() if isinstance(found, np.ndarray) else found) == value, key
    assert f.alignment == 128
    assert np.array_equal(f.array("a"), f32) and f.array("a").shape == (3, 5, 7)
    assert np.array_equal(f.array("b"), f16)


def test_type_table_agrees_with_gguf_package():
    for kind in oracle.GGMLQuantizationType:
        ours = TYPES_BY_ID[kind.value]
        assert ours.name == kind.name.lower()
        if ours.name != "q8_1":  # ggml-common.h: two halves and 32 codes, 36 bytes; the package says 40
            assert (ours.block, ours.nbytes) == oracle.GGML_QUANT_SIZES[kind]
    assert not set(REMOVED_TYPES) & set(TYPES_BY_ID)
    for kind in TENSOR_TYPES:
        assert all(offset + size <= kind.nbytes for offset, size in kind.words or ())


def test_bf16_and_unaligned_arrays(write):
    data = np.array([1.0, -2.5, 3.0], np.float32).view(np.uint32) >> 16
    alignment = field("general.alignment", U32, struct.pack("<I", 1))
    raw = file([alignment], [tensor("b", [3], 30, 0), tensor("f", [2], 0, 6)], alignment=1)
    f = GGUFFile.open(write(raw + data.astype("<u2").tobytes() + struct.pack("<2f", 7, 8)))
    assert f.array("b").tolist() == [1.0, -2.5, 3.0]
    assert f.array("f").tolist() == [7.0, 8.0]


def rejects(path: str, *parts: str) -> None:
    with pytest.raises(GGUFError) as caught:
        f = GGUFFile.open(path)
        for key in f.metadata:
            list(f.metadata[key]) if hasattr(f.metadata[key], "__len__") else None
    message = str(caught.value)
    assert "\n" not in message and message.startswith(path)
    for part in parts:
        assert part in message, message


ONE = struct.pack("<I", 1)
BAD = {
    "magic": (b"GGML" + bytes(40), ["not a GGUF file", "GGML"]),
    "short magic": (b"GG", ["truncated", "2 bytes", "24"]),
    "empty": (b"", ["empty"]),
    "version 1": (file(version=1), ["version 1", "2 and 3"]),
    "version 4": (file(version=4), ["version 4"]),
    "version 0": (file(version=0), ["version 0"]),
    "version 4 big-endian": (file(version=4, order=">"), ["version 4"]),
    "metadata count": (file(counts=(0, 2**63)), [str(2**63), "metadata"]),
    "tensor count": (file(counts=(2**64 - 1, 0)), [str(2**64 - 1), "tensors"]),
    "metadata truncated": (file([field("k", U32, ONE)], counts=(0, 1))[:-2], ["truncated", "'k'", "4 bytes"]),
    "array of 2^63 in 43 bytes": (
        file([field("abc", ARRAY, struct.pack("<IQ", 0, 2**63))])[:43].ljust(43, b"\0"),
        ["'abc'", "truncated"],
    ),
    "array of 2^63 numbers": (
        file([field("k", ARRAY, struct.pack("<IQ", 5, 2**63))]),
        ["'k'", str(2**63), "int32", "0 bytes"],
    ),
    "array of 2^63 strings": (file([field("k", ARRAY, struct.pack("<IQ", 8, 2**63))]), ["'k'", str(2**63)]),
    "string past the end": (
        file([field("k", ARRAY, struct.pack("<IQ", 8, 2) + text("ab") + struct.pack("<Q", 2**64 - 1))]),
        ["element 1 of 2", "'k'", str(2**64 - 1)],
    ),
    "string length wraps": (
        file([field("k", ARRAY, struct.pack("<IQQQ", 8, 2, 2**64 - 9, 0) + bytes(8))]),
        ["element 0 of 2", "'k'"],
    ),
    "nested arrays": (
        file([field("k", ARRAY, struct.pack("<IQIQ", ARRAY, 1, 0, 0))]),
        ["'k'", "nested"],
    ),
    "element type": (file([field("k", ARRAY, struct.pack("<IQ", 13, 0))]), ["'k'", "element type 13"]),
    "value type": (file([field("k", 99, ONE)]), ["'k'", "type 99"]),
    "bool 2": (file([field("k", BOOL, b"\2")]), ["'k'", "bool is 2"]),
    "bools": (file([field("k", ARRAY, struct.pack("<IQ", BOOL, 2) + b"\1\7")]), ["'k'", "bool is 7"]),
    "key twice": (file([field("k", U32, ONE)] * 2), ["'k'", "twice"]),
    "key empty": (file([field("", U32, ONE)]), ["key 0", "empty"]),
    "key long": (file([field("k" * 70000, U32, ONE)]), ["key 0", "70000", "65535"]),
    "key not UTF-8": (file([text(b"\xff\xfe") + struct.pack("<I", U32) + ONE]), ["key 0", "UTF-8"]),
    "string not UTF-8": (file([field("k", STRING, text(b"\xed\xa0\x80"))]), ["'k'", "UTF-8"]),
    "strings not UTF-8": (
        file([field("k", ARRAY, struct.pack("<IQ", 8, 2) + text("a") + text(b"\xff"))]),
        ["'k'", "element 1", "UTF-8"],
    ),
    "alignment 2^30": (
        file([field("general.alignment", U32, struct.pack("<I", 1 << 30))]),
        ["general.alignment", str(1 << 30)],
    ),
    "alignment 0": (file([field("general.alignment", U32, bytes(4))]), ["general.alignment", "is 0"]),
    "alignment 48": (file([field("general.alignment", U32, b"0\0\0\0")]), ["general.alignment", "is 48"]),
    "alignment string": (file([field("general.alignment", STRING, text("32"))]), ["type string"]),
    "alignment array": (
        file([field("general.alignment", ARRAY, struct.pack("<IQI", U32, 1, 32))]),
        ["type array"],
    ),
    "no dimensions": (file([], [tensor("t", [], 0, 0) + bytes(8)], bytes(32)), ["'t'", "0 dimensions"]),
    "five dimensions": (file([], [tensor("t", [1] * 5, 0, 0)], bytes(32)), ["'t'", "5 dimensions"]),
    "dimension 0": (file([], [tensor("t", [4, 0], 0, 0)], bytes(32)), ["'t'", "dimension 1 is 0"]),
    "overflow": (file([], [tensor("t", [2**32, 2**32], 0, 0)], bytes(32)), ["'t'", "2^63"]),
    "tensor too large": (file([], [tensor("t", [2**40, 2**20], 0, 0)], bytes(32)), ["'t'", "past the end"]),
    "unknown type": (file([], [tensor("t", [4], 999, 0)], bytes(32)), ["'t'", "unknown tensor type 999"]),
    "removed type": (file([], [tensor("t", [4], 31, 0)], bytes(32)), ["'t'", "q4_0_4_4", "removed"]),
    "block size": (file([], [tensor("t", [33, 2], 8, 0)], bytes(99)), ["'t'", "33", "32", "q8_0"]),
    "past the end": (file([], [tensor("t", [32], 0, 32)], bytes(128)), ["'t'", "128 bytes", "past the end"]),
    "offset 2^64": (file([], [tensor("t", [8], 0, 2**64 - 32)], bytes(64)), ["'t'", "past the end"]),
    "misaligned": (file([], [tensor("t", [8], 0, 8)], bytes(64)), ["'t'", "offset 8", "alignment 32"]),
    "tensor twice": (
        file([], [tensor("t", [8], 0, 0), tensor("t", [8], 0, 32)], bytes(64)),
        ["'t'", "twice"],
    ),
    "overlap": (
        file([], [tensor("t", [16], 0, 0), tensor("u", [8], 0, 32)], bytes(64)),
        ["'u'", "overlaps", "'t'"],
    ),
    "tensor name empty": (file([], [tensor("", [8], 0, 0)], bytes(64)), ["tensor 0", "empty"]),
    "name with a line break": (file([], [tensor("a\nb", [0], 0, 0)], bytes(64)), ["'a\\nb'"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(write, case):
    data, parts = BAD[case]
    rejects(write(data), *parts)


def test_paths_that_are_no_files(tmp_path):
    rejects(str(tmp_path), "directory")
    rejects(str(tmp_path / "none.gguf"), "No such file")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    rejects(str(fifo), "not a regular file")


def test_unreadable(write):
    path = write(sample())
    os.chmod(path, 0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads every file")
    rejects(path, "Permission denied")


def test_typed_getters(write):
    f = GGUFFile.open(write(sample()))
    m = f.metadata
    assert m.integer("general.alignment") == 64 and m.number("general.alignment") == 64.0
    assert m.string("general.architecture") == "qwen2" and m.boolean("flag")
    assert m.integer("none", None) is None and m.integers("numbers").size == 3
    assert list(m.strings("names"))[0] == "a"
    for call, parts in [
        (lambda: m.integer("flag"), ["'flag'", "a bool", "an integer"]),
        (lambda: m.integer("none"), ["no 'none'"]),
        (lambda: m.strings("numbers"), ["'numbers'", "array of int32", "array of strings"]),
        (lambda: m.numbers("numbers"), ["'numbers'", "array of int32"]),
        (lambda: m.integers("names"), ["'names'", "array of string"]),
        (lambda: m.string("general.alignment"), ["a uint32"]),
        (lambda: f.tensor("x"), ["no tensor 'x'", "2 tensors"]),
        (lambda: f.array("w"), ["'w'", "q8_0"]),
    ]:
        with pytest.raises(GGUFError) as caught:
            call()
        assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_fingerprint(write):
    first = GGUFFile.open(write(sample()))
    same = GGUFFile.open(first.path)
    assert first.fingerprint() == same.fingerprint() and len(first.fingerprint()) == 32
    os.utime(first.path, ns=(1, 1))
    assert GGUFFile.open(first.path).fingerprint() != first.fingerprint()


def explore(path: str) -> None:
    """Open and look at everything: only LumenError may come out, and memory stays in proportion."""
    try:
        f = GGUFFile.open(path)
        for key in f.metadata:
            value = f.metadata[key]
            if hasattr(value, "to_list"):
                value.to_list()
        for name in f.tensors:
            f.raw(name).sum()
        f.fingerprint()
    except LumenError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_truncation(write, order):
    data = sample(order)
    tracemalloc.start()
    for length in range(len(data)):
        path = write(data[:length])
        with pytest.raises(LumenError):
            GGUFFile.open(path)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_random_byte_flips(write):
    rng = random.Random(0)
    original = {order: sample(order) for order in "<>"}
    tracemalloc.start()
    for _ in range(1000):
        data = bytearray(original[rng.choice("<>")])
        for _ in range(rng.choice([1, 1, 2, 4, 16])):
            data[rng.randrange(4, len(data))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        explore(write(bytes(data)))
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "arbitrary.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<I", 3) + data)
    explore(str(path))


def test_opens_a_real_sized_file_fast(tmp_path):
    path = tmp_path / "m.gguf"
    write_synthetic(path, "tiny", layers=1, vocabulary=151_936)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        f = GGUFFile.open(path)
        seconds.append(time.perf_counter() - start)
    assert len(f.metadata["tokenizer.ggml.tokens"]) == 151_936
    assert min(seconds) < 0.1
