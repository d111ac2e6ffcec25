# SPDX-License-Identifier: Apache-2.0
"""``POST /v1/chat/completions``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.generate.openai_body import chat_records
from lumen_mlir.serve import json_body
from lumen_mlir.serve.answers import answered
from lumen_mlir.serve.chat import ChatAsk, begin_chat
from lumen_mlir.serve.completion import Completion
from lumen_mlir.serve.events import End, Piece, Progress
from lumen_mlir.serve.openai_frame import DONE, OpenAIFrame
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.sampling_fields import SamplingFields, max_tokens
from lumen_mlir.serve.usage import progress, timings, usage
from lumen_mlir.text.answers.deltas import CallArguments, CallBegin, ContentText, ReasoningText


class ChatBody(SamplingFields, kw_only=True):
    """See OpenAI's reference; what stands last is llama-server's and vLLM's."""

    messages: list[dict[str, Any]]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    modalities: list[str] | None = None
    audio: Any = None
    functions: Any = None
    function_call: Any = None
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    chat_template_kwargs: dict[str, Any] | None = None
    enable_thinking: bool | None = None
    thinking_budget: int | None = None
    add_generation_prompt: bool | None = None


async def chat_completions(request: Request) -> Response:
    """Answers a conversation."""
    body = await json_body.read(request, ChatBody)
    _check(body)
    ask = ChatAsk(
        messages=body.messages,
        parameters={**body.sampling(), **_logprobs(body)},
        max_tokens=max_tokens(body.max_completion_tokens, body.max_tokens),
        count=body.texts,
        tools=body.tools,
        tool_choice=body.tool_choice,
        parallel_calls=body.parallel_tool_calls is not False,
        thinking=body.enable_thinking,
        effort=body.reasoning_effort,
        budget=body.thinking_budget,
        variables=body.chat_template_kwargs,
        grammar=body.output_grammar(),
    )
    return await answered(
        request,
        body.model,
        lambda server, model: begin_chat(server, model, ask),
        _Frame(body),
        stream=bool(body.stream),
    )


def _check(body: ChatBody) -> None:
    if body.functions is not None or body.function_call is not None:
        raise Problem(400, "functions are not known; tools are", field="functions")
    if body.audio is not None or "audio" in (body.modalities or ()):
        raise Problem(400, "answers are text; audio is not known", field="modalities")
    if body.add_generation_prompt is False:
        raise Problem(
            400, "add_generation_prompt is false; only true is known", field="add_generation_prompt"
        )


def _logprobs(body: ChatBody) -> dict[str, int]:
    if not body.logprobs:
        if body.top_logprobs:
            raise Problem(400, "top_logprobs needs logprobs", field="top_logprobs")
        return {}
    return {"logprobs": body.top_logprobs or 0}


def _parts(piece: Piece) -> list[Any]:
    """The deltas of a piece; the records of its tokens stand at the first of them."""
    deltas = list(piece.deltas) or [ContentText("")]
    return [(delta, piece.records if number == 0 else ()) for number, delta in enumerate(deltas)]


def _delta(part: Any) -> dict[str, Any]:
    """A delta in the form of OpenAI."""
    delta, _ = part
    if isinstance(delta, CallBegin):
        function = {"name": delta.name, "arguments": ""}
        call = {"index": delta.index, "id": delta.id, "type": "function", "function": function}
        return {"tool_calls": [call]}
    if isinstance(delta, CallArguments):
        return {"tool_calls": [{"index": delta.index, "function": {"arguments": delta.text}}]}
    if isinstance(delta, ReasoningText):
        return {"reasoning_content": delta.text}
    return {"content": delta.text}


class _Frame(OpenAIFrame):
    """A ``Form``."""

    def __init__(self, body: ChatBody):
        super().__init__("chatcmpl", "chat.completion", "chat.completion.chunk", body)
        self._logprobs = bool(body.logprobs)

    async def stream(self, completion: Completion) -> AsyncGenerator[bytes, None]:
        """See ``Form``."""
        self.model = completion.model.name
        first = {"role": "assistant", "content": ""}
        for choice in range(completion.count):
            yield self.chunk(choice, first)
        async for event in completion.events(progress=self.tells_progress):
            if isinstance(event, Progress):
                yield self.event(choices=[], prompt_progress=progress(event))
            elif isinstance(event, Piece):
                more: dict[str, Any] = {"timings": timings(completion)} if self.tells_timings else {}
                for part in _parts(event):
                    yield self.chunk(event.choice, _delta(part), part, **more)
            elif isinstance(event, End):
                yield self.chunk(event.choice, {}, reason=event.reason)
        if self.tells_usage:
            yield self.event(choices=[], usage=usage(completion), timings=timings(completion))
        yield DONE

    def chunk(
        self,
        choice: int,
        delta: dict[str, Any],
        part: Any = None,
        reason: str | None = None,
        **more: Any,
    ) -> bytes:
        """A chunk with a part of text number ``choice``."""
        records = part[1] if part is not None else ()
        logprobs = {"content": chat_records(records)} if self._logprobs and records else None
        one = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self.event(choices=[one], **more)

    async def whole(self, completion: Completion) -> dict[str, Any]:
        """See ``Form``."""
        self.model = completion.model.name
        choices = []
        for number, text in enumerate(await completion.texts()):
            message: dict[str, Any] = {"role": "assistant", "content": text.content}
            if text.reasoning:
                message["reasoning_content"] = text.reasoning
            if text.calls:
                message["content"] = text.content or None
                message["tool_calls"] = [
                    {"id": call.id, "type": "function", "function": _function(call)} for call in text.calls
                ]
            logprobs = {"content": chat_records(text.records)} if self._logprobs else None
            choices.append(
                {"index": number, "message": message, "logprobs": logprobs, "finish_reason": text.reason}
            )
        return self.answer(choices=choices, usage=usage(completion), timings=timings(completion))


def _function(call: Any) -> dict[str, Any]:
    return {"name": call.name, "arguments": call.arguments or "{}"}
