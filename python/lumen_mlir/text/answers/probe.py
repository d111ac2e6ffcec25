# SPDX-License-Identifier: Apache-2.0
"""Made-up answers, as a template writes them: what is compared to find out how answers are written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lumen_mlir.text.answers.pieces import common_length
from lumen_mlir.text.chat_messages import THOUGHTS, ChatError

if TYPE_CHECKING:
    from lumen_mlir.text.chat import ChatTemplate

# Seconds that all renderings of a template may take.
SECONDS = 2.0

# Texts that stand nowhere else.
ASKED = "Zq0asked"
SAID, THOUGHT = "Zq1said", "Zq2thought"
NAMES = ("zq3_first", "zq4_second")
IDS = ("zq5aaaaaa", "zq6bbbbbb")
KEYS = ("zq7_key", "zq8_other")
VALUES = ("Zq9value", "Zq0other")

QUESTION = {"role": "user", "content": ASKED}
_PROPERTIES = {
    **{key: {"type": "string", "description": "d"} for key in (*KEYS, "text")},
    **{name: {"type": name, "description": "d"} for name in ("integer", "number", "boolean")},
    "array": {"type": "array", "description": "d", "items": {"type": "string"}},
    "object": {"type": "object", "description": "d", "properties": {"k": {"type": "string"}}},
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "d",
            "parameters": {"type": "object", "properties": _PROPERTIES, "required": [KEYS[0]]},
        },
    }
    for name in NAMES
]


class Probe:
    """Renders answers of a template, with or without tools. Raises ``ChatError`` where it fails.

    Attributes:
      prompt: the prompt for an answer.
      base: where answers begin in a conversation, as far as ``full`` has rendered any.
    """

    def __init__(self, template: ChatTemplate, with_tools: bool):
        self._template = template
        self._variables: dict[str, Any] = {"tools": TOOLS} if with_tools else {}
        self._left = SECONDS
        self.base = 0
        self.prompt = self.rendered([QUESTION], True)
        self.base = len(self.prompt)

    def settle(self, source: str) -> None:
        """Finds out where answers begin, from answers of every kind."""
        self.full(SAID)
        for field in THOUGHTS:
            if field in source:
                self.full(SAID, thought={field: THOUGHT})
        if "tools" in self._variables:
            call = (NAMES[0], {KEYS[0]: VALUES[0]})
            self.full(None, [call])
            self.full(SAID, [call])

    def rendered(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """What the template makes of ``messages``. Raises ``ChatError``."""
        if self._left <= 0:
            raise ChatError("the template is too slow to be tried")
        start = time.thread_time()
        try:
            given = {**self._variables, **(variables or {})}
            return self._template.probe(messages, add_generation_prompt, **given)
        finally:
            self._left -= time.thread_time() - start

    def full(
        self,
        content: str | None = None,
        calls: Sequence[tuple[str, Mapping[str, Any]]] = (),
        thought: Mapping[str, str] | None = None,
    ) -> str | None:
        """A conversation that ends with an answer; None where the template fails.

        Raises ``ChatError`` where the answer changes what stands before it.
        """
        message: dict[str, Any] = {"role": "assistant", "content": content, **(thought or {})}
        if calls:
            message["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": dict(arguments)}}
                for id, (name, arguments) in zip(IDS, calls, strict=False)
            ]
        results = [{"role": "tool", "tool_call_id": i, "content": "1"} for i in IDS[: len(calls)]]
        for messages in ([QUESTION, message], [QUESTION, message, *results]):
            try:
                text = self.rendered(messages)
            except ChatError:
                if self._left <= 0:
                    raise
                continue
            self.base = min(self.base, common_length(self.prompt, text))
            if ASKED in text[self.base :]:
                raise ChatError("the model's chat template writes a question anew once it is answered")
            return text
        return None
