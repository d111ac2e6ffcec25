# SPDX-License-Identifier: Apache-2.0
"""The input of OpenAI's Responses as messages of a conversation, and its tools as those of chats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lumen_mlir.serve.fields import kind_of, problem, string_of, wrong

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}


def items_of(given: str | list[Any] | None) -> list[Any]:
    """The items of an input. Raises ``Problem`` where there is none."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if not given:
        raise problem("input", "is empty; text or a list of items was expected")
    return given


def messages_of(instructions: str | None, items: Sequence[Any]) -> list[dict[str, Any]]:
    """The messages that ``items`` stand for. Raises ``Problem`` that names what is wrong."""
    messages: list[dict[str, Any]] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    # The parts of one answer follow each other: reasoning, text, calls.
    answer: dict[str, Any] | None = None
    for number, item in enumerate(items):
        where = f"input[{number}]"
        kind = kind_of(where, item, "message")
        role = _role(where, item) if kind == "message" else None
        if kind in ("reasoning", "function_call") or role == "assistant":
            if answer is None or (kind != "function_call" and answer.get("tool_calls")):
                answer = {"role": "assistant", "content": None}
                messages.append(answer)
            _extend(where, answer, kind, item)
            continue
        answer = None
        if role is not None:
            messages.append({"role": role, "content": _content(where, item, "content")})
        elif kind == "function_call_output":
            call, output = string_of(where, item, "call_id"), _content(where, item, "output")
            messages.append({"role": "tool", "tool_call_id": call, "content": output})
        else:
            known = "message, reasoning, function_call and function_call_output are"
            raise problem(where, f"is of type '{kind}', which is not known; {known}")
    return [_finished(message) for message in messages]


def _role(where: str, item: Mapping[str, Any]) -> str:
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise wrong(f"{where}.role", role, ", ".join(_ROLES))
    return _ROLES[role]


def _extend(where: str, answer: dict[str, Any], kind: str, item: Mapping[str, Any]) -> None:
    """Adds a part of an answer to its message."""
    if kind == "message":
        answer["content"] = (answer["content"] or "") + _content(where, item, "content")
    elif kind == "reasoning":
        # Others than we may send a summary only.
        name = "content" if item.get("content") else "summary"
        answer["reasoning_content"] = answer.get("reasoning_content", "") + _content(where, item, name)
    else:
        function = {name: string_of(where, item, name) for name in ("name", "arguments")}
        call = {"id": string_of(where, item, "call_id"), "type": "function", "function": function}
        answer.setdefault("tool_calls", []).append(call)


def _finished(message: dict[str, Any]) -> dict[str, Any]:
    if message["content"] is None and "tool_calls" not in message:
        return {**message, "content": ""}
    return message


def _content(where: str, item: Mapping[str, Any], name: str) -> str:
    content = item.get(name)
    where = f"{where}.{name}"
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong(where, content, "text or a list of parts")
    return "".join(_part(f"{where}[{number}]", part) for number, part in enumerate(content))


def _part(where: str, part: Any) -> str:
    kind = kind_of(where, part)
    if kind == "refusal":
        return string_of(where, part, "refusal")
    if not kind.endswith("text"):
        raise problem(where, f"is of type '{kind}'; the model reads text only")
    return string_of(where, part, "text")


def tools_of(tools: Sequence[Any] | None) -> list[dict[str, Any]] | None:
    """Descriptions of functions, in the form of chats. Raises ``Problem`` for tools of OpenAI's servers."""
    return None if tools is None else [_tool(f"tools[{index}]", tool) for index, tool in enumerate(tools)]


def _tool(where: str, tool: Any) -> dict[str, Any]:
    kind = kind_of(where, tool)
    if kind != "function":
        raise problem(where, f"is of type '{kind}', which is not here; function is")
    string_of(where, tool, "name")
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def choice_of(choice: str | Mapping[str, Any] | None) -> str | dict[str, Any] | None:
    """Which tools the model is to call, in the form of chats. Raises ``Problem``."""
    if choice is None or choice in ("none", "auto", "required"):
        return choice
    name = choice.get("name") if isinstance(choice, Mapping) and choice.get("type") == "function" else None
    if not isinstance(name, str):
        raise wrong("tool_choice", choice, "none, auto, required or a function")
    return {"type": "function", "function": {"name": name}}


def format_of(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The ``text.format`` of a request, in the form of chats."""
    if given is None or given.get("type") != "json_schema":
        return None if given is None else dict(given)
    schema = {name: value for name, value in given.items() if name != "type"}
    return {"type": "json_schema", "json_schema": schema}
