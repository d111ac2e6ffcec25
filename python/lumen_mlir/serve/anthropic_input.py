# SPDX-License-Identifier: Apache-2.0
"""Conversations and tools as Anthropic's clients send them, in the form of OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lumen_mlir.serve.fields import kind_of, problem, string_of, wrong

_ROLES = ("user", "assistant", "system")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def messages_of(system: Any, messages: Sequence[Any]) -> list[dict[str, Any]]:
    """The messages of a conversation. Raises ``Problem`` that names what is wrong."""
    found = []
    if system:
        found.append({"role": "system", "content": text_of("system", system)})
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in _ROLES:
            raise wrong(where, message, "a mapping with the role user or assistant, and content")
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(blocks, list):
            raise wrong(f"{where}.content", content, "text or a list of blocks")
        found += _assistant(where, blocks) if role == "assistant" else _others(where, role, blocks)
    if not messages:
        raise problem("messages", "is empty; at least one message was expected")
    if messages[-1]["role"] == "assistant":
        message = "ends with the assistant's; an answer that has begun is not continued here"
        raise problem("messages", message)
    return found


def text_of(where: str, content: Any) -> str:
    """The text of ``content``, which is one or a list of blocks of text. Raises ``Problem``."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong(where, content, "text or a list of blocks")
    return "".join(_text(f"{where}[{number}]", block) for number, block in enumerate(content))


def _text(where: str, block: Any) -> str:
    kind = kind_of(where, block)
    if kind != "text":
        raise problem(where, f"is of type '{kind}'; the model reads text only")
    return string_of(where, block, "text")


def _assistant(where: str, blocks: list[Any]) -> list[dict[str, Any]]:
    """What the model wrote is one message."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    calls = []
    for number, block in enumerate(blocks):
        place = f"{where}.content[{number}]"
        kind = kind_of(place, block)
        if kind == "thinking":
            message["reasoning_content"] = message.get("reasoning_content", "") + string_of(
                place, block, "thinking"
            )
        elif kind == "tool_use":
            calls.append(_call(place, block))
        elif kind != "redacted_thinking":  # which nobody can read
            message["content"] += _text(place, block)
    if calls:
        message["tool_calls"] = calls
        message["content"] = message["content"] or None
    return [message]


def _call(where: str, block: Mapping[str, Any]) -> dict[str, Any]:
    given = block.get("input")
    if not isinstance(given, Mapping):
        raise wrong(f"{where}.input", given, "an object")
    function = {"name": string_of(where, block, "name"), "arguments": given}
    return {"id": string_of(where, block, "id"), "type": "function", "function": function}


def _others(where: str, role: str, blocks: list[Any]) -> list[dict[str, Any]]:
    """Results of tools are messages of their own."""
    found: list[dict[str, Any]] = []
    for number, block in enumerate(blocks):
        place = f"{where}.content[{number}]"
        if kind_of(place, block) == "tool_result" and role == "user":
            content = block.get("content")
            text = "" if content is None else text_of(f"{place}.content", content)
            found.append(
                {"role": "tool", "tool_call_id": string_of(place, block, "tool_use_id"), "content": text}
            )
        elif found and found[-1]["role"] == role:
            found[-1]["content"] += _text(place, block)
        else:
            found.append({"role": role, "content": _text(place, block)})
    return found or [{"role": role, "content": ""}]


def tools_of(tools: Sequence[Any] | None) -> list[dict[str, Any]] | None:
    """Descriptions of functions. Raises ``Problem`` for what is none."""
    return None if tools is None else [_tool(f"tools[{index}]", tool) for index, tool in enumerate(tools)]


def _tool(where: str, tool: Any) -> dict[str, Any]:
    kind = (tool.get("type") or "custom") if isinstance(tool, Mapping) else None
    if isinstance(kind, str) and kind != "custom":
        raise problem(where, f"is of type '{kind}', which is not here; custom is")
    if not isinstance(tool, Mapping) or not isinstance(tool.get("input_schema"), Mapping):
        raise wrong(where, tool, "a mapping with name and input_schema")
    function = {"name": string_of(where, tool, "name"), "parameters": tool["input_schema"]}
    if tool.get("description") is not None:
        function["description"] = string_of(where, tool, "description")
    return {"type": "function", "function": function}


def choice_of(choice: Mapping[str, Any] | None) -> tuple[str | dict[str, Any] | None, bool]:
    """Which tools the model is to call, and whether several at a time. Raises ``Problem``."""
    if choice is None:
        return None, True
    parallel = choice.get("disable_parallel_tool_use") is not True
    kind = choice.get("type")
    if kind == "tool":
        name = string_of("tool_choice", choice, "name")
        return {"type": "function", "function": {"name": name}}, parallel
    if not isinstance(kind, str) or kind not in _CHOICES:
        raise wrong("tool_choice.type", kind, "auto, any, tool or none")
    return _CHOICES[kind], parallel
