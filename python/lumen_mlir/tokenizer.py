# SPDX-License-Identifier: Apache-2.0
"""Text to token ids and back, from the metadata of a GGUF file, by Hugging Face ``tokenizers``."""

from __future__ import annotations

import codecs
import contextlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tokenizers
from tokenizers import AddedToken

from lumen_mlir import byte_level
from lumen_mlir.cache import Cache
from lumen_mlir.errors import LumenError
from lumen_mlir.gguf.metadata import Metadata
from lumen_mlir.gguf.reader import GGUFFile
from lumen_mlir.pretokenizers import PRE_TOKENIZERS, PreTokenizer

# ggml's token types.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5

# Special tokens that end a turn or a text in some family, whether or not the file names them in its metadata.
_END_TOKENS = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "[|endofturn|]",
    "<EOT>",
    "[EOT]",
    "[EOS]",
    "</s>",
    "<eos>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
_END_KEYS = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")

# Goes into the key of cached vocabularies: raise it when what is stored changes.
_CACHE_VERSION = 1
_CACHE_HEADER = struct.Struct("<6Q")


class TokenizerError(LumenError):
    """A vocabulary that cannot be used, or text or ids that cannot be converted."""


@dataclass(frozen=True)
class _Vocabulary:
    """The tokens by id and the two sides of each merge by rank, all in the byte alphabet."""

    tokens: list[str]
    left: list[str]
    right: list[str]


