# SPDX-License-Identifier: Apache-2.0
"""Parts of a model's answer, as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Delta:
    """What comes next of an answer; one of these is not empty.

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


class AnswerParser(Protocol):
    """Tells the parts of an answer apart, while it is written."""

    @property
    def reasons(self) -> bool:
        """True where what comes next is reasoning."""

    def feed(self, text: str) -> Sequence[Delta]:
        """What becomes certain by ``text``."""

    def finish(self) -> Sequence[Delta]:
        """What is left at the end."""


class PlainParser:
    """All is content."""

    reasons = False

    def feed(self, text: str) -> Sequence[Delta]:
        """See ``AnswerParser``."""
        return [Delta(content=text)] if text else []

    def finish(self) -> Sequence[Delta]:
        """See ``AnswerParser``."""
        return []
