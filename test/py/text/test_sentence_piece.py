# SPDX-License-Identifier: Apache-2.0
"""SentencePiece: reference ids, bytes, marked tokens, spaces at the beginning, broken vocabularies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import CASES, open_vocabulary, references, write_vocabulary

from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import types as T
from lumen_mlir.text import sentence_piece
from lumen_mlir.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Tokenizer:
    return Tokenizer.from_gguf(open_vocabulary("vocab-llama-spm", tmp_path_factory.mktemp("vocab")))


def test_reference_ids(llama):
    for text, ids in zip(CASES, references("vocab-llama-spm"), strict=True):
        assert llama.encode(text, special=False, add_bos=False) == ids
        assert llama.decode(ids) == text
        stream = llama.stream(begins=True)
        assert "".join([*map(stream.feed, ids), stream.finish()]) == text


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581")))
def test_round_trip(llama, text):
    assert llama.decode(llama.encode(text, special=False)) == text


def test_special_tokens(llama):
    assert llama.bos == 1 and llama.eos == 2 and llama.add_bos and llama.end_tokens == {2}
    assert llama.encode("") == [1] and llama.encode("", add_bos=False) == []
    assert llama.encode("<s>", add_bos=False) == [1]
    assert 1 not in llama.encode("<s>", special=False, add_bos=False)
    # Behind a marked token a text begins anew, as in llama.cpp.
    once = llama.encode("Hello", add_bos=False)
    assert llama.encode("Hello</s>Hello", add_bos=False) == [*once, 2, *once]
    assert llama.decode([1, *once, 2]) == "Hello" and llama.decode([1, *once], special=True) == "<s>Hello"
    # What is generated goes on in the middle of a text.
    stream = llama.stream()
    assert "".join(map(stream.feed, once)) == " Hello"


def test_bytes_come_together_as_a_character(llama):
    ids = llama.encode("뷁", add_bos=False)
    stream = llama.stream(begins=True)
    assert [stream.feed(token) for token in ids[-3:]] == ["", "", "뷁"]
    assert llama.token_text(ids[-1]) == "<0x81>" and llama.token_bytes(ids[-1]) == b"\x81"


def small_fields() -> dict:
    """Metadata of a vocabulary: unknown, begin, end, 256 bytes, some pieces, one user-defined token."""
    pieces = ["▁", "a", "b", "ab", "▁ab", "<tool>"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    return {
        "tokenizer.ggml.model": ("llama", T.STRING),
        "tokenizer.ggml.tokens": (tokens, T.STRING),
        "tokenizer.ggml.scores": ([0.0] * 259 + [-5.0, -3.0, -4.0, -1.0, -2.0, 0.0], T.F32),
        "tokenizer.ggml.token_type": ([2, 3, 3] + [6] * 256 + [1] * 5 + [4], T.I32),
        "tokenizer.ggml.bos_token_id": (1, T.U32),
        "tokenizer.ggml.eos_token_id": (2, T.U32),
        "tokenizer.ggml.add_space_prefix": (False, T.BOOL),
    }


def test_small_vocabulary(tmp_path):
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, small_fields()))
    assert tokenizer.encode("ab ab", add_bos=False) == [262, 263] and tokenizer.decode([263]) == " ab"
    # User-defined tokens are found even where control tokens are not.
    assert tokenizer.encode("ab<tool>b<s>", special=False)[:4] == [1, 262, 264, 261]
    assert tokenizer.decode([264]) == "<tool>" and tokenizer.encode("c", add_bos=False) == [3 + ord("c")]
    with pytest.raises(LumenError, match="SentencePiece tokenizer has no pre-tokenizer .'qwen2'"):
        Tokenizer.from_gguf(write_vocabulary(tmp_path, small_fields()), pre_tokenizer="qwen2")


def test_a_space_at_the_beginning_of_the_text_alone(tmp_path):
    fields = small_fields() | {
        "tokenizer.ggml.add_space_prefix": (True, T.BOOL),
        "lumen.tokenizer.prepend_first": (True, T.BOOL),
    }
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields))
    assert tokenizer.encode("ab<tool>ab", add_bos=False) == [263, 264, 262]
    # Where the text has one, none is added.
    assert tokenizer.encode(" ab", add_bos=False) == tokenizer.encode("▁ab", add_bos=False) == [263]


def test_vocabularies_that_the_package_would_refuse(tmp_path):
    fields = small_fields()
    tokens, types = fields["tokenizer.ggml.tokens"][0], fields["tokenizer.ggml.token_type"][0]
    tokens += ["", "ab", "<unk2>"]
    types += [1, 1, 2]
    fields["tokenizer.ggml.scores"][0].extend([0.0, -1.0, 0.0])
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields))
    assert tokenizer.encode("ab", add_bos=False) == [266], "the last of two equal tokens counts"
    assert tokenizer.decode([262, 266, 265]) == "abab" and tokenizer.token_text(267) == "<unk2>"
    tokens[0], types[0], types[267] = "<none>", 3, 3
    assert Tokenizer.from_gguf(write_vocabulary(tmp_path, fields)).encode("b", add_bos=False) == [261]


def test_without_bytes_what_is_not_in_the_vocabulary_is_unknown(tmp_path):
    fields = {
        "tokenizer.ggml.model": ("llama", T.STRING),
        "tokenizer.ggml.tokens": (["<unk>", "▁", "a"], T.STRING),
        "tokenizer.ggml.scores": ([0.0, -1.0, -2.0], T.F32),
        "tokenizer.ggml.token_type": ([2, 1, 1], T.I32),
    }
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields))
    assert tokenizer.bos is None and tokenizer.encode("aa b") == [1, 2, 2, 1, 0]


def test_files_that_name_no_special_tokens(tmp_path):
    """As in llama.cpp, 1 begins and 2 ends a text, if they are such tokens."""
    fields = {key: value for key, value in small_fields().items() if not key.endswith("_token_id")}
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields))
    assert (tokenizer.bos, tokenizer.eos, tokenizer.add_bos) == (1, 2, True) and 2 in tokenizer.end_tokens
    ids = tokenizer.encode("a")
    assert ids[0] == 1 and tokenizer.encode("<s>a") == ids


def types(numbers: list[int]) -> dict:
    return {"tokenizer.ggml.token_type": (numbers, T.I32)}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"tokenizer.ggml.scores": ([0.0], T.F32)}, ["scores", "1 elements", "265 tokens"]),
        ({"tokenizer.ggml.scores": ([0.0] * 264 + [float("nan")], T.F32)}, ["scores", "element 264 is nan"]),
        ({"tokenizer.ggml.scores": ([0] * 265, T.I32)}, ["scores", "array of int32", "floats"]),
        (types([1] * 265), ["token_type", "0 tokens as bytes", "0 as unknown"]),
        (types([2, 3, 3] + [6] * 262), ["tokens", "element 259 is '▁'", "byte"]),
        (types([2, 3, 3] + [6] * 255 + [1] * 7), ["marks 255 tokens as bytes"]),
        ({"tokenizer.ggml.add_space_prefix": (1, T.U32)}, ["add_space_prefix", "a uint32", "bool"]),
    ],
)  # fmt: skip
def test_broken_metadata(tmp_path, change, parts):
    file = write_vocabulary(tmp_path, small_fields() | change)
    with pytest.raises(LumenError) as caught:
        Tokenizer.from_gguf(file)
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in [*parts, file.path]), message


def model_bytes(llama: Tokenizer) -> bytes:
    return llama._model._processor.serialized_model_proto()


def test_model_files(llama, tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(model_bytes(llama))
    pieces = sentence_piece.read_model(path)
    assert pieces.tokens == [llama.token_text(index) for index in range(len(llama))]
    assert np.array_equal(pieces.types, llama._types) and not pieces.space_prefix
    assert pieces.scores.dtype == np.float32 and len(pieces.scores) == len(llama)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda data: data[:100], "is not a SentencePiece model"),
        (lambda data: b"\x80\x02" + data, "is not a SentencePiece model"),
        (lambda data: b"", "has no pieces"),
        (lambda data: data + b"\x12\x02\x18\x01", "of type unigram; BPE"),
        (lambda data: data + b"\x1a\x08\x0a\x03abc\x12\x01x", "rules 'abc'"),
    ],
)
def test_broken_model_files(llama, tmp_path, change, part):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(change(model_bytes(llama)))
    with pytest.raises(LumenError, match=part) as caught:
        sentence_piece.read_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(LumenError, match="cannot be read: No such file"):
        sentence_piece.read_model(tmp_path / "none")
