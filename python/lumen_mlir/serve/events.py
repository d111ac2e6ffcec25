# SPDX-License-Identifier: Apache-2.0
"""What comes of a request, in order, and texts put together of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lumen_mlir.generate.logprobs import TokenLogprob
from lumen_mlir.serve.deltas import Delta


@dataclass(frozen=True)
class Progress:
    """How much of a prompt is there, before its text begins.

    Attributes:
      total, cached, processed: tokens: of the prompt, those that were known, and those that are there.
      seconds: since the request came.
    """

    total: int
    cached: int
    processed: int
    seconds: float


@dataclass(frozen=True)
class Piece:
    """What comes next of text number ``choice``.

    Attributes:
      deltas: of its content, its reasoning and its calls.
      records: of the tokens that it came of, where log probabilities are asked for.
      marks: so many of them, the first ones, are of tokens that no content came of.
    """

    choice: int
    deltas: Sequence[Delta]
    records: Sequence[TokenLogprob] = ()
    marks: int = 0


@dataclass(frozen=True)
class End:
    """Text number ``choice`` is done.

    Attributes:
      reason: "stop", "length" or "tool_calls".
      stop: the stop string that ended it, if one did.
    """

    choice: int
    reason: str
    stop: str | None


Event = Progress | Piece | End


@dataclass
class Text:
    """A text that is done, or as far as it is.

    Attributes:
      content, reasoning: its parts.
      calls: the tools that it calls.
      records: of its tokens.
      reason, stop: see ``End``.
    """

    content: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)
    records: list[TokenLogprob] = field(default_factory=list)
    reason: str = "stop"
    stop: str | None = None

    def add(self, piece: Piece) -> None:
        """Appends what came."""
        self.records += piece.records
        for delta in piece.deltas:
            self.content += delta.content
            self.reasoning += delta.reasoning
            if delta.name is not None:
                self.calls.append(Call(delta.id or "", delta.name))
            if delta.arguments:
                self.calls[-1].arguments += delta.arguments


@dataclass
class Call:
    """A call of a tool; ``arguments`` are JSON."""

    id: str
    name: str
    arguments: str = ""
