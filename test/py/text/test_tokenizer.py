# SPDX-License-Identifier: Apache-2.0
"""Byte-level BPE: reference ids, round trips, streaming without half characters, broken vocabularies."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import CASES, open_vocabulary, references, write_vocabulary

from lumen_mlir.data import embedded_model_path
from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import GGUFFile, TensorInfo
from lumen_mlir.gguf import types as T
from lumen_mlir.storage.cache import Cache
from lumen_mlir.text import byte_level, byte_pair
from lumen_mlir.text.pretokenizers import PRE_TOKENIZERS
from lumen_mlir.text.tokenizer import Tokenizer

EXPECTED = references("ggml-vocab-qwen2")


@pytest.fixture(scope="module")
def qwen2_file(tmp_path_factory) -> GGUFFile:
    return open_vocabulary("ggml-vocab-qwen2", tmp_path_factory.mktemp("vocab"))


@pytest.fixture(scope="module")
def qwen2(qwen2_file) -> Tokenizer:
    return Tokenizer.from_gguf(qwen2_file)


@pytest.fixture(scope="module")
def whole_qwen2(qwen2_file) -> Tokenizer:
    """One that has met a long text and knows every token since."""
    tokenizer = Tokenizer.from_gguf(qwen2_file)
    tokenizer.encode("a " * 2000)
    return tokenizer


@pytest.fixture(scope="module")
def embedded() -> Tokenizer:
    return Tokenizer.from_gguf(GGUFFile.open(embedded_model_path()))


def test_there_are_cases():
    assert len(CASES) == len(EXPECTED) == 47


@pytest.mark.parametrize("index", range(47))
def test_reference_ids(qwen2, index):
    text, ids = CASES[index], EXPECTED[index]
    assert qwen2.encode(text, special=False) == ids
    assert qwen2.decode(ids) == unicodedata.normalize("NFC", text)
    stream = qwen2.stream()
    assert "".join([*map(stream.feed, ids), stream.finish()]) == qwen2.decode(ids)


def test_llama_bpe_reference_ids(tmp_path):
    tokenizer = Tokenizer.from_gguf(open_vocabulary("vocab-llama-bpe", tmp_path))
    for text, ids in zip(CASES, references("vocab-llama-bpe"), strict=True):
        assert tokenizer.encode(text, special=False, add_bos=False) == ids
        assert tokenizer.decode(ids) == text
    assert tokenizer.add_bos and tokenizer.encode("a")[0] == tokenizer.bos


def test_special_tokens(qwen2):
    assert len(qwen2) == 151_936
    text = "<|im_start|>user\n안녕<|im_end|>"
    ids = qwen2.encode(text)
    assert ids[0] == 151_644 and ids[-1] == 151_645 and len(ids) < 8
    assert qwen2.decode(ids) == "user\n안녕" and qwen2.decode(ids, special=True) == text
    plain = qwen2.encode(text, special=False)
    assert 151_644 not in plain and qwen2.decode(plain) == text
    assert qwen2.encode(text) == ids, "the choice holds for one call only"
    assert qwen2.bos == qwen2.eos == 151_643 and not qwen2.add_bos
    assert {151_643, 151_645} <= qwen2.end_tokens
    assert qwen2.is_control(151_644) and not qwen2.is_control(0)


def test_begin_and_end_tokens(qwen2, embedded):
    assert qwen2.encode("a", add_bos=True, add_eos=True) == [151_643, 64, 151_643]
    assert embedded.add_bos and embedded.encode("영화")[0] == embedded.bos == 8189
    assert embedded.bos not in embedded.encode("영화", add_bos=False)
    assert embedded.encode("", add_bos=False) == []
    assert embedded.eos in embedded.end_tokens


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_round_trip(embedded, text):
    ids = embedded.encode(text, special=False, add_bos=False)
    assert embedded.decode(ids) == unicodedata.normalize("NFC", text)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 8188), max_size=12))
def test_streaming_equals_decoding(embedded, ids):
    stream = embedded.stream()
    assert "".join([*map(stream.feed, ids), stream.finish()]) == embedded.decode(ids)


def test_streaming_never_splits_a_character(qwen2):
    # Hangul outside the vocabulary comes byte by byte: nothing may be shown before the third.
    ids = [qwen2._model.find(c) for c in byte_level.encode("뷁😀".encode())]
    stream = qwen2.stream()
    assert [stream.feed(i) for i in ids] == ["", "", "뷁", "", "", "", "😀"] and stream.finish() == ""
    stream = qwen2.stream()
    assert [stream.feed(i) for i in ids[:2]] == ["", ""] and stream.finish() == "\ufffd"
    stream = qwen2.stream()
    assert stream.feed(ids[0]) + stream.feed(64) == "\ufffda"


def test_ids_outside_the_vocabulary(embedded):
    for bad in (-1, 8192):
        with pytest.raises(LumenError, match=f"{bad}.*8192"):
            embedded.decode([bad])
        with pytest.raises(LumenError, match=f"{bad}.*8192"):
            embedded.is_control(bad)


def test_lone_surrogates_are_refused(embedded):
    with pytest.raises(LumenError, match=r"character 1 is U\+D800"):
        embedded.encode("a\ud800")


def test_cache_gives_the_same_tokenizer(qwen2, qwen2_file, tmp_path):
    cache = Cache(tmp_path)
    Tokenizer.from_gguf(qwen2_file, cache)
    (entry,) = cache.entries()
    assert entry.kind == "tokenizers"
    module_read = GGUFFile.open(qwen2_file.path)
    cached = Tokenizer.from_gguf(module_read, cache)
    assert all(cached.encode(text) == qwen2.encode(text) for text in CASES)
    tokens = [qwen2.token_text(index) for index in range(len(qwen2))]
    assert [cached.token_text(index) for index in range(len(cached))] == tokens


def test_a_vocabulary_with_line_feeds(tmp_path):
    cache = Cache(tmp_path / "cache")
    fields = small_fields()
    fields["tokenizer.ggml.tokens"][0][-1] = "<|a\nb|>"
    file = write_vocabulary(tmp_path, fields)
    for _ in range(2):
        assert Tokenizer.from_gguf(file, cache).decode([258], special=True) == "<|a\nb|>"
        assert len(cache.entries()) == 1


def small_fields(pre: str = "qwen2") -> dict:
    """Metadata of a vocabulary of 259: the bytes, two merges, one control token."""
    tokens = [*byte_level.CHARACTER_OF_BYTE.values(), "ab", "Ġab", "<|end|>"]
    return {
        "tokenizer.ggml.model": ("gpt2", T.STRING),
        "tokenizer.ggml.pre": (pre, T.STRING),
        "tokenizer.ggml.tokens": (tokens, T.STRING),
        "tokenizer.ggml.token_type": ([1] * 258 + [3], T.I32),
        "tokenizer.ggml.merges": (["a b", "Ġ ab"], T.STRING),
        "tokenizer.ggml.bos_token_id": (258, T.U32),
    }


@pytest.mark.parametrize(
    ("pre", "digits"),
    [("qwen2", [1] * 4), ("llama-bpe", [3, 1]), ("gpt-2", [4]), ("exaone", [1] * 4), ("kanana2", [3, 1])],
)
def test_pre_tokenizers_cut_digits_their_own_way(tmp_path, pre, digits):
    fields = small_fields(pre)
    tokens = fields["tokenizer.ggml.tokens"][0]
    tokens[-1:-1] = ["12", "123", "1234"]
    fields["tokenizer.ggml.merges"][0].extend(["1 2", "12 3", "123 4"])
    fields["tokenizer.ggml.token_type"] = ([1] * 261 + [3], T.I32)
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields))
    ids = tokenizer.encode("1234", add_bos=False)
    assert [len(tokenizer.decode([i])) for i in ids] == digits
    assert tokenizer.add_bos == (pre == "llama-bpe")


def test_small_vocabulary(tmp_path):
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, small_fields()))
    assert tokenizer.encode(" ab") == [257] and tokenizer.encode("<|end|>ab") == [258, 256]
    assert tokenizer.eos is None and tokenizer.bos == 258 and tokenizer.end_tokens == {258}
    assert tokenizer.encode("ab", add_eos=True) == [256]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"tokenizer.ggml.model": ("bert", T.STRING)}, ["'bert'", "'gpt2'", "'llama'"]),
        ({"tokenizer.ggml.model": ("llama", T.STRING)}, ["no 'tokenizer.ggml.scores'"]),
        ({"tokenizer.ggml.model": None}, ["no 'tokenizer.ggml.model'"]),
        ({"tokenizer.ggml.pre": ("none-such", T.STRING)}, ["'none-such'", "--pre-tokenizer", "qwen2"]),
        ({"tokenizer.ggml.pre": ("qwen-2", T.STRING)}, ["did you mean 'qwen2'"]),
        ({"tokenizer.ggml.tokens": None}, ["no 'tokenizer.ggml.tokens'"]),
        ({"tokenizer.ggml.tokens": ([1, 2], T.I32)}, ["tokenizer.ggml.tokens", "array of int32", "strings"]),
        (
            {"tokenizer.ggml.tokens": ("a", T.STRING)},
            ["tokenizer.ggml.tokens", "a string", "array of strings"],
        ),
        ({"tokenizer.ggml.tokens": ([], T.STRING)}, ["tokenizer.ggml.tokens", "empty"]),
        (
            {"tokenizer.ggml.token_type": (["a"] * 259, T.STRING)},
            ["token_type", "array of string", "integers"],
        ),
        ({"tokenizer.ggml.token_type": ([1.0] * 259, T.F32)}, ["token_type", "array of float32", "integers"]),
        ({"tokenizer.ggml.token_type": ([1], T.I32)}, ["token_type", "1 elements", "259"]),
        ({"tokenizer.ggml.token_type": ([1] * 258 + [9], T.I32)}, ["token_type", "element 258 is 9"]),
        ({"tokenizer.ggml.merges": ([1], T.U8)}, ["merges", "array of uint8", "strings"]),
        ({"tokenizer.ggml.merges": (["a b", "ab"], T.STRING)}, ["merges", "element 1"]),
        ({"tokenizer.ggml.merges": (["a zzz"], T.STRING)}, ["merges", "right side", "zzz"]),
        ({"tokenizer.ggml.merges": (["zzz a"], T.STRING)}, ["merges", "left side", "zzz"]),
        ({"tokenizer.ggml.merges": (["b a"], T.STRING)}, ["merges", "'b' and 'a'", "no token"]),
        ({"tokenizer.ggml.eos_token_id": ("x", T.STRING)}, ["eos_token_id", "a string", "integer"]),
        ({"tokenizer.ggml.add_bos_token": (1, T.U32)}, ["add_bos_token", "a uint32", "bool"]),
    ],
)
def test_broken_metadata(tmp_path, change, parts):
    fields = small_fields() | change
    file = write_vocabulary(tmp_path, {key: value for key, value in fields.items() if value is not None})
    with pytest.raises(LumenError) as caught:
        Tokenizer.from_gguf(file)
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in [*parts, file.path]), message


def test_ids_outside_the_vocabulary_in_metadata(tmp_path, caplog):
    """Other engines run such files: a warning for each, once."""
    fields = small_fields() | {
        "tokenizer.ggml.bos_token_id": (259, T.U32),
        "tokenizer.ggml.eos_token_id": (4_000_000_000, T.U32),
        "tokenizer.ggml.eot_token_id": (-1, T.I32),
        "tokenizer.ggml.add_bos_token": (True, T.BOOL),
        "lumen.eog_token_ids": ([3, 400], T.I32),
    }
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields))
    assert tokenizer.bos is tokenizer.eos is None and tokenizer.end_tokens == {3}
    assert tokenizer.encode("ab") == [256] and not tokenizer.add_bos
    for key, value in (("bos", 259), ("eos", 4_000_000_000), ("eot", -1)):
        key = f"'tokenizer.ggml.{key}_token_id' is {value}"
        assert sum(key in message for message in caplog.messages) == 1
    assert sum("'lumen.eog_token_ids' is 400, outside" in message for message in caplog.messages) == 1


def test_files_without_a_pre_tokenizer(tmp_path, caplog):
    fields = small_fields()
    del fields["tokenizer.ggml.pre"]
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields))
    assert tokenizer.pre == PRE_TOKENIZERS["default"] and tokenizer.encode(" ab") == [257]
    (message,) = caplog.messages
    assert "'default' is taken" in message and "--pre-tokenizer NAME" in message


def ends(tmp_path, tokens: list[str], types: list[int] | None = None, **keys) -> set[str]:
    """The end tokens of a file whose vocabulary ends in ``tokens``; ``keys`` name some of them."""
    fields = small_fields()
    del fields["tokenizer.ggml.bos_token_id"]
    fields["tokenizer.ggml.tokens"][0][258:] = tokens
    fields["tokenizer.ggml.token_type"] = ([1] * 258 + (types or [3] * len(tokens)), T.I32)
    for key, token in keys.items():
        fields[f"tokenizer.ggml.{key}_token_id"] = 258 + tokens.index(token), T.U32
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields))
    return {tokenizer.token_text(index) for index in tokenizer.end_tokens}


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        # Harmony: messages end in other tokens, so <|end|> only ends a part of one.
        ("<|end|> <|return|> <|call|>", "<|return|> <|call|>"),
        ("<|end|> <|return|> <|calls|>", "<|return|> <|calls|>"),
        ("<|end|> <|flush|> <|calls|>", "<|flush|> <|calls|>"),
        ("<|end|> <|flush|>", "<|end|> <|flush|>"),
        ("<|end|> <|return|>", "<|end|> <|return|>"),
        ("<|end|> <|endoftext|>", "<|end|> <|endoftext|>"),
        # HyperCLOVA X: <|im_end|> is between reasoning and answer.
        ("<|im_end|> <|stop|> <|endofturn|>", "<|stop|> <|endofturn|>"),
        ("<|im_end|> <|endoftext|>", "<|im_end|> <|endoftext|>"),
    ],
)
def test_guessed_end_tokens(tmp_path, tokens, expected):
    tokens, expected = tokens.split(), set(expected.split())
    assert ends(tmp_path, tokens) == expected
    assert ends(tmp_path, [*tokens, "<x>"], eos="<x>") == {*expected, "<x>"}
    for named in tokens:  # what the file names is one, whatever it is elsewhere
        assert ends(tmp_path, tokens, eos=named) == {*expected, named}


def test_keys_that_name_several_end_tokens_replace_guesses(tmp_path):
    tokens = ["<|im_end|>", "<|endoftext|>", "<|stop|>", "<|eom_id|>"]
    assert ends(tmp_path, tokens, eos="<|endoftext|>", eot="<|stop|>", eom="<|im_end|>") == set(tokens[:3])
    # A message can end otherwise than a turn.
    assert ends(tmp_path, tokens, eos="<|endoftext|>", eot="<|stop|>") == set(tokens[1:])
    assert ends(tmp_path, tokens, eos="<|stop|>", eot="<|stop|>") == set(tokens)


def test_end_tokens_that_the_makers_list(tmp_path):
    fields = small_fields() | {
        "lumen.eog_token_ids": ([5, 7], T.I32),
        "tokenizer.ggml.eot_token_id": (9, T.U32),
    }
    assert Tokenizer.from_gguf(write_vocabulary(tmp_path, fields)).end_tokens == {5, 7, 9}


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_end_tokens_that_a_file_types_as_text(tmp_path, kind):
    fields = small_fields()
    fields["tokenizer.ggml.tokens"][0][258:] = ["<|im_end|>", "</s>", "<|im_start|>"]
    fields["tokenizer.ggml.token_type"] = ([1] * 261, T.I32)
    del fields["tokenizer.ggml.bos_token_id"]
    if kind == "pieces":
        fields["tokenizer.ggml.tokens"][0][:3] = ["<unk>", "▁", "b"]
        fields["tokenizer.ggml.model"] = "llama", T.STRING
        fields["tokenizer.ggml.scores"] = [0.0] * 261, T.F32
        fields["tokenizer.ggml.token_type"][0][0] = 2
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields))
    assert tokenizer.end_tokens == {258} and tokenizer.is_control(258)
    assert tokenizer.encode("<|im_end|>") == [258] and tokenizer.decode([258]) == ""
    assert len(tokenizer.encode("<|im_end|>", special=False)) > 1
    # "</s>" may be an ordinary token that only looks like one, unless the file names it.
    assert not tokenizer.is_control(259)
    fields["tokenizer.ggml.eos_token_id"] = 259, T.U32
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields))
    assert tokenizer.end_tokens == {258, 259} and tokenizer.encode("</s>") == [259]


def test_one_begin_token(tmp_path):
    fields = small_fields("llama-bpe")
    fields["tokenizer.ggml.tokens"][0][258] = "<s>"
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields))
    assert tokenizer.add_bos
    assert tokenizer.encode("<s>ab") == tokenizer.encode("ab") == [258, 256]
    assert tokenizer.encode("<s><s>ab") == [258, 258, 256], "what is written is kept"
    assert tokenizer.encode("<s>ab", add_bos=True) == [258, 256]
    assert tokenizer.encode("<s>ab", add_bos=False) == [258, 256]
    assert (
        tokenizer.encode("<s>", special=False)[0] == 258 and len(tokenizer.encode("<s>", special=False)) > 2
    )


def test_a_vocabulary_larger_than_the_embedding_table(tmp_path, caplog):
    file = write_vocabulary(tmp_path, small_fields() | {"tokenizer.ggml.eos_token_id": (258, T.U32)})
    file.tensors["token_embd.weight"] = TensorInfo("token_embd.weight", (258, 8), "f32", 0, 0)
    tokenizer = Tokenizer.from_gguf(file)
    assert tokenizer.bos is tokenizer.eos is None and not tokenizer.end_tokens
    assert "outside the vocabulary of 258" in caplog.text and tokenizer.encode(" ab") == [257]
    with pytest.raises(LumenError, match=r"token 258 \(at place 1 of 2\), but the embedding table .* at 257"):
        tokenizer.encode("ab<|end|>")
    assert len(tokenizer.encode("<|end|>", special=False)) == 7


def test_a_given_pre_tokenizer_overrules_the_file(tmp_path):
    fields = small_fields("none-such")
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields), pre_tokenizer="llama-bpe")
    assert tokenizer.add_bos and tokenizer.encode("ab") == [258, 256]
    with pytest.raises(LumenError, match="unknown pre-tokenizer 'lama-bpe' .did you mean 'llama-bpe'"):
        Tokenizer.from_gguf(write_vocabulary(tmp_path, fields), pre_tokenizer="lama-bpe")


def test_a_file_that_differs_from_its_family(tmp_path):
    fields = small_fields("qwen2")
    decomposed = "\u1112\u1161\u11ab"
    assert Tokenizer.from_gguf(write_vocabulary(tmp_path, fields)).encode(decomposed, add_bos=False) == (
        Tokenizer.from_gguf(write_vocabulary(tmp_path, fields)).encode("한", add_bos=False)
    )
    fields |= {"lumen.tokenizer.nfc": (False, T.BOOL), "lumen.tokenizer.ignore_merges": (True, T.BOOL)}
    fields["tokenizer.ggml.tokens"][0][257] = "cde"
    fields["tokenizer.ggml.merges"] = ["a b"], T.STRING
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields))
    assert tokenizer.encode("cde") == [257] and len(tokenizer.encode(decomposed)) == 9


# What each family makes of one text, cut by hand from its published rules.
CUTS = {
    "gpt-2": ["I", "'ve", " 12345", "개", " 가", "\u0301", "나", " 다", "!!", "\n\n ", " x"],
    "qwen2": ["I", "'ve", " ", *"12345", "개", " 가", "\u0301나", " 다", "!!\n\n", " ", " x"],
    "qwen35": ["I", "'ve", " ", *"12345", "개", " 가\u0301나", " 다", "!!\n\n", " ", " x"],
    "llama-bpe": ["I", "'ve", " ", "123", "45", "개", " 가", "\u0301나", " 다", "!!\n\n", " ", " x"],
    "exaone": ["I", "'ve", " ", *"12345", "개", " 가", "\u0301", "나", " 다", "!!", "\n\n ", " x"],
    "exaone-moe": ["I", "'ve", " ", *"12345", "개 가\u0301나 다", "!!\n", "\n", " ", " x"],
    "gpt-4o": ["I've", " ", "123", "45", "개", " 가\u0301나", " 다", "!!\n\n", " ", " x"],
    "tekken": ["I", "'ve", " ", *"12345", "개", " 가\u0301나", " 다", "!!\n\n", " ", " x"],
    # These two cut the space from Hangul again.
    **dict.fromkeys(
        ("deepseek-llm", "deepseek-coder"),
        ["I", "'", "ve", *" 12345개 가\u0301나 다", "!!", *"\n\n ", " x"],
    ),
    "deepseek-v3": ["I", "'ve", " ", "123", "45", "개", " 가\u0301나", " 다", "!!\n\n", " ", " x"],
    "falcon": ["I", "'", "ve", " ", "123", "45", "개", " 가", "\u0301", "나", " 다", "!!", "\n\n ", " x"],
    "bloom": ["I've", " 12345개", " 가\u0301나", " 다", "!!\n\n ", " x"],
    "viking": ["I've", " ", *"12345", "개", " 가\u0301나", " 다", "!!\n\n ", " x"],
    "seed-coder": ["I", "'ve", " ", *"12345", "개", " 가", "\u0301나", " 다", "!!", "\n\n", " ", " x"],
    "default": ["I", "'", "ve", " ", "123", "45", "개", " 가", "\u0301", "나", " 다", "!!", "\n\n ", " x"],
}


@pytest.mark.parametrize("name", CUTS)
def test_cuts(name):
    text = "I've 12345개 가\u0301나 다!!\n\n  x"
    pieces = PRE_TOKENIZERS[name].splitter().pre_tokenize_str(text)
    cuts = [byte_level.decode(piece).decode() for piece, _ in pieces]
    assert cuts == CUTS[name] and "".join(cuts) == text


MARKED = st.sampled_from(
    ["<|im_start|>", "<|im_end|>", "<|im_", "<|endoftext|>", "</tool_call>", "<tool_call>"]
)
TEXTS = st.lists(st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(CASES), MARKED))


@settings(max_examples=200, deadline=None)
@given(TEXTS.map("".join), st.booleans())
def test_short_texts_are_cut_as_long_ones(qwen2, whole_qwen2, text, special):
    """A tokenizer of a text's own tokens gives the ids that one of all tokens gives."""
    assert qwen2.encode(text[:2000], special=special) == whole_qwen2.encode(text[:2000], special=special)


