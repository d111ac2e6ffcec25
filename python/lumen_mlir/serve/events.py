# SPDX-License-Identifier: Apache-2.0
"""What comes of a request, in order, and texts put together of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lumen_mlir.generate.logprobs import TokenLogprob
from lumen_mlir.text.answers.deltas import Answer, Delta


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
class Text(Answer):
    """A text that is done, or as far as it is.

    Attributes:
      records: of its tokens.
      reason, stop: see ``End``.
    """

    records: list[TokenLogprob] = field(default_factory=list)
    reason: str = "stop"
    stop: str | None = None

    def extend(self, piece: Piece) -> None:
        """Appends what came."""
        self.records += piece.records
        for delta in piece.deltas:
            self.add(delta)
