# SPDX-License-Identifier: Apache-2.0
"""Messages as OpenAI's clients send them, in the form that chat templates expect.

Templates are written for ``transformers``: the content is text, and the arguments of a call are an object.
Clients send lists of parts, null, and arguments as a text of JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lumen_mlir.errors import LumenError, shown

_TEXT_PARTS = ("text", "input_text", "output_text")

THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Fields of the model's messages in which clients send what it thought, and templates look for it."""

# Levels of lists and objects in a message.
_DEPTH = 64


class ChatError(LumenError):
    """A conversation that cannot become a prompt: no template, a broken one, or one that refuses it."""


class Arguments(dict):
    """The arguments of a call. A template that writes them as they are gets JSON, not Python's notation."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)

    __repr__ = __str__

    def __add__(self, other: Any) -> str:
        return str(self) + other

    def __radd__(self, other: Any) -> str:
        return other + str(self)


def normalized(messages: Any) -> list[dict[str, Any]]:
    """Copies of ``messages`` in the form that templates expect.

    A content that is null becomes "", except beside calls. Raises ``ChatError`` that names the message and
    what was expected.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, (str, bytes)):
        raise ChatError(f"the messages are {shown(messages)}; a list of mappings was expected")
    if not messages:
        raise ChatError("a chat needs at least one message")
    return [_message(f"message {index}", message) for index, message in enumerate(messages)]


def _message(where: str, message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise ChatError(f"{where} is {shown(message)}; expected a mapping with 'role' and 'content'")
    copy = {name: copied(value, where) for name, value in message.items()}
    calls = copy.get("tool_calls")
    if not calls:
        # Templates ask whether there are any by "is defined".
        copy.pop("tool_calls", None)
    else:
        copy["tool_calls"] = _calls(f"{where}: 'tool_calls'", calls)
    if isinstance(copy.get("function_call"), dict):
        copy["function_call"] = _call(f"{where}: 'function_call'", copy["function_call"])
    elif copy.get("function_call", "") is None:
        del copy["function_call"]
    if "content" in copy or calls:
        content = _content(where, copy)
        copy["content"] = "" if content is None and not calls else content
    return copy


def _content(where: str, message: dict[str, Any]) -> Any:
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list):
        # Templates that take lists write one part behind the other, too.
        return "".join(_part(f"{where}: part {index}", part) for index, part in enumerate(content))
    if isinstance(content, dict) and message["role"] in ("tool", "function"):
        return content
    raise ChatError(f"{where}: the content is {shown(content)}; expected text, a list of text parts, or null")


def _part(where: str, part: Any) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, dict) else None
    if kind in _TEXT_PARTS and isinstance(part.get("text"), str):
        return part["text"]
    if isinstance(kind, str) and kind not in _TEXT_PARTS:
        raise ChatError(f"{where} is of type '{kind}'; the model reads text only")
    raise ChatError(f"{where} is {shown(part)}; expected {{'type': 'text', 'text': …}}")


def _calls(where: str, calls: Any) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise ChatError(f"{where} is {shown(calls)}; a list of calls was expected")
    return [_call(f"{where}[{index}]", call) for index, call in enumerate(calls)]


def _call(where: str, call: Any) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ChatError(f"{where} is {shown(call)}; expected a mapping with 'name' or 'function'")
    if "arguments" in function:
        function["arguments"] = _arguments(where, function["arguments"])
    return call


def _arguments(where: str, arguments: Any) -> Any:
    if isinstance(arguments, str):
        try:
            # Clients send an empty text where a function has no arguments.
            arguments = json.loads(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError) as error:
            raise ChatError(
                f"{where}: the arguments are {shown(arguments)}, which is no JSON: {error}"
            ) from None
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise ChatError(f"{where}: the arguments are {shown(arguments)}; an object was expected")
    return Arguments(arguments)


def check_tools(tools: Any) -> None:
    """Raises ``ChatError`` where ``tools`` is no list of descriptions of functions."""
    if not isinstance(tools, (list, tuple)):
        raise ChatError(f"the tools are {shown(tools)}; a list of descriptions was expected")
    for index, tool in enumerate(tools):
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ChatError(f"tool {index} is {shown(tool)}; expected a mapping with 'name' or 'function'")


def copied(value: Any, where: str, depth: int = 0) -> Any:
    """A deep copy of lists and mappings; anything else is taken as it is."""
    if depth > _DEPTH:
        raise ChatError(f"{where} is nested more than {_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {name: copied(part, where, depth + 1) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [copied(part, where, depth + 1) for part in value]
    return value


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """``value`` with ``change`` of every text in it, names of fields too; containers keep their types."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        kind = Arguments if isinstance(value, Arguments) else dict
        return kind((mapped(name, change), mapped(part, change)) for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return [mapped(part, change) for part in value]
    return value
