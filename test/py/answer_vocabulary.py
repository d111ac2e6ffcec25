# SPDX-License-Identifier: Apache-2.0
"""A vocabulary of single bytes and the control tokens of a family, and llguidance with it."""

from __future__ import annotations

import re
from typing import Any

from answer_templates import Family


class ByteVocabulary:
    """What ``AnswerFormat`` asks of a tokenizer."""

    def __init__(self, family: Family):
        texts = [*family.ends, *family.control]
        self.control_tokens = {text: 256 + index for index, text in enumerate(texts)}
        self.end_tokens = frozenset(range(256, 256 + len(family.ends)))
        self._texts = texts
        self._finder = re.compile("(" + "|".join(map(re.escape, sorted(texts, key=len, reverse=True))) + ")")

    def is_control(self, token: int) -> bool:
        return token >= 256

    def token_text(self, token: int) -> str:
        return self._texts[token - 256]

    def encode(self, text: str, special: bool = True, **options: Any) -> list[int]:
        ids: list[int] = []
        for index, part in enumerate(self._finder.split(text) if special else [text]):
            ids += [self.control_tokens[part]] if index % 2 else part.encode()
        return ids

    def decode(self, ids: list[int]) -> str:
        parts = (self._texts[i - 256].encode() if i >= 256 else bytes([i]) for i in ids)
        return b"".join(parts).decode("utf-8", "replace")


def matcher(vocabulary: ByteVocabulary, grammar: str) -> Any:
    """llguidance's matcher of ``grammar``; what is wrong with it fails the test."""
    import llguidance

    class Wrapped:
        eos_token_id = 256
        bos_token_id = None
        tokens = [bytes([i]) for i in range(256)] + [t.encode() for t in vocabulary.control_tokens]
        special_token_ids = list(vocabulary.control_tokens.values())

        def __call__(self, text: Any) -> list[int]:
            return list(text if isinstance(text, bytes) else text.encode())

    tokenizer = llguidance.LLTokenizer(
        llguidance.TokenizerWrapper(Wrapped()), eos_token=sorted(vocabulary.end_tokens)
    )
    made = llguidance.LLMatcher(tokenizer, grammar, log_level=0)
    assert not made.is_error(), f"{made.get_error()}\n{grammar}"
    return made


def allowed(made: Any, count: int) -> list[int]:
    """The tokens that may come next."""
    mask = made.compute_bitmask()
    return [i for i in range(count) if mask[i // 8] >> (i % 8) & 1]
