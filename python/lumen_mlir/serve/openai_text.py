# SPDX-License-Identifier: Apache-2.0
"""``POST /v1/completions``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.errors import shown
from lumen_mlir.generate.openai_body import completion_records
from lumen_mlir.serve import json_body, texts
from lumen_mlir.serve.answers import answered
from lumen_mlir.serve.completion import Completion
from lumen_mlir.serve.events import End, Piece, Progress
from lumen_mlir.serve.merged import Merged
from lumen_mlir.serve.openai_frame import DONE, OpenAIFrame
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.sampling_fields import SamplingFields, max_tokens
from lumen_mlir.serve.served_model import ServedModel
from lumen_mlir.serve.server import Server
from lumen_mlir.serve.usage import progress, timings
from lumen_mlir.text.answers.deltas import content_of

# As OpenAI has it.
_MAX_TOKENS = 16
# Prompts of one request.
_MOST_PROMPTS = 256


class CompletionBody(SamplingFields, kw_only=True):
    """See OpenAI's reference; what stands last is llama-server's and vLLM's."""

    prompt: str | list[Any] | None = None
    suffix: str | None = None
    max_tokens: int | None = None
    n_predict: int | None = None
    echo: bool | None = None
    logprobs: int | None = None
    best_of: int | None = None
    user: Any = None
    cache_prompt: Any = None


async def completions(request: Request) -> Response:
    """Continues texts."""
    body = await json_body.read(request, CompletionBody)
    if body.suffix:
        raise Problem(400, "a suffix is given; text is only continued here, not filled in", field="suffix")
    if body.best_of not in (None, body.texts):
        raise Problem(400, f"best_of is {body.best_of}; only n is known", field="best_of")
    prompts = _prompts(body.prompt)
    return await answered(
        request,
        body.model,
        lambda server, model: _begin(server, model, body, prompts),
        _Frame(body),
        stream=bool(body.stream),
    )


def _prompts(given: str | list[Any] | None) -> list[str | list[int]]:
    """The prompts of a request, each a text or token ids. Raises ``Problem``."""
    wrong = Problem(
        400, f"prompt is {shown(given)}; a text, token ids or a list of them was expected", field="prompt"
    )
    if isinstance(given, str):
        return [given]
    if not given:
        raise wrong
    if all(type(token) is int for token in given):
        return [given]
    if len(given) > _MOST_PROMPTS:
        raise Problem(400, f"there are {len(given)} prompts; at most {_MOST_PROMPTS} were expected")
    for each in given:
        if not isinstance(each, str) and not (
            isinstance(each, list) and each and all(type(token) is int for token in each)
        ):
            raise wrong
    return given


async def _begin(
    server: Server, model: ServedModel, body: CompletionBody, prompts: list[str | list[int]]
) -> Merged:
    """The texts behind all prompts: those of the first prompt, then those of the second, …"""
    # Without a single token to write, text is only echoed.
    echoed_only = bool(body.echo) and body.max_tokens == 0
    limit = 0 if echoed_only else max_tokens(body.max_tokens, body.n_predict, _MAX_TOKENS)
    parameters = {**body.sampling(), "max_tokens": limit}
    if body.logprobs is not None:
        parameters["logprobs"] = body.logprobs
        parameters["prompt_logprobs"] = bool(body.echo)
    grammar = body.output_grammar()
    if grammar is not None:
        parameters["grammar"] = grammar
    begun: list[Completion] = []
    for prompt in prompts:
        begun.append(
            await texts.begin(server, model, prompt, parameters, count=body.texts, echo=bool(body.echo))
        )
    return Merged(begun)


class _Frame(OpenAIFrame):
    """A ``Form``."""

    def __init__(self, body: CompletionBody):
        super().__init__("cmpl", "text_completion", "text_completion", body)
        self._logprobs, self._echo = body.logprobs is not None, bool(body.echo)
        # Where the next token of each text stands.
        self._offsets: dict[int, int] = {}

    async def stream(self, completion: Merged) -> AsyncGenerator[bytes, None]:
        """See ``Form``."""
        self.model = completion.first.model.name
        yield b": ok\n\n"
        begun = [False] * completion.count
        async for event in completion.events(progress=self.tells_progress):
            if isinstance(event, Progress):
                yield self.event(choices=[], prompt_progress=progress(event))
            elif isinstance(event, (Piece, End)):
                if self._echo and not begun[event.choice]:
                    begun[event.choice] = True
                    yield self.echo(event.choice, completion)
                more = {"timings": timings(completion.first)} if self.tells_timings else {}
                if isinstance(event, Piece):
                    yield self.chunk(event, **more)
                else:
                    yield self.event(choices=[self.choice(event.choice, "", None, event.reason)], **more)
        if self.tells_usage:
            yield self.event(choices=[], usage=completion.usage(), timings=timings(completion.first))
        yield DONE

    @staticmethod
    def choice(number: int, text: str, logprobs: Any, reason: str | None) -> dict[str, Any]:
        """A part of text ``number``, or all of it."""
        return {"index": number, "text": text, "logprobs": logprobs, "finish_reason": reason}

    def chunk(self, piece: Piece, **more: Any) -> bytes:
        """A chunk with what comes next of a text."""
        text = content_of(piece.deltas)
        logprobs = None
        if self._logprobs and piece.records:
            begin = self._offsets.get(piece.choice, 0)
            logprobs = completion_records(piece.records, begin)
            self._offsets[piece.choice] = begin + sum(len(record.text) for record in piece.records)
        return self.event(choices=[self.choice(piece.choice, text, logprobs, None)], **more)

    def echo(self, number: int, merged: Merged) -> bytes:
        """A chunk with the prompt of text ``number``."""
        completion = merged.completion_of(number)
        logprobs = self._prompt_records(completion)
        if logprobs is not None:
            self._offsets[number] = sum(map(len, logprobs["tokens"]))
        return self.event(choices=[self.choice(number, completion.prompt_text, logprobs, None)])

    def _prompt_records(self, completion: Completion) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        first = completion.prompt_token(0)
        rest = completion_records(completion.prompt_records, len(first))
        return {
            "tokens": [first, *rest["tokens"]],
            "token_logprobs": [None, *rest["token_logprobs"]],
            "top_logprobs": [None, *rest["top_logprobs"]],
            "text_offset": [0, *rest["text_offset"]],
        }

    async def whole(self, completion: Merged) -> dict[str, Any]:
        """See ``Form``."""
        self.model = completion.first.model.name
        choices = []
        for number, text in enumerate(await completion.texts()):
            content, logprobs, begin = text.content, None, 0
            if self._echo:
                own = completion.completion_of(number)
                content = own.prompt_text + content
                logprobs = self._prompt_records(own)
                begin = sum(map(len, logprobs["tokens"])) if logprobs else 0
            if self._logprobs:
                written = completion_records(text.records, begin)
                logprobs = {name: [*(logprobs or {}).get(name, []), *each] for name, each in written.items()}
            choices.append(self.choice(number, content, logprobs, text.reason))
        return self.answer(choices=choices, usage=completion.usage(), timings=timings(completion.first))