def test_whole_tokenizer(whole_qwen2):
    assert [whole_qwen2.encode(case, special=False) for case in CASES] == EXPECTED
    text = "".join(CASES) * 10
    assert whole_qwen2.decode(whole_qwen2.encode(text)) == unicodedata.normalize("NFC", text)


def test_a_text_twice_in_the_vocabulary(tmp_path):
    """The last id counts, in texts of any length; the others keep their text."""
    fields = small_fields()
    fields["tokenizer.ggml.tokens"][0].insert(258, "ab")
    fields["tokenizer.ggml.token_type"] = ([1] * 259 + [3], T.I32)
    fields["tokenizer.ggml.bos_token_id"] = (259, T.U32)
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields))
    assert tokenizer.encode("ab") == [258] and tokenizer.decode([256, 258]) == "abab"
    assert tokenizer.encode("ab" * 2000) == [258] * 2000 == tokenizer.encode("ab" * 500) * 4


def test_clean_spaces_is_done_only_where_asked_for(tmp_path):
    ids = [64, 220, 0]  # "a", a space, "!"
    for pre, cleaned in (("gpt-2", "a!"), ("qwen2", "a !")):
        tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, small_fields(pre)))
        assert tokenizer.decode(ids) == "a !" and tokenizer.decode(ids, clean_spaces=True) == cleaned


def test_cache_version_is_part_of_the_key(qwen2_file, tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    Tokenizer.from_gguf(qwen2_file, cache)
    monkeypatch.setattr(byte_pair, "_CACHE_VERSION", 99)
    Tokenizer.from_gguf(qwen2_file, cache)
    assert len(cache.entries()) == 2


def test_texts_leave_nothing_behind(embedded):
    """A tokenizer for each text would leave more than a kilobyte of the package's each."""
    memory = Path("/proc/self/smaps_rollup")

    def private() -> int:
        return next(int(line.split()[1]) for line in memory.open() if line.startswith("Private_Dirty"))

    def encode(count: int) -> int:
        for number in range(count):
            embedded.encode(f"이 영화 {number}")
        return private()

    before = encode(1000)
    assert encode(3000) - before < 1000  # kilobytes
