# SPDX-License-Identifier: Apache-2.0
"""The tokenizer for programs without Python: the ids and texts of Python's, and files that it refuses."""

from __future__ import annotations

import ctypes
import io
import json
import random
import struct
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from embed_library import ARGUMENT, DAMAGED, FILE, VERSION, load
from fuzz.tokenizer_kinds import KINDS, random_text, write_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from native_tokenizer import (
    BEGINS,
    NO_BOS,
    SPECIAL,
    TEXT_ONLY,
    NativeError,
    NativeTokenizer,
    call,
    compare,
    native,
)
from tokenizers import Regex, models, normalizers, pre_tokenizers
from vocabularies import CASES, open_vocabulary, references, write_vocabulary

from lumen_mlir.data import embedded_model_path
from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.gguf import types as T
from lumen_mlir.storage.checksum import checksum
from lumen_mlir.testing.vocabulary import synthetic_vocabulary
from lumen_mlir.text import tokenizer_file
from lumen_mlir.text.pattern_program import Programs
from lumen_mlir.text.tokenizer import Tokenizer

# What bundles cannot have, by what the message names.
REFUSED = {
    "characters-after-bytes": "behind 'ByteLevel'",
    "white-space": "'Whitespace'",
    "scripts": "'UnicodeScripts'",
    "bert": "'BertPreTokenizer'",
    "nmt": "'Nmt'",
    "bert-normalizer": "'BertNormalizer'",
    "nfd": "'NFD'",
    "nfkc": "'NFKC'",
    "nfkc-characters": "'NFKC'",
    "lowercase": "'Lowercase'",
    "accents": "'NFD'",
    "strip": "'Strip'",
}
# Each shows something that the others do not; the rest is tried by `make test-matrix`.
SHOWN = {
    *("qwen2", "gpt-4o", "exaone-moe", "deepseek-llm", "falcon", "llama-bpe", "falcon-steps"),
    *("byte-level-prefix", "inverted", "bytes-by-normalizer", "replace", "legacy", "gemma-split"),
    *("unknown", "unknown-fused", "whole-words", "metaspace-first-split", "metaspace-always"),
}
NAMES = [
    pytest.param(name, marks=() if name in SHOWN else pytest.mark.matrix)
    for name in KINDS
    if name not in REFUSED
]


@pytest.fixture(scope="module")
def embedded() -> Tokenizer:
    return Tokenizer.from_gguf(GGUFFile.open(embedded_model_path()))


@pytest.fixture(scope="module")
def opened(embedded, tmp_path_factory):
    with native(embedded, tmp_path_factory.mktemp("file") / "tokenizer.bin") as found:
        yield found


