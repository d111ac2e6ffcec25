# SPDX-License-Identifier: Apache-2.0
"""What was said between a person and a model, apart from any model: what a chat on any surface keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.text.chat_messages import normalized

Message = dict[str, Any]


class Conversation:
    """A system text, then messages: questions (of the role ``user``) and what follows each.

    The last question may be without an answer, because the model was stopped before it said anything. The
    next question takes its place, since many templates refuse two in a row.

    Attributes:
      system: how the model should behave, or None.
      messages: the others, each with ``role`` and ``content``.
    """

    def __init__(self, system: str | None = None, messages: Sequence[Message] = ()):
        self.system = system
        self.messages: list[Message] = list(messages)

    def copy(self) -> Conversation:
        """Another one that says the same."""
        return Conversation(self.system, self.messages)

    def request(self) -> list[Message]:
        """All messages, the system's first: what ``LLM.chat`` takes."""
        opening = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*opening, *self.messages]

    @property
    def question(self) -> str | None:
        """The text of the last question; None where nothing was asked."""
        place = self._last_question()
        return None if place is None else str(self.messages[place]["content"])

    @property
    def answered(self) -> bool:
        """Whether something follows the last question."""
        return bool(self.messages) and self.messages[-1]["role"] != "user"

    @property
    def turns(self) -> int:
        """How many questions were asked."""
        return sum(message["role"] == "user" for message in self.messages)

    def ask(self, question: str) -> None:
        """Adds a question."""
        if self.messages and not self.answered:
            self.messages.pop()
        self.messages.append({"role": "user", "content": question})

    def answer(self, text: str, **more: Any) -> None:
        """Adds the answer to the last question, with ``more`` fields of its message.

        Raises ``LumenError`` where there is none to answer.
        """
        if not self.messages or self.answered:
            raise LumenError("there is no question to answer")
        self.messages.append({"role": "assistant", "content": text, **more})

    def retry(self) -> None:
        """Takes back what follows the last question. Raises ``LumenError`` where nothing was asked."""
        place = self._last_question()
        if place is None:
            raise LumenError("nothing was asked yet")
        del self.messages[place + 1 :]

    def undo(self, count: int = 1) -> int:
        """Takes back the last ``count`` questions and what follows them; how many there were."""
        for done in range(count):
            place = self._last_question()
            if place is None:
                return done
            del self.messages[place:]
        return count

    def clear(self) -> None:
        """Takes back all messages; the system text stays."""
        self.messages.clear()

    def _last_question(self) -> int | None:
        places = (i for i in reversed(range(len(self.messages))) if self.messages[i]["role"] == "user")
        return next(places, None)

    def to_json(self) -> dict[str, Any]:
        """As an object of JSON, with ``messages`` as OpenAI's clients have them."""
        return {"messages": self.request()}

    @staticmethod
    def from_json(value: Any) -> Conversation:
        """The conversation that an object has under ``messages``, or that a list of messages is.

        Raises ``LumenError`` (``ChatError``) that names the message and what was expected.
        """
        messages = value.get("messages") if isinstance(value, Mapping) else value
        if not isinstance(messages, list):
            raise LumenError(f"'messages' is {shown(messages)}; a list of messages was expected")
        parts = normalized(messages) if messages else []
        system = None
        if parts and parts[0]["role"] == "system":
            system = str(parts.pop(0).get("content") or "")
        for index, message in enumerate(parts):
            if message["role"] == "user" and not isinstance(message.get("content"), str):
                raise LumenError(f"question {index} is {shown(message)}; text was expected")
        return Conversation(system, parts)
