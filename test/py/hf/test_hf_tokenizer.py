# SPDX-License-Identifier: Apache-2.0
"""Tokenizers of Hugging Face folders: the ids of the references, the families recognized, broken files."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hf_samples import TEMPLATE, tokenizer_json, write_json
from vocabularies import CASES, open_vocabulary, references

from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import GGUFFile, Metadata
from lumen_mlir.hf import tokenizer as hf_tokenizer
from lumen_mlir.hf.config import HFConfig
from lumen_mlir.text.pretokenizers import PRE_TOKENIZERS
from lumen_mlir.text.sentence_piece import Pieces, _serialize
from lumen_mlir.text.tokenizer import Tokenizer


class Opened:
    """A model file with nothing but a tokenizer."""

    files = ()

    def __init__(self, folder: Path, pre_tokenizer: str | None = None):
        self.path = str(folder)
        entries = hf_tokenizer.metadata(folder, HFConfig(folder / "config.json"), pre_tokenizer)
        self.metadata = Metadata.of(self.path, entries)

    def fingerprint(self) -> str:
        return "0"


def write(folder: Path, size: int, spec: dict | None = None, settings: dict | None = None, **config) -> Path:
    folder.mkdir(exist_ok=True)
    write_json(folder / "config.json", {"architectures": ["LlamaForCausalLM"], "vocab_size": size, **config})
    if spec is not None:
        (folder / "tokenizer.json").write_text(json.dumps(spec))
    if settings is not None:
        write_json(folder / "tokenizer_config.json", settings)
    return folder


def opened(folder: Path, **options) -> Tokenizer:
    return Tokenizer.from_gguf(Opened(folder, **options))


def merges_of(file: GGUFFile, separator: str | None) -> list:
    merges = file.metadata["tokenizer.ggml.merges"].to_list()
    return [merge.split(" ") for merge in merges] if separator is None else merges


@pytest.mark.parametrize("separator", [None, " "], ids=["pairs", "text"])
def test_byte_level_reference_ids(tmp_path, separator):
    """Llama 3's tokenizer.json, in its newer and its older form."""
    file = open_vocabulary("vocab-llama-bpe", tmp_path)
    tokens, types = (
        file.metadata["tokenizer.ggml.tokens"].to_list(),
        file.metadata["tokenizer.ggml.token_type"],
    )
    spec = tokenizer_json(pre="llama-bpe")
    normal = {token: index for index, token in enumerate(tokens) if types[index] == 1}
    spec["model"] |= {"vocab": normal, "merges": merges_of(file, separator)}
    spec["added_tokens"] = [
        {"id": index, "content": token, "special": True}
        for index, token in enumerate(tokens)
        if types[index] == 3
    ]
    bos = int(file.metadata["tokenizer.ggml.bos_token_id"])
    template = [{"SpecialToken": {"id": tokens[bos], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    spec["post_processor"] = {
        "type": "Sequence",
        "processors": [{"type": "ByteLevel"}, {"type": "TemplateProcessing", "single": template}],
    }
    tokenizer = opened(write(tmp_path, len(tokens) + 3, spec, {"bos_token": {"content": tokens[bos]}}))
    assert len(tokenizer) == len(tokens) + 3 and tokenizer.token_text(len(tokens)) == f"[PAD{len(tokens)}]"
    for text, ids in zip(CASES, references("vocab-llama-bpe"), strict=True):
        assert tokenizer.encode(text, special=False, add_bos=False) == ids
    assert tokenizer.bos == bos and tokenizer.add_bos and not tokenizer.add_eos


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Pieces:
    metadata = open_vocabulary("vocab-llama-spm", tmp_path_factory.mktemp("vocab")).metadata
    names = ("tokens", "scores", "token_type")
    tokens, scores, types = (metadata[f"tokenizer.ggml.{name}"] for name in names)
    return Pieces(tokens.to_list(), scores, types)


def check_llama(tokenizer: Tokenizer) -> None:
    for text, ids in zip(CASES, references("vocab-llama-spm"), strict=True):
        assert tokenizer.encode(text, special=False, add_bos=False) == ids
        assert tokenizer.decode(ids) == text
    assert tokenizer.space_prefix and tokenizer.add_bos and (tokenizer.bos, tokenizer.eos) == (1, 2)


def test_sentence_piece_model(tmp_path, llama):
    data = _serialize("", llama, {token: index for index, token in enumerate(llama.tokens)})
    # A text begins with a space, which Lumen puts there itself.
    (tmp_path / "tokenizer.model").write_bytes(data + b"\x1a\x02\x18\x01")
    settings = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "added_tokens_decoder": {str(len(llama.tokens)): {"content": "<|im_end|>", "special": True}},
    }
    tokenizer = opened(write(tmp_path, len(llama.tokens) + 1, None, settings))
    check_llama(tokenizer)
    assert tokenizer.encode("<|im_end|>", add_bos=False) == [len(llama.tokens)]
    # The same from tokenizer.json beside it, which does not cut bytes.
    spec = {"model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": []}
    check_llama(opened(write(tmp_path, len(llama.tokens), spec, settings)))
    no_space = opened(write(tmp_path, len(llama.tokens), spec, {**settings, "add_prefix_space": False}))
    assert not no_space.space_prefix


def test_sentence_piece_as_merges(tmp_path, llama):
    """As transformers writes Llama 2's vocabulary: merges by falling score of what they make."""
    ids = {token: index for index, token in enumerate(llama.tokens)}
    merges = [
        (llama.scores[index], ids[token[:cut]], token[:cut], token[cut:])
        for token, index in ids.items()
        if llama.types[index] == 1
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    merges.sort(key=lambda merge: (-merge[0], merge[1]))
    spec = {
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u2581"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        "model": {"type": "BPE", "vocab": ids, "merges": [f"{left} {right}" for _, _, left, right in merges],
                  "unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True},
        "added_tokens": [{"id": i, "content": llama.tokens[i], "special": True, "single_word": False,
                          "lstrip": False, "rstrip": False, "normalized": False} for i in range(3)],
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]},
    }  # fmt: skip
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    check_llama(opened(write(tmp_path, len(ids), spec, settings)))
    # Newer files use Metaspace, which adds no space where a text has one.
    spec["normalizer"] = None
    for scheme in ("first", "always", "never"):
        spec["pre_tokenizer"] = {
            "type": "Metaspace",
            "replacement": "\u2581",
            "prepend_scheme": scheme,
            "split": False,
        }
        others = {"version": "1.0", "post_processor": None}
        reference = tokenizers.Tokenizer.from_str(json.dumps({**spec, **others}))
        tokenizer = opened(write(tmp_path, len(ids), spec, settings))
        assert tokenizer.space_prefix == (scheme != "never")
        for text in [*CASES, "<s>a", "a</s> b"]:
            wanted = reference.encode(text, add_special_tokens=False).ids
            assert tokenizer.encode(text, add_bos=False) == wanted
            assert tokenizer.decode(wanted, special=True) == text or scheme != "never"


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_families_are_recognized(tmp_path, name):
    """By what they do: text that the families cut alike and normalize alike is cut by the same rules."""
    found = opened(write(tmp_path, 301, tokenizer_json(pre=name))).pre
    assert (found.patterns, found.nfc, found.ignore_merges) == (
        PRE_TOKENIZERS[name].patterns, PRE_TOKENIZERS[name].nfc, PRE_TOKENIZERS[name].ignore_merges
    )  # fmt: skip
    # Among those that are alike, the one with the model's name.
    file = Opened(write(tmp_path, 301, tokenizer_json(pre=name), model_type=name.replace("-", "_")))
    assert file.metadata.string("tokenizer.ggml.pre") == name


def test_other_ways_to_write_the_same_rules(tmp_path):
    spec = tokenizer_json(pre="gpt-2")
    spec["pre_tokenizer"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    assert Opened(write(tmp_path, 301, spec)).metadata.string("tokenizer.ggml.pre") == "gpt-2"
    digits = {"type": "Digits", "individual_digits": True}
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, spec["pre_tokenizer"]]}
    file = Opened(write(tmp_path, 301, spec, model_type="exaone"))
    assert file.metadata.string("tokenizer.ggml.pre") == "exaone"
    # What differs from the family is said besides.
    spec = tokenizer_json(pre="exaone-moe")
    spec["normalizer"] = {"type": "NFC"}
    tokenizer = opened(write(tmp_path, 301, spec))
    assert tokenizer.encode("\u1112\u1161\u11ab") == tokenizer.encode("한")


