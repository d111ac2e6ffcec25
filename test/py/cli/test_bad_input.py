# SPDX-License-Identifier: Apache-2.0
"""Bad input of every kind ends in one clear line and leaves nothing half-written."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_samples import SHAPE, rewrite

from lumen_mlir.gguf import types as T

PROMPT = ("-p", "a b", "-n", "2", "--temp", "0")


def field(key: str, kind: int, payload: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + payload


def header(tensors: int, fields: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, fields)


def huge_array() -> bytes:
    data = header(0, 1) + field("abc", T.ARRAY, struct.pack("<IQ", T.U8, 1 << 63))
    assert len(data) < 64
    return data


# What the file has, and what the message must say besides the file's name.
BYTES = {
    "empty": (lambda data: b"", "is empty (0 bytes)"),
    "truncated header": (lambda data: data[:10], "truncated: 10 bytes"),
    "truncated metadata": (lambda data: data[:700], "but the file has 700 bytes"),
    "truncated data": (lambda data: data[:-1000], "past the end of the file at"),
    "wrong magic": (lambda data: b"GGML" + data[4:], "it begins with b'GGML', not b'GGUF'"),
    "version 1": (
        lambda data: data[:4] + struct.pack("<I", 1) + data[8:],
        "GGUF version 1 is not supported; versions 2 and 3 are",
    ),
    "absurd tensor count": (
        lambda data: data[:8] + struct.pack("<Q", 1 << 60) + data[16:],
        f"the header announces {1 << 60} tensors",
    ),
    "absurd array": (lambda data: huge_array(), f"'abc' announces {1 << 63} elements of uint8"),
    "alignment of 2^30": (
        lambda data: header(0, 1) + field("general.alignment", T.U32, struct.pack("<I", 1 << 30)),
        f"'general.alignment' is {1 << 30}; a power of two",
    ),
    "unknown tensor type": (
        lambda data: (
            header(1, 0) + struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 32, 99, 0) + bytes(64)
        ),
        "tensor 't' has the unknown tensor type 99",
    ),
}


@pytest.mark.parametrize("case", BYTES)
def test_damaged_file(refused, tiny, tmp_path, case):
    change, message = BYTES[case]
    path = tmp_path / "bad.gguf"
    path.write_bytes(change(tiny.read_bytes()))
    for command in (["generate", path, *PROMPT], ["inspect", path]):
        said = refused(*command)
        assert said.startswith(f"{path}: ") and message in said


WEIGHT = np.zeros(34 * 2 * 64, np.uint8)
ENTRIES = {
    "unknown architecture": (
        dict(metadata={"general.architecture": ("mamba", T.STRING)}),
        "unknown architecture 'mamba'; known: exaone, ",
    ),
    "no architecture": (
        dict(metadata={"general.architecture": None}),
        "metadata has no 'general.architecture'",
    ),
    "missing tensor": (
        dict(tensors={"blk.1.attn_k.weight": None}),
        "no tensor 'blk.1.attn_k.weight' (32 x 64), which qwen2 needs",
    ),
    "wrong shape": (
        dict(tensors={"blk.1.attn_k.weight": ((64, 64), "q8_0", WEIGHT)}),
        "tensor 'blk.1.attn_k.weight' is 64 x 64; by the metadata it should be 32 x 64",
    ),
    "unexpected tensor": (
        dict(tensors={"blk.0.attn_q_norm.weight": ((32,), "f32", np.ones(32, np.float32))}),
        "1 tensor that this qwen2 model does not use: 'blk.0.attn_q_norm.weight'",
    ),
    "a type without kernels": (
        dict(tensors={"blk.0.attn_k.weight": ((32, 64), "i8", np.zeros(32 * 64, np.uint8))}),
        "tensor 'blk.0.attn_k.weight' (32 x 64) has type i8; supported are f32, f16",
    ),
    "wrong metadata type": (
        dict(metadata={"qwen2.block_count": ("two", T.STRING)}),
        "'qwen2.block_count' is a string; expected an integer",
    ),
    "impossible hyperparameter": (
        dict(metadata={"qwen2.attention.head_count_kv": (3, T.U32)}),
        "'qwen2.attention.head_count' 2 is not a multiple of 'qwen2.attention.head_count_kv' 3",
    ),
    "tokens that are numbers": (
        dict(metadata={"tokenizer.ggml.tokens": ([1] * SHAPE.vocabulary, T.I32)}),
        "'tokenizer.ggml.tokens' is an array of int32; expected an array of strings",
    ),
    "merges that are numbers": (
        dict(metadata={"tokenizer.ggml.merges": ([1, 2], T.I32)}),
        "'tokenizer.ggml.merges' is an array of int32; expected an array of strings",
    ),
    "token types that are strings": (
        dict(metadata={"tokenizer.ggml.token_type": (["a"] * SHAPE.vocabulary, T.STRING)}),
        "'tokenizer.ggml.token_type' is an array of string; expected an array of integers",
    ),
    "too few tokens": (
        dict(metadata={"tokenizer.ggml.tokens": (["a"], T.STRING)}),
        f"'tokenizer.ggml.tokens' gives 1 tokens, but the embedding table has {SHAPE.vocabulary} rows",
    ),
    "unknown tokenizer": (
        dict(metadata={"tokenizer.ggml.model": ("bert", T.STRING)}),
        "tokenizer model 'bert' is not supported; 'gpt2'",
    ),
    "unknown pre-tokenizer": (
        dict(metadata={"tokenizer.ggml.pre": ("klingon", T.STRING)}),
        "unknown pre-tokenizer 'klingon'",
    ),
}


@pytest.mark.parametrize("case", ENTRIES)
def test_unsuitable_model(refused, tiny, tmp_path, case):
    changes, message = ENTRIES[case]
    path = rewrite(tiny, tmp_path / "bad.gguf", **changes)
    said = refused("generate", path, *PROMPT)
    assert said.startswith(f"{path}: ") and message in said


def test_rewriting_changes_nothing_else(lumen, tiny, tmp_path):
    same = rewrite(tiny, tmp_path / "same.gguf")
    assert lumen("generate", same, *PROMPT).stdout == lumen("generate", tiny, *PROMPT).stdout


@pytest.mark.parametrize("command", ["generate", "chat", "inspect", "compile", "bench"])
def test_missing_file(refused, tmp_path, command):
    path = tmp_path / "none.gguf"
    assert refused(command, path) == f"{path}: cannot be opened: No such file or directory"


def test_folder(refused, tmp_path):
    assert refused("generate", tmp_path, *PROMPT).startswith(f"{tmp_path}: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file(refused, tiny, tmp_path):
    path = tmp_path / "closed.gguf"
    path.write_bytes(tiny.read_bytes())
    path.chmod(0)
    assert refused("generate", path, *PROMPT) == f"{path}: cannot be opened: Permission denied"


def test_prompt_longer_than_the_context(refused, tiny):
    said = refused("generate", tiny, "-p", "a b c d e f g h", "-c", "4")
    assert said.startswith("the prompt is ") and said.endswith("but the context is 4 tokens")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["-c", "65"], "a context of 65 tokens is longer than the model's own of 64 tokens"),
        (["-c", "-1"], "context is -1; a whole number of at least 1 was expected"),
        (["-t", "0"], "threads is 0; a whole number of at least 1 and at most 1024 was expected"),
        (["--temp", "-1"], "temperature is -1; expected a number at least 0"),
        (["--top-p", "2"], "top_p is 2; expected a number at least 0 and at most 1"),
        (["--engine", "warp"], "unknown engine 'warp'; known are compiled, reference"),
        (["--kv", "q4"], "unknown KV type 'q4'; known are f16, f32, q8_0"),
        (["--stop", ""], "a stop string is empty"),
        (["-f", "/nonexistent/prompt", "-p"], None),
    ],
)
def test_bad_options(refused, tiny, arguments, message):
    if message is None:
        said = refused("generate", tiny, *arguments, "x", code=2)
        assert said == "-p and -f exclude each other (see 'lumen generate --help')"
    else:
        assert refused("generate", tiny, "-p", "a", *arguments) == message


def test_bad_prompts(refused, tiny, tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"no\xe9")
    assert refused("generate", tiny, "-f", path).startswith(f"{path}: byte 2 is not valid UTF-8")
    assert refused("generate", tiny, input=b"\xff").startswith("standard input: byte 0 is not valid UTF-8")
    assert refused("generate", tiny, "-f", "/nonexistent") == (
        "/nonexistent: cannot be opened: No such file or directory"
    )


def test_wrong_usage(refused):
    said = refused("generate", "--frobnicate", code=2)
    assert said.startswith("No such option") and said.endswith("(see 'lumen generate --help')")
    assert "No such command 'run'" in refused("run", code=2)
    assert refused("generate", "-n", "many", code=2).startswith("Invalid value for '-n'")


def test_bad_environment(refused, tiny):
    said = refused("generate", tiny, *PROMPT, env={"LUMEN_CACHE_LIMIT": "lots"})
    assert said.startswith("LUMEN_CACHE_LIMIT is 'lots'; expected a size")


def test_cache_folder_not_writable(lumen, tiny, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    expected = lumen("generate", tiny, *PROMPT)
    done = lumen("generate", tiny, *PROMPT, env={"LUMEN_CACHE_DIR": str(blocked / "cache")})
    assert (done.returncode, done.stdout) == (0, expected.stdout)
    warnings = [line for line in done.stderr.splitlines() if "warning" in line]
    assert len(warnings) == 1 and warnings[0].startswith("lumen: warning: ") and str(blocked) in warnings[0]
    assert blocked.read_text() == "in the way"


def test_corrupt_cache_entries(lumen, tiny, tmp_path):
    own = {"LUMEN_CACHE_DIR": str(tmp_path / "cache")}
    expected = lumen("generate", tiny, *PROMPT, env=own)
    entries = list((tmp_path / "cache").rglob("*.lumen"))
    assert entries
    for path in entries:
        data = bytearray(path.read_bytes())
        data[-1] ^= 0x40
        path.write_bytes(data)
    done = lumen("generate", tiny, *PROMPT, env=own)
    assert (done.returncode, done.stdout) == (0, expected.stdout)
    warnings = [line for line in done.stderr.splitlines() if "warning" in line]
    assert len(warnings) == len(entries) and "its checksum differs" in warnings[0]
    done = lumen("generate", tiny, *PROMPT, env=own)
    assert done.stdout == expected.stdout and "warning" not in done.stderr


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lumen"]


# Lumen, at a text that takes it a while. The first line says that Python is ready.
GENERATING = """
print("ready", flush=True)
import sys
from lumen_mlir.cli import main
sys.exit(main(["generate", "-p", "이 영화", "-n", "2000", "--ignore-eos"]))
"""


def generating(environment: dict[str, str]) -> subprocess.Popen:
    run = subprocess.Popen(
        [sys.executable, "-c", GENERATING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert run.stdout.readline() == b"ready\n"
    return run


def test_interrupt(environment, cache):
    run = generating(environment)
    assert run.stdout.read(3)  # it is generating
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert b"Traceback" not in err and b"error" not in err
    out.decode("utf-8")  # whole characters
    assert leftovers(cache) == []


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.4, 0.9])
def test_interrupt_at_any_time(environment, tmp_path, delay):
    environment["LUMEN_CACHE_DIR"] = str(tmp_path)
    run = generating(environment)
    time.sleep(delay)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    # Before Lumen is asked anything, Python itself ends.
    assert run.returncode in (130, -signal.SIGINT), err
    assert b"lumen: error" not in err and (run.returncode < 0 or b"Traceback" not in err)
    assert leftovers(tmp_path) == []


def test_reader_goes_away(environment):
    run = generating(environment)
    assert run.stdout.read(3)
    run.stdout.close()
    err = run.stderr.read()
    assert run.wait(timeout=60) == 141
    assert err == b""
