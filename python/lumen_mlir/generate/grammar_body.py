# SPDX-License-Identifier: Apache-2.0
"""The grammar that the body of a request asks for, by the names that clients know from other servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lumen_mlir.errors import LumenError, did_you_mean, shown
from lumen_mlir.grammar.grammar import Grammar

# OpenAI's, two of llama.cpp's server, one of SGLang's, and vLLM's.
FIELDS = ("response_format", "json_schema", "grammar", "regex", "structured_outputs")

_FORMATS = ("text", "json_object", "json_schema")
_STRUCTURED = ("json", "json_object", "regex", "choice", "grammar")


def grammar_of(body: Mapping[str, Any]) -> Grammar | None:
    """What the fields named in ``FIELDS`` ask for; None where they ask for nothing.

    Raises ``LumenError`` where one of them is wrong, and where there are several grammars. The grammar is not
    compiled.
    """
    makers = {
        "response_format": _of_format,
        "json_schema": Grammar.json_schema,
        "grammar": Grammar.rules,
        "regex": Grammar.regex,
        "structured_outputs": _of_structured,
    }
    given = {name: make(body[name]) for name, make in makers.items() if body.get(name) is not None}
    found = {name: grammar for name, grammar in given.items() if grammar is not None}
    if len(found) > 1:
        raise LumenError(f"{' and '.join(found)} are given; a text has one grammar")
    return next(iter(found.values()), None)


def _of_format(value: Any) -> Grammar | None:
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind not in _FORMATS:
        raise LumenError(f"response_format is {shown(value)}; a type of {', '.join(_FORMATS)} was expected")
    if kind == "text":
        return None
    inner = value.get("json_schema") if kind == "json_schema" else None
    schema = inner.get("schema") if isinstance(inner, Mapping) else value.get("schema")
    if schema is not None:
        return Grammar.json_schema(schema)
    if kind == "json_schema":
        raise LumenError("response_format has no schema; json_schema.schema was expected")
    return Grammar.json_object()


def _of_structured(value: Any) -> Grammar | None:
    if not isinstance(value, Mapping):
        raise LumenError(f"structured_outputs is {shown(value)}; an object was expected")
    given = {name: each for name, each in value.items() if each is not None and each is not False}
    for name in given:
        if name not in _STRUCTURED:
            raise LumenError(
                f"unknown field {shown(name)} of structured_outputs{did_you_mean(name, _STRUCTURED)}"
            )
    if len(given) > 1:
        raise LumenError(f"structured_outputs has {' and '.join(given)}; a text has one grammar")
    for name, each in given.items():
        if name == "json":
            return Grammar.json_schema(each)
        if name == "json_object":
            return Grammar.json_object()
        if name == "choice":
            return Grammar.choice(each)
        return Grammar.regex(each) if name == "regex" else Grammar.rules(each)
    return None
