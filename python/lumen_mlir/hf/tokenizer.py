# SPDX-License-Identifier: Apache-2.0
"""The tokenizer of a Hugging Face folder, in GGUF's terms.

``tokenizer.json`` holds a vocabulary, merges, and rules for cutting text; GGUF names the rules after a
family. Which family it is shows in what both make of one text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from lumen_mlir.gguf import types as T
from lumen_mlir.hf.config import Entries, HFConfig
from lumen_mlir.hf.errors import HFError, read_json, read_json_if_there
from lumen_mlir.pretokenizers import PRE_TOKENIZERS, PreTokenizer
from lumen_mlir.token_types import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from lumen_mlir.tokenizer import END_TOKEN_IDS, IGNORE_MERGES, NFC

# Tells the families apart: runs of digits, contractions in both cases, words over spaces, combining marks,
# decomposed Hangul, line feeds, slashes, case changes, other scripts, trailing spaces.
_PROBE = (
    "Hello  I've DON'T we'LL 1 12345 3.14159 한국어 문장을 가나다라 뷁 e\u0301a\u0301 नमस्ते "
    "\u1112\u1161\u11ab camelCase ABCdef x\n\n\n  \t y\r\n  z a/b//c/\n!!! ???\n $1,000.00 +-*/=<>^~| "
    "(가)[나]{다} 你好，世界 日本語です ① ½ 'tis _under_score_ end   "
)


def metadata(folder: Path, config: HFConfig, pre_tokenizer: str | None = None) -> Entries:
    """What a GGUF file of the model says about its tokenizer.

    ``pre_tokenizer`` (a name of ``PRE_TOKENIZERS``) is taken where given. Raises ``HFError`` where files are
    missing or describe a tokenizer that Lumen does not know.
    """
    settings = read_json_if_there(folder / "tokenizer_config.json")
    fast, slow = folder / "tokenizer.json", folder / "tokenizer.model"
    if fast.exists():
        entries, tokens = _from_json(fast, slow, config, settings, pre_tokenizer)
    elif slow.exists():
        entries, tokens = _from_model(slow, config, settings, _added_tokens(folder, settings))
    else:
        raise HFError(f"{folder}: has neither 'tokenizer.json' nor 'tokenizer.model'")
    return {
        **entries,
        **_special_tokens(folder, config, settings, tokens),
        **_chat_templates(folder, settings),
    }


# --- the vocabulary -----------------------------------------------------------------------------------------


class _Table:
    """Tokens by id with their types; ids that nothing names are padding."""

    def __init__(self, path: Path, size: int):
        self.path, self.size = path, size
        self.tokens: dict[int, str] = {}
        self.types: dict[int, int] = {}

    def add(self, token: Any, index: Any, kind: int) -> None:
        if not isinstance(token, str) or not isinstance(index, int) or isinstance(index, bool):
            raise HFError(f"{self.path}: {token!r} with id {index!r} is no token with its id")
        if not 0 <= index < self.size:
            raise HFError(
                f"{self.path}: token {token!r} has the id {index}, but 'vocab_size' in config.json "
                f"is {self.size}"
            )
        self.tokens[index], self.types[index] = token, kind

    def entries(self) -> tuple[list[str], Entries]:
        tokens = [self.tokens.get(index, f"[PAD{index}]") for index in range(self.size)]
        types = [self.types.get(index, UNUSED) for index in range(self.size)]
        return tokens, {
            "tokenizer.ggml.tokens": (tokens, T.STRING),
            "tokenizer.ggml.token_type": (types, T.I32),
        }


def _from_json(
    path: Path, slow: Path, config: HFConfig, settings: dict, pre_tokenizer: str | None
) -> tuple[Entries, list[str]]:
    spec = read_json(path)
    model = spec.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), (dict, list)):
        raise HFError(f"{path}: has no 'model' with a 'vocab'")
    kind = model.get("type", "BPE")
    if kind != "BPE" or not isinstance(model["vocab"], dict):
        raise HFError(f"{path}: the tokenizer is of type '{kind}'; 'BPE' is supported")
    added = [token for token in spec.get("added_tokens") or [] if isinstance(token, dict)]
    if not _mentions(spec, "ByteLevel"):
        if slow.exists():
            return _from_model(slow, config, settings, added)
        return _pieces_of_json(path, spec, model, added, config)
    table = _Table(path, config.integer("vocab_size"))
    for token, index in model["vocab"].items():
        table.add(token, index, NORMAL)
    _mark(table, added)
    tokens, entries = table.entries()
    pre, name, flags = _identify(path, spec, model, config, pre_tokenizer)
    merges = [f"{left} {right}" for left, right in _merges(path, model)]
    bos, eos = _adds(spec, settings, pre.add_bos)
    return {
        "tokenizer.ggml.model": ("gpt2", T.STRING),
        "tokenizer.ggml.pre": (name, T.STRING),
        **entries,
        "tokenizer.ggml.merges": (merges, T.STRING),
        "tokenizer.ggml.add_bos_token": (bos, T.BOOL),
        "tokenizer.ggml.add_eos_token": (eos, T.BOOL),
        **flags,
    }, tokens


def _mark(table: _Table, added: list[dict]) -> None:
    for token in added:
        kind = CONTROL if token.get("special") else USER_DEFINED
        table.add(token.get("content"), token.get("id"), kind)


def _merges(path: Path, model: dict) -> list[tuple[str, str]]:
    """The two sides of each merge, which older files join by a space."""
    pairs = []
    for index, merge in enumerate(model.get("merges") or []):
        pair = tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge)
        if len(pair) != 2 or not all(isinstance(side, str) and " " not in side for side in pair):
            raise HFError(f"{path}: merge {index} is {merge!r}; two tokens without spaces were expected")
        pairs.append(pair)
    return pairs


def _pieces_of_json(
    path: Path, spec: dict, model: dict, added: list[dict], config: HFConfig
) -> tuple[Entries, list[str]]:
    """A SentencePiece vocabulary that was rewritten as merges: a token's score is its first merge's rank."""
    if not model.get("byte_fallback"):
        raise HFError(
            f"{path}: the tokenizer is neither byte-level nor falls back to bytes, which is not supported"
        )
    table = _Table(path, config.integer("vocab_size"))
    unknown = model.get("unk_token")
    for token, index in model["vocab"].items():
        is_byte = len(token) == 6 and token.startswith("<0x") and token.endswith(">")
        table.add(token, index, UNKNOWN if token == unknown else BYTE if is_byte else NORMAL)
    _mark(table, [token for token in added if token.get("content") != unknown])
    tokens, entries = table.entries()
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(_merges(path, model)):
        ranks.setdefault(left + right, rank)
    # What no merge makes is never the result of one, so its score is never looked at.
    scores = np.array([-ranks.get(token, len(ranks)) for token in tokens], np.float32)
    return _piece_entries(entries, scores, _prepends_space(spec), *_adds(spec, {}, True)), tokens


def _from_model(path: Path, config: HFConfig, settings: dict, added: list[dict]) -> tuple[Entries, list[str]]:
    """A SentencePiece model, and the tokens that were added to it later."""
    from lumen_mlir import sentence_piece

    pieces = sentence_piece.read_model(str(path))
    table = _Table(path, config.integer("vocab_size"))
    for index, (token, kind) in enumerate(zip(pieces.tokens, pieces.types.tolist(), strict=True)):
        table.add(token, index, kind)
    _mark(table, [token for token in added if table.types.get(token.get("id")) not in (UNKNOWN, CONTROL)])
    tokens, entries = table.entries()
    scores = np.full(len(tokens), -1e4, np.float32)
    scores[: len(pieces.scores)] = pieces.scores
    prefix = settings.get("add_prefix_space")
    prefix = prefix if isinstance(prefix, bool) else pieces.space_prefix
    return _piece_entries(entries, scores, prefix, *_adds({}, settings, True)), tokens


def _piece_entries(entries: Entries, scores: np.ndarray, prefix: bool, bos: bool, eos: bool) -> Entries:
    return {
        "tokenizer.ggml.model": ("llama", T.STRING),
        "tokenizer.ggml.pre": ("default", T.STRING),
        **entries,
        "tokenizer.ggml.scores": (scores, T.F32),
        "tokenizer.ggml.add_space_prefix": (prefix, T.BOOL),
        "tokenizer.ggml.add_bos_token": (bos, T.BOOL),
        "tokenizer.ggml.add_eos_token": (eos, T.BOOL),
    }


def _added_tokens(folder: Path, settings: dict) -> list[dict]:
    """Tokens that were added to a ``tokenizer.model``, where there is no ``tokenizer.json``."""
    listed = settings.get("added_tokens_decoder")
    if isinstance(listed, dict):
        return [{**token, "id": int(index)} for index, token in listed.items() if index.isdecimal()]
    path = folder / "added_tokens.json"
    # Without more being said about them, they are what is not text.
    return [
        {"content": token, "id": index, "special": True} for token, index in read_json_if_there(path).items()
    ]


# --- the rules ----------------------------------------------------------------------------------------------


def _parts(part: Any) -> list[dict]:
    """A step of ``tokenizer.json``, with the steps of sequences one by one."""
    if not isinstance(part, dict):
        return []
    nested = next((part[key] for key in ("normalizers", "pretokenizers", "processors") if key in part), None)
    return [inner for step in nested for inner in _parts(step)] if isinstance(nested, list) else [part]


def _mentions(spec: dict, kind: str) -> bool:
    steps = [*_parts(spec.get("pre_tokenizer")), *_parts(spec.get("decoder"))]
    return any(step.get("type") == kind for step in steps)


def _identify(
    path: Path, spec: dict, model: dict, config: HFConfig, given: str | None
) -> tuple[PreTokenizer, str, Entries]:
    """The family, its name, and what of the rules differs from the family's."""
    kinds = [step.get("type") for step in _parts(spec.get("normalizer"))]
    strange = [kind for kind in kinds if kind != "NFC"]
    if strange:
        raise HFError(f"{path}: text is normalized by '{strange[0]}'; only 'NFC' is supported")
    nfc, whole = "NFC" in kinds, bool(model.get("ignore_merges"))
    if given is not None:
        names = [given] if given in PRE_TOKENIZERS else []
        what = f"unknown pre-tokenizer '{given}'"
    else:
        own = _cuts(_own_rules(path, spec))
        names = [name for name, pre in PRE_TOKENIZERS.items() if _cuts(pre.splitter()) == own]
        patterns = [
            step.get("pattern", {}).get("Regex", step.get("type"))
            for step in _parts(spec.get("pre_tokenizer"))
        ]
        what = f"unknown pre-tokenizer {patterns}"
    if not names:
        raise HFError(
            f"{path}: {what}; pass --pre-tokenizer NAME (in Python pre_tokenizer=NAME) for the one that cuts "
            f"text alike, of {', '.join(PRE_TOKENIZERS)}"
        )
    asked = str(config.get("model_type", "")).replace("_", "-")

    def rank(name: str) -> tuple:
        pre = PRE_TOKENIZERS[name]
        return (pre.nfc, pre.ignore_merges) != (nfc, whole), name != asked

    name = min(names, key=rank)
    pre = PRE_TOKENIZERS[name]
    flags: Entries = {}
    if given is None and pre.nfc != nfc:
        flags[NFC] = nfc, T.BOOL
    if given is None and pre.ignore_merges != whole:
        flags[IGNORE_MERGES] = whole, T.BOOL
    return pre, name, flags


