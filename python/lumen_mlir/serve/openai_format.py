# SPDX-License-Identifier: Apache-2.0
"""The form that an answer has to have."""

from __future__ import annotations

from typing import Any

from lumen_mlir.errors import shown
from lumen_mlir.grammar.grammar import Grammar
from lumen_mlir.serve.problem import Problem


def output_format(
    response_format: dict[str, Any] | None, grammar: str | None, regex: str | None
) -> Grammar | None:
    """The grammar of an answer; None for any text.

    ``response_format`` is OpenAI's; ``grammar`` is llama-server's (GBNF, or Lark where it has a rule
    ``start``), ``regex`` vLLM's. Raises ``LumenError`` for more than one, and for one that is malformed.
    """
    given = [each for each in (_of_format(response_format), _of_text(grammar)) if each is not None]
    if regex is not None:
        given.append(Grammar.regex(regex))
    if len(given) > 1:
        raise Problem(400, "an answer has one of response_format, grammar and regex", field="response_format")
    return given[0] if given else None


def _of_text(text: str | None) -> Grammar | None:
    if text is None or not text.strip():
        return None
    return Grammar.gbnf(text) if "::=" in text else Grammar.lark(text)


def _of_format(given: dict[str, Any] | None) -> Grammar | None:
    kind = None if given is None else given.get("type")
    if given is None or kind == "text":
        return None
    if kind == "json_object":
        schema = given.get("schema")  # as llama-server has it
        return Grammar.json_object() if schema is None else Grammar.json_schema(schema)
    if kind == "json_schema":
        # OpenAI puts the schema into an object with its name, others do not.
        inner = given.get("json_schema", given)
        schema = inner.get("schema", inner) if isinstance(inner, dict) else inner
        return Grammar.json_schema(schema)
    if kind == "regex":
        return Grammar.regex(given.get("pattern") or given.get("regex"))  # type: ignore[arg-type]
    if kind in ("grammar", "lark", "gbnf"):
        text = given.get("grammar") or given.get("text")
        return Grammar.gbnf(text) if kind == "gbnf" else _of_text(text)  # type: ignore[arg-type]
    known = "text, json_object, json_schema, regex and grammar"
    message = f"the response_format is of type {shown(kind)}; there are {known}"
    raise Problem(400, message, field="response_format")
