# SPDX-License-Identifier: Apache-2.0
"""The tokens of a model as llguidance wants them."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from lumen_mlir.errors import LumenError


class Vocabulary(Protocol):
    """What is asked of a tokenizer: ``text.tokenizer.Tokenizer`` is one."""

    end_tokens: frozenset[int]

    def pieces(self) -> list[bytes]:
        """The bytes of each token, of control tokens their names; none of those that cannot be drawn."""

    def is_control(self, token: int) -> bool:
        """Whether a token is no text."""

    def token_bytes(self, token: int, special: bool) -> bytes:
        """The bytes of one token, of a control token its name."""

    def encode(self, text: str, special: bool, add_bos: bool, add_eos: bool, begins: bool) -> list[int]:
        """The tokens of a text."""


class _Wrapper:
    """What ``llguidance.LLTokenizer`` asks for."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, holder: LibraryTokenizer):
        self._vocabulary = vocabulary
        self.tokens = vocabulary.pieces()
        # Without an end token, the library adds one to its own list, which is never drawn.
        self.eos_token_id = min(vocabulary.end_tokens, default=None)
        numbers = range(len(self.tokens))
        self.special_token_ids = [
            token for token in numbers if vocabulary.is_control(token) or token in vocabulary.end_tokens
        ]
        self._holder = weakref.ref(holder)

    def __call__(self, text: str) -> list[int]:
        """The tokens of what a grammar forces, in the middle of a text. Raises nothing."""
        # (A line feed takes the space that some tokenizers put before a text.)
        for before in ("", "\n"):
            ids = self._behind(before, text)
            if ids is not None:
                return ids
        # Some tokenizers change a text first (NFC, say), or have tokens that the model lacks.
        holder = self._holder()
        return [] if holder is None else holder.tokenizer.greedy_tokenize(text)

    def _behind(self, before: str, text: str) -> list[int] | None:
        """The tokens of a text behind another one; None where they stand for something else."""
        vocabulary = self._vocabulary
        try:
            ids = vocabulary.encode(before + text, special=False, add_bos=False, add_eos=False, begins=False)
        except LumenError:
            return None
        pieces = [vocabulary.token_bytes(token, special=True) for token in ids]
        begin, said = 0, b""
        while before and begin < len(ids) and said not in (before.encode(), b" " + before.encode()):
            said += pieces[begin]
            begin += 1
        return ids[begin:] if b"".join(pieces[begin:]) == text.encode() else None


class LibraryTokenizer:
    """Holds the ``llguidance.LLTokenizer`` of a vocabulary: a trie of all tokens, made in about a second.

    Attributes:
      tokenizer: what it holds. It refers to this object only weakly, as nothing frees a circle through it.
    """

    def __init__(self, vocabulary: Vocabulary):
        import llguidance

        # (It is one by what it has, and no subclass, whose module would have to be imported.)
        wrapper: Any = _Wrapper(vocabulary, self)
        ends = sorted(vocabulary.end_tokens)
        self.tokenizer = llguidance.LLTokenizer(wrapper, eos_token=ends or None)
        # It has copied them.
        wrapper.tokens = []