def _own_rules(path: Path, spec: dict) -> tokenizers.pre_tokenizers.PreTokenizer:
    """The pre-tokenizer of the file, without its vocabulary."""
    empty = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": spec.get("pre_tokenizer"),
        "model": {"type": "BPE", "vocab": {}, "merges": []},
    }
    try:
        rules = tokenizers.Tokenizer.from_str(json.dumps(empty)).pre_tokenizer
    except Exception as error:  # the package raises bare Exception
        raise HFError(f"{path}: 'pre_tokenizer' is not valid: {' '.join(str(error).split())}") from None
    if rules is None:
        raise HFError(f"{path}: has no 'pre_tokenizer'")
    return rules


def _cuts(rules: tokenizers.pre_tokenizers.PreTokenizer) -> list[str]:
    return [piece for piece, _ in rules.pre_tokenize_str(_PROBE)]


def _prepends_space(spec: dict) -> bool:
    for step in [*_parts(spec.get("normalizer")), *_parts(spec.get("pre_tokenizer"))]:
        if step.get("type") == "Prepend":
            return True
        if step.get("type") == "Metaspace":
            return (
                step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never")
                != "never"
            )
    return False


def _adds(spec: dict, settings: dict, default_bos: bool) -> tuple[bool, bool]:
    """Whether a text gets a begin and an end token: what is said, or what is put around a single text."""
    template: list | None = None
    for step in _parts(spec.get("post_processor")):
        if step.get("type") == "TemplateProcessing":
            template = ["Sequence" in item for item in step.get("single", [])]
    if template is not None:
        around = (template[:1] == [False], template[-1:] == [False])
    else:
        around = (default_bos and not spec, False)
    found = []
    for key, usual in zip(("add_bos_token", "add_eos_token"), around, strict=True):
        said = settings.get(key)
        found.append(said if isinstance(said, bool) else usual)
    return found[0], found[1]


