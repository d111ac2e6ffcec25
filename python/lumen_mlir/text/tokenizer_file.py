# SPDX-License-Identifier: Apache-2.0
"""A tokenizer as one file, ``tokenizer.bin``, for programs without Python.

``runtime/tokenizer`` reads it, and gives the ids and texts that ``Tokenizer`` gives. The layout stands in
docs/tokenizer-file.md.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

from lumen_mlir.storage.checksum import checksum
from lumen_mlir.text import byte_level
from lumen_mlir.text.byte_pair import BytePairModel
from lumen_mlir.text.chat_turn import ChatTurn
from lumen_mlir.text.code_points import composition_data, word_characters
from lumen_mlir.text.sentence_piece import SentencePieceModel
from lumen_mlir.text.step_program import NFC, StepPrograms
from lumen_mlir.text.token_types import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    TokenizerError,
)
from lumen_mlir.text.tokenizer import Tokenizer
from lumen_mlir.text.tokenizer_rules import Rules, refusing

MAGIC, VERSION = b"LUMENTOK", 1
# Magic, version, zero, bytes of the file, checksum of all that follows.
HEADER = struct.Struct("<8sIIQQ")
SECTION = struct.Struct("<4sIQQ")  # name, zero, place in the file, bytes
_ALIGNMENT = 8

BYTE_PAIRS, CHARACTER_PAIRS, SENTENCE_PIECE = range(3)
# What is true of a token.
HIDDEN, ONE_BYTE, SPACES, MERGES, SPLITS, DEFINED = (1 << bit for bit in range(6))
# What is true of a tokenizer.
ADD_BOS, ADD_EOS, SPACE_PREFIX, WHOLE_WORDS, FUSED_UNKNOWN, PREFIX_FIRST = (1 << bit for bit in range(6))
# What is true of an added token.
SPECIAL, STRIPS_LEFT, STRIPS_RIGHT, NORMALIZED, ALWAYS, ALONE = (1 << bit for bit in range(6))

Sections = dict[str, bytes]


def write(tokenizer: Tokenizer, file: BinaryIO, turn: ChatTurn | None = None) -> None:
    """Writes ``tokenizer`` to ``file``, and how a ``turn`` of a chat is written.

    Raises ``TokenizerError`` where it has rules that only the package ``tokenizers`` knows.
    """
    sections = _pairs(tokenizer) if isinstance(tokenizer.model, BytePairModel) else _pieces(tokenizer)
    if turn is not None:
        texts = (turn.before, turn.left, turn.right, turn.after)
        sections |= _jagged("CHTO", "CHTS", [text.encode("utf-8") for text in texts])
        sections["CHAT"] = _numbers([turn.strips])
    position = HEADER.size + 8 + SECTION.size * len(sections)
    table, parts = [struct.pack("<Q", len(sections))], []
    for name, data in sections.items():
        table.append(SECTION.pack(name.encode(), 0, position, len(data)))
        parts.append(data + bytes(-len(data) % _ALIGNMENT))
        position += len(parts[-1])
    body = b"".join([*table, *parts])
    found = checksum(np.frombuffer(body, np.uint8))
    file.write(HEADER.pack(MAGIC, VERSION, 0, HEADER.size + len(body), found))
    file.write(body)


def _common(tokenizer: Tokenizer, kind: int, flags: int, unknown: int | None) -> Sections:
    """What all kinds have: numbers, and the tokens that end a text."""
    flags |= ADD_BOS * tokenizer.add_bos | ADD_EOS * tokenizer.add_eos
    flags |= SPACE_PREFIX * tokenizer.space_prefix
    named = (-1 if token is None else token for token in (tokenizer.bos, tokenizer.eos, unknown))
    numbers = (kind, flags, len(tokenizer), tokenizer.rows, *named)
    return {"INFO": _numbers(numbers), "ENDS": _numbers(sorted(tokenizer.end_tokens))}


# --- byte pairs ---------------------------------------------------------------------------------------------


def _pairs(tokenizer: Tokenizer) -> Sections:
    model, types = tokenizer.model, tokenizer.types
    assert isinstance(model, BytePairModel)
    rules = model.rules
    texts = model.table.texts()
    pieces = [model.piece(token) for token in range(len(texts))]
    ids = {text: token for token, text in enumerate(texts) if token not in rules.outside}
    alphabet = byte_level.CHARACTER_OF_BYTE
    flags = np.where(np.isin(types, (CONTROL, UNKNOWN)), HIDDEN, 0).astype(np.uint8)
    if rules.byte_level:
        # As bytes; what has other characters is in no word.
        first = [ids.get(alphabet[byte], -1) for byte in range(256)]
        keys = {token: pieces[token] for text, token in ids.items() if _in_alphabet(text, pieces[token])}
        stored = pieces
    else:
        first = [ids.get(f"<0x{byte:02X}>", -1) if rules.byte_fallback else -1 for byte in range(256)]
        keys = {token: text.encode("utf-8") for text, token in ids.items() if text}
        stored = [text.encode("utf-8") for text in texts]
        written = {f"<0x{byte:02X}>" for byte in range(256)}
        bytes_of = [kind == BYTE and text in written for text, kind in zip(texts, types, strict=True)]
        flags[bytes_of] |= ONE_BYTE
        flags[np.isin(types, (NORMAL, UNUSED, USER_DEFINED))] |= SPACES
    if rules.byte_level and not rules.plain:
        raise TokenizerError("the pre-tokenizer has steps behind 'ByteLevel', which bundles cannot have")
    if rules.byte_level and rules.byte_fallback and min(first) < 0:
        raise TokenizerError("the vocabulary lacks bytes")
    flags[list(keys)] |= MERGES
    unknown = ids.get(rules.unk_token) if rules.unk_token is not None else None
    options = WHOLE_WORDS * rules.ignore_merges | FUSED_UNKNOWN * rules.fuse_unk
    kind = BYTE_PAIRS if rules.byte_level else CHARACTER_PAIRS
    merges = model.table.merge_arrays()
    return {
        **_common(tokenizer, kind, options, unknown),
        **_tokens(stored, flags, keys),
        "BYTE": _numbers(first),
        **{name: array.tobytes() for name, array in zip(("MKEY", "MRNK", "MMAD"), merges, strict=True)},
        **_steps(rules),
        **_added(model),
    }


def _in_alphabet(text: str, piece: bytes) -> bool:
    return all(letter in byte_level.BYTE_OF_CHARACTER for letter in text) and byte_level.decode(text) == piece


def _steps(rules: Rules) -> Sections:
    """The steps before merging, with their programs, sets and texts."""
    steps = StepPrograms()
    with refusing("the tokenizer"):
        before, behind = steps.normalizer(rules), steps.normalizer(rules.behind or rules)
        cuts, cuts_behind = steps.splitter(rules), steps.splitter(rules.behind or rules)
    if before != behind:
        raise TokenizerError("the normalizer differs where a text begins, which bundles cannot have")
    programs = steps.programs
    sections = {
        "NORM": _rows(before, 4),
        "CUTS": _rows(cuts, 4),
        "CUTB": _rows(cuts_behind, 4),
        **_jagged("STRO", "STRS", steps.texts),
        **_jagged("PRGO", "PRGS", [_rows(program, 4) for program in programs.programs]),
        **_jagged("SETO", "SETS", [_rows(ranges, 2) for ranges in programs.sets]),
    }
    if any(step[0] == NFC for step in before):
        names = ("NFCD", "NFCC", "NFCP")
        sections |= {name: rows.tobytes() for name, rows in zip(names, composition_data(), strict=True)}
    return sections


def _added(model: BytePairModel) -> Sections:
    rules = model.rules
    rows: list[tuple[int, int]] = []
    texts = []
    seen: dict[str, int] = {}
    for token in rules.added:
        index = model.find(token.content) if token.in_model else token.id
        content = token.content
        if token.normalized and rules.normalizer is not None:
            content = rules.normalizer.normalize_str(content)
        flags = SPECIAL * token.special | NORMALIZED * token.normalized
        flags |= STRIPS_LEFT * token.lstrip | STRIPS_RIGHT * token.rstrip | ALONE * token.single_word
        if index is None or not content:
            continue
        if token.content in seen:
            rows[seen[token.content]] = (index, rows[seen[token.content]][1] | SPECIAL * token.special)
            continue
        seen[token.content] = len(rows)
        rows.append((index, flags))
        texts.append(content.encode("utf-8"))
    sections = {"ADDT": _rows(rows, 2), **_jagged("ADDO", "ADDS", texts)}
    if any(flags & ALONE for _, flags in rows):
        sections["WORD"] = _rows(word_characters(), 2)
    return sections


# --- SentencePiece ------------------------------------------------------------------------------------------


def _pieces(tokenizer: Tokenizer) -> Sections:
    model, types = tokenizer.model, tokenizer.types
    assert isinstance(model, SentencePieceModel)
    pieces, before = model.pieces, model.pieces.types
    texts = [token.encode("utf-8") for token in pieces.tokens]
    unique = [
        token for token, text in enumerate(pieces.tokens) if text and model.ids[text] == token
    ]  # of equal tokens the last counts
    unknown = np.flatnonzero(before == UNKNOWN)
    keys = {token: texts[token] for token in unique if before[token] != UNKNOWN or token == unknown[0]}
    flags = np.where(np.isin(types, (CONTROL, UNKNOWN)), HIDDEN, 0).astype(np.uint8)
    flags[types == BYTE] |= ONE_BYTE
    flags[np.isin(types, (NORMAL, UNUSED))] |= SPACES
    chosen = np.array(sorted(keys), np.int64)
    for bit, kinds in (
        (MERGES, (NORMAL, USER_DEFINED, UNUSED)),
        (SPLITS, (UNUSED,)),
        (DEFINED, (USER_DEFINED,)),
    ):
        flags[chosen[np.isin(before[chosen], kinds)]] |= bit
    first = [-1] * 256
    for token in np.flatnonzero(before == BYTE).tolist():
        first[int(pieces.tokens[token][3:-1], 16)] = token
    marked = np.flatnonzero((types >= UNKNOWN) & (types <= USER_DEFINED)).tolist()
    rows = [
        (model.ids[pieces.tokens[index]], ALWAYS if types[index] == USER_DEFINED else SPECIAL)
        for index in marked
    ]
    added = dict(zip((texts[index] for index in marked), rows, strict=True))
    added = {text: row for text, row in added.items() if text}
    options = PREFIX_FIRST * pieces.prepend_first
    return {
        **_common(tokenizer, SENTENCE_PIECE, options, int(unknown[0]) if len(unknown) else None),
        **_tokens(texts, flags, keys),
        "BYTE": _numbers(first),
        "SCOR": np.asarray(pieces.scores, "<f4").tobytes(),
        "ADDT": _rows(list(added.values()), 2),
        **_jagged("ADDO", "ADDS", list(added)),
    }


# --- arrays -------------------------------------------------------------------------------------------------


def _tokens(texts: list[bytes], flags: np.ndarray, keys: dict[int, bytes]) -> Sections:
    """Texts and flags by id, and the ids of ``keys`` in the order of their texts."""
    order = np.array(sorted(keys, key=keys.__getitem__), "<u4")
    return {**_jagged("TOKO", "TOKS", texts), "FLAG": flags.tobytes(), "ORDR": order.tobytes()}


def _numbers(values: object) -> bytes:
    return np.array(list(values), "<i4").tobytes()  # type: ignore[call-overload]


def _rows(rows: object, width: int) -> bytes:
    return np.array(rows, "<u4").reshape(-1, width).tobytes()


def _jagged(offsets: str, data: str, parts: list[bytes]) -> Sections:
    """Byte strings of any length: where each begins (and the last ends), and all of them in a row."""
    places = np.cumsum([0, *map(len, parts)])
    if places[-1] >= 1 << 32:
        raise TokenizerError(f"{places[-1]} bytes of tokens are more than 4 GB")
    return {offsets: places.astype("<u4").tobytes(), data: b"".join(parts)}
