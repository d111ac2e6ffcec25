# SPDX-License-Identifier: Apache-2.0
"""The texts that a request asks for, as a stream of events. Each API writes them in its own form."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from lumen_mlir.generate.asynchronous import AsyncGeneration
from lumen_mlir.generate.generation import Generation
from lumen_mlir.generate.logprobs import TokenLogprob
from lumen_mlir.serve.events import End, Event, Piece, Progress, Text
from lumen_mlir.serve.metrics import Metrics
from lumen_mlir.serve.parser import Parser, PlainParser
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.recorded import Parsed, RecordedParser
from lumen_mlir.serve.served_model import ServedModel
from lumen_mlir.serve.thinking import ThinkingCounter
from lumen_mlir.text.answers.deltas import CallBegin

# Seconds between two looks at how much of a prompt is computed.
_LOOK = 0.1


class Completion:
    """``generations`` of one prompt, read together.

    Args:
      model: which writes them.
      generations: none of which is begun.
      parsers: tell content, reasoning and calls apart, one for each; None where all is content.
      metrics: are told of it.
      prompt_text: the prompt, where it is to be echoed.
      counters: count the tokens of reasoning, one for each.

    Attributes:
      count: of texts.
      prompt_tokens, cached_tokens: of the prompt; known while it is written.
      tokens: written so far, of all texts, with those that ended them.
      reasoning_tokens: those of them that were reasoning.
      prompt_seconds, decode_seconds: until the first token, and since.
    """

    def __init__(
        self,
        model: ServedModel,
        generations: Sequence[Generation],
        metrics: Metrics,
        parsers: Sequence[Parser] | None = None,
        prompt_text: str = "",
        counters: Sequence[ThinkingCounter] = (),
    ):
        self.model, self._metrics, self.prompt_text = model, metrics, prompt_text
        self._generations = list(generations)
        self._parsers: list[Parser | RecordedParser] = [PlainParser() for _ in generations]
        if parsers is not None:
            recorded = self._generations[0].logprobs is not None
            self._parsers = [RecordedParser(parser) if recorded else parser for parser in parsers]
        self._recorded = [0] * len(self._generations)
        self._counted = [0] * len(self._generations)
        self._called = [False] * len(self._generations)
        self.prompt_tokens: int = len(self._generations[0].prompt)
        self._counters = list(counters)
        self._done: list[Callable[[], None]] = []
        self._start = time.perf_counter()
        self._first: float | None = None
        self._last = self._start

    @property
    def count(self) -> int:
        return len(self._generations)

    @property
    def prompt_records(self) -> Sequence[TokenLogprob]:
        """Of the tokens of the prompt but the first, where they are asked for."""
        return self._generations[0].prompt_logprobs or ()

    def prompt_token(self, number: int) -> str:
        """The text of a token of the prompt."""
        return self.model.token_bytes(self._generations[0].prompt[number]).decode("utf-8", "replace")

    @property
    def cached_tokens(self) -> int:
        return min((generation.request.known for generation in self._generations), default=0)

    @property
    def reasoning_tokens(self) -> int:
        return sum(counter.tokens for counter in self._counters)

    @property
    def tokens(self) -> int:
        return sum(len(generation.tokens) + _ended_by_token(generation) for generation in self._generations)

    @property
    def prompt_seconds(self) -> float:
        return (self._last if self._first is None else self._first) - self._start

    @property
    def decode_seconds(self) -> float:
        return 0.0 if self._first is None else self._last - self._first

    def when_done(self, tell: Callable[[], None]) -> None:
        """Calls ``tell`` once all texts are done, or given up."""
        self._done.append(tell)

    async def events(self, progress: bool = False) -> AsyncIterator[Event]:
        """What comes, as it comes; with ``progress``, first how much of the prompt is there.

        Who stops reading, or is cancelled, gives all texts up. Raises ``LumenError`` where one fails.
        """
        news: asyncio.Queue[tuple[int, AsyncGeneration, str | BaseException | None]] = asyncio.Queue()
        tasks = [
            asyncio.create_task(_pump(number, self.model.reading(generation), news))
            for number, generation in enumerate(self._generations)
        ]
        watch = self._metrics.request(self.model.name, self._generations)
        outcome = "abort"
        try:
            left = len(tasks)
            while left:
                if progress and self._first is None:
                    async for event in self._progress(news):
                        yield event
                number, text, piece = await news.get()
                self._note(watch, number, text)
                if isinstance(piece, BaseException):
                    outcome = "error"
                    raise _unloaded() if self.model.closed else piece
                for parsed in self._parsed(number, text, piece):
                    self._called[number] |= any(isinstance(delta, CallBegin) for delta in parsed.deltas)
                    yield Piece(number, parsed.deltas, parsed.records, parsed.marks)
                if piece is None:
                    left -= 1
                    yield self._end(number)
            outcome = self._generations[0].finish_reason or "stop"
        finally:
            for task in tasks:
                task.cancel()
            for generation in self._generations:
                generation.close()
            watch.finish(outcome, self)
            for tell in self._done:
                tell()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)

    async def texts(self) -> list[Text]:
        """All texts, once they are done."""
        texts = [Text() for _ in self._generations]
        async for event in self.events():
            if isinstance(event, Piece):
                texts[event.choice].extend(event)
            elif isinstance(event, End):
                texts[event.choice].reason, texts[event.choice].stop = event.reason, event.stop
        return texts

    async def _progress(self, news: asyncio.Queue) -> AsyncIterator[Progress]:
        """How much of the prompt is there, until there is more to tell."""
        said = -1
        while news.empty():
            there = min(self._generations[0].request.computed, self.prompt_tokens)
            if there > said:
                said = there
                seconds = time.perf_counter() - self._start
                yield Progress(self.prompt_tokens, self.cached_tokens, there, seconds)
            await asyncio.sleep(_LOOK)

    def _note(self, watch: Metrics.Watch, number: int, text: AsyncGeneration) -> None:
        """Notes that tokens came."""
        count = text.tokens_read - self._counted[number]
        if count > 0:
            now = time.perf_counter()
            watch.tokens(number, count)
            if self._counters:
                for token in text.generation.tokens[self._counted[number] : text.tokens_read]:
                    self._counters[number].feed(token)
            self._counted[number] += count
            self._first = now if self._first is None else self._first
            self._last = now

    def _parsed(self, number: int, text: AsyncGeneration, piece: str | None) -> Iterator[Parsed]:
        """What becomes certain by a piece; by the end of the text, where it is None."""
        records: Sequence[TokenLogprob] = ()
        if text.generation.logprobs is not None:
            before, self._recorded[number] = self._recorded[number], text.tokens_read
            records = text.generation.logprobs[before : text.tokens_read]
        parser = self._parsers[number]
        if isinstance(parser, RecordedParser):
            yield from parser.finish(records) if piece is None else parser.feed(piece, records)
            return
        deltas = parser.finish() if piece is None else parser.feed(piece)
        if piece is None and (last := text.generation.last_logprob) is not None:
            # Evaluations count on a record for every token that was drawn.
            records = [*records, last]
        if deltas or records:
            yield Parsed(deltas, records)

    def _end(self, number: int) -> End:
        generation = self._generations[number]
        if generation.finish_reason == "closed":
            raise _unloaded()
        stop = generation.stopped_by if isinstance(generation.stopped_by, str) else None
        reason = "stop" if generation.finish_reason in ("end", "stop") else "length"
        if reason == "stop" and self._called[number]:
            reason = "tool_calls"
        return End(number, reason, stop)


def _unloaded() -> Problem:
    return Problem(503, "the model was unloaded", code="unloaded", retry_after=1)


def _ended_by_token(generation: Generation) -> bool:
    """True where a token was drawn that is not part of the text."""
    return isinstance(generation.stopped_by, int)


async def _pump(number: int, text: AsyncGeneration, news: asyncio.Queue) -> None:
    """Hands on what comes of a text."""
    try:
        async for piece in text:
            news.put_nowait((number, text, piece))
    except Exception as error:  # whatever it is, the reader is told
        news.put_nowait((number, text, error))
    else:
        news.put_nowait((number, text, None))