class Tokenizer:
    """Byte-level BPE.

    ``bos``, ``eos``: ids or None; ``end_tokens``: every id that ends generation; ``add_bos``, ``add_eos``:
    whether ``encode`` adds them unless told otherwise.
    """

    def __init__(self, path: str, metadata: Metadata, vocabulary: _Vocabulary):
        name = metadata.string("tokenizer.ggml.pre")
        if name not in PRE_TOKENIZERS:
            raise TokenizerError(
                f"{path}: unknown pre-tokenizer '{name}' ('tokenizer.ggml.pre'); "
                f"known are {', '.join(PRE_TOKENIZERS)}"
            )
        pre = PRE_TOKENIZERS[name]
        self._path = path
        tokens = vocabulary.tokens
        self._count = len(tokens)
        self._types = _token_types(path, metadata, len(self))
        ids = dict(zip(tokens, range(len(self)), strict=True))
        # The built tokenizer knows every token; what it has under another id is kept here.
        twice = len(ids) < len(tokens)
        self._hidden = {i: t for i, t in enumerate(tokens) if ids[t] != i} if twice else {}
        self._tokenizer = _build(path, pre, vocabulary, ids, self._types)
        self._bytes: dict[int, bytes] = {}
        self.bos = self._special_id(metadata, "bos")
        self.eos = self._special_id(metadata, "eos")
        self.add_bos = metadata.boolean("tokenizer.ggml.add_bos_token", pre.add_bos) and self.bos is not None
        self.add_eos = metadata.boolean("tokenizer.ggml.add_eos_token", False) and self.eos is not None
        self.end_tokens = self._end_tokens(metadata, ids)

    @staticmethod
    def from_gguf(file: GGUFFile, cache: Cache | None = None) -> Tokenizer:
        """The tokenizer of ``file``. ``cache`` keeps the vocabulary in a form that is faster to read.

        Raises ``LumenError`` where the metadata describes no tokenizer that Lumen knows.
        """
        model = file.metadata.string("tokenizer.ggml.model")
        if model != "gpt2":
            raise TokenizerError(
                f"{file.path}: tokenizer model '{model}' is not supported; 'gpt2' (byte-level BPE) is"
            )
        return Tokenizer(file.path, file.metadata, _vocabulary(file, cache))

    def __len__(self) -> int:
        """Tokens in the vocabulary."""
        return self._count

    def encode(
        self, text: str, special: bool = True, add_bos: bool | None = None, add_eos: bool | None = None
    ) -> list[int]:
        """The token ids of ``text``.

        ``special``: control tokens written in the text (such as ``<|im_end|>``) become their ids; otherwise
        they are text like any other. ``add_bos``, ``add_eos``: overrule what the file says. Raises
        ``TokenizerError`` for text with lone surrogates.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f"the text is not valid Unicode: character {error.start} is U+{ord(text[error.start]):04X}"
            ) from None
        self._tokenizer.encode_special_tokens = not special
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        if self.bos is not None and (self.add_bos if add_bos is None else add_bos):
            ids.insert(0, self.bos)
        if self.eos is not None and (self.add_eos if add_eos is None else add_eos):
            ids.append(self.eos)
        return ids

    def decode(self, ids: Iterable[int], special: bool = False) -> str:
        """The text of ``ids``; control tokens only if ``special``. Broken UTF-8 becomes U+FFFD."""
        return b"".join(self.token_bytes(token, special) for token in ids).decode("utf-8", "replace")

    def token_text(self, token: int) -> str:
        """Token ``token`` as the vocabulary writes it, in the byte alphabet."""
        if not 0 <= token < self._count:
            raise TokenizerError(f"token id {token} is outside the vocabulary of {self._count} tokens")
        return self._hidden[token] if token in self._hidden else self._tokenizer.id_to_token(token)

    def token_bytes(self, token: int, special: bool = False) -> bytes:
        """The bytes that ``token`` stands for: part of a character, perhaps; none for control tokens."""
        found = self._bytes.get(token)
        if found is None:
            text = self.token_text(token)
            found = text.encode("utf-8")
            if self._types[token] in (NORMAL, UNUSED):
                # A token outside the byte alphabet can only be meant as it is written.
                with contextlib.suppress(KeyError):
                    found = byte_level.decode(text)
            self._bytes[token] = found
        return b"" if not special and self.is_control(token) else found

    def is_control(self, token: int) -> bool:
        """Whether ``token`` steers the model instead of standing for text."""
        self.token_text(token)  # checks the range
        return bool(self._types[token] in (CONTROL, UNKNOWN))

    def stream(self, special: bool = False) -> StreamDecoder:
        """A decoder for tokens that come one at a time."""
        return StreamDecoder(self, special)

    def _special_id(self, metadata: Metadata, name: str) -> int | None:
        key = f"tokenizer.ggml.{name}_token_id"
        value = metadata.integer(key, None)
        if value is not None and not 0 <= value < len(self):
            raise TokenizerError(
                f"{self._path}: '{key}' is {value}, outside the vocabulary of {len(self)} tokens"
            )
        return value

    def _end_tokens(self, metadata: Metadata, ids: dict[str, int]) -> frozenset[int]:
        named = {self._special_id(metadata, name) for name in _END_KEYS}
        written = {token: ids[token] for token in _END_TOKENS if token in ids}
        # "</s>" may be an ordinary token that only looks like one.
        found = {index for index in written.values() if self._types[index] in (CONTROL, USER_DEFINED)}
        # Where messages end in <|return|> or <|call|>, <|end|> only ends one part of a message.
        if "<|return|>" in written and written.keys() & {"<|call|>", "<|calls|>"}:
            found.discard(written.get("<|end|>"))
        return frozenset((named | found) - {None})


class StreamDecoder:
    """Turns tokens into text as they come, holding back the bytes of a character until it is whole."""

    def __init__(self, tokenizer: Tokenizer, special: bool = False):
        self._tokenizer = tokenizer
        self._special = special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """The text that ``token`` completes; empty while a character is unfinished."""
        return self._decoder.decode(self._tokenizer.token_bytes(token, self._special))

    def finish(self) -> str:
        """What is left at the end: U+FFFD for a character that never became whole, else nothing."""
        return self._decoder.decode(b"", final=True)


def _token_types(path: str, metadata: Metadata, count: int) -> np.ndarray:
    types = metadata.integers("tokenizer.ggml.token_type", None)
    if types is None:
        return np.full(count, NORMAL, np.int32)
    if len(types) != count:
        raise TokenizerError(
            f"{path}: 'tokenizer.ggml.token_type' has {len(types)} elements for {count} tokens"
        )
    return types


def _build(
    path: str, pre: PreTokenizer, vocabulary: _Vocabulary, ids: dict[str, int], types: np.ndarray
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


def _vocabulary(file: GGUFFile, cache: Cache | None) -> _Vocabulary:
    """Tokens and merges, from the cache where it has them."""
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
    vocabulary = _Vocabulary(tokens, left, right)
    if cache is not None:
        payload = _pack(vocabulary)
        if payload is not None:
            cache.store("tokenizers", key, payload)
    return vocabulary


def _pack(vocabulary: _Vocabulary) -> bytes | None:
    """The lists as lines of text, which split faster than length-prefixed strings; None if they cannot."""
    lists = (vocabulary.tokens, vocabulary.left, vocabulary.right)
    texts = ["\n".join(strings) for strings in lists]
    if any(text.count("\n") != max(len(strings), 1) - 1 for text, strings in zip(texts, lists, strict=True)):
        return None
    parts = [text.encode("utf-8") for text in texts]
    sizes = [size for strings, part in zip(lists, parts, strict=True) for size in (len(strings), len(part))]
    return _CACHE_HEADER.pack(*sizes) + b"".join(parts)


def _unpack(payload: bytes) -> _Vocabulary | None:
    sizes = _CACHE_HEADER.unpack_from(payload)
    position, lists = _CACHE_HEADER.size, []
    for count, size in zip(sizes[::2], sizes[1::2], strict=True):
        text = payload[position : position + size].decode("utf-8")
        lists.append(text.split("\n") if count else [])
        position += size
    return _Vocabulary(*lists)
