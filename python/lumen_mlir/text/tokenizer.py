# SPDX-License-Identifier: Apache-2.0
"""Text to token ids and back, from the metadata of a model file."""

from __future__ import annotations

import codecs
import difflib
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Protocol

import numpy as np

from lumen_mlir.errors import shown
from lumen_mlir.gguf.metadata import Metadata
from lumen_mlir.gguf.model_file import ModelFile
from lumen_mlir.storage.cache import Cache
from lumen_mlir.support.arguments import flag, tokens_of, whole_number
from lumen_mlir.text.pretokenizers import PRE_TOKENIZERS, PreTokenizer
from lumen_mlir.text.token_types import (
    CONTROL,
    NORMAL,
    RULES,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    TokenizerError,
    token_types,
)

logger = logging.getLogger(__name__)

# Special tokens that end a turn or a text in some family, for files that do not name all of theirs.
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
    "<|endofturn|>",
    "<|stop|>",
    "<|eot|>",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
)
# Of these, what only ends a message, after which the same turn may be over or not.
_MESSAGE_ENDS = ("<|eom_id|>",)
_CALLS = ("<|call|>", "<|calls|>")
# What may be text in vocabularies that have it as an ordinary token.
_TEXTS = ("</s>",)
# Tokens that begin or end a text look like this, whatever their type.
_CONTROL_LOOK = re.compile(r"<[^<>]+>|\[[^\[\]]+\]")

_END_KEYS = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")

# What the model's makers say ends a text, where that is more than one token; written by ``lumen convert``.
END_TOKEN_IDS = "lumen.eog_token_ids"
# Where a file without rules of its own differs from its family: text is normalized to NFC, a word that is a
# token is taken whole.
NFC, IGNORE_MERGES = "lumen.tokenizer.nfc", "lumen.tokenizer.ignore_merges"

# No word of a person's text looks like this.
_CONTROL_LIKE = re.compile(r"<[|｜].*[|｜]>|\[\|.*\|\]")


class TextModel(Protocol):
    """What turns text into tokens: ``byte_pair.BytePairModel`` or ``sentence_piece.SentencePieceModel``."""

    space_prefix: bool
    """A space is put before a text, and taken from its beginning again."""

    def __len__(self) -> int: ...

    def encode(self, text: str, special: bool, begins: bool) -> list[int]: ...

    def find(self, text: str) -> int | None: ...

    def mark(self, ids: list[int]) -> None: ...

    def text(self, token: int) -> str: ...

    def piece(self, token: int) -> bytes: ...


