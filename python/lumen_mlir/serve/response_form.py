# SPDX-License-Identifier: Apache-2.0
"""How OpenAI's Responses write an answer: items that are numbered, and events that are."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from lumen_mlir.generate.openai_body import chat_records
from lumen_mlir.serve import json_body
from lumen_mlir.serve.completion import Completion
from lumen_mlir.serve.parts import BEGIN, CALL, CONTENT, MORE, Change, Part, Parts, new_id
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.response_store import ResponseStore
from lumen_mlir.serve.usage import responses_usage

Event = tuple[str, dict[str, Any]]

_IDS = {CALL: "fc", CONTENT: "msg"}


class ResponseForm:
    """See ``Form``.

    Args:
      echo: what the response says of the request.
      sampling: parameters of it, None where the model's own hold.
      items: of the conversation, which the answer goes behind.
      store: keeps the response; None where it is not to be kept.
    """

    def __init__(
        self, echo: dict[str, Any], sampling: dict[str, Any], items: list[Any], store: ResponseStore | None
    ):
        self._echo, self._sampling, self._items, self._store = echo, sampling, items, store
        self._id, self._created = new_id("resp"), int(time.time())
        self._ids: list[str] = []
        self._count = 0
        self._completion: Completion | None = None

    async def stream(self, completion: Completion) -> AsyncGenerator[bytes, None]:
        """See ``Form``."""
        self._completion = completion
        begun = self._response("in_progress", [])
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)
        parts = Parts()
        async for change in parts.read(completion):
            for kind, fields in self._events(change, parts):
                place: dict[str, Any] = {"output_index": change.number}
                if not kind.startswith("response.output_item"):
                    place["item_id"] = self._ids[change.number]
                yield self._event(kind, **place, **fields)
        response = self._finished(completion, parts)
        yield self._event(f"response.{response['status']}", response=response)

    async def whole(self, completion: Completion) -> dict[str, Any]:
        """See ``Form``."""
        self._completion = completion
        parts = Parts()
        async for change in parts.read(completion):
            if change.what == BEGIN:
                self._name(change.part)
        return self._finished(completion, parts)

    def failure(self, problem: Problem) -> bytes:
        """See ``Form``."""
        code = problem.code or problem.type
        response = self._response("failed", [], error={"code": code, "message": str(problem)})
        return self._event("response.failed", response=response)

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = json_body.encoded({"type": kind, "sequence_number": self._count, **fields})
        self._count += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    def _events(self, change: Change, parts: Parts) -> Iterator[Event]:
        """What a stream says of a part."""
        part = change.part
        if change.what == BEGIN:
            self._name(part)
            yield "response.output_item.added", {"item": self._item(change.number, part, "in_progress")}
            if part.kind != CALL:
                yield "response.content_part.added", {"content_index": 0, "part": _inner(part)}
        elif change.what == MORE:
            yield _delta(change)
        else:
            yield from _done(part)
            # (Only the last one can be cut off.)
            status = _status(parts) if change.number == len(parts.parts) - 1 else "completed"
            yield "response.output_item.done", {"item": self._item(change.number, part, status)}

    def _name(self, part: Part) -> None:
        self._ids.append(new_id(_IDS.get(part.kind, "rs")))

    def _item(self, number: int, part: Part, status: str) -> dict[str, Any]:
        item: dict[str, Any] = {"id": self._ids[number], "status": status}
        if part.kind == CALL:
            arguments = part.text if status == "in_progress" else part.text or "{}"
            call = {"call_id": part.id, "name": part.name, "arguments": arguments}
            return {**item, "type": "function_call", **call}
        content = [] if status == "in_progress" else [_inner(part)]
        if part.kind == CONTENT:
            return {**item, "type": "message", "role": "assistant", "content": content}
        return {**item, "type": "reasoning", "summary": [], "content": content}

    def _finished(self, completion: Completion, parts: Parts) -> dict[str, Any]:
        """The response, which is kept where it is to be."""
        status, last = _status(parts), len(parts.parts) - 1
        output = [
            self._item(number, part, status if number == last else "completed")
            for number, part in enumerate(parts.parts)
        ]
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        done = time.time() if status == "completed" else None
        usage = responses_usage(completion)
        response = self._response(
            status, output, completed_at=done, incomplete_details=cut, usage=usage, error=None
        )
        if self._store is not None:
            self._store.add(response, [*self._items, *output])
        return response

    def _response(self, status: str, output: list[Any], **fields: Any) -> dict[str, Any]:
        completion = self._completion
        assert completion is not None
        defaults = completion.model.llm.sampling
        sampling = {
            name: getattr(defaults, name) if value is None else value
            for name, value in self._sampling.items()
        }
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": completion.model.name,
            "output": output,
            "usage": None,
            **self._echo,
            **sampling,
            **fields,
        }


def _status(parts: Parts) -> str:
    return "incomplete" if parts.reason == "length" else "completed"


def _inner(part: Part) -> dict[str, Any]:
    """The only part of an item that is not a call."""
    if part.kind != CONTENT:
        return {"type": "reasoning_text", "text": part.text}
    logprobs = chat_records(part.records)
    return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": logprobs}


def _delta(change: Change) -> Event:
    if change.part.kind == CALL:
        return "response.function_call_arguments.delta", {"delta": change.text}
    fields = {"content_index": 0, "delta": change.text}
    if change.part.kind == CONTENT:
        return "response.output_text.delta", {**fields, "logprobs": chat_records(change.records)}
    return "response.reasoning_text.delta", fields


def _done(part: Part) -> Iterator[Event]:
    if part.kind == CALL:
        fields = {"name": part.name, "arguments": part.text or "{}"}
        yield "response.function_call_arguments.done", fields
        return
    inner = {"content_index": 0, "text": part.text}
    if part.kind == CONTENT:
        yield "response.output_text.done", {**inner, "logprobs": chat_records(part.records)}
    else:
        yield "response.reasoning_text.done", inner
    yield "response.content_part.done", {"content_index": 0, "part": _inner(part)}
