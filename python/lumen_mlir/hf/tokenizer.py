# SPDX-License-Identifier: Apache-2.0
"""The tokenizer of a Hugging Face folder, in GGUF's terms: special tokens, templates, ``tokenizer.model``.

What ``tokenizer.json`` says is read in ``tokenizer_json``.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from lumen_mlir.errors import shown
from lumen_mlir.gguf import types as T
from lumen_mlir.hf.config import Entries, HFConfig
from lumen_mlir.hf.errors import HFError
from lumen_mlir.hf.json_files import read_json, read_json_if_there, read_text
from lumen_mlir.hf.tokenizer_json import Table, around, entries_of_json, is_supported
from lumen_mlir.hf.values import Values
from lumen_mlir.text.token_types import CONTROL, PREPEND_FIRST, UNKNOWN
from lumen_mlir.text.tokenizer import END_TOKEN_IDS

logger = logging.getLogger(__name__)

# Special tokens of tokenizer_config.json, and their names in GGUF.
_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def metadata(folder: Path, config: HFConfig, pre_tokenizer: str | None = None) -> Entries:
    """What a GGUF file of the model says about its tokenizer.

    ``pre_tokenizer`` (a name of ``PRE_TOKENIZERS``) is taken where given. Raises ``HFError`` where files are
    missing or describe a tokenizer that Lumen does not know.
    """
    try:
        return _metadata(folder, config, pre_tokenizer)
    except RecursionError:
        raise HFError(f"{folder}: the tokenizer's files are nested too deeply") from None


def _metadata(folder: Path, config: HFConfig, pre_tokenizer: str | None) -> Entries:
    settings = _values(folder / "tokenizer_config.json")
    named = _named_tokens(folder, settings)
    fast, slow = folder / "tokenizer.json", folder / "tokenizer.model"
    spec = Values(fast, read_json(fast)) if fast.exists() else None
    if spec is not None and (is_supported(spec) or not slow.exists()):
        special = [token for token in named.values() if token is not None]
        entries, tokens = entries_of_json(spec, config, special, pre_tokenizer)
        adds = _adds(settings, around(spec) or (False, False))
    elif slow.exists():
        added = _added_tokens(folder, settings) if spec is None else spec.objects("added_tokens")
        entries, tokens = _from_model(slow, config, settings, added)
        adds = _adds(settings, (True, False))
    else:
        raise HFError(f"{folder}: has neither 'tokenizer.json' nor 'tokenizer.model'")
    return {
        **entries,
        "tokenizer.ggml.add_bos_token": (adds[0], T.BOOL),
        "tokenizer.ggml.add_eos_token": (adds[1], T.BOOL),
        **_special_tokens(folder, config, named, tokens),
        **_chat_templates(folder, settings),
    }


def _values(path: Path) -> Values:
    return Values(path, read_json_if_there(path))


def _adds(settings: Values, usual: tuple[bool, bool]) -> tuple[bool, bool]:
    """Whether a text gets a begin and an end token: what is said, or what is usual."""
    return settings.flag("add_bos_token", usual[0]), settings.flag("add_eos_token", usual[1])


def _from_model(
    path: Path, config: HFConfig, settings: Values, added: list[Values]
) -> tuple[Entries, list[str]]:
    """A SentencePiece model, and the tokens that were added to it later."""
    from lumen_mlir.text import sentence_piece

    pieces = sentence_piece.read_model(str(path))
    table = Table(path, config.integer("vocab_size"))
    for index, (token, kind) in enumerate(zip(pieces.tokens, pieces.types.tolist(), strict=True)):
        table.add(token, index, kind)
    table.mark(token for token in added if table.types.get(token.index("id")) not in (UNKNOWN, CONTROL))
    tokens, entries = table.entries()
    scores = np.full(len(tokens), -1e4, np.float32)
    scores[: len(pieces.scores)] = pieces.scores
    return {
        "tokenizer.ggml.model": ("llama", T.STRING),
        "tokenizer.ggml.pre": ("default", T.STRING),
        **entries,
        "tokenizer.ggml.scores": (scores, T.F32),
        "tokenizer.ggml.add_space_prefix": (settings.flag("add_prefix_space", pieces.space_prefix), T.BOOL),
        # Newer tokenizers put no space behind special tokens, where older ones ("legacy") do.
        **({PREPEND_FIRST: (True, T.BOOL)} if not settings.flag("legacy", True) else {}),
    }, tokens


def _added_tokens(folder: Path, settings: Values) -> list[Values]:
    """Tokens that were added to a ``tokenizer.model``, where there is no ``tokenizer.json``."""
    listed = settings.object("added_tokens_decoder")
    if "added_tokens_decoder" in settings:
        return [
            Values.of(listed.where, {**Values.of(listed.where, token).values, "id": int(index)})
            for index, token in listed.values.items()
            if index.isascii() and index.isdigit() and len(index) < 10
        ]
    path = folder / "added_tokens.json"
    # Without more being said about them, they are what is not text.
    return [
        Values(path, {"content": token, "id": index, "special": True})
        for token, index in read_json_if_there(path).items()
    ]


# --- special tokens and templates ---------------------------------------------------------------------------


def _named_tokens(folder: Path, settings: Values) -> dict[str, str | None]:
    """The texts of special tokens that the files name; None for those that they say are none."""
    usual = _values(folder / "special_tokens_map.json")
    found = {}
    for name in _SPECIAL:
        key = f"{name}_token"
        for source in (settings, usual):
            if key in source.values and name not in found:
                found[name] = source.token(key)
    return found


def _special_tokens(
    folder: Path, config: HFConfig, named: dict[str, str | None], tokens: list[str]
) -> Entries:
    generation = _values(folder / "generation_config.json")
    settings = Values(config.where, {f"{name}_token_id": config.get(f"{name}_token_id") for name in _SPECIAL})
    ids: dict[str, int] = {}
    for index, token in enumerate(tokens):
        ids.setdefault(token, index)
    usable = _Usable(len(tokens))
    entries: Entries = {}
    for name, key in _SPECIAL.items():
        token = named.get(name)
        index = None
        if token in ids:
            index = ids[token]
        elif token is not None and name in ("bos", "eos"):
            raise HFError(
                f"{folder / 'tokenizer_config.json'}: '{name}_token' {shown(token)} is not in the vocabulary"
            )
        elif token is not None:
            logger.warning(
                "%s: '%s_token' %s is not in the vocabulary; it is passed over", folder, name, shown(token)
            )
        else:
            key_id = f"{name}_token_id"
            listed = usable.of(generation, key_id) or usable.of(settings, key_id)
            index = next(iter(listed), None)
        if index is not None:
            entries[f"tokenizer.ggml.{key}_token_id"] = index, T.U32
    listed = usable.of(generation, "eos_token_id")
    # One id in config.json says what ends a text; several, or any that generating goes by, are all ends.
    complete = bool(listed)
    listed = listed or usable.of(settings, "eos_token_id")
    first = entries.get("tokenizer.ggml.eos_token_id")
    ends = list(dict.fromkeys([*([first[0]] if first else []), *listed]))
    if len(ends) > 1:
        entries["tokenizer.ggml.eot_token_id"] = ends[1] if first else ends[0], T.U32
    if ends and (complete or len(listed) > 1):
        entries[END_TOKEN_IDS] = ends, T.I32
    return entries


class _Usable:
    """Ids that are tokens; a warning, once each, for those that are none."""

    def __init__(self, count: int):
        self._count = count
        self._warned: set[tuple[str, int]] = set()

    def of(self, source: Values, key: str) -> list[int]:
        found = []
        for index in source.ids(key):
            if 0 <= index < self._count:
                found.append(index)
            elif (key, index) not in self._warned:
                self._warned.add((key, index))
                logger.warning(
                    "%s: '%s' is %s, outside the vocabulary of %d tokens; it is passed over",
                    source.where,
                    key,
                    shown(index),
                    self._count,
                )
        return found


def _chat_templates(folder: Path, settings: Values) -> Entries:
    path, more = folder / "chat_template.jinja", folder / "additional_chat_templates"
    named = {"default": read_text(path)} if path.exists() else _listed_templates(folder, settings)
    for each in sorted(more.glob("*.jinja")) if more.is_dir() else ():
        named[each.stem] = read_text(each)
    return {
        "tokenizer.chat_template" + ("" if name == "default" else f".{name}"): (text, T.STRING)
        for name, text in named.items()
    }


def _listed_templates(folder: Path, settings: Values) -> dict[str, str]:
    source = settings if "chat_template" in settings else _values(folder / "chat_template.json")
    if not isinstance(source.values.get("chat_template"), list):
        template = source.text("chat_template")
        return {} if template is None else {"default": template}
    found = {}
    for entry in source.objects("chat_template"):
        for key in ("name", "template"):
            if key not in entry:
                raise entry.error(f"has no '{key}'")
        found[entry.text("name")] = entry.text("template")
    return found
