# SPDX-License-Identifier: Apache-2.0
"""Chat templates: the Jinja template of a GGUF file turns a conversation into the prompt of its model.

A template comes with the model file, so it runs in Jinja's sandbox, with the helpers that Hugging Face
``transformers`` offers to templates (``raise_exception``, ``strftime_now``, ``tojson``).
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.sandbox

from lumen_mlir.errors import LumenError
from lumen_mlir.model_file import ModelFile
from lumen_mlir.tokenizer import Tokenizer

KEY = "tokenizer.chat_template"


class ChatError(LumenError):
    """A conversation that cannot become a prompt: no template, a broken one, or one that refuses it."""


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
    """

    def __init__(self, source: str, bos: str = "", eos: str = "", where: str = "chat template"):
        self.source = source
        self._where = where
        self._tokens = {"bos_token": bos, "eos_token": eos}
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _GenerationBlock]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
        try:
            self._template = environment.from_string(source)
            self.variables = frozenset(jinja2.meta.find_undeclared_variables(environment.parse(source)))
        except jinja2.TemplateSyntaxError as error:
            raise self._error(f"line {error.lineno}: {error.message}") from None
        except RecursionError:
            raise self._error("it is nested too deeply") from None

    @staticmethod
    def from_gguf(file: ModelFile, tokenizer: Tokenizer, name: str | None = None) -> ChatTemplate:
        """The template of ``file`` (under ``name``). Raises ``ChatError`` where it has none."""
        key = KEY if name is None else f"{KEY}.{name}"
        source = file.metadata.string(key, None)
        if source is None:
            raise ChatError(f"{file.path}: the model has no chat template ('{key}')")
        bos, eos = ("" if i is None else tokenizer.token_text(i) for i in (tokenizer.bos, tokenizer.eos))
        return ChatTemplate(source, bos, eos, f"{file.path}: '{key}'")

    def render(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **variables: Any
    ) -> str:
        """The prompt for ``messages`` (mappings with ``role`` and ``content``).

        It contains the special tokens, the one that begins a text too where the template writes it: encode it
        with ``special=True, add_bos=False``. ``variables`` (``tools``, ``enable_thinking``, …) reach the
        template. Raises ``ChatError`` where the messages are malformed or the template fails or refuses them.
        """
        for index, message in enumerate(messages):
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
                raise ChatError(
                    f"message {index} is {_short(message)}; expected a mapping with 'role' and 'content'"
                )
        if not messages:
            raise ChatError("a chat needs at least one message")
        if variables.get("tools"):
            _check_tools(variables["tools"])
            if "tools" not in self.variables:
                raise self._error("the model's chat template takes no tools")
        try:
            return self._template.render(
                {"tools": None, "documents": None, **self._tokens, **variables},
                messages=[dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
            )
        except Exception as error:  # a template is a program: it can fail in any way
            raise self._error(str(error) or type(error).__name__) from None

    def _error(self, message: str) -> ChatError:
        return ChatError(f"{self._where}: {' '.join(message.split())}")


def _check_tools(tools: Any) -> None:
    if not isinstance(tools, (list, tuple)):
        raise ChatError(f"the tools are {_short(tools)}; a list of descriptions was expected")
    for index, tool in enumerate(tools):
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ChatError(f"tool {index} is {_short(tool)}; expected a mapping with 'name' or 'function'")


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators=None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes <, > and & for HTML, which a prompt must not.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
