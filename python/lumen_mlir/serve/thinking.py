# SPDX-License-Identifier: Apache-2.0
"""Which tokens of an answer are reasoning, and how many may be."""

from __future__ import annotations

from lumen_mlir.text.answer_format import AnswerFormat, ThinkingBudget
from lumen_mlir.text.tokenizer import Tokenizer


class _Reader:
    """Reads an answer token by token, however its text comes in pieces."""

    def __init__(self, tokenizer: Tokenizer, format: AnswerFormat, prompt: str):
        self.parser = format.parser(prompt)
        self._decoder = tokenizer.stream(True)

    def feed(self, token: int) -> bool:
        """Reads a token; whether it ends with a whole character."""
        text = self._decoder.feed(token)
        if text:
            self.parser.feed(text)
        return bool(text)


class ThinkingCounter:
    """Counts the tokens of reasoning of one answer to ``prompt``.

    Attributes:
      tokens: so far, with those of the markers.
    """

    def __init__(self, tokenizer: Tokenizer, format: AnswerFormat, prompt: str):
        self._reader = None if format.reasoning is None else _Reader(tokenizer, format, prompt)
        self._begun = False
        self.tokens = 0

    def feed(self, token: int) -> None:
        """Counts a token."""
        if self._reader is None:
            return
        thought = self._reader.parser.is_thinking
        self._reader.feed(token)
        thinks = self._reader.parser.is_thinking
        self.tokens += thought or thinks
        self._begun |= thinks
        if self._begun and not thinks:
            # A model thinks once.
            self._reader = None


class Budget:
    """Forces the end of the reasoning of one answer (``generate.token_draw.Force``).

    Args:
      format: of the answer; ``prompt``: the rendered prompt that it follows.
      tokens: of reasoning that may come; 0 for none.
    """

    def __init__(self, tokenizer: Tokenizer, format: AnswerFormat, prompt: str, tokens: int):
        self._reader = _Reader(tokenizer, format, prompt)
        self._budget = ThinkingBudget(format.closing_tokens(tokenizer), self._reader.parser, tokens)

    def first(self) -> list[int]:
        """See ``Force``."""
        return self._budget.forced()

    def __call__(self, token: int) -> list[int]:
        """See ``Force``."""
        self._budget.drawn(is_whole=self._reader.feed(token))
        return self._budget.forced()
