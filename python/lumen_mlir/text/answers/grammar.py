# SPDX-License-Identifier: Apache-2.0
"""A grammar for calls: what a model that must call a function may write, in the dialect of llguidance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lumen_mlir.errors import LumenError
from lumen_mlir.text.answers.forms import PairsWriting, ReasoningFormat, ToolFormat
from lumen_mlir.text.answers.rules import Rules, quoted
from lumen_mlir.text.answers.schemas import ToolSchemas, property_schemas, types_of
from lumen_mlir.text.answers.start import Start

_ID = "/[0-9A-Za-z]{9}/"
# Schemas that say more about their properties elsewhere.
_OPEN_SCHEMA = ("additionalProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref", "if")


class CallGrammar(Rules):
    """Writes the grammar of one format.

    Args:
      control: the ids of control tokens, by their text; ``ends``: the texts of those that end an answer.
    """

    def __init__(
        self,
        form: ToolFormat,
        reasoning: ReasoningFormat | None,
        control: Mapping[str, int],
        ends: Sequence[str],
    ):
        super().__init__(reasoning, control)
        self._form = form
        last = [place for end in ends if (place := form.writing.close.find(end)) >= 0] if ends else []
        self._close = form.writing.close[: min(last, default=len(form.writing.close))].rstrip()

    def text(
        self, tools: Sequence[Mapping[str, Any]], choice: str, parallel: bool, start: Start = Start.ANSWER
    ) -> str:
        """The grammar. ``choice``: "required", or the name of the function that is to be called."""
        schemas = ToolSchemas(tools).schemas
        names = list(schemas) if choice == "required" else [choice]
        for name in names:
            if name not in schemas:
                raise LumenError(f"tool_choice names the function '{name}', which is not among the tools")
        if not names:
            raise LumenError("a call is required, and there are no tools")
        self.rules = []
        writing = self._form.writing
        calls = " | ".join(self._call(index, name, schemas[name]) for index, name in enumerate(names))
        more = f" ({self.literal(writing.between)} call)*" if parallel and self._form.parallel else ""
        whole = f"{self.thought(start)}{self.literal(writing.open)} call{more} {self.literal(self._close)}"
        return "\n".join(["%llguidance {}", f"start: {whole.strip()}", f"call: {calls}", *self.rules]) + "\n"

    def _call(self, index: int, name: str, schema: Mapping[str, Any]) -> str:
        writing = self._form.writing
        in_json = writing.pairs is None and "{" in writing.parts[0]
        shown = json.dumps(name, ensure_ascii=False)[1:-1] if in_json else name
        body, text = [], ""
        for place, part in enumerate(writing.parts):
            if place % 2 == 0:
                text += part
            elif part == "name":
                text += shown
            else:
                body += [self.literal(text), _ID if part == "id" else self._json(_closed(schema))]
                text = ""
        body.append(self.literal(text))
        if writing.pairs is not None:
            body.append(self._arguments(f"arguments_{index}", writing.pairs, schema))
        return self.rule(f"call_{index}", " ".join(filter(None, body)))

    def _json(self, schema: Any) -> str:
        """Any value that fits ``schema``, written as the template does."""
        if isinstance(schema, Mapping):
            # Without, a model could write white space without end.
            item, key = self._form.writing.separators or (", ", ": ")
            how = {"whitespace_flexible": False, "item_separator": item, "key_separator": key}
            schema = {**schema, "x-guidance": how}
        return f"%json {json.dumps(schema, ensure_ascii=False)}"

    def _arguments(self, name: str, pairs: PairsWriting, schema: Mapping[str, Any]) -> str:
        """Arguments one by one: all that must be there, in the order of the schema."""
        properties = list(property_schemas(schema).items())
        first = self.literal(pairs.begin)
        return f"{first} {self._following(name, pairs, schema, properties, False)}".strip()

    def _following(
        self,
        name: str,
        pairs: PairsWriting,
        root: Mapping[str, Any],
        properties: Sequence[tuple[str, tuple[Any, bool]]],
        any_before: bool,
    ) -> str:
        if not properties:
            return ""
        key, (schema, needed) = properties[0]
        rule = f"{name}_{len(properties)}{'b' if any_before else 'a'}"
        if any(each.startswith(f"{rule}:") for each in self.rules):
            return rule
        before = pairs.separator if any_before else pairs.gap
        head = self.literal(f"{before}{pairs.key}{key}{pairs.value}")
        value = self._value(f"{name}_value_{len(properties)}", pairs, schema, root)
        with_it = f"{head} {value} {self._following(name, pairs, root, properties[1:], True)}".strip()
        without = self._following(name, pairs, root, properties[1:], any_before)
        return self.rule(rule, with_it if needed else f"{with_it} | {without or quoted('')}")

    def _value(self, rule: str, pairs: PairsWriting, schema: Any, root: Mapping[str, Any]) -> str:
        """The value of an argument and what ends it."""
        if any(each.startswith(rule) for each in self.rules):
            return rule
        literal = self._form.has_quoted_values
        end = self.literal(pairs.value_end)
        given = schema if isinstance(schema, Mapping) else {}
        values = given.get("enum", [given["const"]] if "const" in given else None)
        types = types_of(schema, root)
        if values and not literal:
            texts = [each if isinstance(each, str) else json.dumps(each) for each in values]
            choices = " | ".join(quoted(text) for text in texts)
            return self.rule(rule, f"({choices}) {end}")
        if literal or (types and "string" not in types):
            # Templates that write values one by one may write these as Python does.
            words = (["True", "False"] if "boolean" in types else []) + (["None"] if "null" in types else [])
            choices = " | ".join([self._json(schema), *map(quoted, words)])
            return self.rule(rule, f"({choices}) {end}".strip())
        return self.rule(rule, self.until(f"{rule}_text", pairs.value_end))


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """``schema`` for an object that has nothing but what it names."""
    closed = {"type": "object", **schema}
    if "properties" in closed and not any(name in closed for name in _OPEN_SCHEMA):
        closed["additionalProperties"] = False
    return closed
