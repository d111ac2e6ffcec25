# SPDX-License-Identifier: Apache-2.0
"""SentencePiece BPE (``tokenizer.ggml.model`` is "llama"), by the ``sentencepiece`` package.

The package reads a model only in its own serialized form (``sentencepiece_model.proto``, a protocol buffer),
so tokens, scores and types are written in that form here, and ``tokenizer.model`` files are read from it.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sentencepiece

from lumen_mlir.errors import one_line
from lumen_mlir.gguf.metadata import Metadata
from lumen_mlir.text.token_types import (
    BYTE,
    CONTROL,
    NORMAL,
    PREPEND_FIRST,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    TokenizerError,
)

SPACE = "\u2581"  # what SentencePiece writes for a space
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")

# Fields of ModelProto and of the messages in it, and TrainerSpec's number for BPE.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_PIECE, _SCORE, _TYPE = 1, 2, 3
_MODEL_TYPE, _VOCABULARY_SIZE, _BYTE_FALLBACK = 3, 4, 35
_NAME, _CHARSMAP, _DUMMY_PREFIX, _REMOVE_SPACES = 1, 2, 3, 4
# No model is larger.
_MOST_BYTES = 64 << 20
_ALGORITHMS = {1: "unigram", 2: "BPE", 3: "word", 4: "char"}
_BPE = 2


@dataclass(frozen=True)
class Pieces:
    """A SentencePiece vocabulary: tokens, scores (float32) and token types by id.

    ``space_prefix``: a space is put before the text, so that its first word is like the others;
    ``prepend_first``: only there, where the text has none, and not behind each marked token too.
    """

    tokens: list[str]
    scores: np.ndarray
    types: np.ndarray
    space_prefix: bool = True
    prepend_first: bool = False


class SentencePieceModel:
    """Characters merged by score; characters outside the vocabulary become bytes."""

    def __init__(self, path: str, pieces: Pieces):
        self.pieces = pieces
        self._tokens, self._types = pieces.tokens, pieces.types
        self.space_prefix, self._prepend_first = pieces.space_prefix, pieces.prepend_first
        self.ids = {token: index for index, token in enumerate(pieces.tokens)}
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(_serialize(path, pieces, self.ids))
        except RuntimeError as error:
            message = one_line(error)
            raise TokenizerError(f"{path}: 'tokenizer.ggml.tokens' is no vocabulary: {message}") from None
        self.mark([])

    def __len__(self) -> int:
        return len(self._tokens)

    def mark(self, ids: list[int]) -> None:
        """Takes the tokens ``ids`` for control tokens, whatever their types say."""
        self._types = self._types.copy()
        self._types[ids] = CONTROL
        marked = np.flatnonzero((self._types >= UNKNOWN) & (self._types <= USER_DEFINED))
        self._always, self._all = (
            _finder([self._tokens[index] for index in marked if self._types[index] in kinds])
            for kinds in ((USER_DEFINED,), (UNKNOWN, CONTROL, USER_DEFINED))
        )

    def encode(self, text: str, special: bool, begins: bool = True) -> list[int]:
        """The ids of ``text``, which ``begins`` a prompt or not.

        ``special``: control tokens written in it become their ids. As in llama.cpp, the text behind a marked
        token begins anew, with the space that is put before a text, unless the file says that only a text's
        beginning gets it.
        """
        found: list[int] = []
        position, finder = 0, self._all if special else self._always
        for match in finder.finditer(text) if finder else ():
            found += self._plain(text[position : match.start()], begins and position == 0)
            found.append(self.ids[match[0]])
            position = match.end()
        return found + self._plain(text[position:], begins and position == 0)

    def _plain(self, text: str, begins: bool) -> list[int]:
        if not text:
            return []
        prefix = self.space_prefix
        if self._prepend_first:
            prefix = prefix and begins and text[0] not in (" ", SPACE)
        return self._processor.EncodeAsIds(" " + text if prefix else text)

    def find(self, text: str) -> int | None:
        """The id of the token that is written so, or None."""
        return self.ids.get(text)

    def text(self, token: int) -> str:
        """Token ``token`` as the vocabulary writes it."""
        return self._tokens[token]

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` stands for."""
        text = self._tokens[token]
        if self._types[token] == BYTE:
            return bytes([int(text[3:-1], 16)])
        if self._types[token] in (NORMAL, UNUSED):
            text = text.replace(SPACE, " ")
        return text.encode("utf-8")


