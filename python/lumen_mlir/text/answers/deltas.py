# SPDX-License-Identifier: Apache-2.0
"""What an answer consists of, piece by piece and as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ReasoningText:
    """A piece of what the model thinks."""

    text: str


@dataclass(frozen=True)
class ContentText:
    """A piece of what the model says."""

    text: str


@dataclass(frozen=True)
class CallBegin:
    """The model calls a function; ``index`` counts the calls of an answer from 0."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class CallArguments:
    """A piece of the arguments of call ``index``, which together are the JSON of an object."""

    index: int
    text: str


Delta = ReasoningText | ContentText | CallBegin | CallArguments


@dataclass
class Call:
    """A call with its whole arguments, as JSON."""

    id: str
    name: str
    arguments: str = ""


@dataclass
class Answer:
    """A whole answer."""

    reasoning: str = ""
    content: str = ""
    calls: list[Call] = field(default_factory=list)

    @staticmethod
    def of(deltas: Iterable[Delta]) -> Answer:
        """What ``deltas`` make together."""
        answer = Answer()
        for delta in deltas:
            answer.add(delta)
        return answer

    def add(self, delta: Delta) -> None:
        """Appends what came."""
        if isinstance(delta, ReasoningText):
            self.reasoning += delta.text
        elif isinstance(delta, ContentText):
            self.content += delta.text
        elif isinstance(delta, CallBegin):
            self.calls.append(Call(delta.id, delta.name))
        else:
            self.calls[delta.index].arguments += delta.text


def content_of(deltas: Iterable[Delta]) -> str:
    """What the model says in ``deltas``."""
    return "".join(delta.text for delta in deltas if isinstance(delta, ContentText))
