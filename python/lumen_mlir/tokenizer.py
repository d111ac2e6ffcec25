# SPDX-License-Identifier: Apache-2.0
"""Text to token ids and back, from the metadata of a model file."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

import numpy as np

from lumen_mlir.cache import Cache
from lumen_mlir.gguf.metadata import Metadata
from lumen_mlir.model_file import ModelFile
from lumen_mlir.pretokenizers import PRE_TOKENIZERS, PreTokenizer
from lumen_mlir.token_types import CONTROL, UNKNOWN, USER_DEFINED, TokenizerError, token_types

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
    "<|endofturn|>",
    "<|stop|>",
    "<|eot|>",
)
_END_KEYS = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")

# What the model's makers say ends a text, where that is more than one token; written by ``lumen convert``.
END_TOKEN_IDS = "lumen.eog_token_ids"
# Where a tokenizer differs from its family: text is normalized to NFC, a word that is a token is taken whole.
NFC, IGNORE_MERGES = "lumen.tokenizer.nfc", "lumen.tokenizer.ignore_merges"


class TextModel(Protocol):
    """What turns text into tokens: ``byte_pair.BytePairModel`` or ``sentence_piece.SentencePieceModel``."""

    space_prefix: bool
    """A space is put before a text, and taken from its beginning again."""

    def __len__(self) -> int: ...

    def encode(self, text: str, special: bool) -> list[int]: ...

    def find(self, text: str) -> int | None: ...

    def text(self, token: int) -> str: ...

    def piece(self, token: int) -> bytes: ...


class Tokenizer:
    """A vocabulary and its rules.

    ``bos``, ``eos``: ids or None; ``end_tokens``: every id that ends generation; ``add_bos``, ``add_eos``:
    whether ``encode`` adds them unless told otherwise; ``pre``: the rules of a byte-level BPE family.
    """

    def __init__(
        self,
        path: str,
        metadata: Metadata,
        model: TextModel,
        types: np.ndarray,
        add_bos: bool,
        pre: PreTokenizer | None = None,
    ):
        self.pre = pre
        self._path, self._model, self._types = path, model, types
        self._bytes: dict[int, bytes] = {}
        self.bos = self._special_id(metadata, "bos")
        self.eos = self._special_id(metadata, "eos")
        self.add_bos = metadata.boolean("tokenizer.ggml.add_bos_token", add_bos) and self.bos is not None
        self.add_eos = metadata.boolean("tokenizer.ggml.add_eos_token", False) and self.eos is not None
        self.end_tokens = self._end_tokens(metadata)

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
                f"{path}: tokenizer model '{kind}' is not supported; "
                "'gpt2' (byte-level BPE) and 'llama' (SentencePiece) are"
            )
        # Each imports a package that the other does not need.
        if kind == "llama":
            from lumen_mlir import sentence_piece

            if pre_tokenizer is not None:
                raise TokenizerError(
                    f"{path}: a SentencePiece tokenizer has no pre-tokenizer ('{pre_tokenizer}' was given)"
                )
            types = token_types(path, metadata, len(metadata.strings("tokenizer.ggml.tokens")))
            pieces = sentence_piece.pieces_of_metadata(path, metadata, types)
            return Tokenizer(path, metadata, sentence_piece.SentencePieceModel(path, pieces), types, True)
        from lumen_mlir import byte_pair

        pre = _pre_tokenizer(path, metadata, pre_tokenizer)
        table = byte_pair.read_vocabulary(file, cache)
        types = token_types(path, metadata, len(table))
        model = byte_pair.BytePairModel(pre, table, types)
        return Tokenizer(path, metadata, model, types, pre.add_bos, pre)

    def __len__(self) -> int:
        """Tokens in the vocabulary."""
        return len(self._model)

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
        ids = self._model.encode(text, special)
        if self.bos is not None and (self.add_bos if add_bos is None else add_bos):
            ids.insert(0, self.bos)
        if self.eos is not None and (self.add_eos if add_eos is None else add_eos):
            ids.append(self.eos)
        return ids

    def decode(self, ids: Iterable[int], special: bool = False, clean_spaces: bool = False) -> str:
        """The text of ``ids``, which begin a text; control tokens only if ``special``.

        Broken UTF-8 becomes U+FFFD. ``clean_spaces`` takes the space before punctuation away where the
        family's own tokenizer does; that cannot be undone, so it is not done unless asked for.
        """
        stream = self.stream(special, begins=True)
        text = "".join([*map(stream.feed, ids), stream.finish()])
        return _clean(text) if clean_spaces and self.pre is not None and self.pre.clean_spaces else text

    def token_text(self, token: int) -> str:
        """Token ``token`` as the vocabulary writes it: byte-level BPE in the byte alphabet."""
        if not 0 <= token < len(self):
            raise TokenizerError(f"token id {token} is outside the vocabulary of {len(self)} tokens")
        return self._model.text(token)

    def token_bytes(self, token: int, special: bool = False) -> bytes:
        """The bytes that ``token`` stands for: part of a character, perhaps; none for control tokens."""
        found = self._bytes.get(token)
        if found is None:
            self.token_text(token)  # checks the range
            found = self._bytes[token] = self._model.piece(token)
        return b"" if not special and self.is_control(token) else found

    def is_control(self, token: int) -> bool:
        """Whether ``token`` steers the model instead of standing for text."""
        self.token_text(token)  # checks the range
        return bool(self._types[token] in (CONTROL, UNKNOWN))

    @property
    def space_prefix(self) -> bool:
        """Whether a text gets a space before its first word (SentencePiece)."""
        return self._model.space_prefix

    def stream(self, special: bool = False, begins: bool = False) -> StreamDecoder:
        """A decoder for tokens that come one at a time; ``begins``: they begin a text."""
        return StreamDecoder(self, special, begins)

    def _special_id(self, metadata: Metadata, name: str) -> int | None:
        key = f"tokenizer.ggml.{name}_token_id"
        return self._checked(key, metadata.integer(key, None))

    def _checked(self, key: str, value: int | None) -> int | None:
        if value is not None and not 0 <= value < len(self):
            raise TokenizerError(
                f"{self._path}: '{key}' is {value}, outside the vocabulary of {len(self)} tokens"
            )
        return value

    def _end_tokens(self, metadata: Metadata) -> frozenset[int]:
        named = {self._special_id(metadata, name) for name in _END_KEYS}
        listed = metadata.integers(END_TOKEN_IDS, None)
        if listed is not None:
            named |= {self._checked(END_TOKEN_IDS, int(value)) for value in listed}
        places = ((token, self._model.find(token)) for token in _END_TOKENS)
        written = {token: index for token, index in places if index is not None}
        # "</s>" may be an ordinary token that only looks like one.
        found = {index for index in written.values() if self._types[index] in (CONTROL, USER_DEFINED)}
        # Where messages end in <|return|> or <|call|>, <|end|> only ends one part of a message.
        if "<|return|>" in written and written.keys() & {"<|call|>", "<|calls|>"}:
            found.discard(written.get("<|end|>"))
        return frozenset((named | found) - {None})


class StreamDecoder:
    """Turns tokens into text as they come, holding back the bytes of a character until it is whole."""

    def __init__(self, tokenizer: Tokenizer, special: bool = False, begins: bool = False):
        self._tokenizer = tokenizer
        self._special = special
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


def _pre_tokenizer(path: str, metadata: Metadata, given: str | None) -> PreTokenizer:
    name = metadata.string("tokenizer.ggml.pre", None) if given is None else given
    hint = f"pass --pre-tokenizer NAME (in Python pre_tokenizer=NAME), one of {', '.join(PRE_TOKENIZERS)}"
    if name is None:
        raise TokenizerError(f"{path}: does not name its pre-tokenizer ('tokenizer.ggml.pre'); {hint}")
    if name not in PRE_TOKENIZERS:
        close = difflib.get_close_matches(name, PRE_TOKENIZERS, n=1)
        guess = f" (did you mean '{close[0]}'?)" if close else ""
        source = " ('tokenizer.ggml.pre')" if given is None else ""
        raise TokenizerError(f"{path}: unknown pre-tokenizer '{name}'{source}{guess}; {hint}")
    family = PRE_TOKENIZERS[name]
    return replace(
        family,
        nfc=metadata.boolean(NFC, family.nfc),
        ignore_merges=metadata.boolean(IGNORE_MERGES, family.ignore_merges),
    )


def _clean(text: str) -> str:
    """Without the spaces that some tokenizers leave before punctuation and contractions."""
    for mark in (".", "?", "!", ",", "'", "n't", "'m", "'s", "'ve", "'re"):
        text = text.replace(f" {mark}" if mark != "'" else " ' ", mark)
    return text