def test_rules_of_no_family(tmp_path):
    """They are kept as they are, and no family is named; ``pre_tokenizer`` replaces them."""
    spec = tokenizer_json()
    spec["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": "[가-힣]|."}
    spec["normalizer"] = {"type": "NFKC"}
    file = Opened(write(tmp_path, 301, spec))
    assert "tokenizer.ggml.pre" not in file.metadata
    tokenizer = Tokenizer.from_gguf(file)
    reference = tokenizers.Tokenizer.from_str(json.dumps(spec))
    for text in [*CASES, "ﬁ<|im_end|>Ａ①"]:
        assert tokenizer.encode(text) == reference.encode(text).ids
    for given in (opened(tmp_path, pre_tokenizer="qwen2"), Tokenizer.from_gguf(file, None, "qwen2")):
        assert given.pre == PRE_TOKENIZERS["qwen2"]
        qwen2 = opened(write(tmp_path / "qwen2", 301, tokenizer_json()))
        assert all(given.encode(text) == qwen2.encode(text) for text in CASES)
    with pytest.raises(LumenError, match="unknown pre-tokenizer 'qwn'; pass --pre-tokenizer NAME .* qwen2"):
        opened(tmp_path, pre_tokenizer="qwn")


def test_special_tokens(tmp_path):
    settings = {
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "add_bos_token": True,
    }
    write(tmp_path, 301, tokenizer_json(), settings, bos_token_id=279, eos_token_id=281)
    write_json(tmp_path / "generation_config.json", {"eos_token_id": [279, 281, 285]})
    file = Opened(tmp_path)
    tokenizer = Tokenizer.from_gguf(file)
    assert (tokenizer.bos, tokenizer.eos) == (279, 281) and tokenizer.add_bos
    assert {279, 281, 285} <= tokenizer.end_tokens and file.metadata["tokenizer.ggml.eot_token_id"] == 279
    assert file.metadata["tokenizer.ggml.padding_token_id"] == 279
    types = file.metadata["tokenizer.ggml.token_type"]
    assert (
        types[281] == 3
        and types[293] == 4
        and types[0] == 1
        and file.metadata["lumen.eog_token_ids"][0] == 281
    )


