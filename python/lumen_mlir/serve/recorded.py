# SPDX-License-Identifier: Apache-2.0
"""Tells of which tokens the parts of an answer came, where their log probabilities are asked for."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lumen_mlir.generate.logprobs import TokenLogprob
from lumen_mlir.serve.parser import Parser
from lumen_mlir.text.answers.deltas import Delta, content_of


@dataclass(frozen=True)
class Parsed:
    """What became certain.

    Attributes:
      deltas: of the answer.
      records: of tokens, each once.
      marks: so many of the records, the first ones, are of tokens that no content came of.
    """

    deltas: Sequence[Delta]
    records: Sequence[TokenLogprob]
    marks: int = 0


class RecordedParser:
    """Feeds a parser the tokens one by one, so that it does not matter how a text is cut into pieces.

    The text has all tokens in it, control tokens by their names.
    """

    def __init__(self, parser: Parser):
        self._parser = parser
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # Tokens whose text is not all there: with so many characters that are missing.
        self._coming: deque[tuple[TokenLogprob, int]] = deque()
        self._begun = False
        # Those whose text is there, but of which nothing has become certain.
        self._waiting: list[TokenLogprob] = []

    def feed(self, text: str, records: Sequence[TokenLogprob]) -> Iterator[Parsed]:
        """What becomes certain by ``text``; ``records`` are of the tokens that came."""
        self._coming += ((record, len(self._decoder.decode(record.bytes))) for record in records)
        while text:
            count = self._next(len(text))
            if count:
                piece, text = text[:count], text[count:]
                yield from self._parsed(self._parser.feed(piece))

    def finish(self, records: Sequence[TokenLogprob]) -> Iterator[Parsed]:
        """What is left at the end."""
        rest = [record for record, _ in self._coming][self._begun :]
        self._waiting += [*rest, *records]
        yield from self._parsed(self._parser.finish())
        if self._waiting:
            yield Parsed((), self._waiting, len(self._waiting))

    def _next(self, most: int) -> int:
        """How many characters the next token has, at most so many; part of a character counts as none."""
        if not self._coming:
            return most
        record, count = self._coming.popleft()
        if not self._begun:
            self._waiting.append(record)
        taken = min(count, most)
        # (A text may be cut within a token, where a stop string might have begun.)
        self._begun = taken < count
        if self._begun:
            self._coming.appendleft((record, count - taken))
        return taken

    def _parsed(self, deltas: Sequence[Delta]) -> Iterator[Parsed]:
        if deltas:
            records, self._waiting = self._waiting, []
            yield Parsed(deltas, records, _marks(records, content_of(deltas)))


def _marks(records: Sequence[TokenLogprob], content: str) -> int:
    """How many of ``records`` stand before ``content``, which is the end of their text."""
    left, number = len(content.encode()), len(records)
    while left > 0 and number > 0:
        number -= 1
        left -= len(records[number].bytes)
    return number