# --- special tokens and templates ---------------------------------------------------------------------------


def _special_tokens(folder: Path, config: HFConfig, settings: dict, tokens: list[str]) -> Entries:
    generation = read_json_if_there(folder / "generation_config.json")
    ids: dict[str, int] = {}
    for index, token in enumerate(tokens):
        ids.setdefault(token, index)
    entries: Entries = {}
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    for name, key in names.items():
        token = settings.get(f"{name}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if token is not None and token not in ids:
            raise HFError(
                f"{folder / 'tokenizer_config.json'}: '{name}_token' {token!r} is not in the vocabulary"
            )
        listed = _ids(generation.get(f"{name}_token_id")) or _ids(config.get(f"{name}_token_id"))
        index = ids[token] if token is not None else next(iter(listed), None)
        if index is not None:
            entries[f"tokenizer.ggml.{key}_token_id"] = index, T.U32
    ends = [*_ids(generation.get("eos_token_id")), *_ids(config.get("eos_token_id"))]
    first = entries.get("tokenizer.ggml.eos_token_id")
    others = list(dict.fromkeys(index for index in ends if first is None or index != first[0]))
    if others:
        entries["tokenizer.ggml.eot_token_id"] = others[0], T.U32
        entries[END_TOKEN_IDS] = others if first is None else [first[0], *others], T.I32
    for key, (value, _) in entries.items():
        for index in value if isinstance(value, list) else [value]:
            if not 0 <= index < len(tokens):
                raise HFError(f"{folder}: '{key}' is {index}, outside the vocabulary of {len(tokens)} tokens")
    return entries


def _ids(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [index for index in values if isinstance(index, int) and not isinstance(index, bool)]


def _chat_templates(folder: Path, settings: dict) -> Entries:
    path = folder / "chat_template.jinja"
    if path.exists():
        try:
            return {"tokenizer.chat_template": (path.read_text(encoding="utf-8"), T.STRING)}
        except (OSError, UnicodeDecodeError) as error:
            raise HFError(f"{path}: cannot be read: {error}") from None
    template = settings.get("chat_template")
    if template is None:
        template = read_json_if_there(folder / "chat_template.json").get("chat_template")
    if isinstance(template, str):
        return {"tokenizer.chat_template": (template, T.STRING)}
    named = {
        entry["name"]: entry["template"]
        for entry in (template if isinstance(template, list) else [])
        if isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and isinstance(entry.get("template"), str)
    }
    entries: Entries = {}
    for name, text in named.items():
        suffix = "" if name == "default" else f".{name}"
        entries[f"tokenizer.chat_template{suffix}"] = text, T.STRING
    return entries