def test_chat_templates(tmp_path):
    folder = write(tmp_path, 301, tokenizer_json(), {"chat_template": "a"})
    assert Opened(folder).metadata.string("tokenizer.chat_template") == "a"
    named = [{"name": "default", "template": "b"}, {"name": "tool_use", "template": "c"}]
    write(tmp_path, 301, None, {"chat_template": named})
    assert Opened(folder).metadata.string("tokenizer.chat_template") == "b"
    assert Opened(folder).metadata.string("tokenizer.chat_template.tool_use") == "c"
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    assert Opened(folder).metadata.string("tokenizer.chat_template") == TEMPLATE


def test_more_chat_templates(tmp_path):
    folder = write(tmp_path, 301, tokenizer_json(), {"chat_template": "a"})
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_bytes(b"\xef\xbb\xbfT{{tools}}")
    (folder / "additional_chat_templates" / "notes.txt").write_text("no template")
    for default in ("a", "b"):
        metadata = Opened(folder).metadata
        assert metadata.string("tokenizer.chat_template") == default
        assert metadata.string("tokenizer.chat_template.tool_use") == "T{{tools}}"
        assert sum("chat_template" in key for key in metadata) == 2
        (folder / "chat_template.jinja").write_text("b")
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.jinja").mkdir()
    with pytest.raises(LumenError, match="chat_template.jinja: is a directory; a file was expected"):
        Opened(folder)


