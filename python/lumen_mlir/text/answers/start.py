# SPDX-License-Identifier: Apache-2.0
"""Where an answer begins: its prompt may have begun the reasoning, or ended it."""

from __future__ import annotations

from enum import Enum

from lumen_mlir.text.answers.forms import ReasoningFormat
from lumen_mlir.text.answers.pieces import Marker


class Start(Enum):
    """Where an answer begins, which follows from the end of its prompt."""

    ANSWER = "the model may think first"
    REASONING = "the prompt has begun the reasoning"
    CONTENT = "the prompt has ended the reasoning"

    @staticmethod
    def of(prompt: str, reasoning: ReasoningFormat | None) -> Start:
        """Where an answer to ``prompt`` begins."""
        if reasoning is None:
            return Start.ANSWER
        if reasoning.begin and reasoning.begin.ends(prompt):
            return Start.REASONING
        both = Marker(reasoning.begin.pieces + reasoning.end.pieces)
        return Start.CONTENT if reasoning.begin and both.ends(prompt) else Start.ANSWER
