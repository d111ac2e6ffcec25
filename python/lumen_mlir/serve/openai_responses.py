# SPDX-License-Identifier: Apache-2.0
"""``/v1/responses``: OpenAI's Responses."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.errors import shown
from lumen_mlir.generate.grammar_body import grammar_of
from lumen_mlir.serve import json_body
from lumen_mlir.serve.answers import answered
from lumen_mlir.serve.chat import ChatAsk, begin_chat
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.response_form import ResponseForm
from lumen_mlir.serve.response_input import choice_of, format_of, items_of, messages_of, tools_of
from lumen_mlir.serve.sampling_fields import SamplingFields, max_tokens
from lumen_mlir.serve.server import Server

_LOGPROBS = "message.output_text.logprobs"


class TextConfig(msgspec.Struct, kw_only=True):
    """The form of what is written."""

    format: dict[str, Any] | None = None
    verbosity: Any = None


class Reasoning(msgspec.Struct, kw_only=True):
    """How much is reasoned."""

    effort: str | None = None
    summary: Any = None


class ResponseBody(SamplingFields, kw_only=True):
    """See OpenAI's reference; the names of ``SamplingFields`` are taken besides."""

    input: str | list[Any] | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    tools: list[Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    include: list[str] | None = None
    top_logprobs: int | None = None
    metadata: dict[str, Any] | None = None
    truncation: str | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    user: Any = None
    service_tier: Any = None
    max_tool_calls: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None

    def check(self) -> None:
        """Raises ``Problem`` for what is not here."""
        if self.background:
            raise Problem(400, "background is true; answers come at once here", field="background")
        for name in ("conversation", "prompt"):
            if getattr(self, name) is not None:
                raise Problem(400, f"{name} is given, which is not kept here", field=name)
        if self.truncation not in (None, "disabled"):
            message = f"truncation is {shown(self.truncation)}; only disabled is known"
            raise Problem(400, message, field="truncation")
        if self.n not in (None, 1):
            raise Problem(400, f"n is {self.n}; a response is one text", field="n")

    def ask(self, items: list[Any]) -> ChatAsk:
        """What is asked for behind ``items``. Raises ``Problem``."""
        reasoning = self.reasoning or Reasoning()
        text = self.text or TextConfig()
        parameters = self.sampling()
        if self.top_logprobs or _LOGPROBS in (self.include or ()):
            parameters["logprobs"] = self.top_logprobs or 0
        return ChatAsk(
            messages=messages_of(self.instructions, items),
            parameters=parameters,
            max_tokens=max_tokens(self.max_output_tokens),
            tools=tools_of(self.tools),
            tool_choice=choice_of(self.tool_choice),
            parallel_calls=self.parallel_tool_calls is not False,
            effort=reasoning.effort,
            grammar=grammar_of({"response_format": format_of(text.format)}),
        )

    def echo(self) -> dict[str, Any]:
        """What a response says of its request."""
        reasoning = self.reasoning or Reasoning()
        return {
            "background": False,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "metadata": self.metadata or {},
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "previous_response_id": self.previous_response_id,
            "reasoning": {"effort": reasoning.effort, "summary": None},
            "store": self.store is not False,
            "text": {"format": (self.text and self.text.format) or {"type": "text"}},
            "tool_choice": self.tool_choice or "auto",
            "tools": self.tools or [],
            "top_logprobs": self.top_logprobs or 0,
            "truncation": "disabled",
        }


async def create_response(request: Request) -> Response:
    """``POST /v1/responses``: answers a conversation."""
    body = await json_body.read(request, ResponseBody)
    body.check()
    store = Server.of(request).responses
    items = items_of(body.input)
    if body.previous_response_id is not None:
        items = store.items(body.previous_response_id) + items
    ask = body.ask(items)
    sampling = {"temperature": body.temperature, "top_p": body.top_p}
    return await answered(
        request,
        body.model,
        lambda server, model: begin_chat(server, model, ask),
        ResponseForm(body.echo(), sampling, items, store if body.store is not False else None),
        stream=bool(body.stream),
    )


async def get_response(request: Request) -> Response:
    """``GET /v1/responses/ID``: one that was kept."""
    kept = Server.of(request).responses.response(request.path_params["name"])
    return Response(kept, media_type="application/json")


async def delete_response(request: Request) -> Response:
    """``DELETE /v1/responses/ID``: lets one go."""
    name = request.path_params["name"]
    Server.of(request).responses.remove(name)
    return json_body.answer({"id": name, "object": "response", "deleted": True})
