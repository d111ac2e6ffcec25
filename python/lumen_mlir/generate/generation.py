# SPDX-License-Identifier: Apache-2.0
"""From logits to text: the loop that samples tokens and gives out text as it becomes certain."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.generate.request import Cancelled, Guess, Request
from lumen_mlir.generate.sampling import Sampler
from lumen_mlir.generate.token_draw import TokenDraw
from lumen_mlir.support.arguments import flag, positive_number, tokens_of, whole_number
from lumen_mlir.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from lumen_mlir.generate.batcher import Batcher
    from lumen_mlir.generate.logprobs import LogprobRecorder, TokenLogprob
    from lumen_mlir.generate.token_draw import Force
    from lumen_mlir.grammar.state import GrammarState

# Each piece of text is compared with all of them.
_MOST_STOPS = 1024


class ContextError(LumenError):
    """A prompt that is longer than the context."""


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

    Any number of generations may be read at a time, in one thread or in several. Their steps are shared, so
    some tokens may be computed before they are asked for. A generation that is not read to its end is given
    up when it is closed, or when Python lets it go.

    Attributes:
      prompt: token ids of the prompt.
      tokens: token ids generated so far, without an end or stop token that ended the text.
      logprobs: one record for each of ``tokens``; None where none were asked for. It is there when the token
        is drawn, so before the text that is held back for a stop string.
      prompt_logprobs: records of the tokens of the prompt but the first, as far as it is computed; None where
        none were asked for.
      output: the text given out so far.
      finish_reason: None while running, then "end" (an end token, or the end of its grammar), "stop" (a stop
        string or token), "length" (``max_tokens``), "context" (no room for another token) or "closed".
      stopped_by: the stop string, or the id of the end or stop token, that ended the text; else None.
      evaluated: prompt tokens that were computed (the others were still in the KV cache).
      prompt_seconds: time that was waited for the prompt, and what was computed with it.
      decode_seconds: time that was waited for the tokens after it.
      guess: what guesses at tokens, with how many it ``proposed`` and how many were ``right``; or None.
      decoded: tokens that came in ``decode_seconds`` (the first comes with the prompt).
    """

    def __init__(
        self,
        batcher: Batcher,
        tokenizer: Tokenizer,
        sampler: Sampler,
        prompt: Sequence[int],
        *,
        max_tokens: int | None = None,
        stop: str | Iterable[str] | None = None,
        stop_token_ids: Iterable[int] | None = None,
        logprobs: int | None = None,
        prompt_logprobs: bool = False,
        ignore_eos: bool = False,
        special: bool = False,
        priority: int = 0,
        timeout: float | None = None,
        guess: Guess | None = None,
        grammar: GrammarState | None = None,
        force: Force | None = None,
        grammar_after: str | None = None,
    ):
        if not prompt:
            raise LumenError("the prompt is empty: there is nothing to continue")
        if len(prompt) > batcher.context:
            raise ContextError(
                f"the prompt is {len(prompt)} tokens long, but the context is {batcher.context} tokens"
            )
        most = None if max_tokens is None else whole_number("max_tokens", max_tokens, least=0)
        self.prompt = list(prompt)
        self.tokens: list[int] = []
        self.logprobs: list[TokenLogprob] | None = None if logprobs is None else []
        self.output = ""
        self.finish_reason: str | None = None
        self.stopped_by: str | int | None = None
        self.evaluated = 0
        self.decoded = 0
        self.prompt_seconds = 0.0
        self.decode_seconds = 0.0
        self.guess = guess
        self._batcher, self._tokenizer, self._sampler = batcher, tokenizer, sampler
        self._special, self._max_tokens = flag("special", special), most
        self._stops = StopFilter(stop_strings(stop))
        recorder = None
        if logprobs is not None:
            # Few ask for it.
            from lumen_mlir.generate.logprobs import LogprobRecorder

            recorder = LogprobRecorder(tokenizer, logprobs)
        stop_tokens = _stop_tokens(stop_token_ids, len(tokenizer))
        if grammar_after is not None and (not isinstance(grammar_after, str) or not grammar_after):
            raise LumenError(f"grammar_after is {shown(grammar_after)}; a text was expected")
        ignore = flag("ignore_eos", ignore_eos)
        self._draw = TokenDraw(
            tokenizer, sampler, stop_tokens, recorder, ignore, grammar, grammar_after, force
        )
        room = batcher.context + 1
        room = room if most is None else min(len(prompt) + most, room)
        deadline = None if timeout is None else time.monotonic() + positive_number("timeout", timeout)
        priority = whole_number("priority", priority)
        self._request = Request(list(prompt), self._draw, room, priority, deadline, guess=guess)
        self.prompt_logprobs: list[TokenLogprob] | None = None
        if flag("prompt_logprobs", prompt_logprobs):
            self._record_prompt(recorder)
        self._give_up = weakref.finalize(self, batcher.cancel, self._request)
        self._give_up.atexit = False
        self._begun = False
        self._pieces = self._read()
        # A generator of Python cannot be asked by two threads at once.
        self._turn = threading.RLock()

    def _record_prompt(self, recorder: LogprobRecorder | None) -> None:
        """Has the tokens of the prompt recorded, also where nothing is written behind it."""
        if recorder is None:
            raise LumenError("prompt_logprobs needs logprobs")
        from lumen_mlir.generate.logprobs import PromptRecorder

        request, receiver = self._request, PromptRecorder(recorder, self.prompt)
        self.prompt_logprobs = receiver.records
        # Its logits come in order; those of guesses would stand between.
        request.receive, request.guess, self.guess = receiver, None, None
        if self._max_tokens == 0:
            request.draw, request.most = _draw_nothing, len(self.prompt) + 1

    @property
    def _is_idle(self) -> bool:
        """True where nothing is to be computed."""
        return self._max_tokens == 0 and self.prompt_logprobs is None

    def __next__(self) -> str:
        with self._turn:
            while (piece := next(self._pieces)) is None:
                start = time.perf_counter()
                self.begin()
                # An interrupt comes out here, and does no harm: the text may be read on.
                self._batcher.wait(lambda: self._request.is_ready)
                seconds = time.perf_counter() - start
                if self.tokens:
                    self.decode_seconds += seconds
                else:
                    self.prompt_seconds += seconds
            return piece

    def poll(self) -> str:
        """What can be read without waiting, perhaps nothing; ``finish_reason`` says whether that was all."""
        with self._turn:
            return "".join(iter(lambda: next(self._pieces, None) or "", ""))

    def begin(self) -> None:
        """Lets it be computed along with what others wait for, before it is read."""
        with self._turn:
            if not self._begun and self.finish_reason is None and not self._is_idle:
                # Before the request can be drawn from.
                self._sampler.accept(self.prompt)
                self._begun = True
                self._batcher.submit(self._request)

    def close(self) -> None:
        """Gives it up; nothing more comes. Whoever waits for a piece in another thread gets none."""
        self._batcher.cancel(self._request)
        with self._turn:
            if self.finish_reason is None:
                self.finish_reason = "closed"
            self._pieces.close()

    @property
    def has_news(self) -> bool:
        """True where ``poll`` has something to say."""
        return self._request.is_ready or self.finish_reason is not None or self._is_idle

    @property
    def last_logprob(self) -> TokenLogprob | None:
        """The record of the token that ended the text, which is none of ``tokens``; None without one."""
        return self._draw.last_record

    @property
    def request(self) -> Request:
        """It, as the scheduler sees it."""
        return self._request

    def text(self) -> str:
        """The rest of the text, all at once."""
        return "".join(self)

    def _read(self) -> Generator[str | None, None, None]:
        """The pieces of the text; None where the next token is not there yet."""
        for piece in self._pieces_of_tokens():
            if piece is not None:
                self.output += piece
            yield piece

    def _pieces_of_tokens(self) -> Iterator[str | None]:
        decoder = self._tokenizer.stream(self._special)
        if self._is_idle:
            self.finish_reason = "length"
        while self.finish_reason is None:
            if not self._request.is_ready:
                yield None
                continue
            token = self._next_token()
            if token is None:
                break
            if piece := self._stops.feed(decoder.feed(token)) + self._hidden(token):
                yield piece
            if self._stops.found is not None:
                self._batcher.cancel(self._request)
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

    def _next_token(self) -> int | None:
        """The next token, which is there; None, and ``finish_reason``, where the text ends."""
        request = self._request
        self.evaluated = len(self.prompt) - request.known
        if not request.unread:
            # Its error will refer to this object, which then could never go.
            self._give_up.detach()
            if isinstance(request.error, Cancelled):
                self.finish_reason = "closed"
            elif request.error is not None:
                raise request.error
            else:
                self._note_end()
            return None
        self.decoded += bool(self.tokens)
        token = request.unread.popleft()
        self.tokens.append(token)
        if self.logprobs is not None:
            self.logprobs.append(self._draw.records.popleft())
        return token

    def _note_end(self) -> None:
        # (What ends a run of tokens does not count where there was no room for all of it.)
        draw, is_whole = self._draw, len(self.tokens) == self._draw.count
        if draw.ended_by is not None and is_whole:
            self.finish_reason = "end" if draw.is_end else "stop"
            self.stopped_by = draw.ended_by
            self.decoded += bool(self.tokens)
        elif draw.is_complete and is_whole:
            self.finish_reason = "end"
        elif len(self.tokens) == self._max_tokens:
            self.finish_reason = "length"
        else:
            self.finish_reason = "context"


def _draw_nothing(logits: np.ndarray) -> None:
    """Ends a text behind its prompt."""


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