class Tokenizer:
    """A vocabulary and its rules.

    ``bos``, ``eos``: ids or None; ``end_tokens``: every id that ends generation; ``add_bos``, ``add_eos``:
    whether ``encode`` adds them unless told otherwise; ``pre``: the family of a byte-level BPE, where known.
    ``rows`` of the embedding table: tokens from there on cannot be used; ``default_ids``: of special tokens
    that the metadata does not name, if they are such tokens.
    """

    def __init__(
        self,
        path: str,
        metadata: Metadata,
        model: TextModel,
        types: np.ndarray,
        add_bos: bool,
        pre: PreTokenizer | None = None,
        rows: int | None = None,
        default_ids: Mapping[str, int] | None = None,
    ):
        self.pre = pre
        self._path, self._model, self._types = path, model, types
        self._rows = len(model) if rows is None else min(rows, len(model))
        self._bytes: dict[int, bytes] = {}
        named = {name: self._special_id(metadata, name, default_ids or {}) for name in ("bos", *_END_KEYS)}
        self.bos, self.eos = named["bos"], named["eos"]
        self.add_bos = metadata.boolean("tokenizer.ggml.add_bos_token", add_bos) and self.bos is not None
        self.add_eos = metadata.boolean("tokenizer.ggml.add_eos_token", False) and self.eos is not None
        self.end_tokens = self._end_tokens(metadata, named)
        self._mark_end_tokens()

    @staticmethod
    def from_gguf(file: ModelFile, cache: Cache | None = None, pre_tokenizer: str | None = None) -> Tokenizer:
        """The tokenizer of ``file``.

        ``cache`` keeps the vocabulary in a form that is faster to read; ``pre_tokenizer`` (a name of
        ``PRE_TOKENIZERS``) overrules what the file says. Raises ``LumenError`` where the metadata describes
        no tokenizer that Lumen knows.
        """
        path, metadata = file.path, file.metadata
        kind = metadata.string("tokenizer.ggml.model")
        if kind not in ("gpt2", "llama"):
            raise TokenizerError(
                f"{path}: tokenizer model {kind[:80]!r} is not supported; "
                "'gpt2' (byte-level BPE) and 'llama' (SentencePiece) are"
            )
        if kind == "llama" and pre_tokenizer is not None:
            raise TokenizerError(
                f"{path}: a SentencePiece tokenizer has no pre-tokenizer ('{pre_tokenizer}' was given)"
            )
        embedding = getattr(file, "tensors", {}).get("token_embd.weight")
        rows = None if embedding is None else embedding.shape[0]
        stored = metadata.string(RULES, None)
        # Each imports a package that the other does not need.
        if kind == "llama" and stored is None:
            from lumen_mlir.text import sentence_piece

            types = token_types(path, metadata, len(metadata.strings("tokenizer.ggml.tokens")))
            pieces = sentence_piece.pieces_of_metadata(path, metadata, types)
            model = sentence_piece.SentencePieceModel(path, pieces)
            return Tokenizer(path, metadata, model, types, True, None, rows, {"bos": 1, "eos": 2})
        from lumen_mlir.text import byte_pair, tokenizer_rules

        pre = None
        if kind == "gpt2":
            pre = _pre_tokenizer(path, metadata, pre_tokenizer, stored is not None)
        table = byte_pair.read_vocabulary(file, cache)
        types = token_types(path, metadata, len(table))
        if stored is None:
            rules = tokenizer_rules.rules_of_family(pre, types, table.text)
        else:
            rules = tokenizer_rules.read_rules(
                path, stored, types, table.text, pre, pre_tokenizer is not None
            )
        space = kind == "llama" and metadata.boolean("tokenizer.ggml.add_space_prefix", True)
        model = byte_pair.BytePairModel(path, rules, table, types, space)
        return Tokenizer(path, metadata, model, types, pre is not None and pre.add_bos, pre, rows)

    def __len__(self) -> int:
        """Tokens in the vocabulary."""
        return len(self._model)

    @property
    def model(self) -> TextModel:
        """What turns words into tokens."""
        return self._model

    @property
    def types(self) -> np.ndarray:
        """The type of each token."""
        return self._types

    @property
    def rows(self) -> int:
        """Tokens that the embedding table has."""
        return self._rows

    def encode(
        self,
        text: str,
        special: bool = True,
        add_bos: bool | None = None,
        add_eos: bool | None = None,
        begins: bool = True,
    ) -> list[int]:
        """The token ids of ``text``.

        ``special``: control tokens written in the text (such as ``<|im_end|>``) become their ids; otherwise
        they are text like any other. ``add_bos``, ``add_eos``: overrule what the file says; a text that
        begins with the begin token gets no second one. ``begins``: it is not what follows a control token, so
        that it gets the space that some tokenizers put at the beginning of a prompt only. Raises
        ``TokenizerError`` for text with lone surrogates, or with tokens that the embedding table lacks.
        """
        if not isinstance(text, str):
            raise TokenizerError(f"the text is {shown(text)}; a string was expected")
        special = flag("special", special)
        add_bos = self.add_bos if add_bos is None else flag("add_bos", add_bos)
        add_eos = self.add_eos if add_eos is None else flag("add_eos", add_eos)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f"the text is not valid Unicode: character {error.start} is U+{ord(text[error.start]):04X}"
            ) from None
        ids = self._model.encode(text, special, begins)
        beyond = max(ids, default=0)
        if beyond >= self._rows:
            raise TokenizerError(
                f"the text contains token {beyond} (at place {ids.index(beyond)} of {len(ids)}), but the "
                f"embedding table of {self._path} ends at {self._rows - 1}"
            )
        if self.bos is not None and add_bos and ids[:1] != [self.bos]:
            ids.insert(0, self.bos)
        if self.eos is not None and add_eos:
            ids.append(self.eos)
        return ids

    def decode(self, ids: Iterable[int], special: bool = False, clean_spaces: bool = False) -> str:
        """The text of ``ids``, which begin a text; control tokens only if ``special``.

        Broken UTF-8 becomes U+FFFD. ``clean_spaces`` takes the space before punctuation away where the
        family's own tokenizer does; that cannot be undone, so it is not done unless asked for.
        """
        stream = self.stream(flag("special", special), begins=True)
        text = "".join([*map(stream.feed, tokens_of(ids)), stream.finish()])
        return _clean(text) if clean_spaces and self.pre is not None and self.pre.clean_spaces else text

    def token_text(self, token: int) -> str:
        """Token ``token`` as the vocabulary writes it: byte-level BPE in the byte alphabet."""
        if not 0 <= whole_number("a token id", token) < len(self):
            raise TokenizerError(f"token id {token} is outside the vocabulary of {len(self)} tokens")
        return self._model.text(token)

    def token_bytes(self, token: int, special: bool = False) -> bytes:
        """The bytes that ``token`` stands for: part of a character, perhaps; none for control tokens."""
        token = whole_number("a token id", token)
        found = self._bytes.get(token)
        if found is None:
            self.token_text(token)  # checks the range
            found = self._bytes[token] = self._model.piece(token)
        return b"" if not special and self.is_control(token) else found

    def pieces(self) -> list[bytes]:
        """The bytes of each token, of control tokens their names; none of those that are not used, or that
        the embedding table lacks."""
        unused = (self._types == UNUSED) | (np.arange(len(self)) >= self._rows)
        piece = self._model.piece
        return [b"" if lacks else piece(token) for token, lacks in enumerate(unused.tolist())]

    def is_control(self, token: int) -> bool:
        """Whether ``token`` steers the model instead of standing for text."""
        self.token_text(token)  # checks the range
        return bool(self._types[token] in (CONTROL, UNKNOWN))

    @cached_property
    def control_tokens(self) -> dict[str, int]:
        """What is no text in a prompt: the writing and the id of control tokens, of those that end a turn,
        and of those that look like control tokens although the file says that they are text."""
        control = np.flatnonzero((self._types == CONTROL) | (self._types == UNKNOWN)).tolist()
        defined = np.flatnonzero(self._types == USER_DEFINED).tolist()
        alike = [token for token in defined if _CONTROL_LIKE.fullmatch(self._model.text(token))]
        tokens = {*control, *alike, *self.end_tokens}
        return {text: token for token in sorted(tokens) if (text := self._model.text(token))}

    @property
    def space_prefix(self) -> bool:
        """Whether a text gets a space before its first word (SentencePiece)."""
        return self._model.space_prefix

    def stream(self, special: bool = False, begins: bool = False) -> StreamDecoder:
        """A decoder for tokens that come one at a time; ``begins``: they begin a text."""
        return StreamDecoder(self, special, begins)

    def _special_id(self, metadata: Metadata, name: str, defaults: Mapping[str, int]) -> int | None:
        key = f"tokenizer.ggml.{name}_token_id"
        value = metadata.integer(key, None)
        if value is not None:
            return value if self._usable(key, value) else None
        value = defaults.get(name, self._rows)
        return value if value < self._rows and self._is_marked(value) else None

    def _is_marked(self, token: int) -> bool:
        """Whether a token is a control token, or looks like one."""
        return bool(self._types[token] == CONTROL or _CONTROL_LOOK.fullmatch(self._model.text(token)))

    def _usable(self, key: str, value: int) -> bool:
        """Whether ``value`` is a token; other engines pass over ids that are none."""
        usable = 0 <= value < self._rows
        if not usable:
            logger.warning(
                "%s: '%s' is %d, outside the vocabulary of %d tokens; it is passed over",
                self._path,
                key,
                value,
                self._rows,
            )
        return usable

    def _end_tokens(self, metadata: Metadata, named: Mapping[str, int | None]) -> frozenset[int]:
        """What the makers list; where they name one token only, what looks like an end besides."""
        turns = {token for key in ("eos", "eot", "eom") if (token := named[key]) is not None}
        listed = metadata.integers(END_TOKEN_IDS, None)
        if listed is not None:
            turns |= {int(value) for value in listed if self._usable(END_TOKEN_IDS, int(value))}
            if turns:
                return frozenset(turns)
        ends = turns | {token for key in _END_KEYS if (token := named[key]) is not None}
        complete = len(turns) > 1
        guesses = _MESSAGE_ENDS if complete and named["eom"] is None else () if complete else _END_TOKENS
        return frozenset(ends | self._guessed(guesses))

    def _guessed(self, texts: Iterable[str]) -> set[int]:
        """The tokens of ``texts`` that end a turn here."""
        places = ((text, self._model.find(text)) for text in texts)
        found = {text: index for text, index in places if index is not None and index < self._rows}
        # Where turns end in other tokens, these only end a part of one.
        called = any(text in found for text in _CALLS)
        if called and ("<|return|>" in found or "<|flush|>" in found):
            found.pop("<|end|>", None)
        if "<|endofturn|>" in found:
            found.pop("<|im_end|>", None)
        special = (CONTROL, USER_DEFINED)
        return {i for text, i in found.items() if self._types[i] in special or text not in _TEXTS}

    def _mark_end_tokens(self) -> None:
        """Makes end tokens control tokens where the file says that they are text: one token in a prompt."""
        wrong = sorted(
            i for i in self.end_tokens if self._types[i] in (NORMAL, UNUSED) and self._is_marked(i)
        )
        if wrong:
            self._types = self._types.copy()
            self._types[wrong] = CONTROL
            self._model.mark(wrong)