def test_special_tokens_map(tmp_path):
    """It says what tokenizer_config.json does not."""
    write(tmp_path, 301, tokenizer_json(), {"bos_token": None})
    other = {"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}}
    write_json(tmp_path / "special_tokens_map.json", other)
    tokenizer = opened(tmp_path)
    assert tokenizer.bos is None and tokenizer.eos == 281


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        # What generating goes by replaces guesses, whether one or several; the tokenizer's own is an end too.
        ({}, {"eos_token_id": [279, 285]}, {281, 279, 285}),
        ({}, {"eos_token_id": 285}, {281, 285}),
        ({"eos_token_id": [285, 286]}, None, {281, 285, 286}),
        ({"eos_token_id": [285, 286]}, {"eos_token_id": 281}, {281}),
        # One in config.json is no list: <|endoftext|> and the last three end texts in some families.
        ({"eos_token_id": 281}, None, {279, 281, 298, 299, 300}),
        ({}, None, {279, 281, 298, 299, 300}),
    ],
)
def test_end_tokens(tmp_path, config, generation, expected):
    write(tmp_path, 301, tokenizer_json(), {"eos_token": "<|im_end|>"}, **config)
    if generation is not None:
        write_json(tmp_path / "generation_config.json", generation)
    file = Opened(tmp_path)
    assert Tokenizer.from_gguf(file).end_tokens == expected
    assert ("lumen.eog_token_ids" in file.metadata) == (300 not in expected)


def test_values_that_are_passed_over(tmp_path, caplog):
    """As people have them after fine-tuning: a warning each, once."""
    settings = {"eos_token": "<|im_end|>", "pad_token": "[PAD]", "unk_token": "<unk>"}
    write(tmp_path, 301, tokenizer_json(), settings, bos_token_id=-1, eos_token_id=[281, 400])
    write_json(tmp_path / "generation_config.json", {"pad_token_id": 301, "eos_token_id": [1 << 80]})
    file = Opened(tmp_path)
    tokenizer = Tokenizer.from_gguf(file)
    assert tokenizer.bos is None and tokenizer.eos == 281
    assert not {f"tokenizer.ggml.{key}_token_id" for key in ("bos", "padding", "unknown")} & set(
        file.metadata
    )
    for part in (
        "'pad_token' '[PAD]'",
        "'unk_token' '<unk>'",
        "'bos_token_id' is -1",
        "'eos_token_id' is 400",
    ):
        assert sum(part in message for message in caplog.messages) == 1, part
    assert sum(f"'eos_token_id' is {1 << 80}" in message for message in caplog.messages) == 1
    assert len(caplog.messages) == 5


def test_tokens_beyond_the_embedding_table(tmp_path, caplog):
    """[PAD] was added and the table was not resized: the model has no such token."""
    spec = tokenizer_json()
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    spec["added_tokens"] += [
        {"id": 301, "content": "[PAD]", "special": True, **flags},
        {"id": 305, "content": "<tag>", "special": False, **flags},
    ]
    tokenizer = opened(write(tmp_path, 301, spec))
    assert len(tokenizer) == 301 and tokenizer.encode("a[P]") == opened(tmp_path).encode("a[P]")
    for text, index in (("a[PAD]b", 301), ("<tag>", 305), ("[PAD]" + "a" * 3000, 301)):
        with pytest.raises(LumenError, match=f"the text contains token {index} .* ends at 300"):
            tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode("[PAD]", special=False)) == "[PAD]"
    assert "token '[PAD]' has the id 301, but the embedding table has 301 rows" in caplog.text


def test_special_tokens_that_are_ordinary_in_tokenizer_json(tmp_path):
    """transformers takes what tokenizer_config.json names for special, as it loads it."""
    spec = tokenizer_json()
    spec["model"]["vocab"]["<eot>"] = 301
    tokenizer = opened(write(tmp_path, 302, spec, {"eos_token": "<eot>"}))
    assert tokenizer.encode("a<eot>")[-1] == 301 and tokenizer.is_control(301)
    assert len(tokenizer.encode("<eot>", special=False)) > 1


def test_tokenizer_json_goes_before_tokenizer_model(tmp_path, llama):
    """A vocabulary that was extended, beside the file of the old one."""
    (tmp_path / "tokenizer.model").write_bytes(
        _serialize("", llama, {t: i for i, t in enumerate(llama.tokens)})
    )
    count, vocabulary = len(llama.tokens), {token: index for index, token in enumerate(llama.tokens)}
    vocabulary |= {"대": count, "한": count + 1, (new := "대한"): count + 2}
    merges = [["대", "한"]]
    spec = {
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges, "byte_fallback": True},
        "added_tokens": [],
    }
    tokenizer = opened(write(tmp_path, count + 3, spec))
    assert tokenizer.encode(new, add_bos=False) == [count + 2] and not tokenizer.space_prefix


