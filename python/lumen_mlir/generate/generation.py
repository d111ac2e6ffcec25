# SPDX-License-Identifier: Apache-2.0
"""From logits to text: the loop that samples tokens and gives out text as it becomes certain."""

from __future__ import annotations

import itertools
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.generate.sampling import Sampler
from lumen_mlir.support.arguments import flag, tokens_of, whole_number
from lumen_mlir.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from lumen_mlir.generate.logprobs import LogprobRecorder, TokenLogprob

# Each piece of text is compared with all of them.
_MOST_STOPS = 1024


class ContextError(LumenError):
    """A prompt that is longer than the context."""


class Evaluator(Protocol):
    """Gives the logits behind a text; ``lumen_mlir.generate.llm`` has it."""

    @property
    def context(self) -> int:
        """Most tokens of a text."""

    @property
    def lock(self) -> AbstractContextManager:
        """Held from what is asked about the KV cache to the end of the use of the logits."""

    def last_logits(self, ids: Sequence[int]) -> np.ndarray:
        """float32 [vocabulary]: the logits behind ``ids``; valid (and writable) until the next call."""

    def reusable(self, ids: Sequence[int]) -> int:
        """How many of the first ``ids`` need not be computed again."""


class StopFilter:
    """Ends a text before the first of several strings, which may arrive in pieces.

    Control tokens that are not shown are pieces of the text too: a string may have them in it, and may also
    be found in what is shown, across them. Text that may turn out to begin one of the strings is held back
    until that is decided.
    """

    def __init__(self, stops: Iterable[str]):
        self.stops = tuple(stops)
        self.found: str | None = None  # the string that ended the text
        self._whole = self._shown = ""  # what is held back, with and without hidden pieces
        self._places: list[int] = []  # where in the whole each shown character is

    def feed(self, text: str, hidden: bool = False) -> str:
        """What may be shown now; nothing more once a string was found. ``hidden``: ``text`` is not shown."""
        if self.found is not None or not self.stops:
            return "" if self.found is not None or hidden else text
        if not hidden:
            self._shown += text
            self._places.extend(range(len(self._whole), len(self._whole) + len(text)))
        self._whole += text
        begins = [(begin, stop) for stop in self.stops if (begin := self._whole.find(stop)) >= 0]
        shown = [(begin, stop) for stop in self.stops if (begin := self._shown.find(stop)) >= 0]
        begins += [(self._places[begin], stop) for begin, stop in shown]
        if begins:
            # Of those that begin at one place, the first that was asked for.
            place, self.found = min(begins, key=lambda found: found[0])
            return self._release(place)
        keep = max(_overlap(self._whole, stop) for stop in self.stops)
        overlap = max(_overlap(self._shown, stop) for stop in self.stops)
        end = len(self._whole) - keep
        return self._release(min(end, self._places[-overlap]) if overlap else end)

    def finish(self) -> str:
        """What was held back, at the end of the text."""
        return "" if self.found is not None else self._release(len(self._whole))

    def _release(self, end: int) -> str:
        """Takes the text before place ``end`` out of what is held back; what is shown of it."""
        count = bisect_left(self._places, end)
        released, self._shown = self._shown[:count], self._shown[count:]
        self._whole, self._places = self._whole[end:], [place - end for place in self._places[count:]]
        return released


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that ``stop`` begins with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