class StreamDecoder:
    """Turns tokens into text as they come, holding back the bytes of a character until it is whole."""

    def __init__(self, tokenizer: Tokenizer, special: bool = False, begins: bool = False):
        self._tokenizer, self._special = tokenizer, special
        self._drop_space = begins and tokenizer.space_prefix
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """The text that ``token`` completes; empty while a character is unfinished."""
        data = self._tokenizer.token_bytes(token, self._special)
        if self._drop_space and not self._tokenizer.is_control(token):
            self._drop_space = False
            data = data.removeprefix(b" ")
        return self._decoder.decode(data)

    def finish(self) -> str:
        """What is left at the end: U+FFFD for a character that never became whole, else nothing."""
        return self._decoder.decode(b"", final=True)


def _pre_tokenizer(path: str, metadata: Metadata, given: str | None, has_rules: bool) -> PreTokenizer | None:
    """The family that the file or the user names; None where the file has rules and names none."""
    name = metadata.string("tokenizer.ggml.pre", None) if given is None else given
    hint = f"pass --pre-tokenizer NAME (in Python pre_tokenizer=NAME), one of {', '.join(PRE_TOKENIZERS)}"
    if name is None and has_rules:
        return None
    if name is None:
        logger.warning(
            "%s: does not name its pre-tokenizer ('tokenizer.ggml.pre'); 'default' is taken, which may cut "
            "words wrongly; %s",
            path,
            hint,
        )
        name = "default"
    if name not in PRE_TOKENIZERS:
        close = difflib.get_close_matches(name, PRE_TOKENIZERS, n=1)
        guess = f" (did you mean '{close[0]}'?)" if close else ""
        source = " ('tokenizer.ggml.pre')" if given is None else ""
        raise TokenizerError(f"{path}: unknown pre-tokenizer {shown(name)}{source}{guess}; {hint}")
    family = PRE_TOKENIZERS[name]
    nfc, whole = metadata.boolean(NFC, family.nfc), metadata.boolean(IGNORE_MERGES, family.ignore_merges)
    return replace(family, nfc=nfc, ignore_merges=whole)


def _clean(text: str) -> str:
    """Without the spaces that some tokenizers leave before punctuation and contractions."""
    for mark in (".", "?", "!", ",", "'", "n't", "'m", "'s", "'ve", "'re"):
        text = text.replace(f" {mark}" if mark != "'" else " ' ", mark)
    return text