def _finder(tokens: list[str]) -> re.Pattern | None:
    """Finds the longest of ``tokens`` at each place."""
    ordered = sorted(filter(None, tokens), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def pieces_of_metadata(path: str, metadata: Metadata, types: np.ndarray) -> Pieces:
    """The vocabulary in the metadata of a GGUF file."""
    tokens = metadata.strings("tokenizer.ggml.tokens").to_list()
    scores = metadata.numbers("tokenizer.ggml.scores")
    if len(scores) != len(tokens):
        raise TokenizerError(
            f"{path}: 'tokenizer.ggml.scores' has {len(scores)} elements for {len(tokens)} tokens"
        )
    if not np.isfinite(scores).all():
        index = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise TokenizerError(f"{path}: 'tokenizer.ggml.scores': element {index} is {scores[index]}")
    for index in np.flatnonzero(types == BYTE).tolist():
        if not _BYTE.fullmatch(tokens[index]):
            raise TokenizerError(
                f"{path}: 'tokenizer.ggml.tokens': element {index} is {tokens[index]!r}, "
                "but its type says that it is a byte such as '<0x0A>'"
            )
    return Pieces(
        tokens,
        scores,
        types,
        metadata.boolean("tokenizer.ggml.add_space_prefix", True),
        metadata.boolean(PREPEND_FIRST, False),
    )


# --- the serialized form ------------------------------------------------------------------------------------


def _serialize(path: str, pieces: Pieces, ids: dict[str, int]) -> bytes:
    """ModelProto. What the package refuses although files have it gets a stand-in of the same id."""
    parts = []
    unknown = np.flatnonzero(pieces.types == UNKNOWN)
    rows = zip(pieces.tokens, pieces.scores, pieces.types.tolist(), strict=True)
    for index, (token, score, kind) in enumerate(rows):
        if not token or ids[token] != index or (kind == UNKNOWN and index != unknown[0]):
            # Empty, defined again later (the last counts), or a second unknown token.
            token, kind = f"\ufdd0{index}", CONTROL
        message = _bytes(_PIECE, token.encode("utf-8")) + _float(_SCORE, score) + _integer(_TYPE, kind)
        parts.append(_bytes(_PIECES, message))
    if not len(unknown):
        parts.append(_bytes(_PIECES, _bytes(_PIECE, "\ufdd1".encode()) + _integer(_TYPE, UNKNOWN)))
    count = int(np.count_nonzero(pieces.types == BYTE))
    if count not in (0, 256) or (count == 0 and not len(unknown)):
        raise TokenizerError(
            f"{path}: 'tokenizer.ggml.token_type' marks {count} tokens as bytes and {len(unknown)} as "
            "unknown; 256 bytes, or none and an unknown token, were expected"
        )
    trainer = _integer(_MODEL_TYPE, _BPE) + _integer(_BYTE_FALLBACK, count == 256)
    normalizer = _bytes(_NAME, b"identity") + _integer(_DUMMY_PREFIX, 0) + _integer(_REMOVE_SPACES, 0)
    return b"".join([*parts, _bytes(_TRAINER, trainer), _bytes(_NORMALIZER, normalizer)])


def read_model(path: str) -> Pieces:
    """The vocabulary of a ``tokenizer.model`` file. Raises ``TokenizerError``."""
    try:
        # (Opening a pipe would wait for somebody to write into it.)
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise TokenizerError(f"{path}: is not a regular file")
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise TokenizerError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > _MOST_BYTES:
        raise TokenizerError(f"{path}: is not a SentencePiece model: it has more than {_MOST_BYTES} bytes")
    model = _Model()
    try:
        for number, value in _fields(data):
            model.take(number, value)
        scores, types = np.array(model.scores, np.float32), np.array(model.types, np.int32)
    except (struct.error, LookupError, ArithmeticError, TypeError, ValueError):
        raise TokenizerError(f"{path}: is not a SentencePiece model") from None
    if not model.tokens:
        raise TokenizerError(f"{path}: is not a SentencePiece model: it has no pieces")
    if model.algorithm != _BPE:
        name = _ALGORITHMS.get(model.algorithm, model.algorithm)
        raise TokenizerError(f"{path}: is a SentencePiece model of type {name}; BPE is supported")
    if model.charsmap:
        raise TokenizerError(
            f"{path}: normalizes text by the rules {model.name!r:.60}; only 'identity' is supported"
        )
    return Pieces(model.tokens, scores, types, model.space_prefix)


@dataclass
class _Model:
    """What is read of a ModelProto; the defaults are those of its definition."""

    tokens: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    algorithm: int = 1
    name: str = ""
    charsmap: bytes = b""
    space_prefix: bool = True

    def take(self, number: int, value: bytes | int) -> None:
        if number == _PIECES:
            piece = _message(value)
            self.tokens.append(str(piece[_PIECE], "utf-8"))
            self.scores.append(struct.unpack("<f", piece.get(_SCORE, bytes(4)))[0])
            self.types.append(piece.get(_TYPE, NORMAL))
        elif number == _TRAINER:
            self.algorithm = _message(value).get(_MODEL_TYPE, 1)
        elif number == _NORMALIZER:
            rules = _message(value)
            self.name = str(rules.get(_NAME, b""), "utf-8")
            self.charsmap = rules.get(_CHARSMAP, b"")
            self.space_prefix = bool(rules.get(_DUMMY_PREFIX, 1))


def _message(data: Any) -> dict[int, Any]:
    return dict(_fields(data))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(int(value))


def _float(number: int, value: float) -> bytes:
    return _varint(number << 3 | 5) + struct.pack("<f", value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of each field: an int for a varint, else bytes."""
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    while position < len(data):
        number, wire = divmod(varint(), 8)
        if wire == 0:
            yield number, varint()
            continue
        size = {1: lambda: 8, 2: varint, 5: lambda: 4}[wire]() if wire in (1, 2, 5) else -1
        if not 0 <= size <= len(data) - position:
            raise ValueError(f"field {number}")
        yield number, data[position : position + size]
        position += size
