# SPDX-License-Identifier: Apache-2.0
"""A conversation that is to be answered, whatever API it came by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lumen_mlir.errors import shown
from lumen_mlir.serve import texts
from lumen_mlir.serve.completion import Completion
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.served_model import ServedModel
from lumen_mlir.serve.server import Server

# Words of APIs, by those that templates know.
_EFFORTS = {
    "none": "none",
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


@dataclass
class ChatAsk:
    """What is asked for.

    Attributes:
      messages: as OpenAI's clients send them.
      parameters: of ``LLM.generate``.
      max_tokens: of an answer; None for any number.
      count: of answers.
      tools, tool_choice, parallel_calls: as OpenAI has them.
      thinking: the model is to reason first, or not; None as its template has it.
      effort: "none", "low", "medium" or "high"; None as its template has it.
      budget: tokens of reasoning after which the answer has to come; None for any number.
      variables: of the chat template.
      grammar: that answers have to follow.
    """

    messages: Sequence[Mapping[str, Any]]
    parameters: dict[str, Any]
    max_tokens: int | None = None
    count: int = 1
    tools: Sequence[Mapping[str, Any]] | None = None
    tool_choice: str | Mapping[str, Any] | None = None
    parallel_calls: bool = True
    thinking: bool | None = None
    effort: str | None = None
    budget: int | None = None
    variables: Mapping[str, Any] | None = None
    grammar: Any = None


async def begin_chat(server: Server, model: ServedModel, ask: ChatAsk) -> Completion:
    """The answers to ``ask``. Raises ``LumenError`` where something is wrong with it."""
    prompt, stops = await prompt_of(model, ask)
    parameters = {**ask.parameters, "max_tokens": ask.max_tokens, "special": True}
    return await texts.begin(server, model, prompt, parameters, count=ask.count, stops=stops)


async def prompt_of(model: ServedModel, ask: ChatAsk) -> tuple[list[int], list[str]]:
    """The token ids of a conversation, and the strings at which its answer stops."""
    variables = dict(ask.variables or {})
    thinking = ask.thinking
    if ask.effort is not None:
        known = model.llm.chat_template.variables
        if "reasoning_effort" in known:
            variables.setdefault("reasoning_effort", ask.effort)
        if thinking is None and "enable_thinking" in known:
            thinking = ask.effort != "none"
    return await model.call(model.llm.prompts.of_messages, ask.messages, ask.tools, thinking, variables, True)


def effort_of(given: str | None, field: str) -> str | None:
    """How much is to be reasoned, as ``ChatAsk`` has it. Raises ``Problem``, which names ``field``."""
    if given is None:
        return None
    if given not in _EFFORTS:
        known = ", ".join(_EFFORTS)
        raise Problem(400, f"{field} is {shown(given)}; one of {known} was expected", field=field)
    return _EFFORTS[given]