@pytest.mark.parametrize("legacy", [None, True, False])
def test_spaces_by_tokenizer_model(tmp_path, llama, legacy):
    data = _serialize("", llama, {token: index for index, token in enumerate(llama.tokens)})
    (tmp_path / "tokenizer.model").write_bytes(data + b"\x1a\x02\x18\x01")
    tokenizer = opened(write(tmp_path, len(llama.tokens), None, {"bos_token": "<s>", "legacy": legacy}))
    behind = [tokenizer.token_text(index) for index in tokenizer.encode("<s>a", add_bos=False)]
    assert behind == ["<s>", "a" if legacy is False else "\u2581a"]
    assert tokenizer.token_text(tokenizer.encode("a", add_bos=False)[0]) == "\u2581a"
    inside = tokenizer.token_text(tokenizer.encode("a", add_bos=False, begins=False)[0])
    assert inside == behind[1]


def test_parts_of_a_prompt(tmp_path):
    """A text behind a control token is encoded as it is in the whole prompt."""
    spec = metaspace_json("first")
    with pytest.raises(LumenError, match="is not byte-level and has no pre-tokenizer .'qwen2' was given."):
        opened(write(tmp_path, 300, spec), pre_tokenizer="qwen2")
    tokenizer = opened(write(tmp_path, 300, spec))
    whole = tokenizer.encode("a<s>a", add_bos=False)
    parts = [*tokenizer.encode("a<s>", add_bos=False), *tokenizer.encode("a", add_bos=False, begins=False)]
    assert whole == parts and whole[0] != whole[-1]