class Generation(Iterator[str]):
    """A text being generated: an iterator of its pieces, each non-empty and of whole characters.

    Several generations may take turns, in one thread or in several.

    Attributes:
      prompt: token ids of the prompt.
      tokens: token ids generated so far, without an end or stop token that ended the text.
      logprobs: one record for each of ``tokens``; None where none were asked for. It is there when the token
        is drawn, so before the text that is held back for a stop string.
      finish_reason: None while running, then "end" (an end token), "stop" (a stop string or token), "length"
        (``max_tokens``) or "context" (no room for another token).
      stopped_by: the stop string, or the id of the end or stop token, that ended the text; else None.
      evaluated: prompt tokens that were computed (the others were still in the KV cache).
      prompt_seconds: time to compute the prompt; what the caller does between two pieces does not count.
      decode_seconds: time to compute the tokens after it, likewise.
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
        stop: str | Iterable[str] | None = None,
        stop_token_ids: Iterable[int] | None = None,
        logprobs: int | None = None,
        ignore_eos: bool = False,
        special: bool = False,
    ):
        if not prompt:
            raise LumenError("the prompt is empty: there is nothing to continue")
        if len(prompt) > evaluator.context:
            raise ContextError(
                f"the prompt is {len(prompt)} tokens long, but the context is {evaluator.context} tokens"
            )
        self._max_tokens = None if max_tokens is None else whole_number("max_tokens", max_tokens, least=0)
        self.prompt = list(prompt)
        self.tokens: list[int] = []
        self.logprobs: list[TokenLogprob] | None = None if logprobs is None else []
        self.finish_reason: str | None = None
        self.stopped_by: str | int | None = None
        self.evaluated = 0
        self.decoded = 0
        self.prompt_seconds = 0.0
        self.decode_seconds = 0.0
        self._evaluator, self._tokenizer, self._sampler = evaluator, tokenizer, sampler
        self._special = flag("special", special)
        self._stops = StopFilter(stop_strings(stop))
        self._stop_tokens = _stop_tokens(stop_token_ids, len(tokenizer))
        self._recorder: LogprobRecorder | None = None
        if logprobs is not None:
            # Few ask for it.
            from lumen_mlir.generate.logprobs import LogprobRecorder

            self._recorder = LogprobRecorder(tokenizer, logprobs)
        self._banned = np.fromiter(tokenizer.end_tokens, np.int64) if flag("ignore_eos", ignore_eos) else None
        self._pieces = self._run()
        # A generator of Python cannot be asked by two threads at once.
        self._turn = threading.RLock()

    def __next__(self) -> str:
        with self._turn:
            return next(self._pieces)

    def text(self) -> str:
        """The rest of the text, all at once."""
        return "".join(self)

    def _run(self) -> Iterator[str]:
        decoder = self._tokenizer.stream(self._special)
        self._sampler.accept(self.prompt)
        ids = list(self.prompt)
        while self.finish_reason is None:
            token = self._next_token(ids)
            if token is None:
                break
            ids.append(token)
            if piece := self._stops.feed(decoder.feed(token)) + self._hidden(token):
                yield piece
            if self._stops.found is not None:
                break
        # The token that ends a text may also complete a stop string.
        if isinstance(self.stopped_by, int) and (piece := self._hidden(self.stopped_by, ends=True)):
            yield piece
        if self._stops.found is not None:
            self.finish_reason, self.stopped_by = "stop", self._stops.found
        # A character that never became whole is left out.
        if piece := self._stops.finish():
            yield piece

    def _hidden(self, token: int, ends: bool = False) -> str:
        """What becomes certain by a token that is not shown, which may be part of a stop string: a control
        token, or one that ends the text."""
        if not self._stops.stops or (not ends and (self._special or self._tokenizer.token_bytes(token))):
            return ""
        text = self._tokenizer.token_bytes(token, special=True).decode("utf-8", "replace")
        return self._stops.feed(text, hidden=True)

    def _next_token(self, ids: list[int]) -> int | None:
        """Computes and samples one token; None, and ``finish_reason``, where the text ends."""
        if self._max_tokens is not None and len(self.tokens) >= self._max_tokens:
            self.finish_reason = "length"
            return None
        if len(ids) > self._evaluator.context:
            self.finish_reason = "context"
            return None
        start = time.perf_counter()
        with self._evaluator.lock:
            if not self.tokens:
                self.evaluated = len(ids) - self._evaluator.reusable(ids)
            logits = self._evaluator.last_logits(ids)
            said = logits if self._recorder is None or self._banned is None else logits.copy()
            if self._banned is not None:
                logits[self._banned] = -np.inf
            token = self._sampler.sample(logits)
            record = None if self._recorder is None else self._recorder.record(said, token)
        seconds = time.perf_counter() - start
        if self.tokens:
            self.decode_seconds += seconds
            self.decoded += 1
        else:
            self.prompt_seconds = seconds
        ends = self._banned is None and token in self._tokenizer.end_tokens
        if ends or token in self._stop_tokens:
            self.finish_reason, self.stopped_by = "end" if ends else "stop", token
            return None
        self.tokens.append(token)
        if self.logprobs is not None and record is not None:
            self.logprobs.append(record)
        return token


def stop_strings(stop: str | Iterable[str] | None) -> list[str]:
    """``stop``, checked: None stands for none."""
    if stop is None or isinstance(stop, str):
        stop = [] if stop is None else [stop]
    if not isinstance(stop, Iterable) or isinstance(stop, (bytes, bytearray)):
        raise LumenError(f"stop is {shown(stop)}; a text or a list of texts was expected")
    try:
        stops = list(itertools.islice(stop, _MOST_STOPS + 1))
    except TypeError:  # an array without dimensions is an iterable that cannot be iterated
        raise LumenError(f"stop is {shown(stop)}; a text or a list of texts was expected") from None
    if len(stops) > _MOST_STOPS:
        raise LumenError(f"there are more than {_MOST_STOPS} stop strings")
    for text in stops:
        if not isinstance(text, str):
            raise LumenError(f"a stop string is {shown(text)}; text was expected")
        if not text:
            raise LumenError("a stop string is empty")
    return stops


def _stop_tokens(ids: Iterable[int] | None, vocabulary: int) -> frozenset[int]:
    """``stop_token_ids``, checked: None stands for none."""
    if ids is None:
        return frozenset()
    tokens = list(itertools.islice(tokens_of(ids), _MOST_STOPS + 1))
    if len(tokens) > _MOST_STOPS:
        raise LumenError(f"there are more than {_MOST_STOPS} stop tokens")
    for token in tokens:
        if not 0 <= token < vocabulary:
            raise LumenError(f"stop token {token} is outside the vocabulary of {vocabulary} tokens")
    return frozenset(tokens)
