# SPDX-License-Identifier: Apache-2.0
"""``POST /api/chat`` and ``POST /api/generate``, as ollama has them."""

from __future__ import annotations

import datetime
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.generate.openai_body import chat_records
from lumen_mlir.serve import json_body, texts
from lumen_mlir.serve.answers import Begin, answered
from lumen_mlir.serve.catalog import Entry
from lumen_mlir.serve.chat import begin_chat
from lumen_mlir.serve.completion import Completion
from lumen_mlir.serve.ollama_body import GenerateBody, OllamaChatBody, TextBody
from lumen_mlir.serve.parts import CALL, CONTENT, DONE, MORE, REASONING, Change, Part, Parts
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.served_model import ServedModel
from lumen_mlir.serve.server import Server
from lumen_mlir.serve.streams import NDJSON, finished
from lumen_mlir.serve.usage import durations

Shown = Callable[[list[Part]], dict[str, Any]]


async def ollama_chat(request: Request) -> Response:
    """``POST /api/chat``: answers a conversation, as a stream unless the request says otherwise."""
    body = await json_body.read(request, OllamaChatBody)
    ask = body.ask()
    return await _answer(request, body, _message, lambda server, model: begin_chat(server, model, ask))


async def ollama_generate(request: Request) -> Response:
    """``POST /api/generate``: answers or continues a text, as a stream unless the request says otherwise."""
    body = await json_body.read(request, GenerateBody)
    body.check()
    ask = body.ask()

    async def begin(server: Server, model: ServedModel) -> Completion:
        if not body.raw:
            return await begin_chat(server, model, ask)
        parameters = {**ask.parameters, "max_tokens": ask.max_tokens}
        if ask.grammar is not None:
            parameters["grammar"] = ask.grammar
        return await texts.begin(server, model, body.prompt or "", parameters)

    return await _answer(request, body, _response, begin)


async def _answer(request: Request, body: TextBody, shown: Shown, begin_text: Begin) -> Response:
    """What ``begin_text`` begins, by the model that is asked for, which is told how long to stay."""
    entry = Server.of(request).catalog.find(body.model)
    entry.keep = body.keep
    form = _Form(shown, bool(body.logprobs))
    if body.is_empty:
        return await _loaded(request, entry, form)

    async def begin(server: Server, model: ServedModel) -> Completion:
        form.note_loaded()
        body.chosen.check(model)
        return await begin_text(server, model)

    stream = body.stream is not False
    return await answered(request, entry.name, begin, form, stream=stream, media_type=NDJSON)


async def _loaded(request: Request, entry: Entry, form: _Form) -> Response:
    """Loads the model, or unloads it where it is not to stay."""
    catalog = Server.of(request).catalog
    if entry.keep == 0:
        if not entry.users:
            await catalog.unload(entry)
        return json_body.answer(form.line(entry.name, [], done=True, done_reason="unload"))

    async def load() -> None:
        async with catalog.using(entry.name):
            pass

    await finished(request, load())
    return json_body.answer(form.line(entry.name, [], done=True, done_reason="load"))


def _message(parts: list[Part]) -> dict[str, Any]:
    """What ``/api/chat`` says of parts of an answer."""
    message: dict[str, Any] = {"role": "assistant", "content": _text(parts, CONTENT)}
    if thinking := _text(parts, REASONING):
        message["thinking"] = thinking
    # Calls that are cut off have no arguments that could be written.
    calls = [part for part in parts if part.kind == CALL and part.arguments is not None]
    if calls:
        message["tool_calls"] = [
            {"id": part.id, "function": {"name": part.name, "arguments": part.arguments}} for part in calls
        ]
    return {"message": message}


def _response(parts: list[Part]) -> dict[str, Any]:
    """What ``/api/generate`` says of parts of an answer."""
    thinking = _text(parts, REASONING)
    return {"response": _text(parts, CONTENT), **({"thinking": thinking} if thinking else {})}


def _text(parts: list[Part], kind: str) -> str:
    return "".join(part.text for part in parts if part.kind == kind)


class _Form:
    """See ``Form``; ``shown`` gives the fields of parts of an answer."""

    def __init__(self, shown: Shown, logprobs: bool):
        self._shown, self._logprobs = shown, logprobs
        self._start, self._loaded = time.perf_counter(), 0.0

    def note_loaded(self) -> None:
        """The model is there."""
        self._loaded = time.perf_counter() - self._start

    async def stream(self, completion: Completion) -> AsyncGenerator[bytes, None]:
        """See ``Form``."""
        name, parts = completion.model.name, Parts()
        async for change in parts.read(completion):
            if (part := _news(change)) is not None:
                yield json_body.encoded(self.line(name, [part], done=False)) + b"\n"
        yield json_body.encoded(self.line(name, [], **self._end(completion, parts))) + b"\n"

    async def whole(self, completion: Completion) -> dict[str, Any]:
        """See ``Form``."""
        parts = Parts()
        await parts.read_all(completion)
        return self.line(completion.model.name, parts.parts, **self._end(completion, parts))

    def failure(self, problem: Problem) -> bytes:
        """See ``Form``."""
        return json_body.encoded(problem.ollama()) + b"\n"

    def line(self, model: str, parts: list[Part], **fields: Any) -> dict[str, Any]:
        """A line of a stream, or all of the answer."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
        line = {"model": model, "created_at": now, **self._shown(parts), **fields}
        records = [record for part in parts for record in part.records]
        if self._logprobs and records:
            line["logprobs"] = chat_records(records)
        return line

    def _end(self, completion: Completion, parts: Parts) -> dict[str, Any]:
        """What is known at the end."""
        return {
            "done": True,
            "done_reason": "length" if parts.reason == "length" else "stop",
            "total_duration": round((time.perf_counter() - self._start) * 1e9),
            "load_duration": round(self._loaded * 1e9),
            **durations(completion),
        }


def _news(change: Change) -> Part | None:
    """What a line is about: more text, or a call that is complete."""
    if change.part.kind == CALL:
        whole = change.what == DONE and change.part.arguments is not None
        return change.part if whole else None
    if change.what != MORE:
        return None
    return Part(change.part.kind, text=change.text, records=list(change.records))
