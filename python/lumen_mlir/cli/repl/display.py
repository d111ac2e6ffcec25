# SPDX-License-Identifier: Apache-2.0
"""How answers look on a terminal: what the model thinks is dimmed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lumen_mlir.cli.streams import raw
from lumen_mlir.cli.styles import coloured, styled

if TYPE_CHECKING:
    from lumen_mlir.cli.repl.model import Answer

# How models mark what they think before they answer.
_MARKS = (
    ("<think>", "</think>"),
    ("<thought>", "</thought>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel|>analysis", "<|end|>"),
)


class ThoughtFinder:
    """Cuts an answer that comes in pieces into what is thought and what is said.

    ``prompt`` is the end of the prompt: some templates begin the thinking themselves.
    """

    def __init__(self, prompt: str = ""):
        ended = prompt.rstrip()
        self._end: str | None = next((end for begin, end in _MARKS if ended.endswith(begin)), None)
        self._held = ""

    def feed(self, text: str) -> Iterator[tuple[str, bool]]:
        """What is certain now: texts, and whether each is thought. Marks count as thought."""
        self._held += text
        while self._held:
            found = self._next_mark()
            if found is None:
                end = len(self._held) - self._beginning_of_a_mark()
                certain, self._held = self._held[:end], self._held[end:]
                if certain:
                    yield certain, self._end is not None
                return
            place, mark, ends = found
            said, self._held = self._held[:place], self._held[place + len(mark) :]
            if said:
                yield said, self._end is not None
            yield mark, True
            self._end = ends

    def finish(self) -> Iterator[tuple[str, bool]]:
        """What was held back."""
        if self._held:
            yield self._held, self._end is not None
        self._held = ""

    def _marks(self) -> list[tuple[str, str | None]]:
        """The marks that may come next, and which one ends what each begins."""
        return list(_MARKS) if self._end is None else [(self._end, None)]

    def _next_mark(self) -> tuple[int, str, str | None] | None:
        found = [(self._held.find(mark), mark, end) for mark, end in self._marks()]
        return min((each for each in found if each[0] >= 0), default=None, key=lambda each: each[0])

    def _beginning_of_a_mark(self) -> int:
        """How many characters at the end may become a mark."""
        lengths = (
            size
            for mark, _ in self._marks()
            for size in range(min(len(mark) - 1, len(self._held)), 0, -1)
            if self._held.endswith(mark[:size])
        )
        return max(lengths, default=0)


class AnswerWriter:
    """Writes an answer to stdout as it comes.

    Attributes:
      text: all of it so far.
    """

    def __init__(self, answer: Answer):
        self.text = ""
        self._finder: ThoughtFinder | None = None
        if coloured(sys.stdout):
            # A template may have begun the thinking.
            self._finder = ThoughtFinder(answer.prompt_end)

    def write(self, piece: str) -> None:
        """Shows a piece at once, but for the beginning of what may be a mark."""
        self.text += piece
        if self._finder is None:
            sys.stdout.write(piece)
        else:
            _show(self._finder.feed(piece))
        sys.stdout.flush()

    def close(self) -> None:
        """Ends the answer, and its line."""
        if self._finder is not None:
            _show(self._finder.finish())
        if not self.text.endswith("\n"):
            sys.stdout.write("\n")
        sys.stdout.flush()


def _show(parts: Iterator[tuple[str, bool]]) -> None:
    for text, thought in parts:
        raw(sys.stdout).write(styled(sys.stdout, text, *(["dim"] if thought else [])))
