# SPDX-License-Identifier: Apache-2.0
"""Answers whose parts a server told apart, as one text: with the marks that models themselves use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_THOUGHT, _CALL, _SAID = "thought", "call", "said"
_BEGIN = {_THOUGHT: "<think>\n", _CALL: "<tool_call>\n", _SAID: ""}
_END = {_THOUGHT: "\n</think>\n\n", _CALL: "}\n</tool_call>\n", _SAID: "\n"}
# Without marks, lines still tell parts apart.
_PLAIN_END = {_THOUGHT: "\n\n", _CALL: "}\n", _SAID: "\n"}


class Marks:
    """Puts parts of an answer into one text; ``shown``: with marks around what is thought and called."""

    def __init__(self, shown: bool = True):
        self._shown = shown
        self._part: str | None = None

    def thought(self, text: str) -> str:
        """What is shown for more reasoning."""
        return self._switched(_THOUGHT) + text if text else ""

    def said(self, text: str) -> str:
        """What is shown for more content."""
        return self._switched(_SAID) + text if text else ""

    def call(self, name: str) -> str:
        """What is shown where a call begins."""
        begin = self._switched(None) + self._switched(_CALL)
        return f'{begin}{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": '

    def arguments(self, text: str) -> str:
        """What is shown for more of the arguments of the call."""
        return text

    def end(self) -> str:
        """What is shown behind the last part."""
        return "" if self._part == _SAID else self._switched(None)

    def _switched(self, part: str | None) -> str:
        before, self._part = self._part, part
        if before == part:
            return ""
        ends = _END if self._shown else _PLAIN_END
        return (ends[before] if before else "") + (_BEGIN[part] if part and self._shown else "")


def rendered(message: Mapping[str, Any]) -> str:
    """A message of a conversation as the text that was shown."""
    content, thoughts, calls = (message.get(each) for each in ("content", "reasoning_content", "tool_calls"))
    if not thoughts and not calls:
        return str(content or "")
    marks = Marks()
    text = marks.thought(str(thoughts or "")) + marks.said(str(content or ""))
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") or {}
        given = function.get("arguments")
        # As a text of JSON from servers, as an object in conversations that were loaded.
        given = given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False)
        text += marks.call(str(function.get("name"))) + marks.arguments(given or "{}")
    return text + marks.end()
