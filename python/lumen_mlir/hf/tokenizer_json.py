# SPDX-License-Identifier: Apache-2.0
"""``tokenizer.json`` in GGUF's terms: a vocabulary, merges, and the rules that GGUF has no keys for.

GGUF names the rules that cut text after a family. Which family it is shows in what both make of one text; the
exact rules go into a key of Lumen besides.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lumen_mlir.errors import shown
from lumen_mlir.gguf import types as T
from lumen_mlir.hf.config import Entries, HFConfig
from lumen_mlir.hf.errors import HFError
from lumen_mlir.hf.values import Values
from lumen_mlir.text import tokenizer_rules
from lumen_mlir.text.pretokenizers import PRE_TOKENIZERS, PreTokenizer
from lumen_mlir.text.token_types import BYTE, CONTROL, NORMAL, RULES, UNKNOWN, UNUSED, USER_DEFINED
from lumen_mlir.text.tokenizer_rules import FLAGS, byte_level, parts, refusing

logger = logging.getLogger(__name__)

# Tells the families apart: runs of digits, contractions in both cases, words over spaces, combining marks,
# decomposed Hangul, line feeds, slashes, case changes, other scripts, trailing spaces.
_PROBE = (
    "Hello  I've DON'T we'LL 1 12345 3.14159 한국어 문장을 가나다라 뷁 e\u0301a\u0301 नमस्ते "
    "\u1112\u1161\u11ab camelCase ABCdef x\n\n\n  \t y\r\n  z a/b//c/\n!!! ???\n $1,000.00 +-*/=<>^~| "
    "(가)[나]{다} 你好，世界 日本語です ① ½ 'tis _under_score_ end   "
)


class Table:
    """Tokens by id with their types; ids that nothing names are padding."""

    def __init__(self, path: Path, size: int):
        self.path, self.size = path, size
        self.tokens: dict[int, str] = {}
        self.types: dict[int, int] = {}

    def add(self, token: Any, index: Any, kind: int) -> None:
        """Token ``index``, whose text is ``token``. Raises ``HFError``."""
        if not isinstance(token, str) or not isinstance(index, int) or isinstance(index, bool):
            raise HFError(f"{self.path}: {shown(token)} with id {shown(index)} is no token with its id")
        if not 0 <= index < self.size:
            raise HFError(
                f"{self.path}: token {shown(token)} has the id {shown(index)}, but 'vocab_size' in "
                f"config.json is {self.size}"
            )
        other = self.tokens.get(index, token)
        if other != token:
            raise HFError(f"{self.path}: {shown(other)} and {shown(token)} both have the id {index}")
        self.tokens[index], self.types[index] = token, kind

    def mark(self, added: Iterable[Values]) -> None:
        """Adds tokens that were added to a vocabulary; those of an unknown token stay so."""
        for token in added:
            index = token.index("id")
            if index >= self.size:
                logger.warning(
                    "%s: token %s has the id %s, but the embedding table has %d rows; it cannot be used",
                    self.path,
                    shown(token.text("content")),
                    shown(index),
                    self.size,
                )
            elif self.types.get(index) != UNKNOWN:
                kind = CONTROL if token.flag("special") else USER_DEFINED
                self.add(token.values.get("content"), index, kind)

    def entries(self) -> tuple[list[str], Entries]:
        """All tokens, and the metadata that says so."""
        tokens = [self.tokens.get(index, f"[PAD{index}]") for index in range(self.size)]
        types = [self.types.get(index, UNUSED) for index in range(self.size)]
        try:
            "".join(tokens).encode("utf-8")
        except UnicodeEncodeError as error:
            raise HFError(f"{self.path}: a token is not valid Unicode ({error.reason})") from None
        return tokens, {
            "tokenizer.ggml.tokens": (tokens, T.STRING),
            "tokenizer.ggml.token_type": (types, T.I32),
        }


def is_supported(spec: Values) -> bool:
    """Whether it is of a kind that Lumen runs: BPE over bytes, or over characters that fall back to bytes."""
    model = spec.object("model")
    return model.text("type", "BPE") == "BPE" and (
        byte_level(spec.values) or bool(model.flag("byte_fallback"))
    )


def entries_of_json(
    spec: Values, config: HFConfig, special: list[str], pre_tokenizer: str | None
) -> tuple[Entries, list[str]]:
    """Metadata of the vocabulary and its rules, and the tokens.

    ``special``: texts of tokens that are special whether or not the file says so; ``pre_tokenizer``: a family
    that replaces the file's own rules. Raises ``HFError``.
    """
    path, model = spec.where, spec.object("model")
    _refuse_others(spec, model)
    vocabulary = model.object("vocab").values
    in_bytes = byte_level(spec.values)
    unknown = model.text("unk_token")
    table = Table(path, config.integer("vocab_size"))
    for token, index in vocabulary.items():
        is_byte = not in_bytes and len(token) == 6 and token.startswith("<0x") and token.endswith(">")
        kind = UNKNOWN if token == unknown and not in_bytes else BYTE if is_byte else NORMAL
        table.add(token, index, kind)
    added = _added(spec, vocabulary, special)
    table.mark(added)
    tokens, entries = table.entries()
    merges = _merges(path, model)
    rules: dict[str, Any] = {"added_tokens": [_flags(token, vocabulary, table.size) for token in added]}
    with refusing(f"{path}: the rules are not valid", HFError):
        _, splitter = tokenizer_rules.package_steps(spec.values)
        cuts = None if splitter is None else _cuts(splitter)
    if pre_tokenizer is not None and not in_bytes:
        raise HFError(f"{path}: is not byte-level and has no pre-tokenizer ('{pre_tokenizer}' was given)")
    name = _family(spec, model, config, cuts) if pre_tokenizer is None else pre_tokenizer
    if name is not None and name not in PRE_TOKENIZERS:
        raise HFError(
            f"{path}: unknown pre-tokenizer '{name}'; pass --pre-tokenizer NAME (in Python "
            f"pre_tokenizer=NAME), one of {', '.join(PRE_TOKENIZERS)}"
        )
    if pre_tokenizer is None:
        kept = ("ignore_merges", "byte_fallback", "fuse_unk", "unk_token")
        rules["model"] = {key: model.values[key] for key in kept if key in model}
        rules |= {key: spec.values.get(key) for key in ("normalizer", "pre_tokenizer")}
    entries |= {
        "tokenizer.ggml.model": ("gpt2" if in_bytes else "llama", T.STRING),
        "tokenizer.ggml.merges": ([f"{left} {right}" for left, right in merges], T.STRING),
        RULES: (json.dumps(rules, ensure_ascii=False), T.STRING),
    }
    if not in_bytes:
        entries |= _scores(tokens, merges)
        entries["tokenizer.ggml.add_space_prefix"] = _prepends_space(spec), T.BOOL
        name = "default"
    if name is not None:
        entries["tokenizer.ggml.pre"] = name, T.STRING
    return entries, tokens


def around(spec: Values) -> tuple[bool, bool] | None:
    """Whether a single text gets a token before and behind it; None where nothing says so."""
    found = None
    for step in parts(spec.values.get("post_processor")):
        if step.get("type") == "TemplateProcessing":
            items = Values(f"{spec.where}: 'post_processor'", step).objects("single")
            template = ["Sequence" in item.values for item in items]
            found = template[:1] == [False], template[-1:] == [False]
    return found


def _refuse_others(spec: Values, model: Values) -> None:
    path, kind = spec.where, model.text("type", "BPE")
    if not isinstance(spec.values.get("model"), dict) or not isinstance(
        model.values.get("vocab"), (dict, list)
    ):
        raise HFError(f"{path}: has no 'model' with a 'vocab'")
    if kind != "BPE":
        raise HFError(f"{path}: the tokenizer is of type {shown(kind)}; 'BPE' is supported")
    if not is_supported(spec):
        raise HFError(
            f"{path}: the tokenizer is neither byte-level nor falls back to bytes, which is not supported"
        )
    for key in ("ignore_merges", "byte_fallback", "fuse_unk"):
        model.flag(key)
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.text(key):
            raise HFError(f"{path}: '{key}' is {shown(model.text(key))}, which is not supported")


def _added(spec: Values, vocabulary: dict[str, Any], special: list[str]) -> list[Values]:
    """The added tokens, and those of ``special`` that are ordinary tokens, by id."""
    found = {}
    for token in spec.objects("added_tokens"):
        if not isinstance(token.values.get("content"), str):
            shown_token, shown_id = shown(token.values.get("content")), shown(token.values.get("id"))
            raise HFError(f"{token.where}: {shown_token} with id {shown_id} is no token with its id")
        content, index = token.text("content"), token.index("id")
        if vocabulary.get(content, index) != index:
            raise HFError(
                f"{spec.where}: added token {shown(content)} has the id {shown(index)}, but in the "
                f"vocabulary {shown(vocabulary[content])}"
            )
        for flag in FLAGS:
            token.flag(flag)
        found[content] = token
    for content in special:
        if content in vocabulary and content not in found:
            values = {"content": content, "id": vocabulary[content], "special": True}
            found[content] = Values(spec.where, values)
    return sorted(found.values(), key=lambda token: token.index("id"))


def _flags(token: Values, vocabulary: dict[str, Any], size: int) -> dict[str, Any]:
    """An added token as the rules of a model file have it."""
    index, content = token.index("id"), token.text("content")
    entry: dict[str, Any] = {"id": index, **{flag: True for flag in FLAGS if token.flag(flag)}}
    if content in vocabulary:
        entry["in_model"] = True
    if index >= size:
        entry["content"] = content
    return entry


def _merges(path: Path, model: Values) -> list[tuple[str, str]]:
    """The two sides of each merge, which older files join by a space. Of equal merges the last counts."""
    pairs = []
    for index, merge in enumerate(model.items("merges")):
        sides = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(sides, list) or len(sides) != 2:
            raise _no_merge(path, index, merge)
        left, right = sides
        if not isinstance(left, str) or not isinstance(right, str) or " " in left or " " in right:
            raise _no_merge(path, index, merge)
        pairs.append((left, right))
    if len(set(pairs)) < len(pairs):
        pairs = list(dict.fromkeys(reversed(pairs)))[::-1]
    return pairs


def _no_merge(path: Path, index: int, merge: Any) -> HFError:
    return HFError(f"{path}: merge {index} is {merge!r:.60}; two tokens without spaces were expected")


def _scores(tokens: list[str], merges: list[tuple[str, str]]) -> Entries:
    """What other engines merge by, where they know no merges: a token's score is its first merge's rank."""
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, rank)
    # What no merge makes is never the result of one, so its score is never looked at.
    scores = np.array([-ranks.get(token, len(ranks)) for token in tokens], np.float32)
    return {"tokenizer.ggml.scores": (scores, T.F32)}


def _family(spec: Values, model: Values, config: HFConfig, cuts: list[str] | None) -> str | None:
    """The name of the family that cuts alike; None where none does."""
    names = [name for name, pre in PRE_TOKENIZERS.items() if _cuts_of(pre) == cuts]
    nfc = "NFC" in [step.get("type") for step in parts(spec.values.get("normalizer"))]
    whole = model.flag("ignore_merges")
    asked = str(config.get("model_type", "")).replace("_", "-")

    def rank(name: str) -> tuple:
        pre = PRE_TOKENIZERS[name]
        return (pre.nfc, pre.ignore_merges) != (nfc, whole), name != asked

    return min(names, key=rank, default=None)


@lru_cache
def _cuts_of(pre: PreTokenizer) -> list[str]:
    return _cuts(pre.splitter())


def _cuts(splitter: Any) -> list[str]:
    return [piece for piece, _ in splitter.pre_tokenize_str(_PROBE)]


def _prepends_space(spec: Values) -> bool:
    steps = [*parts(spec.values.get("normalizer")), *parts(spec.values.get("pre_tokenizer"))]
    for step in steps:
        if step.get("type") == "Prepend":
            return True
        if step.get("type") == "Metaspace":
            usual = "always" if step.get("add_prefix_space", True) else "never"
            return step.get("prepend_scheme", usual) != "never"
    return False
