# SPDX-License-Identifier: Apache-2.0
"""How a model writes its answers, found out from its own chat template.

Made-up answers are rendered with and without reasoning and calls, and compared. Then what the template
writes is read back: where that gives something else, the server can say so when it starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lumen_mlir.errors import one_line
from lumen_mlir.text.answers.check import check_calls, check_reasoning
from lumen_mlir.text.answers.deltas import Answer
from lumen_mlir.text.answers.derivation import UnknownFormError, find_calls
from lumen_mlir.text.answers.forms import Lead, ReasoningFormat, ToolFormat
from lumen_mlir.text.answers.grammar import CallGrammar
from lumen_mlir.text.answers.parser import AnswerParser
from lumen_mlir.text.answers.pieces import Marker, is_tag, pieces_of
from lumen_mlir.text.answers.probe import SAID, TOOLS, Probe
from lumen_mlir.text.answers.reasoning import find_reasoning
from lumen_mlir.text.answers.rules import lead_rules
from lumen_mlir.text.answers.start import Start
from lumen_mlir.text.answers.thinking import (
    ThinkingBudget,
    ThinkingVariables,
    closing_tokens,
    find_variables,
)
from lumen_mlir.text.chat import ChatTemplate
from lumen_mlir.text.chat_messages import ChatError
from lumen_mlir.text.tokenizer import Tokenizer

__all__ = ["AnswerFormat", "AnswerParser", "ThinkingBudget", "ThinkingVariables"]


@dataclass(frozen=True)
class AnswerFormat:
    """How a model writes its answers.

    Attributes:
      reasoning: how it marks what it thinks; None where it does not, or where that was not found out.
      tools: how it writes calls; None where it does not, or where that was not found out.
      reasoning_problem, tools_problem: why that is None, in one line; None where nothing is wrong. A model
        that does not think has no problem.
      reasoning_field: the field of the model's messages in which the template expects what was thought.
      thinking: what the template can be told about thinking.
      lead, turn_end: what stands before and behind what is said.
      control, ends: the ids of control tokens by their text, and the texts of those that end an answer.
    """

    reasoning: ReasoningFormat | None = None
    tools: ToolFormat | None = None
    reasoning_problem: str | None = None
    tools_problem: str | None = None
    reasoning_field: str | None = None
    thinking: ThinkingVariables = ThinkingVariables()
    lead: Lead = Lead()
    turn_end: Marker = Marker()
    control: Mapping[str, int] = field(default_factory=dict)
    ends: tuple[str, ...] = ()

    @staticmethod
    def of(template: ChatTemplate, tokenizer: Tokenizer | None = None) -> AnswerFormat:
        """The format of ``template``, in at most some seconds; it raises nothing.

        Without a tokenizer a grammar has no control tokens.
        """
        control, ends = ({}, ()) if tokenizer is None else _control_tokens(tokenizer)
        format = AnswerFormat(control=control, ends=ends)
        try:
            return format._found(template, "tools" in template.variables)
        except ChatError as error:
            problem = one_line(str(error))
        try:
            return replace(format._found(template, False), tools_problem=problem)
        except ChatError:
            return replace(format, reasoning_problem=problem, tools_problem=problem)

    def _found(self, template: ChatTemplate, with_tools: bool) -> AnswerFormat:
        """The format of ``template``. Raises ``ChatError`` where it fails, or is too slow."""
        probe = Probe(template, with_tools)
        probe.settle(template.source)
        found = find_reasoning(probe, template.source)
        format = replace(
            self,
            reasoning=found.format,
            reasoning_field=found.field,
            lead=found.lead,
            turn_end=_turn_end(probe),
        )._with_reasoning_checked(probe)
        format = replace(format, thinking=find_variables(probe, template.variables, format.reasoning))
        if not with_tools:
            return replace(format, tools_problem="the model's chat template takes no tools")
        return format._with_tools(probe, template)

    def _with_reasoning_checked(self, probe: Probe) -> AnswerFormat:
        wrong = check_reasoning(probe, self.parser, self.reasoning_field, self.ends)
        if wrong is None:
            return self
        problem = f"reasoning is not read back as the chat template writes it: {wrong}"
        return replace(self, reasoning=None, reasoning_problem=one_line(problem))

    def _with_tools(self, probe: Probe, template: ChatTemplate) -> AnswerFormat:
        try:
            tools = find_calls(probe, template.source, self.reasoning)
        except UnknownFormError as error:
            return replace(self, tools_problem=one_line(str(error)))
        format = replace(self, tools=tools)
        # What is not told apart from content cannot be read back.
        thought = None if self.reasoning is None else self.reasoning_field
        wrong = check_calls(
            probe, lambda prompt: format.parser(prompt, TOOLS), thought, tools.parallel, self.ends
        )
        if wrong is None:
            return format
        problem = f"calls are not read back as the chat template writes them: {wrong}"
        return replace(self, tools_problem=one_line(problem))

    def start(self, prompt: str) -> Start:
        """Where an answer to ``prompt`` begins: the prompt may have begun or ended the reasoning."""
        return Start.of(prompt, self.reasoning)

    def parser(self, prompt: str, tools: Sequence[Mapping[str, Any]] | bool | None = None) -> AnswerParser:
        """A parser for the answer to the rendered ``prompt``.

        ``tools``: those of the request, whose schemas say of which type arguments are; True where nothing is
        known of them. None or False: calls are text, which ``tool_choice`` "none" asks for.
        """
        return AnswerParser(
            self.reasoning, self.tools, self.start(prompt), tools, lead=self.lead, turn_end=self.turn_end
        )

    def parse(
        self, text: str, prompt: str = "", tools: Sequence[Mapping[str, Any]] | bool | None = None
    ) -> Answer:
        """The parts of a whole answer."""
        parser = self.parser(prompt, tools)
        return Answer.of([*parser.feed(text), *parser.finish()])

    def grammar(
        self, tools: Sequence[Mapping[str, Any]], choice: str, parallel: bool = True, prompt: str = ""
    ) -> str | None:
        """A grammar (Lark, of llguidance) for an answer that calls functions, with arguments as they need.

        ``choice``: "required", or the name of a function; None for "auto" and "none". ``prompt``: the
        rendered prompt, which may have begun the reasoning. Reasoning stays free. Raises ``ChatError`` where
        the format of calls is not known, and ``LumenError`` for a function that is not among the tools.
        """
        if choice in ("auto", "none"):
            return None
        if self.tools is None:
            raise ChatError(self.tools_problem or "the model's chat template writes no calls")
        grammar = CallGrammar(self.tools, self.reasoning, self.control, self.ends)
        return grammar.text(tools, choice, parallel, self.start(prompt))

    def lead_rules(self, prompt: str) -> str:
        """The reasoning that an answer to the rendered ``prompt`` may begin with, for ``Grammar.lead``."""
        return lead_rules(self.reasoning, self.control, self.start(prompt))

    def closing_tokens(self, tokenizer: Tokenizer) -> list[int]:
        """The tokens that end reasoning; none where the model does not think."""
        return [] if self.reasoning is None else closing_tokens(self.reasoning, tokenizer)


def _control_tokens(tokenizer: Tokenizer) -> tuple[dict[str, int], tuple[str, ...]]:
    """The ids of the tokens that are no text, and the texts of those that end an answer."""
    ends = tokenizer.end_tokens
    found = tokenizer.control_tokens.items()
    control = {text: id for text, id in found if id in ends or tokenizer.is_control(id)}
    return control, tuple(map(tokenizer.token_text, sorted(ends)))


def _turn_end(probe: Probe) -> Marker:
    """What the template writes behind what is said, where that is more than white space."""
    full = probe.full(SAID)
    tail = "" if full is None else full[probe.base :].partition(SAID)[2]
    pieces = pieces_of(tail)
    return Marker(pieces) if pieces and is_tag(pieces[0]) else Marker()
