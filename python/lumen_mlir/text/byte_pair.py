# SPDX-License-Identifier: Apache-2.0
"""Byte pair encoding (``tokenizer.ggml.model`` is "gpt2", or a file has the rules of a ``tokenizer.json``).

Hugging Face ``tokenizers`` cuts texts into words; merges are looked up in a mapped table.
"""

from __future__ import annotations

import contextlib
import threading
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import groupby
from typing import Any

import numpy as np
import tokenizers

from lumen_mlir.gguf.model_file import ModelFile
from lumen_mlir.storage.cache import Cache
from lumen_mlir.storage.mapping import check_unchanged
from lumen_mlir.text import byte_level
from lumen_mlir.text.token_table import MergeError, TokenTable
from lumen_mlir.text.token_types import BYTE, NORMAL, UNUSED, USER_DEFINED, TokenizerError
from lumen_mlir.text.tokenizer_rules import Rules, refusing

# Goes into the key of cached vocabularies: raise it when what is stored changes.
_CACHE_VERSION = 3

# Characters up to which a text is merged here.
_SHORT = 2000
# Characters whose tokens are remembered.
_REMEMBERED = 4096
_SPACE = "\u2581"  # what vocabularies in characters write for a space

# How a vocabulary in characters writes bytes.
_BYTES = {f"<0x{byte:02X}>": byte for byte in range(256)}


