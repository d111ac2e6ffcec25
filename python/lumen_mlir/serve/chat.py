# SPDX-License-Identifier: Apache-2.0
"""A conversation that is to be answered, whatever API it came by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from lumen_mlir.errors import shown
from lumen_mlir.grammar.grammar import Grammar
from lumen_mlir.serve import texts
from lumen_mlir.serve.completion import Completion
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.served_model import ServedModel
from lumen_mlir.serve.server import Server
from lumen_mlir.serve.thinking import Budget, ThinkingCounter

AUTO, NONE, REQUIRED = "auto", "none", "required"


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
    grammar: Grammar | None = None

    @property
    def choice(self) -> str:
        """ "auto", "none", "required" or the name of a tool. Raises ``Problem``."""
        given = self.tool_choice
        if given is None:
            return AUTO if self.tools else NONE
        if isinstance(given, str) and given in (AUTO, NONE, REQUIRED):
            if given == REQUIRED and not self.tools:
                raise Problem(400, "tool_choice is required, and there are no tools", field="tool_choice")
            return given
        function = given.get("function", given) if isinstance(given, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str):
            message = f"tool_choice is {shown(given)}; auto, none, required or a function was expected"
            raise Problem(400, message, field="tool_choice")
        return name


class TemplateFields(msgspec.Struct, kw_only=True):
    """What a body says of how a conversation becomes a prompt, where it is not answered."""

    tools: list[dict[str, Any]] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    enable_thinking: bool | None = None

    def ask(self, messages: Sequence[Mapping[str, Any]]) -> ChatAsk:
        """For ``prompt_of``."""
        return ChatAsk(
            messages, {}, tools=self.tools, thinking=self.enable_thinking, variables=self.chat_template_kwargs
        )


async def begin_chat(server: Server, model: ServedModel, ask: ChatAsk) -> Completion:
    """The answers to ``ask``. Raises ``LumenError`` where something is wrong with it."""
    prompt, stops = await prompt_of(model, ask)
    format = model.llm.answer_format
    text = await model.call(lambda: model.llm.detokenize(prompt, special=True))
    tools = ask.tools if ask.choice != NONE else None
    parameters = {**ask.parameters, "max_tokens": ask.max_tokens, "special": True}
    grammar = ask.grammar
    if tools and ask.choice != AUTO:
        if grammar is not None:
            raise Problem(400, "an answer that calls tools has no response_format", field="response_format")
        rules = format.grammar(tools, ask.choice, ask.parallel_calls, text)
        grammar = None if rules is None else Grammar.lark(rules)
    elif grammar is not None:
        grammar = model.behind_reasoning(grammar, text)
    if grammar is not None:
        parameters["grammar"] = grammar
    force: Callable[[], Budget] | None = None
    if ask.budget is not None and format.reasoning is not None:
        budget = ask.budget
        force = lambda: Budget(model.llm.tokenizer, format, text, budget)  # noqa: E731
    return await texts.begin(
        server,
        model,
        prompt,
        parameters,
        count=ask.count,
        stops=stops,
        parser=lambda: format.parser(text, tools),
        force=force,
        counter=lambda: ThinkingCounter(model.llm.tokenizer, format, text),
    )


async def prompt_of(model: ServedModel, ask: ChatAsk) -> tuple[list[int], list[str]]:
    """The token ids of a conversation, and the strings at which its answer stops.

    Raises ``LumenError``, also where the template has no switch for what is asked for.
    """
    return await model.call(_prompt, model, ask)


def _prompt(model: ServedModel, ask: ChatAsk) -> tuple[list[int], list[str]]:
    format = model.llm.answer_format
    tools = ask.tools if ask.choice != NONE else None
    if tools and format.tools is None:
        raise Problem(400, f"{model.name} takes no tools: {format.tools_problem}", field="tools")
    thinking, effort = ask.thinking, ask.effort
    if format.reasoning is None and format.reasoning_problem is None:
        # A model that does not think need not be kept from it.
        thinking, effort = thinking or None, None if effort == NONE else effort
    chosen = format.thinking.chosen(thinking, effort)
    variables = {**chosen, **(ask.variables or {})}
    if tools and not ask.parallel_calls and "parallel_tool_calls" in model.llm.chat_template.variables:
        variables.setdefault("parallel_tool_calls", False)
    return model.llm.prompts.of_messages(ask.messages, tools, None, variables, True)
