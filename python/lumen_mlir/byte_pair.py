# SPDX-License-Identifier: Apache-2.0
"""Byte-level BPE (``tokenizer.ggml.model`` is "gpt2"), by Hugging Face ``tokenizers``."""

from __future__ import annotations

import contextlib
import re

import numpy as np
import tokenizers
from tokenizers import AddedToken

from lumen_mlir import byte_level
from lumen_mlir.cache import Cache
from lumen_mlir.mapping import check_unchanged
from lumen_mlir.model_file import ModelFile
from lumen_mlir.pretokenizers import PreTokenizer
from lumen_mlir.token_table import MergeError, TokenTable
from lumen_mlir.token_types import NORMAL, UNKNOWN, UNUSED, USER_DEFINED, TokenizerError

# Goes into the key of cached vocabularies: raise it when what is stored changes.
_CACHE_VERSION = 2

# Characters up to which a text gets a tokenizer of its own.
_SHORT = 2000


class BytePairModel:
    """Words (by the family's pre-tokenizer) in the byte alphabet, merged by rank.

    The package builds a tokenizer of 151,936 tokens in 200 ms. A short text is merged by one that knows only
    the tokens which the text contains, and these are all that could come out; the whole one is built when a
    longer text comes.
    """

    space_prefix = False

    def __init__(self, pre: PreTokenizer, table: TokenTable, types: np.ndarray):
        self._pre, self._table, self._types = pre, table, types
        marked = np.flatnonzero((types >= UNKNOWN) & (types <= USER_DEFINED)).tolist()
        texts = ((index, table.text(index)) for index in marked)
        # What is taken out of a text before it is cut into words, and whether it is a control token.
        self._control = {text: types[index] != USER_DEFINED for index, text in texts if text}
        self._whole: tokenizers.Tokenizer | None = None

    def __len__(self) -> int:
        return len(self._table)

    def find(self, text: str) -> int | None:
        """The id of the token that is written so, or None."""
        return self._table.find(text)

    def encode(self, text: str, special: bool) -> list[int]:
        """The ids of ``text``; ``special``: control tokens written in it become their ids."""
        if self._whole is None and len(text) > _SHORT:
            texts = self._table.texts()
            ids = dict(zip(texts, range(len(texts)), strict=True))
            self._whole = self._build(ids, self._table.merges(), list(self._control))
        chosen = self._whole or self._tokenizer_of(text, special)
        chosen.encode_special_tokens = not special
        return chosen.encode(text, add_special_tokens=False).ids

    def text(self, token: int) -> str:
        """Token ``token`` as the vocabulary writes it."""
        return self._table.text(token)

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` stands for."""
        text = self.text(token)
        if self._types[token] in (NORMAL, UNUSED):
            # A token outside the byte alphabet can only be meant as it is written.
            with contextlib.suppress(KeyError):
                return byte_level.decode(text)
        return text.encode("utf-8")

    def _tokenizer_of(self, text: str, special: bool) -> tokenizers.Tokenizer:
        """A tokenizer that knows every token which is a part of a word of ``text``, and their merges."""
        present = [token for token in self._control if token in text]
        cutting = [token for token in present if special or not self._control[token]]
        pieces = [text]
        if cutting:
            longest = sorted(cutting, key=len, reverse=True)
            pieces = re.split("|".join(map(re.escape, longest)), text)
        splitter, normalizer = self._pre.splitter(), self._pre.normalizer() if self._pre.nfc else None
        if normalizer is not None:
            pieces = [normalizer.normalize_str(piece) for piece in pieces]
        words = {word for piece in pieces for word, _ in splitter.pre_tokenize_str(piece)}
        ids = {
            token: index
            for word in words
            for i in range(len(word))
            for token, index in self._table.prefixes(word[i:])
        }
        ranked = []
        for token in ids:
            for cut in range(1, len(token)):
                left, right = token[:cut], token[cut:]
                if left in ids and right in ids:
                    rank = self._table.rank(ids[left], ids[right])
                    if rank is not None:
                        ranked.append((rank, (left, right)))
        ids |= {token: self._table.find(token) for token in present}
        return self._build(ids, [merge for _, merge in sorted(ranked)], present)

    def _build(
        self, ids: dict[str, int], merges: list[tuple[str, str]], marked: list[str]
    ) -> tokenizers.Tokenizer:
        """The package's tokenizer: marked tokens are taken out of the text, the rest goes through BPE."""
        model = tokenizers.models.BPE(vocab=ids, merges=merges, ignore_merges=self._pre.ignore_merges)
        built = tokenizers.Tokenizer(model)
        built.pre_tokenizer = self._pre.splitter()
        if self._pre.nfc:
            built.normalizer = self._pre.normalizer()
        for control in (True, False):
            chosen = [
                AddedToken(token, special=control, normalized=False)
                for token in marked
                if self._control[token] == control
            ]
            (built.add_special_tokens if control else built.add_tokens)(chosen)
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