@pytest.fixture(scope="module")
def data(embedded, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("data") / "tokenizer.bin"
    with open(path, "wb") as file:
        tokenizer_file.write(embedded, file)
    return path.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_gives_the_same(name, tmp_path):
    tokenizer = Tokenizer.from_gguf(write_folder(tmp_path / "folder", KINDS[name]()))
    rng = random.Random(name)
    with native(tokenizer, tmp_path / "tokenizer.bin") as found:
        for _ in range(60):
            compare(tokenizer, found, random_text(rng))
        for text in ("", " ", "\n", " \n ", "'ſ", "a" * 5000, " " * 5000, " \t" * 2000 + "\n x"):
            compare(tokenizer, found, text)
        # Ids in any order, so broken characters: the texts are the same, if not always their pieces.
        for special in (True, False):
            ids = [rng.randrange(len(tokenizer)) for _ in range(3000)]
            stream = tokenizer.stream(special, begins=True)
            text = "".join([*map(stream.feed, ids), stream.finish()])
            assert "".join(found.decode(ids, BEGINS | special * SPECIAL)) == text


@pytest.mark.parametrize("name", REFUSED)
def test_what_only_the_package_knows_is_refused(name, tmp_path):
    tokenizer = Tokenizer.from_gguf(write_folder(tmp_path / "folder", KINDS[name]()))
    with pytest.raises(LumenError, match=f"{REFUSED[name]}.*bundles cannot have"):
        tokenizer_file.write(tokenizer, io.BytesIO())


@pytest.mark.parametrize("name", ["ggml-vocab-qwen2", "vocab-llama-bpe", "vocab-llama-spm"])
def test_reference_ids(name, tmp_path):
    tokenizer = Tokenizer.from_gguf(open_vocabulary(name, tmp_path))
    with native(tokenizer, tmp_path / "tokenizer.bin") as found:
        for text, ids in zip(CASES, references(name), strict=True):
            assert found.encode(text, TEXT_ONLY | NO_BOS) == ids
            compare(tokenizer, found, text)
        rng = random.Random(name)
        for _ in range(100):
            compare(tokenizer, found, random_text(rng))
        assert found.encode("a b") == tokenizer.encode("a b")
        ends = {token for token in range(len(tokenizer)) if load().lumen_tokenizer_ends(found.handle, token)}
        assert ends == set(tokenizer.end_tokens)
        assert load().lumen_tokenizer_size(found.handle) == len(tokenizer)
        named = (load().lumen_tokenizer_bos(found.handle), load().lumen_tokenizer_eos(found.handle))
        assert named == tuple(-1 if token is None else token for token in (tokenizer.bos, tokenizer.eos))


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text(embedded, opened, text):
    compare(embedded, opened, text)


def sentence_pieces(**changes) -> dict:
    """Metadata of a small vocabulary of SentencePiece with tokens of all types."""
    pieces = [("<unk>", 2), ("<s>", 3), ("</s>", 3), *((f"<0x{byte:02X}>", 6) for byte in range(256))]
    pieces += [(piece, 1) for piece in ("▁", "a", "b", "c", "ab", "▁ab", "bc", "가", "나", "가나", "▁▁", "é")]
    pieces += [("abc", 5), ("가나가", 5), ("<tool>", 4), ("▁x", 4), (" y", 4), ("aa", 4), ("q", 3), ("ab", 1)]
    pieces += changes.pop("more", [])
    if changes.pop("without_bytes", False):
        pieces = [piece for piece in pieces if piece[1] != 6]
    scores = np.random.default_rng(1).integers(-9, 0, len(pieces)).astype(np.float32)
    return {
        "tokenizer.ggml.model": ("llama", T.STRING),
        "tokenizer.ggml.tokens": ([text for text, _ in pieces], T.STRING),
        "tokenizer.ggml.scores": (scores, T.F32),
        "tokenizer.ggml.token_type": ([kind for _, kind in pieces], T.I32),
    } | changes


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"without_bytes": True},
        {"tokenizer.ggml.add_space_prefix": (False, T.BOOL)},
        {"lumen.tokenizer.prepend_first": (True, T.BOOL)},
        {"more": [("", 1), ("<unk>2", 2), ("<tool>", 1), ("가나가나", 5), ("나가나", 1)]},
    ],
)
def test_sentence_pieces_of_all_types(changes, tmp_path):
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, sentence_pieces(**changes)))
    rng = random.Random(7)
    parts = [
        *"abcxyq가나é▁ \n뷁😀",
        "<s>",
        "</s>",
        "<tool>",
        " y",
        "▁x",
        "abc",
        "가나가",
        "<0x41>",
        "<unk>",
        "\0",
    ]
    with native(tokenizer, tmp_path / "tokenizer.bin") as found:
        for _ in range(400):
            compare(tokenizer, found, "".join(rng.choices(parts, k=rng.randrange(12))))


@pytest.mark.parametrize("part", [" ", "\n ", "가나다라", "a", "e\u0301", "1", "<|im_end|>"])
def test_long_texts(embedded, opened, part):
    compare(embedded, opened, part * 500 + "가")
    # Without an own answer to compare with: the package takes long for some.
    text = part * 50_000 + "가"
    ids = opened.encode(text, TEXT_ONLY | NO_BOS)
    assert "".join(opened.decode(ids, BEGINS | SPECIAL)) == unicodedata.normalize("NFC", text)


def test_control_tokens_bos_and_rows(opened, embedded, tmp_path):
    assert opened.encode("안녕") == embedded.encode("안녕")
    whole = opened.encode("한국어를 씁니다")
    pieces = opened.decode(whole, BEGINS)
    assert "".join(pieces) == "한국어를 씁니다" and "\ufffd" not in "".join(pieces)
    for bad in (-1, len(embedded), 1 << 30):
        with pytest.raises(NativeError, match=f"token id {bad} is outside the vocabulary of {len(embedded)}"):
            opened.decode([bad])
    tokens = ["a", "b", "<s>", "<e>"]
    fields = {
        "tokenizer.ggml.model": ("gpt2", T.STRING),
        "tokenizer.ggml.pre": ("gpt-2", T.STRING),
        "tokenizer.ggml.tokens": (tokens, T.STRING),
        "tokenizer.ggml.merges": (np.array([], object), T.STRING),
        "tokenizer.ggml.token_type": ([1, 1, 3, 3], T.I32),
        "tokenizer.ggml.bos_token_id": (2, T.U32),
        "tokenizer.ggml.eos_token_id": (3, T.U32),
        "tokenizer.ggml.add_bos_token": (True, T.BOOL),
        "tokenizer.ggml.add_eos_token": (True, T.BOOL),
    }
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, fields))
    with native(tokenizer, tmp_path / "tokenizer.bin") as found:
        for text in ("ab", "<s>ab", "", "a<e>", "xaxb", "<s>"):
            assert found.encode(text) == tokenizer.encode(text)
    tokenizer._rows = 1
    with native(tokenizer, tmp_path / "tokenizer.bin") as found:
        for message in (str(pytest.raises(LumenError, tokenizer.encode, "ab", add_bos=False).value),):
            with pytest.raises(
                NativeError, match="token 1 .at place 1 of 2., but the embedding table"
            ) as error:
                found.encode("ab", NO_BOS)
            assert "token 1 (at place 1 of 2)" in message and error.value.status == ARGUMENT


