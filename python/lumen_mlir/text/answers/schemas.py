# SPDX-License-Identifier: Apache-2.0
"""What a request says about its tools: their names, and the schemas of their arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lumen_mlir.text.answers.values import NoValueError, from_literal
from lumen_mlir.text.chat_messages import check_tools

# References from one part of a schema to another that are followed.
_STEPS = 8


class ToolSchemas:
    """The tools of a request.

    Args:
      tools: descriptions of functions, or True where nothing is known of them. Raises ``ChatError`` where
        they are malformed.
    """

    def __init__(self, tools: Sequence[Mapping[str, Any]] | bool):
        self.schemas: dict[str, Mapping[str, Any]] = {}
        self.are_known = not isinstance(tools, bool)
        if not isinstance(tools, bool):
            check_tools(tools)
            for tool in tools:
                function = tool.get("function", tool)
                schema = function.get("parameters")
                self.schemas[function["name"]] = schema if isinstance(schema, Mapping) else {}

    def may_be(self, name: str) -> bool:
        """Whether there can be a function of that name."""
        return not self.are_known or name in self.schemas

    def value(self, function: str, key: str, text: str) -> Any:
        """The value of an argument that stands as ``text`` in a call.

        The schema says whether it is a string; where it says nothing, what reads as JSON is no string.
        """
        root = self.schemas.get(function, {})
        properties = root.get("properties")
        schema = properties.get(key) if isinstance(properties, Mapping) else None
        types = types_of(schema, root)
        if types == {"string"}:
            return text
        try:
            value = from_literal(text.strip())
        except NoValueError:
            value = {"true": True, "false": False, "null": None, "none": None}.get(text.strip().lower(), text)
        return value if not types or type_of(value) & types else text


def property_schemas(schema: Mapping[str, Any]) -> dict[str, tuple[Any, bool]]:
    """The arguments that a schema names, each with its schema and whether it must be there.

    Each can refer to the definitions of the whole.
    """
    properties = schema.get("properties")
    required = schema.get("required")
    names = required if isinstance(required, (list, tuple)) else ()
    must = {name for name in names if isinstance(name, str)}
    shared = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    return {
        name: ({**part, **shared} if isinstance(part, Mapping) else part, name in must)
        for name, part in (properties.items() if isinstance(properties, Mapping) else ())
    }


def types_of(schema: Any, root: Mapping[str, Any], steps: int = _STEPS) -> set[str]:
    """The types that a schema allows; none where it does not say."""
    if not isinstance(schema, Mapping) or steps == 0:
        return set()
    given = schema.get("type")
    if isinstance(given, str):
        return {given}
    if isinstance(given, (list, tuple)):
        return {name for name in given if isinstance(name, str)}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        found: Any = root
        for name in reference[2:].split("/"):
            found = found.get(name) if isinstance(found, Mapping) else None
        return types_of(found, root, steps - 1)
    if "const" in schema:
        return type_of(schema["const"])
    values = schema.get("enum")
    if isinstance(values, (list, tuple)):
        return set().union(*map(type_of, values))
    for name in ("anyOf", "oneOf"):
        parts = schema.get(name)
        if isinstance(parts, (list, tuple)):
            each = [types_of(part, root, steps - 1) for part in parts]
            return set().union(*each) if all(each) else set()
    return set()


def type_of(value: Any) -> set[str]:
    """The types of JSON Schema that a value has."""
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int):
        return {"integer", "number"}
    if isinstance(value, float):
        return {"number", "integer"} if value.is_integer() else {"number"}
    if value is None:
        return {"null"}
    return {"string" if isinstance(value, str) else "object" if isinstance(value, dict) else "array"}
