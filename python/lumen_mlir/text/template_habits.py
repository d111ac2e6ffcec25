# SPDX-License-Identifier: Apache-2.0
"""What a chat template makes of contents and of calls, found out by trying.

Templates differ in what they expect, and leave out the rest without a word: messages of roles that they do
not know, calls beside a text, or calls beside a text that is empty and not null.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lumen_mlir.text import template_limits
from lumen_mlir.text.chat_messages import THOUGHTS, Arguments, ChatError
from lumen_mlir.text.special_text import LETTERS

logger = logging.getLogger(__name__)

Message = dict[str, Any]

SHARE = 0.25
"""Of the time for a rendering: what finding something out may take."""

# Stands for what is looked for in a prompt.
_MARK = "\U00014644"
_QUESTION: Message = {"role": "user", "content": "a"}


@dataclass(frozen=True)
class Calls:
    """With which contents the calls of a message arrive, and whether their ids must have 9 characters.

    ``null``, ``empty``, ``text``: None where the template fails.
    """

    null: bool | None
    empty: bool | None
    text: bool | None
    short_ids: bool

    @property
    def lost(self) -> bool:
        """Whether the template writes no calls."""
        known = {self.null, self.empty, self.text} - {None}
        return known == {False}


class TemplateHabits:
    """The habits of one template.

    Args:
      render: the prompt for messages and variables, in ``SHARE`` of the usual time. It raises ``ChatError``.
      where: names the template in warnings.
    """

    def __init__(self, render: Callable[[list[Message], Mapping[str, Any]], str], where: str):
        self._render, self._where = render, where
        # Seconds that are left to find out what does not depend on the messages.
        self._left = SHARE * template_limits.SECONDS
        self._warned = False
        # Roles whose contents were found in a prompt, of the first message and of others.
        self._arrived: set[tuple[str, bool]] = set()

    @cached_property
    def frame(self) -> str:
        """What the template writes between the prompt for an answer and the answer; "" where that is not
        clear."""
        answered = [_QUESTION, {"role": "assistant", "content": _MARK}, _QUESTION]
        try:
            prompt = self._tried([_QUESTION], True)
            whole = self._tried(answered)
        except ChatError:
            return ""
        before = whole.partition(_MARK)[0]
        return before[len(prompt) :] if _MARK in whole and before.startswith(prompt) else ""

    @cached_property
    def calls(self) -> Calls:
        """What becomes of calls."""
        long, short = "call_0123456789abcdef", "abcdef012"
        found = [self._call_arrives(content, long) for content in (None, "", "a")]
        if found != [None] * 3:
            return Calls(found[0], found[1], found[2], short_ids=False)
        found = [self._call_arrives(content, short) for content in (None, "", "a")]
        return Calls(found[0], found[1], found[2], short_ids=found != [None] * 3)

    @cached_property
    def thought_field(self) -> str | None:
        """The field of a message in which the template looks for what was thought; None where it does not."""
        for name in THOUGHTS:
            try:
                if _MARK in self._tried([_QUESTION, {"role": "assistant", "content": "a", name: _MARK}]):
                    return name
            except ChatError:
                continue
        return None

    def _call_arrives(self, content: str | None, id: str) -> bool | None:
        function = {"name": f"f{_MARK}", "arguments": Arguments({"a": _MARK})}
        asked = {
            "role": "assistant",
            "content": content,
            "tool_calls": [{"id": id, "type": "function", "function": function}],
        }
        result = {"role": "tool", "tool_call_id": id, "name": "f", "content": "1"}
        for messages in ([_QUESTION, asked, result], [_QUESTION, asked]):
            try:
                return _MARK in self._tried(messages)
            except ChatError:
                continue
        return None

    def _tried(self, messages: list[Message], add_generation_prompt: bool = False) -> str:
        """The prompt for messages made up to find something out."""
        if self._left <= 0:
            raise ChatError(f"{self._where}: too slow to be tried")
        start = time.thread_time()
        try:
            return self._render(messages, {"add_generation_prompt": add_generation_prompt})
        finally:
            self._left -= time.thread_time() - start

    def fitted(self, messages: list[Message], warns: bool = True) -> list[Message]:
        """``messages`` with the contents, ids of calls and names of fields that the template expects.

        ``warns``: a text that is left out is worth a warning, once.
        """
        return [self._fitted(message, warns) for message in messages]

    def _fitted(self, message: Message, warns: bool) -> Message:
        given = next((name for name in THOUGHTS if isinstance(message.get(name), str)), None)
        if given is not None and message["role"] == "assistant":
            field = self.thought_field
            if field not in (None, given):
                message = {field if name == given else name: value for name, value in message.items()}
        if "tool_call_id" in message and self.calls.short_ids:
            message = {**message, "tool_call_id": _short_id(message["tool_call_id"])}
        if not message.get("tool_calls"):
            return message
        calls, content = self.calls, message.get("content")
        if not content:
            content = "" if calls.empty or not calls.null else None
        elif not calls.text and calls.null:
            content = None
            if warns and not self._warned:
                self._warned = True
                logger.warning("%s: the template has no place for a text beside calls", self._where)
        message = {**message, "content": content}
        if calls.short_ids:
            message["tool_calls"] = [
                {**call, "id": _short_id(call["id"])} if "id" in call else call
                for call in message["tool_calls"]
            ]
        return message

    def lost(self, messages: list[Message], variables: Mapping[str, Any], prompt: str) -> str | None:
        """What of ``messages`` the ``prompt`` made of them leaves out, in words.

        Where it does not have a content as it is, another one is made of contents with letters at both ends.
        """
        for index, message in enumerate(messages):
            if message.get("tool_calls") and self.calls.lost:
                return f"the calls of message {index}"
        texts = {
            index: message["content"].strip()
            for index, message in enumerate(messages)
            if isinstance(message.get("content"), str) and not message.get("tool_calls")
        }
        # A text may be in a prompt for another reason: each role is looked at once.
        kinds = {index: (messages[index]["role"], index == 0) for index in texts}
        doubtful = [
            index
            for index, text in texts.items()
            if text and (text not in prompt or kinds[index] not in self._arrived)
        ]
        missing = self._missing(messages, variables, doubtful) if doubtful else set()
        self._arrived |= {kinds[index] for index in doubtful if index not in missing}
        # Of a template that writes no content at all nothing can be said.
        anything = any(text and index not in missing for index, text in texts.items())
        for index in sorted(missing):
            role = messages[index]["role"]
            if anything or role != "user":
                return f"message {index}, of the role '{role}'"
        return None

    def _missing(
        self, messages: list[Message], variables: Mapping[str, Any], places: Collection[int]
    ) -> set[int]:
        """Those of ``places`` whose messages have contents that do not arrive."""
        marked, letters = list(messages), dict(zip(places, LETTERS, strict=False))
        for index, letter in letters.items():
            content = messages[index]["content"].strip()
            marked[index] = {**messages[index], "content": letter + content + letter}
        try:
            prompt = self._render(marked, variables)
        except ChatError:
            return set()
        return {index for index, letter in letters.items() if letter not in prompt}


def _short_id(id: Any) -> Any:
    """``id`` where it has 9 letters or digits, else 9 made of it."""
    if not isinstance(id, str) or re.fullmatch("[0-9A-Za-z]{9}", id):
        return id
    return hashlib.blake2b(id.encode("utf-8", "replace"), digest_size=8).hexdigest()[:9]