def metaspace_json(scheme: str) -> dict:
    """A small vocabulary in characters."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "a", "\u2581a"]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": "\u2581",
            "prepend_scheme": scheme,
            "split": False,
        },
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [["\u2581", "a"]],
            "byte_fallback": True,
            "unk_token": "<unk>",
        },
        "added_tokens": [
            {"id": i, "content": token, "special": True, **flags} for i, token in enumerate(tokens[:3])
        ],
    }


def test_of_equal_merges_the_last_counts(tmp_path):
    """As in the package; in GGUF files it is the first."""
    spec = tokenizer_json()
    spec["model"]["vocab"] |= {"qz": 301, "zq": 302}
    spec["model"]["merges"] = [["q", "z"], ["z", "q"], ["q", "z"]]
    tokenizer = opened(write(tmp_path, 303, spec))
    reference = tokenizers.Tokenizer.from_str(json.dumps(spec))
    assert tokenizer.encode("qzq") == reference.encode("qzq").ids == [tokenizer.encode("q")[0], 302]


def changed(**changes) -> dict:
    spec = copy.deepcopy(tokenizer_json())
    for key, value in changes.items():
        outer, _, inner = key.partition("__")
        (spec[outer].update({inner: value}) if inner else spec.update({outer: value}))
    return spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (changed(model=None), "tokenizer.json: has no 'model' with a 'vocab'"),
        (
            changed(model={"type": "Unigram", "vocab": [["a", 0.0]]}),
            "the tokenizer is of type 'Unigram'; 'BPE' is supported",
        ),
        (changed(pre_tokenizer=None, decoder=None), "neither byte-level nor falls back to bytes"),
        (changed(pre_tokenizer={"type": "X"}), "neither byte-level nor falls back to bytes"),
        (
            changed(normalizer={"type": "X"}),
            "the rules are not valid: 'normalizer' has a step of type 'X'; known are NFC",
        ),
        (changed(model__merges=["a b c"]), "merge 0 is 'a b c'; two tokens without spaces"),
        (changed(model__merges=[["a"]]), "merge 0 is .'a'.; two tokens"),
        (
            changed(model__vocab={"a": 400}),
            "token 'a' has the id 400, but 'vocab_size' in config.json is 301",
        ),
        (changed(model__vocab={"a": "b"}), "'a' with id 'b' is no token with its id"),
        (changed(added_tokens=[{"id": 1}]), "None with id 1 is no token with its id"),
        (changed(added_tokens={}), "'added_tokens' is {}; an array was expected"),
        (changed(added_tokens=[1]), "'added_tokens': element 0: 1 is no JSON object"),
        (changed(added_tokens=[{"id": -1, "content": "a"}]), "'id' is -1; a number of at least 0"),
        (changed(added_tokens=[{"id": 0, "content": "b"}]), "'b' has the id 0, but in the vocabulary 65"),
        (changed(added_tokens=[{"id": 0, "content": "bb"}]), "'!' and 'bb' both have the id 0"),
        (changed(model__merges={"a": 1}), "'merges' is {'a': 1}; an array was expected"),
        (changed(model__merges=[5]), "merge 0 is 5; two tokens"),
        (changed(model__ignore_merges="yes"), "'ignore_merges' is 'yes'; true or false was expected"),
        (changed(model__unk_token=7), "'unk_token' is 7; a string was expected"),
        (changed(model__end_of_word_suffix="</w>"), "'end_of_word_suffix' is '</w>', which is not supported"),
        (changed(model__vocab={"a": 1 << 90}), "'a' has the id 1237.*, but 'vocab_size'"),
        (changed(model__vocab={"a\ud800": 1}), "a token is not valid Unicode|half a character"),
        (changed(normalizer=[1]), "the rules are not valid"),
        (
            changed(normalizer={"type": "Replace", "pattern": {"String": ""}, "content": "a"}),
            "an empty pattern",
        ),
        (changed(post_processor={"type": "TemplateProcessing", "single": [3]}), "element 0: 3 is no JSON"),
    ],
)
def test_broken_files(tmp_path, spec, message):
    with pytest.raises(LumenError, match=message) as caught:
        opened(write(tmp_path, 301, spec))
    assert "\n" not in str(caught.value)


def nested(depth: int) -> dict:
    """A step in sequences in sequences."""
    step = tokenizer_json()["pre_tokenizer"]
    for _ in range(depth):
        step = {"type": "Sequence", "pretokenizers": [step]}
    return step


def test_broken_folders(tmp_path):
    with pytest.raises(LumenError, match="has neither 'tokenizer.json' nor 'tokenizer.model'"):
        opened(write(tmp_path, 301))
    write(tmp_path, 301, tokenizer_json(), {"eos_token": "<none>"})
    with pytest.raises(
        LumenError, match="tokenizer_config.json: 'eos_token' '<none>' is not in the vocabulary"
    ):
        opened(tmp_path)
    for settings, message in (
        ({"eos_token": 5}, "tokenizer_config.json: 'eos_token' is 5; a string was expected"),
        ({"eos_token": {"content": []}}, r"'content' is \[\]; a string was expected"),
        ({"add_bos_token": "no"}, "'add_bos_token' is 'no'; true or false was expected"),
        ({"chat_template": 1}, "'chat_template' is 1; a string was expected"),
        ({"chat_template": [{"name": "a"}]}, "element 0: has no 'template'"),
    ):
        write(tmp_path, 301, None, settings)
        with pytest.raises(LumenError, match=message):
            opened(tmp_path)
    write(tmp_path, 301, None, {}, eos_token_id="2")
    with pytest.raises(LumenError, match="'eos_token_id' is '2'; a token id or a list of them was expected"):
        opened(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"a":' * 300 + "1" + "}" * 300)
    write(tmp_path, 301, changed(pre_tokenizer=nested(300)))
    with pytest.raises(LumenError, match="the rules are not valid"):
        opened(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(LumenError, match="tokenizer_config.json: holds a JSON list; an object was expected"):
        opened(tmp_path)


def test_samples_are_what_the_package_makes():
    """The tokenizer of the tests is one of the real package: it gives the ids that Lumen gives."""
    spec = tokenizer_json()
    built = tokenizers.Tokenizer.from_str(json.dumps(spec))
    assert built.get_vocab_size() == 301 and np.array_equal(built.encode("<|im_end|>").ids, [281])
