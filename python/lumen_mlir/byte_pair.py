# SPDX-License-Identifier: Apache-2.0
"""Byte-level BPE (``tokenizer.ggml.model`` is "gpt2"), by Hugging Face ``tokenizers``."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass

import numpy as np
import tokenizers
from tokenizers import AddedToken

from lumen_mlir import byte_level
from lumen_mlir.cache import Cache
from lumen_mlir.gguf.reader import GGUFFile
from lumen_mlir.pretokenizers import PreTokenizer
from lumen_mlir.token_types import NORMAL, UNKNOWN, UNUSED, USER_DEFINED, TokenizerError

# Goes into the key of cached vocabularies: raise it when what is stored changes.
_CACHE_VERSION = 1
_CACHE_HEADER = struct.Struct("<6Q")


@dataclass(frozen=True)
class Vocabulary:
    """The tokens by id and the two sides of each merge by rank, all in the byte alphabet."""

    tokens: list[str]
    left: list[str]
    right: list[str]


class BytePairModel:
    """Words (by the family's pre-tokenizer) in the byte alphabet, merged by rank."""

    space_prefix = False

    def __init__(self, path: str, pre: PreTokenizer, vocabulary: Vocabulary, types: np.ndarray):
        tokens = vocabulary.tokens
        self._count = len(tokens)
        self._types = types
        self.ids = dict(zip(tokens, range(len(tokens)), strict=True))
        # The built tokenizer knows every token; what it has under another id is kept here.
        twice = len(self.ids) < len(tokens)
        self._hidden = {i: t for i, t in enumerate(tokens) if self.ids[t] != i} if twice else {}
        self._tokenizer = _build(path, pre, vocabulary, self.ids, types)

    def __len__(self) -> int:
        return self._count

    def encode(self, text: str, special: bool) -> list[int]:
        """The ids of ``text``; ``special``: control tokens written in it become their ids."""
        self._tokenizer.encode_special_tokens = not special
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def text(self, token: int) -> str:
        """Token ``token`` as the vocabulary writes it."""
        return self._hidden[token] if token in self._hidden else self._tokenizer.id_to_token(token)

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` stands for."""
        text = self.text(token)
        if self._types[token] in (NORMAL, UNUSED):
            # A token outside the byte alphabet can only be meant as it is written.
            with contextlib.suppress(KeyError):
                return byte_level.decode(text)
        return text.encode("utf-8")


def _build(
    path: str, pre: PreTokenizer, vocabulary: Vocabulary, ids: dict[str, int], types: np.ndarray
) -> tokenizers.Tokenizer:
    """The Hugging Face tokenizer: marked tokens are taken out of the text, the rest goes through BPE."""
    merges = list(zip(vocabulary.left, vocabulary.right, strict=True))
    try:
        model = tokenizers.models.BPE(vocab=ids, merges=merges, ignore_merges=pre.ignore_merges)
    except Exception as error:  # the package raises bare Exception, as for a merge of unknown tokens
        raise TokenizerError(f"{path}: 'tokenizer.ggml.merges': {' '.join(str(error).split())}") from None
    built = tokenizers.Tokenizer(model)
    built.pre_tokenizer = pre.splitter()
    if pre.nfc:
        built.normalizer = pre.normalizer()
    marked = np.flatnonzero((types >= UNKNOWN) & (types <= USER_DEFINED)).tolist()
    for control in (True, False):
        chosen = [
            AddedToken(vocabulary.tokens[index], special=control, normalized=False)
            for index in marked
            if vocabulary.tokens[index] and (types[index] != USER_DEFINED) == control
        ]
        (built.add_special_tokens if control else built.add_tokens)(chosen)
    return built


def read_vocabulary(file: GGUFFile, cache: Cache | None) -> Vocabulary:
    """Tokens and merges of ``file``, from the cache where it has them."""
    key = f"{file.fingerprint()}-{_CACHE_VERSION}"
    if cache is not None:
        payload = cache.load("tokenizers", key)
        vocabulary = None if payload is None else _unpack(payload)
        if vocabulary is not None:
            return vocabulary
    metadata = file.metadata
    tokens = metadata.strings("tokenizer.ggml.tokens").to_list()
    if not tokens:
        raise TokenizerError(f"{file.path}: 'tokenizer.ggml.tokens' is empty")
    pairs = [merge.split(" ", 1) for merge in metadata.strings("tokenizer.ggml.merges").to_list()]
    if any(len(pair) != 2 for pair in pairs):
        index = next(index for index, pair in enumerate(pairs) if len(pair) != 2)
        raise TokenizerError(
            f"{file.path}: 'tokenizer.ggml.merges': element {index} is not two tokens and a space"
        )
    left, right = (list(side) for side in zip(*pairs, strict=True)) if pairs else ([], [])
    vocabulary = Vocabulary(tokens, left, right)
    if cache is not None:
        payload = _pack(vocabulary)
        if payload is not None:
            cache.store("tokenizers", key, payload)
    return vocabulary


def _pack(vocabulary: Vocabulary) -> bytes | None:
    """The lists as lines of text, which split faster than length-prefixed strings; None if they cannot."""
    lists = (vocabulary.tokens, vocabulary.left, vocabulary.right)
    texts = ["\n".join(strings) for strings in lists]
    if any(text.count("\n") != max(len(strings), 1) - 1 for text, strings in zip(texts, lists, strict=True)):
        return None
    parts = [text.encode("utf-8") for text in texts]
    sizes = [size for strings, part in zip(lists, parts, strict=True) for size in (len(strings), len(part))]
    return _CACHE_HEADER.pack(*sizes) + b"".join(parts)


def _unpack(payload: bytes) -> Vocabulary | None:
    sizes = _CACHE_HEADER.unpack_from(payload)
    position, lists = _CACHE_HEADER.size, []
    for count, size in zip(sizes[::2], sizes[1::2], strict=True):
        text = payload[position : position + size].decode("utf-8")
        lists.append(text.split("\n") if count else [])
        position += size
    return Vocabulary(*lists)
