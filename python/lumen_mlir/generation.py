# SPDX-License-Identifier: Apache-2.0
"""From logits to text: the loop that samples tokens and gives out text as it becomes certain."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.sampling import Sampler
from lumen_mlir.tokenizer import Tokenizer


class Evaluator(Protocol):
    """Gives the logits behind a text; ``lumen_mlir.llm`` has it."""

    context: int

    def last_logits(self, ids: Sequence[int]) -> np.ndarray:
        """float32 [vocabulary]: the logits behind ``ids``; valid (and writable) until the next call."""

    def reusable(self, ids: Sequence[int]) -> int:
        """How many of the first ``ids`` need not be computed again."""


class StopFilter:
    """Ends a text before the first of several strings, which may arrive in pieces.

    Text that may turn out to begin one of them is held back until that is decided.
    """

    def __init__(self, stops: Iterable[str]):
        self.stops = tuple(stops)
        self.found = False
        self._held = ""

    def feed(self, text: str) -> str:
        """The text that is certain now; nothing more once a string was found."""
        if self.found:
            return ""
        self._held += text
        begins = [begin for stop in self.stops if (begin := self._held.find(stop)) >= 0]
        if begins:
            self.found = True
            certain, self._held = self._held[: min(begins)], ""
            return certain
        keep = max((_overlap(self._held, stop) for stop in self.stops), default=0)
        certain, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return certain

    def finish(self) -> str:
        """What was held back, at the end of the text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that ``stop`` begins with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


class Generation(Iterator[str]):
    """A text being generated: an iterator of its pieces, each non-empty and of whole characters.

    Attributes:
      prompt: token ids of the prompt.
      tokens: token ids generated so far, without the one that ended the text.
      finish_reason: None while running, then "end" (an end token), "stop" (a stop string), "length"
        (``max_tokens``) or "context" (no room for another token).
      evaluated: prompt tokens that were computed (the others were still in the KV cache).
      prompt_seconds, decode_seconds: time to compute the prompt, and the tokens after it; what the caller
        does between two pieces does not count.
      decoded: tokens computed in ``decode_seconds`` (the first comes with the prompt).
    """

    def __init__(
        self,
        evaluator: Evaluator,
        tokenizer: Tokenizer,
        sampler: Sampler,
        prompt: Sequence[int],
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        ignore_eos: bool = False,
    ):
        if not prompt:
            raise LumenError("the prompt is empty: there is nothing to continue")
        if len(prompt) > evaluator.context:
            raise LumenError(
                f"the prompt is {len(prompt)} tokens long, but the context is {evaluator.context} tokens"
            )
        if max_tokens is not None and max_tokens < 0:
            raise LumenError(f"max_tokens is {max_tokens}; a number of at least 0 was expected")
        if not all(isinstance(text, str) and text for text in stop):
            raise LumenError("a stop string is empty")
        self.prompt = list(prompt)
        self.tokens: list[int] = []
        self.finish_reason: str | None = None
        self.evaluated = 0
        self.decoded = 0
        self.prompt_seconds = 0.0
        self.decode_seconds = 0.0
        self._evaluator, self._tokenizer, self._sampler = evaluator, tokenizer, sampler
        self._max_tokens = max_tokens
        self._stops = StopFilter(stop)
        self._banned = np.fromiter(tokenizer.end_tokens, np.int64) if ignore_eos else None
        self._pieces = self._run()

    def __next__(self) -> str:
        return next(self._pieces)

    def text(self) -> str:
        """The rest of the text, all at once."""
        return "".join(self)

    def _run(self) -> Iterator[str]:
        decoder = self._tokenizer.stream()
        self._sampler.accept(self.prompt)
        ids = list(self.prompt)
        while self.finish_reason is None:
            token = self._next_token(ids)
            if token is None:
                break
            ids.append(token)
            if piece := self._stops.feed(decoder.feed(token)):
                yield piece
            if self._stops.found:
                self.finish_reason = "stop"
        # A character that never became whole is left out.
        if piece := self._stops.finish():
            yield piece

    def _next_token(self, ids: list[int]) -> int | None:
        """Computes and samples one token; None, and ``finish_reason``, where the text ends."""
        if self._max_tokens is not None and len(self.tokens) >= self._max_tokens:
            self.finish_reason = "length"
            return None
        if len(ids) > self._evaluator.context:
            self.finish_reason = "context"
            return None
        start = time.perf_counter()
        if not self.tokens:
            self.evaluated = len(ids) - self._evaluator.reusable(ids)
        logits = self._evaluator.last_logits(ids)
        if self._banned is not None:
            logits[self._banned] = -np.inf
        token = self._sampler.sample(logits)
        seconds = time.perf_counter() - start
        if self.tokens:
            self.decode_seconds += seconds
            self.decoded += 1
        else:
            self.prompt_seconds = seconds
        if self._banned is None and token in self._tokenizer.end_tokens:
            self.finish_reason = "end"
            return None
        self.tokens.append(token)
        return token
