# SPDX-License-Identifier: Apache-2.0
"""What tells the parts of an answer apart, while it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lumen_mlir.text.answers.deltas import ContentText, Delta


class Parser(Protocol):
    """``AnswerParser`` is one."""

    def feed(self, text: str) -> Sequence[Delta]:
        """What becomes certain by ``text``."""

    def finish(self) -> Sequence[Delta]:
        """What is left at the end."""


class PlainParser:
    """All is content."""

    def feed(self, text: str) -> Sequence[Delta]:
        """See ``Parser``."""
        return [ContentText(text)] if text else []

    def finish(self) -> Sequence[Delta]:
        """See ``Parser``."""
        return []
