# SPDX-License-Identifier: Apache-2.0
"""Rules of a grammar for answers, in the dialect of llguidance."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from lumen_mlir.text.answers.forms import ReasoningFormat
from lumen_mlir.text.answers.start import Start


class Rules:
    """Writes rules.

    Args:
      control: the ids of control tokens, by their text.

    Attributes:
      rules: so far.
    """

    def __init__(self, reasoning: ReasoningFormat | None, control: Mapping[str, int]):
        self._reasoning, self._control = reasoning, control
        texts = sorted(filter(None, control), key=len, reverse=True)
        self._finder = re.compile("(" + "|".join(map(re.escape, texts)) + ")") if texts else None
        self.rules: list[str] = []

    def rule(self, name: str, body: str) -> str:
        """Adds a rule; its name."""
        self.rules.append(f"{name}: {body or quoted('')}")
        return name.partition("[")[0]

    def literal(self, text: str) -> str:
        """``text``, with control tokens as such."""
        parts = self._finder.split(text) if self._finder is not None else [text]
        return " ".join(
            f"<[{self._control[part]}]>" if index % 2 else quoted(part)
            for index, part in enumerate(parts)
            if part
        )

    def until(self, name: str, end: str) -> str:
        """Any text up to ``end``, and this."""
        first = self._finder.match(end) if self._finder is not None else None
        if first is None:
            text = (self._finder.split(end) if self._finder is not None else [end])[0]
            rule = self.rule(f"{name}[suffix={quoted(text)}]", "/(?s:.*)/")
            return f"{rule} {self.literal(end[len(text) :])}".strip()
        return f"{self.rule(name, '/(?s:.*)/')} {self.literal(end)}"

    def thought(self, start: Start) -> str:
        """Reasoning, where it may come: before an answer that begins at ``start``."""
        if self._reasoning is None or start is Start.CONTENT:
            return ""
        self.rule("SPACE", "/[ \\n]{1,4}/")
        closing = self._reasoning.closing.strip()
        thought = f"{self.until('thought', closing)} SPACE?"
        if start is Start.REASONING:
            return f"{thought} "
        return f"({self.literal(self._reasoning.opening)} {thought})? "


def lead_rules(reasoning: ReasoningFormat | None, control: Mapping[str, int], start: Start) -> str:
    """The rule ``lead``, and those that it needs: what stands before an answer. Empty for nothing."""
    rules = Rules(reasoning, control)
    thought = rules.thought(start).strip()
    return "\n".join([f"lead: {thought}", *rules.rules]) + "\n" if thought else ""


def quoted(text: str) -> str:
    """A text as a terminal."""
    return json.dumps(text, ensure_ascii=False)
