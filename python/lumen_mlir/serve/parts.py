# SPDX-License-Identifier: Apache-2.0
"""A text as parts that follow each other: some APIs number its reasoning, its content and its calls."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lumen_mlir.generate.logprobs import TokenLogprob
from lumen_mlir.serve.completion import Completion
from lumen_mlir.serve.events import End, Piece
from lumen_mlir.text.answers.deltas import CallArguments, CallBegin, Delta, ReasoningText

REASONING, CONTENT, CALL = "reasoning", "content", "call"
BEGIN, MORE, DONE = "begin", "more", "done"


@dataclass
class Part:
    """What stands between two changes of kind.

    Attributes:
      kind: ``REASONING``, ``CONTENT`` or ``CALL``.
      id, name: of a call.
      text: of a call, its arguments as JSON.
      records: of the tokens of content, where log probabilities are asked for.
    """

    kind: str
    id: str = ""
    name: str = ""
    text: str = ""
    records: list[TokenLogprob] = field(default_factory=list)

    @property
    def arguments(self) -> dict[str, Any] | None:
        """Of a call; None where they are cut off."""
        try:
            value = json.loads(self.text or "{}")
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


@dataclass(frozen=True)
class Change:
    """What happens to a part.

    Attributes:
      what: ``BEGIN``, ``MORE`` or ``DONE``.
      number: of the part.
      text, records: that ``MORE`` adds.
    """

    what: str
    number: int
    part: Part
    text: str = ""
    records: Sequence[TokenLogprob] = ()


class Parts:
    """Reads the text of a completion.

    Attributes:
      parts: that have begun.
      reason, stop: of the end, see ``End``.
    """

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.reason = "stop"
        self.stop: str | None = None
        # Of content that is to come.
        self._records: list[TokenLogprob] = []

    async def read(self, completion: Completion) -> AsyncIterator[Change]:
        """What happens, in order; at the end every part is done."""
        async for event in completion.events():
            if isinstance(event, Piece):
                self._records += event.records[event.marks :]
                for delta in event.deltas:
                    for change in self._added(delta):
                        yield change
            elif isinstance(event, End):
                self.reason, self.stop = event.reason, event.stop
        if self._records and self.parts and self.parts[-1].kind == CONTENT:
            # Of tokens that are no part of what is shown, such as those of a stop string.
            yield self._more("")
        for change in self._done():
            yield change

    async def read_all(self, completion: Completion) -> None:
        """Reads it to its end."""
        async for _ in self.read(completion):
            pass

    def _added(self, delta: Delta) -> Iterator[Change]:
        if isinstance(delta, CallBegin):
            yield from self._begun(Part(CALL, delta.id, delta.name))
            return
        if not isinstance(delta, CallArguments):
            kind = REASONING if isinstance(delta, ReasoningText) else CONTENT
            if not self.parts or self.parts[-1].kind != kind:
                yield from self._begun(Part(kind))
        yield self._more(delta.text)

    def _begun(self, part: Part) -> Iterator[Change]:
        yield from self._done()
        self.parts.append(part)
        yield Change(BEGIN, len(self.parts) - 1, part)

    def _more(self, text: str) -> Change:
        part = self.parts[-1]
        part.text += text
        records: list[TokenLogprob] = []
        if part.kind == CONTENT:
            # (Of several deltas that came together, they stand at the first.)
            records, self._records = self._records, []
            part.records += records
        return Change(MORE, len(self.parts) - 1, part, text, records)

    def _done(self) -> Iterator[Change]:
        if self.parts:
            yield Change(DONE, len(self.parts) - 1, self.parts[-1])


def new_id(kind: str) -> str:
    """An id that nothing else has, such as "call_…"."""
    return f"{kind}_{uuid.uuid4().hex}"
