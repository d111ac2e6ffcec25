# SPDX-License-Identifier: Apache-2.0
"""Chat templates: the Jinja template of a GGUF file turns a conversation into the prompt of its model.

A template comes with the model file, so it runs in Jinja's sandbox within limits (``template_limits``), with
the helpers that Hugging Face ``transformers`` offers to templates (``raise_exception``, ``strftime_now``,
``tojson``).
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import jinja2.ext

from lumen_mlir.errors import one_line, shown
from lumen_mlir.gguf.model_file import ModelFile
from lumen_mlir.text.chat_messages import ChatError, check_tools, copied, normalized
from lumen_mlir.text.named_templates import named_template
from lumen_mlir.text.special_text import LETTERS, Hidden, SpecialTexts
from lumen_mlir.text.template_habits import SHARE, TemplateHabits
from lumen_mlir.text.template_limits import LimitedEnvironment
from lumen_mlir.text.tokenizer import Tokenizer

__all__ = ["KEY", "ChatError", "ChatTemplate"]

KEY = "tokenizer.chat_template"


class _GenerationBlock(jinja2.ext.Extension):
    """``{% generation %}`` marks what the model wrote; for a prompt the tag has no meaning."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A compiled template; ``where`` names it in errors. Raises ``ChatError`` for what is not valid Jinja.

    Attributes:
      source: its text.
      variables: the names that the template asks for, such as ``tools`` and ``enable_thinking``.
      stops: texts that end an answer, where no token of the model need do so.
    """

    def __init__(
        self,
        source: str,
        bos: str = "",
        eos: str = "",
        where: str = "chat template",
        stops: tuple[str, ...] = (),
    ):
        self.source = source
        self.stops = stops
        self._where = where
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._habits = TemplateHabits(lambda messages, given: self._rendered(messages, given, SHARE), where)
        self._environment = environment = LimitedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _GenerationBlock]
        )
        environment.add_filter("tojson", _to_json)
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _now
        try:
            self._template = environment.compiled(source)
        except jinja2.TemplateSyntaxError as error:
            raise self._error(f"line {error.lineno}: {error.message}") from None
        except RecursionError:
            raise self._error("it is nested too deeply") from None
        except Exception as error:  # Python refuses in many ways what Jinja makes of a source
            raise self._error(_said(error)) from None
        self.variables = frozenset(environment.asked)

    @staticmethod
    def from_gguf(file: ModelFile, tokenizer: Tokenizer, name: str | None = None) -> ChatTemplate:
        """The template of ``file`` (under ``name``). Raises ``ChatError`` where it has none."""
        key = KEY if name is None else f"{KEY}.{name}"
        source = file.metadata.string(key, None)
        if source is None:
            raise ChatError(f"{file.path}: the model has no chat template ('{key}')")
        return ChatTemplate(source, *_bounds(tokenizer), f"{file.path}: '{key}'")

    @staticmethod
    def given(template: str, tokenizer: Tokenizer) -> ChatTemplate:
        """A template in place of a file's own: one of ``named_templates``, or the source of one.

        Raises ``LumenError`` for a name that is not there, ``ChatError`` for what is not valid Jinja.
        """
        if not isinstance(template, str):
            raise ChatError(f"the chat template is {shown(template)}; a name or a source was expected")
        if "{{" in template or "{%" in template:
            return ChatTemplate(template, *_bounds(tokenizer), "the given chat template")
        named = named_template(template)
        return ChatTemplate(named.source, *_bounds(tokenizer), f"the chat template '{template}'", named.stops)

    def render(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **variables: Any
    ) -> str:
        """The prompt for ``messages`` (mappings with ``role`` and ``content``).

        They may have the form that OpenAI's clients send: a list of text parts as content, or null, and
        ``tool_calls`` whose arguments are a text of JSON. ``variables`` (``tools``, ``enable_thinking``, …)
        reach the template.

        The prompt contains the special tokens, the one that begins a text too where the template writes it:
        encode it with ``special=True``. Raises ``ChatError`` where the messages are malformed, where the
        template fails, refuses them or leaves one of them out, or where it takes more than 1 s or 16 MB.
        """
        fitted = self._habits.fitted(normalized(messages))
        return self._render(fitted, {**variables, "add_generation_prompt": add_generation_prompt})

    def probe(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = False, **variables: Any
    ) -> str:
        """``render`` to find something out, in a quarter of its time; what is left out is no error."""
        fitted = self._habits.fitted(normalized(messages), warns=False)
        return self._rendered(fitted, {**variables, "add_generation_prompt": add_generation_prompt}, SHARE)

    def render_hidden(
        self, messages: Sequence[Mapping[str, Any]], special: SpecialTexts, escape: bool, **variables: Any
    ) -> tuple[str, Hidden]:
        """``render`` for an answer; ``escape``: with letters in the place of ``special`` texts in messages,
        tools and documents, and what they stand for."""
        fitted = self._habits.fitted([self._without_frame(each, special) for each in normalized(messages)])
        variables["add_generation_prompt"] = True
        if not escape:
            return self._render(fitted, variables), Hidden()
        given = {name: copied(variables[name], name) for name in ("tools", "documents") if name in variables}
        hidden, (fitted, *changed) = special.hide(fitted, *given.values())
        return self._render(fitted, {**variables, **dict(zip(given, changed, strict=True))}), hidden

    def _without_frame(self, message: dict[str, Any], special: SpecialTexts) -> dict[str, Any]:
        """``message`` without what the model wrote before its answer, where the template writes that too.

        Some models write their reasoning and then, as the template does, control tokens that begin an answer.
        """
        content = message.get("content")
        if not isinstance(content, str) or message["role"] != "assistant" or not special.occur(content):
            return message
        if special.occur(self._habits.frame):
            return {**message, "content": content.rpartition(self._habits.frame)[2]}
        return message

    def _render(self, messages: list[dict[str, Any]], variables: Mapping[str, Any]) -> str:
        if variables.get("tools"):
            check_tools(variables["tools"])
            if "tools" not in self.variables:
                raise self._error("the model's chat template takes no tools")
        prompt = self._rendered(messages, variables)
        if "messages" in self.variables:
            lost = self._habits.lost(messages, variables, prompt)
            if lost is not None:
                raise self._error(f"the template leaves out {lost}")
        return prompt

    def _rendered(
        self, messages: list[dict[str, Any]], variables: Mapping[str, Any], share: float = 1
    ) -> str:
        variables = {"tools": None, "documents": None, **self._tokens, **variables, "messages": messages}
        try:
            return self._environment.rendered(self._template, variables, share)
        except Exception as error:  # a template is a program: it can fail in any way
            raise self._error(_said(error)) from None

    def _error(self, message: str) -> ChatError:
        return ChatError(f"{self._where}: {one_line(message)}")


def _bounds(tokenizer: Tokenizer) -> tuple[str, str]:
    """How the tokens that begin and end a text are written."""
    bos, eos = ("" if i is None else tokenizer.token_text(i) for i in (tokenizer.bos, tokenizer.eos))
    return bos, eos


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    if len(form) > 256 or re.search("[0-9]{3}", form):
        raise ValueError(f"'{form[:60]}' is no form for a date")
    return datetime.datetime.now().strftime(form)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes <, > and & for HTML, which a prompt must not.
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)
    # Letters that stand for texts stay letters.
    return re.sub(r"[^\x00-\x7f]", _ascii, text) if ensure_ascii else text


def _ascii(match: re.Match) -> str:
    return match[0] if match[0] in LETTERS else json.dumps(match[0])[1:-1]
