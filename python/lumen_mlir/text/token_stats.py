# SPDX-License-Identifier: Apache-2.0
"""How many tokens a vocabulary needs for a text: per word, per Hangul syllable, per byte."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenStats:
    """Counts over one text.

    ``words``: runs without white space. ``hangul``: precomposed syllables (U+AC00 to U+D7A3).
    ``hangul_tokens``: tokens that hold at least a part of one.
    """

    tokens: int
    bytes: int
    characters: int
    words: int
    hangul: int
    hangul_tokens: int

    @property
    def per_word(self) -> float:
        """Tokens per word."""
        return self.tokens / self.words

    @property
    def per_syllable(self) -> float | None:
        """Tokens that hold Hangul per Hangul syllable; None for a text without."""
        return self.hangul_tokens / self.hangul if self.hangul else None

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of the text per token."""
        return self.bytes / self.tokens


def token_stats(tokenizer: Tokenizer, text: str) -> TokenStats:
    """Counts for ``text``, taken as plain text without begin and end tokens.

    Raises ``LumenError`` for a text without words.
    """
    words = len(text.split())
    if not words:
        raise LumenError("there are no words to count tokens of")
    ids = tokenizer.encode(text, special=False, add_bos=False, add_eos=False)
    pieces = [tokenizer.token_bytes(token) for token in ids]
    decoded = b"".join(pieces).decode("utf-8", "replace")
    codes = np.frombuffer(decoded.encode("utf-32-le"), np.uint32)
    hangul = (codes >= 0xAC00) & (codes <= 0xD7A3)
    # Bytes of each character, so that tokens can be compared with characters by their place.
    sizes = 1 + (codes > 0x7F) + (codes > 0x7FF) + (codes > 0xFFFF)
    is_hangul = np.concatenate([[0], np.cumsum(np.repeat(hangul, sizes))])
    ends = np.cumsum([len(piece) for piece in pieces]).clip(max=len(is_hangul) - 1)
    begins = np.concatenate([[0], ends[:-1]])
    return TokenStats(
        tokens=len(ids),
        bytes=len(text.encode("utf-8")),
        characters=len(text),
        words=words,
        hangul=int(hangul.sum()),
        hangul_tokens=int(np.count_nonzero(is_hangul[ends] > is_hangul[begins])),
    )
