# SPDX-License-Identifier: Apache-2.0
"""``lumen tokenize`` and ``lumen detokenize``."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from cli_samples import rewrite
from vocabularies import CASES, open_vocabulary, references

from lumen_mlir.data import embedded_model_path
from lumen_mlir.gguf import types as T


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return open_vocabulary("vocab-llama-spm", tmp_path_factory.mktemp("vocab")).path


def test_tokens_as_lines_ids_and_json(lumen):
    assert lumen("tokenize", "-p", "영화 뷁", "--no-bos").stdout.splitlines() == [
        '363  "영화"', '257  " \\xeb"', '115  "\\xb7"', '223  "\\x81"',
    ]  # fmt: skip
    ids = lumen("tokenize", "--ids", "-p", "영화").stdout
    assert ids == "8189 363\n"
    told = json.loads(lumen("tokenize", "--json", input="영화\n").stdout)
    assert told["ids"] == [8189, 363] and len(told["tokens"]) == 2
    assert lumen("tokenize", "-p", "", "--no-bos").stdout == ""


def test_text_goes_through_both_commands(lumen, llama, tmp_path):
    for text, expected in list(zip(CASES, references("vocab-llama-spm"), strict=True))[-6:]:
        path = tmp_path / "text"
        path.write_bytes(text.encode() + b"\n")
        ids = lumen("tokenize", llama, "--ids", "--no-bos", "--no-special", "-f", path).stdout
        assert ids.split() == list(map(str, expected))
        assert lumen("detokenize", llama, input=ids).stdout == text + "\n"
        told = json.loads(lumen("detokenize", llama, "--json", "--ids", json.dumps(expected)).stdout)
        assert told["text"] == text and told["ids"] == expected


def test_special_tokens(lumen):
    assert lumen("tokenize", "--ids", "-p", "<|endoftext|>", "--no-bos").stdout == "8189\n"
    assert len(lumen("tokenize", "--ids", "-p", "<|endoftext|>", "--no-special").stdout.split()) > 2
    assert lumen("detokenize", "--ids", "8189,363").stdout == "영화\n"
    assert lumen("detokenize", "--ids", "8189 363", "--special").stdout == "<|endoftext|>영화\n"


def test_detokenize_writes_as_ids_come(environment):
    process = subprocess.Popen(
        [sys.executable, "-m", "lumen_mlir", "detokenize"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
    )  # fmt: skip
    process.stdin.write(b"363\n")
    process.stdin.flush()
    assert os.read(process.stdout.fileno(), 100).decode() == "영화"
    process.stdin.close()
    assert process.stdout.read() == b"\n" and process.wait() == 0


def test_stats(lumen, llama, tmp_path):
    path = tmp_path / "ko.txt"
    path.write_text("영화 영화\n뷁 film\n", encoding="utf-8")
    done = lumen("tokenize", "--stats", path, embedded_model_path(), llama)
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert lines[0] == f"{path}: 23 bytes, 13 characters, 4 words, 5 Hangul syllables"
    assert [line.split()[-5:] for line in lines[2:]][1][0] == "8,192" and len(lines) == 5
    both = json.loads(lumen("tokenize", "--stats", path, embedded_model_path(), llama, "--json").stdout)
    # 영화, a space with 영화, two tokens for the bytes of 뷁; "\n" and "film" hold no Hangul.
    assert both[0]["hangul_tokens"] == 4 and both[0]["tokens_per_hangul_syllable"] == 0.8
    assert both[0]["tokens_per_word"] == both[0]["tokens"] / 4
    # All five syllables are three bytes each in this vocabulary, and nothing else touches them.
    assert both[1]["hangul"] == 5 and both[1]["hangul_tokens"] == 15


def test_bad_input(refused, llama, tmp_path):
    assert "'x' is no token id" in refused("detokenize", "--ids", "1 x")
    assert "token id 9999 is outside the vocabulary of 8192 tokens" in refused("detokenize", "--ids", "9999")
    assert "token id -1 is outside" in refused("detokenize", "--ids", "-1")
    assert "2 models were given; several need --stats" in refused("tokenize", llama, llama)
    assert "cannot be opened" in refused("tokenize", "--stats", tmp_path / "none")
    assert "no words" in refused("tokenize", "--stats", "-", input=" \n")
    assert "byte 1 is not valid UTF-8" in refused("tokenize", input=b"a\xff")
    assert "-p and -f exclude each other" in refused("tokenize", "-p", "a", "-f", "b", code=2)
    odd = rewrite(embedded_model_path(), tmp_path / "odd.gguf", {"tokenizer.ggml.pre": ("qwn2", T.STRING)})
    message = refused("tokenize", odd, "-p", "a")
    assert "unknown pre-tokenizer 'qwn2'" in message and "pass --pre-tokenizer NAME" in message
    assert "did you mean 'qwen2'" in refused("generate", odd, "-p", "a")


def test_pre_tokenizer_is_passed_on(lumen, tmp_path):
    odd = rewrite(embedded_model_path(), tmp_path / "odd.gguf", {"tokenizer.ggml.pre": ("qwn2", T.STRING)})
    given = ("--pre-tokenizer", "qwen2")
    assert lumen("tokenize", odd, "-p", "영화", "--ids", *given).stdout == "8189 363\n"
    assert lumen("detokenize", odd, "--ids", "363", *given).stdout == "영화\n"
    done = lumen("generate", odd, "-p", "배우들의", "--temp", "0", *given)
    assert (done.returncode, done.stdout) == (0, " 연기가 정말 일품이었어요.\n")