class BytePairModel:
    """Words, merged by rank.

    The package builds a tokenizer of 151,936 tokens in 200 ms, so it builds one when a longer text comes.
    Until then it only cuts, by a tokenizer whose tokens are the bytes, and the words are merged here. (A
    tokenizer for each text would leak: the package keeps the cache of each that encoded something.)
    """

    def __init__(
        self, path: str, rules: Rules, table: TokenTable, types: np.ndarray, space_prefix: bool = False
    ):
        self._path, self._rules, self._table, self._types = path, rules, table, types
        self.space_prefix = space_prefix
        # For what does not begin a prompt, where that makes a difference.
        self._behind = None if rules.behind is None else BytePairModel(path, rules.behind, table, types)
        self._cutter: tokenizers.Tokenizer | None = None
        self._whole: tokenizers.Tokenizer | None = None
        # The ids of added tokens in ``_cutter`` or ``_whole``, and their own.
        self._added: dict[Any, Any] = {}
        self._renumbered = False
        self._lock = threading.Lock()
        self._first_tokens = lru_cache(_REMEMBERED)(self._first_tokens_of)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def rules(self) -> Rules:
        """The steps before merging."""
        return self._rules

    @property
    def table(self) -> TokenTable:
        """Tokens and merges."""
        return self._table

    def find(self, text: str) -> int | None:
        """The id of the token that is written so, or None."""
        return self._table.find(text)

    def mark(self, ids: list[int]) -> None:
        """Takes the tokens ``ids`` for control tokens, whatever their types say."""
        self._rules = self._rules.with_special(ids, self._table.text)
        if self._behind is not None:
            self._behind.mark(ids)

    def encode(self, text: str, special: bool, begins: bool = True) -> list[int]:
        """The ids of ``text``, which ``begins`` a prompt or not.

        ``special``: control tokens written in it become their ids.
        """
        if not begins and self._behind is not None:
            return self._behind.encode(text, special)
        with self._lock, refusing(f"{self._path}: the tokenizer's rules fail"):
            found = None
            if self._whole is None and len(text) <= _SHORT:
                found = self._short(text, special)
            if found is None:
                found = self._long(text, special)
        return found

    def text(self, token: int) -> str:
        """Token ``token`` as the vocabulary writes it."""
        return self._table.text(token)

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` stands for."""
        text, kind = self.text(token), self._types[token]
        if not self._rules.byte_level:
            if kind == BYTE and text in _BYTES:
                return bytes([_BYTES[text]])
            if kind in (NORMAL, UNUSED, USER_DEFINED):
                text = text.replace(_SPACE, " ")
        elif kind in (NORMAL, UNUSED) or len(text) == 1:
            # A token outside the byte alphabet can only be meant as it is written; a letter of it is a byte.
            with contextlib.suppress(KeyError):
                return byte_level.decode(text)
        return text.encode("utf-8")

    # --- short texts ----------------------------------------------------------------------------------------

    def _short(self, text: str, special: bool) -> list[int] | None:
        """The ids of ``text``, merged here; None where that would not be certain."""
        if self._cutter is None and not self._build_cutter():
            return None
        cutter: Any = self._cutter
        cutter.encode_special_tokens = not special
        encoding = cutter.encode(text, add_special_tokens=False)
        found: list[int] = []
        for _, pairs in groupby(zip(encoding.word_ids, encoding.ids, strict=True), key=lambda pair: pair[0]):
            ids = [index for _, index in pairs]
            if ids[0] > 255:
                found.append(self._added[ids[0]])
                continue
            merged = self._word(bytes(ids))
            if merged is None:
                return None
            found += merged
        return found

    def _build_cutter(self) -> bool:
        """Builds a tokenizer whose ids are bytes and added tokens; False where they could be confused."""
        ids = byte_level.BYTE_OF_CHARACTER if self._rules.byte_level else _BYTES
        if not self._rules.plain or any(token.content in ids for token in self._rules.added):
            return False
        self._cutter = self._tokenizer(self._rules.model(ids, [], cache_capacity=0))
        return True

    def _word(self, word: bytes) -> list[int] | None:
        """The tokens of one word; None where one of its characters has none."""
        text = byte_level.encode(word) if self._rules.byte_level else word.decode("utf-8")
        if self._rules.ignore_merges:
            whole = self._inside(text)
            if whole is not None:
                return [whole]
        symbols: list[int] = []
        for character in text:
            tokens = self._first_tokens(character)
            if tokens is None:
                return None
            symbols += tokens
        return self._merged(symbols)

    def _inside(self, text: str) -> int | None:
        """The id of a token that words may be made of, or None."""
        index = self._table.find(text)
        return None if index in self._rules.outside else index

    def _first_tokens_of(self, character: str) -> tuple[int, ...] | None:
        found = self._inside(character)
        if found is not None:
            return (found,)
        if not self._rules.byte_fallback:
            return None
        tokens = [self._inside(f"<0x{byte:02X}>") for byte in character.encode("utf-8")]
        found_all = tuple(token for token in tokens if token is not None)
        return found_all if len(found_all) == len(tokens) else None

    def _merged(self, symbols: list[int]) -> list[int]:
        """Neighbours merged, those of the lowest rank first, and of equal ranks the first."""
        count, merge = len(symbols), self._table.merge
        behind, before = list(range(1, count + 1)), list(range(-1, count - 1))

        def candidate(place: int) -> tuple | None:
            left, right = symbols[place], symbols[behind[place]]
            found = merge(left, right)
            return None if found is None else (found[0], place, left, right, found[1])

        queue = [found for place in range(count - 1) if (found := candidate(place)) is not None]
        heapify(queue)
        while queue:
            _, place, left, right, made = heappop(queue)
            other = behind[place]
            if symbols[place] != left or other == count or symbols[other] != right:
                continue  # one of the two was merged meanwhile
            symbols[place], symbols[other] = made, -1
            following = behind[place] = behind[other]
            if following < count:
                before[following] = place
            for each in (before[place], place):
                if each >= 0 and behind[each] < count and (found := candidate(each)) is not None:
                    heappush(queue, found)
        return [symbol for symbol in symbols if symbol >= 0]

    # --- long texts -----------------------------------------------------------------------------------------

    def _long(self, text: str, special: bool) -> list[int]:
        """The ids of ``text`` by the package alone."""
        if self._whole is None:
            self._whole = self._build_whole()
            self._cutter = None
        self._whole.encode_special_tokens = not special
        ids = self._whole.encode(text, add_special_tokens=False).ids
        return [self._added.get(index, index) for index in ids] if self._renumbered else ids

    def _build_whole(self) -> tokenizers.Tokenizer:
        rules, texts = self._rules, self._table.texts()
        ids = {text: index for index, text in enumerate(texts) if index not in rules.outside}
        # Numbers without a token would be given to added ones.
        free = set(range(len(texts))).difference(ids.values()) if len(ids) < len(texts) else ()
        ids |= {f"\uffff{index}": index for index in free}
        unknown = rules.unk_token if rules.unk_token in ids else None
        model = rules.model(ids, self._table.merges(), ignore_merges=rules.ignore_merges, unk_token=unknown)
        return self._tokenizer(model)

    def _tokenizer(self, model: tokenizers.models.Model) -> tokenizers.Tokenizer:
        built = self._rules.tokenizer(model)
        # (Of equal tokens in the model, the last counts.)
        self._added = {
            built.token_to_id(token.content): self._table.find(token.content) if token.in_model else token.id
            for token in self._rules.added
        }
        self._renumbered = any(key != index for key, index in self._added.items())
        return built


def read_vocabulary(file: ModelFile, cache: Cache | None) -> TokenTable:
    """Tokens and merges of ``file``, from the cache where it has them."""
    key = f"{file.fingerprint()}-{_CACHE_VERSION}"
    if cache is not None:
        data = cache.load("tokenizers", key)
        if data is not None:
            return TokenTable(np.frombuffer(data, np.uint8))
    metadata = file.metadata
    tokens = metadata.strings("tokenizer.ggml.tokens").to_bytes()
    if not tokens:
        raise TokenizerError(f"{file.path}: 'tokenizer.ggml.tokens' is empty")
    try:
        payload = TokenTable.encode(tokens, metadata.strings("tokenizer.ggml.merges").to_bytes())
    except MergeError as error:
        raise TokenizerError(f"{file.path}: 'tokenizer.ggml.merges': {error}") from None
    check_unchanged(file.files)
    if cache is not None:
        cache.store("tokenizers", key, payload)
    return TokenTable(payload)