@pytest.mark.parametrize(
    "text, place",
    [(b"ab\xff", 2), (b"\xea\xb0", 0), (b"a\xed\xa0\x80", 1), (b"\xc0\xaf", 0), (b"\xf4\x90\x80\x80", 0)],
)
def test_broken_utf8_is_refused(opened, text, place):
    with pytest.raises(NativeError, match=f"not valid UTF-8 at byte {place}$") as error:
        opened.encode(text)
    assert error.value.status == ARGUMENT


def test_small_buffers_and_missing_arguments(opened):
    count, tokens = ctypes.c_size_t(), (ctypes.c_int32 * 2)(-5, -5)
    size = ctypes.c_size_t
    whole = opened.encode("이 영화는 정말")
    text = "이 영화는 정말".encode()
    place = ctypes.byref(count)
    call("lumen_tokenizer_encode", opened.handle, text, size(len(text)), 0, tokens, size(1), place)
    assert count.value == len(whole) and tokens[:] == [whole[0], -5]
    call("lumen_tokenizer_encode", opened.handle, text, size(len(text)), 0, None, size(0), place)
    assert count.value == len(whole)
    for arguments in (
        (None, text, size(1), 0, tokens, size(2), place),
        (opened.handle, None, size(1), 0, tokens, size(2), place),
        (opened.handle, text, size(1), 0, None, size(2), place),
        (opened.handle, text, size(1), 0, tokens, size(2), None),
    ):
        with pytest.raises(NativeError, match=" is NULL$") as error:
            call("lumen_tokenizer_encode", *arguments)
        assert error.value.status == ARGUMENT
    with pytest.raises(NativeError, match=r"^the to$"):
        call("lumen_tokenizer_encode", None, text, size(1), 0, None, size(0), place, error_size=7)
    assert load().lumen_tokenizer_open(b"/no/file", ctypes.byref(ctypes.c_void_p()), None, size(0)) == FILE
    assert load().lumen_tokenizer_size(None) == 0 and load().lumen_tokenizer_bos(None) == -1
    load().lumen_tokenizer_close(None)
    load().lumen_decoder_free(None)


def opening(path: Path, data: bytes) -> NativeError:
    path.write_bytes(data)
    with pytest.raises(NativeError) as error:
        NativeTokenizer(path)
    return error.value


def test_damaged_files_are_refused(data, tmp_path):
    path = tmp_path / "tokenizer.bin"
    with pytest.raises(NativeError, match="missing.bin: cannot be read: No such file") as error:
        NativeTokenizer(tmp_path / "missing.bin")
    assert error.value.status == FILE
    with pytest.raises(NativeError, match="cannot be read: Is a directory"):
        NativeTokenizer(tmp_path)
    for size in (0, 1, 31, 32, 39, 40, 4096, len(data) - 8, len(data) - 1):
        assert opening(path, data[:size]).status == DAMAGED
    assert str(opening(path, data[:5000])).endswith(f"is damaged: it has 5000 of {len(data)} bytes")
    assert str(opening(path, b"GGUF" + data[4:])).endswith("is no tokenizer file")
    later = opening(path, data[:8] + struct.pack("<I", 2) + data[12:])
    assert later.status == VERSION and "is of version 2, and this program reads version 1" in str(later)
    rng = random.Random(3)
    for place in [*range(12, 200), *(rng.randrange(200, len(data)) for _ in range(300))]:
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.randrange(8)
        assert opening(path, bytes(damaged)).status == DAMAGED, place


