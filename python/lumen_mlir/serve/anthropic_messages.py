# SPDX-License-Identifier: Apache-2.0
"""``POST /v1/messages`` and ``POST /v1/messages/count_tokens``, as Anthropic has them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.errors import shown
from lumen_mlir.generate.grammar_body import grammar_of
from lumen_mlir.serve import json_body
from lumen_mlir.serve.answers import answered
from lumen_mlir.serve.anthropic_input import choice_of, messages_of, tools_of
from lumen_mlir.serve.chat import ChatAsk, begin_chat, prompt_of
from lumen_mlir.serve.completion import Completion
from lumen_mlir.serve.parts import BEGIN, CALL, CONTENT, MORE, REASONING, Change, Part, Parts, new_id
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.sampling_fields import SamplingFields
from lumen_mlir.serve.server import Server
from lumen_mlir.serve.usage import messages_usage

# Those that templates do not know.
_EFFORTS = {"xhigh": "high", "max": "high"}
_DELTAS = {
    CONTENT: ("text_delta", "text"),
    REASONING: ("thinking_delta", "thinking"),
    CALL: ("input_json_delta", "partial_json"),
}


class Thinking(msgspec.Struct, kw_only=True):
    """Whether the model reasons first."""

    type: str
    budget_tokens: int | None = None


class OutputConfig(msgspec.Struct, kw_only=True):
    """How much it reasons, and the form of what it writes."""

    effort: str | None = None
    format: dict[str, Any] | None = None


class MessagesBody(SamplingFields, kw_only=True):
    """See Anthropic's reference; the names of ``SamplingFields`` are taken besides."""

    messages: list[dict[str, Any]]
    max_tokens: int | None = None
    system: str | list[Any] | None = None
    tools: list[Any] | None = None
    tool_choice: dict[str, Any] | None = None
    stop_sequences: list[str] | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    metadata: Any = None
    service_tier: Any = None
    cache_control: Any = None

    def ask(self) -> ChatAsk:
        """What is asked for. Raises ``Problem``."""
        choice, parallel = choice_of(self.tool_choice)
        thinking, budget = _thinking(self.thinking)
        output = self.output_config or OutputConfig()
        parameters = self.sampling()
        if self.stop_sequences:
            parameters["stop"] = self.stop_sequences
        return ChatAsk(
            messages=messages_of(self.system, self.messages),
            parameters=parameters,
            max_tokens=self.max_tokens,
            tools=tools_of(self.tools),
            tool_choice=choice,
            parallel_calls=parallel,
            thinking=thinking,
            effort=_EFFORTS.get(output.effort, output.effort) if output.effort else None,
            budget=budget,
            grammar=grammar_of({"response_format": _format(output.format)}),
        )


def _thinking(given: Thinking | None) -> tuple[bool | None, int | None]:
    """Whether, and for how many tokens at most."""
    if given is None:
        return None, None
    if given.type == "enabled":
        if given.budget_tokens is None or given.budget_tokens < 1:
            message = f"thinking.budget_tokens is {given.budget_tokens}; at least 1 was expected"
            raise Problem(400, message, field="thinking")
        return True, given.budget_tokens
    if given.type not in ("adaptive", "disabled"):
        message = f"thinking.type is {shown(given.type)}; enabled, adaptive or disabled was expected"
        raise Problem(400, message, field="thinking")
    return given.type == "adaptive", None


def _format(given: dict[str, Any] | None) -> dict[str, Any] | None:
    """The format of an answer, as OpenAI writes it."""
    if given is None or given.get("type") != "json_schema":
        return given
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": given.get("schema")}}


async def messages(request: Request) -> Response:
    """``POST /v1/messages``: answers a conversation."""
    body = await json_body.read(request, MessagesBody)
    if body.max_tokens is None or body.max_tokens < 1:
        said = "is missing" if body.max_tokens is None else f"is {body.max_tokens}"
        raise Problem(400, f"max_tokens {said}; at least 1 was expected", field="max_tokens")
    ask = body.ask()
    return await answered(
        request,
        body.model,
        lambda server, model: begin_chat(server, model, ask),
        _Form(body.max_tokens, body.stop_sequences or ()),
        stream=bool(body.stream),
        ping=_event("ping"),
    )


async def count_tokens(request: Request) -> Response:
    """``POST /v1/messages/count_tokens``: how many tokens a conversation is as a prompt."""
    body = await json_body.read(request, MessagesBody)
    ask = body.ask()
    async with Server.of(request).catalog.using(body.model) as model:
        ids, _ = await prompt_of(model, ask)
    return json_body.answer({"input_tokens": len(ids)})


def _event(kind: str, **fields: Any) -> bytes:
    data = json_body.encoded({"type": kind, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


class _Form:
    """See ``Form``; ``stops`` are those that the client asked for."""

    def __init__(self, max_tokens: int, stops: Any):
        self._id, self._max_tokens, self._stops = new_id("msg"), max_tokens, frozenset(stops)

    async def stream(self, completion: Completion) -> AsyncGenerator[bytes, None]:
        """See ``Form``."""
        yield _event("message_start", message=self._message(completion, [], None))
        yield _event("ping")
        parts = Parts()
        async for change in parts.read(completion):
            for event in _events(change):
                yield event
        usage = messages_usage(completion)
        yield _event("message_delta", delta=self._reasons(completion, parts), usage=usage)
        yield _event("message_stop")

    async def whole(self, completion: Completion) -> dict[str, Any]:
        """See ``Form``."""
        parts = Parts()
        await parts.read_all(completion)
        return self._message(completion, [_block(part) for part in parts.parts], parts)

    def failure(self, problem: Problem) -> bytes:
        """See ``Form``."""
        return b"event: error\ndata: " + json_body.encoded(problem.anthropic()) + b"\n\n"

    def _message(self, completion: Completion, blocks: list[Any], parts: Parts | None) -> dict[str, Any]:
        reasons = {"stop_reason": None, "stop_sequence": None}
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": completion.model.name,
            "content": blocks,
            **(reasons if parts is None else self._reasons(completion, parts)),
            "usage": messages_usage(completion),
        }

    def _reasons(self, completion: Completion, parts: Parts) -> dict[str, str | None]:
        """Why the text ended."""
        if parts.reason == "stop" and parts.stop in self._stops:
            return {"stop_reason": "stop_sequence", "stop_sequence": parts.stop}
        full = parts.reason == "length" and completion.tokens < self._max_tokens
        reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
        reason = "model_context_window_exceeded" if full else reasons[parts.reason]
        return {"stop_reason": reason, "stop_sequence": None}


def _events(change: Change) -> list[bytes]:
    """What a stream says of a part."""
    if change.what == BEGIN:
        block = _block(change.part) if change.part.kind != CALL else _call(change.part, {})
        return [_event("content_block_start", index=change.number, content_block=block)]
    if change.what == MORE:
        kind, name = _DELTAS[change.part.kind]
        delta = {"type": kind, name: change.text}
        return [_event("content_block_delta", index=change.number, delta=delta)]
    return [_event("content_block_stop", index=change.number)]


def _block(part: Part) -> dict[str, Any]:
    if part.kind == CALL:
        # (Where they are cut off, the reason says it.)
        return _call(part, part.arguments or {})
    if part.kind == REASONING:
        return {"type": "thinking", "thinking": part.text, "signature": ""}
    return {"type": "text", "text": part.text}


def _call(part: Part, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments}
