# SPDX-License-Identifier: Apache-2.0
"""Parts of an answer, as they come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lumen_mlir.text.answer_format import AnswerParser
from lumen_mlir.text.answers.deltas import CallArguments, CallBegin, ReasoningText
from lumen_mlir.text.answers.deltas import Delta as ModelDelta


@dataclass(frozen=True)
class Delta:
    """What comes next of an answer: text, or a part of a call.

    Attributes:
      content, reasoning: text.
      name, id: a call of this tool begins.
      arguments: of the call that has begun, as JSON.
    """

    content: str = ""
    reasoning: str = ""
    name: str | None = None
    id: str | None = None
    arguments: str = ""


class Parser(Protocol):
    """Tells the parts of an answer apart, while it is written."""

    def feed(self, text: str) -> Sequence[Delta]:
        """What becomes certain by ``text``."""

    def finish(self) -> Sequence[Delta]:
        """What is left at the end."""


class PlainParser:
    """All is content."""

    def feed(self, text: str) -> Sequence[Delta]:
        """See ``Parser``."""
        return [Delta(content=text)] if text else []

    def finish(self) -> Sequence[Delta]:
        """See ``Parser``."""
        return []


class ModelParser:
    """Parts of an answer that is written as a model does it."""

    def __init__(self, parser: AnswerParser):
        self._parser = parser

    def feed(self, text: str) -> Sequence[Delta]:
        """See ``Parser``."""
        return _flat(self._parser.feed(text))

    def finish(self) -> Sequence[Delta]:
        """See ``Parser``."""
        return _flat(self._parser.finish())


def _flat(deltas: Iterable[ModelDelta]) -> list[Delta]:
    found = []
    for delta in deltas:
        if isinstance(delta, CallBegin):
            found.append(Delta(name=delta.name, id=delta.id))
        elif isinstance(delta, CallArguments):
            found.append(Delta(arguments=delta.text))
        elif isinstance(delta, ReasoningText):
            found.append(Delta(reasoning=delta.text))
        else:
            found.append(Delta(content=delta.text))
    return found