def test_made_up_files_do_no_harm(data, tmp_path):
    # The checksum is right, whatever the rest says. (`tokenizer-fuzz` tries far more, under sanitizers.)
    rng, path, refused = random.Random(5), tmp_path / "tokenizer.bin", 0
    count = struct.unpack_from("<Q", data, 32)[0]
    for _ in range(400):
        changed = bytearray(data)
        sections = [struct.unpack_from("<4sIQQ", data, 40 + 24 * i)[2:] for i in range(count)]
        for _ in range(rng.choice((1, 1, 3))):
            begin, size = rng.choice([each for each in sections if each[1]])
            if rng.random() < 0.2:
                begin, size = 32, 8 + 24 * count
            place = begin + min(rng.randrange(size), rng.randrange(size)) // 4 * 4
            value = rng.choice((0, 1, 255, 0xFFFFFFFF, 0x7FFFFFFF, rng.randrange(1 << 32)))
            struct.pack_into("<I", changed, min(place, len(changed) - 4), value)
        struct.pack_into("<Q", changed, 24, checksum(np.frombuffer(changed, np.uint8)[32:].copy()))
        path.write_bytes(changed)
        try:
            found = NativeTokenizer(path)
        except NativeError as error:
            refused += error.status == DAMAGED
            continue
        try:
            ids = found.encode("이 영화는 <|im_end|> don't 12345\n\n  e\u0301 x" * 3)
            found.decode([token for token in ids if token < load().lumen_tokenizer_size(found.handle)])
        except NativeError as error:
            assert error.status == ARGUMENT
        finally:
            found.close()
    assert 50 < refused < 400


@pytest.mark.parametrize(
    "pattern, what",
    [
        (r"(?<=a)b", "a group of an unknown kind"),
        (r"a\b", r"'\\b'"),
        (r"(a)\1", r"'\\1'"),
        (r"a*", "matches an empty text"),
        (r"(?:a?)+b", "a repetition of what may be empty"),
        (r"(?!ab)a", "a condition on more than one character"),
        (r"a{1000}", "a repetition of so many times"),
        (r"(?:ab)++", "behind a repetition"),
        (r"^a", r"'\^'"),
        ("(" * 60 + "a" + ")" * 60, "too many groups"),
    ],
)
def test_patterns_that_programs_cannot_do(pattern, what):
    with pytest.raises(LumenError, match=what):
        Programs().add(pattern)


PATTERNS = (
    r"a+?b|[가-힣&&[^나]]+|c{2}|d{1,2}x|(?:ef)*g|(h|i(?:j|k)?)+l",
    r"(?i:straße|k+)|[[:upper:]]{2,}|\h+|\p{^L}+?\p{Han}",
    r"\d++[.,]|x*+y|(?=[A-Z])\w+|[^\S\n]+$|.",
    r"a(?:b(?:c(?:d)?)?)?|[\]\-^]+|[[a]c]|\x41\x{42}C",
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_match_as_in_the_package(pattern, tmp_path):

    built = KINDS["whole-text"]()
    spec = json.loads(built.to_str())
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    steps = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    other = tokenizers.Tokenizer(models.BPE())
    other.pre_tokenizer = steps
    spec["pre_tokenizer"] = json.loads(other.to_str())["pre_tokenizer"]
    # Every pair of letters is a token, so that ids show the cuts.
    spec["model"]["merges"], spec["model"]["vocab"] = [], {}
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    spec["model"]["vocab"] = {letter: index for index, letter in enumerate(sorted(alphabet))}
    letters = sorted(set("abcdefghijklABCK"))
    merges = [(left, right) for left in letters for right in letters]
    for left, right in merges:
        spec["model"]["vocab"].setdefault(left + right, len(spec["model"]["vocab"]))
    spec["model"]["merges"] = merges
    spec["added_tokens"] = []
    tokenizer = Tokenizer.from_gguf(
        write_folder(tmp_path / "f", tokenizers.Tokenizer.from_str(json.dumps(spec)))
    )
    rng = random.Random(pattern)
    letters = [*"abcdefghijklxyABCDKkſsß12.,]-^ \n", "가", "나", "한", "漢", "K", "straße"]
    with native(tokenizer, tmp_path / "tokenizer.bin") as found:
        for _ in range(600):
            compare(tokenizer, found, "".join(rng.choices(letters, k=rng.randrange(14))))


def test_every_composition(tmp_path):
    package = normalizers.NFC()
    tokenizer = Tokenizer.from_gguf(write_vocabulary(tmp_path, synthetic_vocabulary(300).metadata()))
    letters = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    composed = [each for each in letters if unicodedata.decomposition(each)]
    marks = [each for each in letters if unicodedata.combining(each)]
    rng = random.Random(1)
    texts = [*composed, *(unicodedata.normalize("NFD", each) for each in composed)]
    texts += [rng.choice("aꀀ가각각é") + "".join(rng.choices(marks, k=rng.randrange(6))) for _ in range(3000)]
    texts += ["".join(rng.choices([*composed, *marks], k=4)) for _ in range(3000)]
    text = "\n".join([*texts, "ᄀ" + "ᅡ" * 3 + "ᆨ" * 2, "가ᆧ각"])
    with native(tokenizer, tmp_path / "tokenizer.bin") as found:
        pieces = found.decode(found.encode(text, TEXT_ONLY | NO_BOS), SPECIAL)
        assert "".join(pieces).split("\n") == package.normalize_str(text).split("\n")
