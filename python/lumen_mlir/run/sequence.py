# SPDX-License-Identifier: Apache-2.0
"""Sequences of an executor, and what a step computes of one."""

from __future__ import annotations

from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.run.pages import SequencePages


class Owner(Protocol):
    """What sequences belong to: ``run.executor.Executor``."""

    era: object
    """Another one whenever the KV cache was emptied."""

    def adopt(self, sequence: Sequence, tokens: Several[int] | np.ndarray) -> int:
        """``Sequence.adopt``."""

    def fork(self, sequence: Sequence) -> Sequence:
        """``Sequence.fork``."""

    def close(self, sequence: Sequence) -> None:
        """``Sequence.close``."""


class Sequence:
    """Keys and values of a sequence. ``Executor.open`` makes it.

    Attributes:
      owner: the executor.
      number: among those of the executor.
      pages: of each pool of the KV cache.
      tokens: whose keys and values it has, from the first position on.
      closed: True after ``close``.
      era: the owner's when the sequence began; with another one it is of no use any more.
    """

    def __init__(self, owner: Owner, number: int, pages: list[SequencePages]):
        self.owner, self.number, self.pages = owner, number, pages
        self.tokens: list[int] = []
        self.closed, self.era = False, owner.era

    def can_resume(self, position: int) -> bool:
        """True where a step at ``position`` finds all that it attends to.

        That is so for every position up to the number of its tokens, except that the pages behind a sliding
        window are given back: a step needs ``window`` - 1 positions before its own.
        """
        self.check_open()
        return all(held.can_resume(position) for held in self.pages)

    def adopt(self, tokens: Several[int] | np.ndarray) -> int:
        """Begins with the keys and values of the longest prefix of ``tokens`` that the executor has already.

        Of a sequence that has none yet. Returns the length of the prefix, which is shorter than ``tokens``.
        """
        return self.owner.adopt(self, tokens)

    def fork(self) -> Sequence:
        """A sequence with the same tokens. Pages are shared until one of the two writes to them."""
        return self.owner.fork(self)

    def truncate(self, length: int) -> None:
        """Forgets the tokens from number ``length`` on."""
        del self.tokens[length:]

    def close(self) -> None:
        """Gives back its pages and its number. It must not be used any more; closing again does nothing.

        Where prefixes are kept, others may begin with all of it.
        """
        self.owner.close(self)

    def check_open(self) -> None:
        """Raises ``LumenError`` where it must not be used any more."""
        if self.closed or self.era is not self.owner.era:
            raise LumenError("the sequence is closed, or the KV cache was emptied since it began")


@dataclass(frozen=True)
class Part:
    """What a step computes of one sequence.

    Attributes:
      sequence: one of the executor's, in no other part of the step.
      tokens: ids of the vocabulary, int32 [T], at least one.
      position: of the first token. What the sequence has from there on is forgotten.
      first: logits are wanted from this token on; T for none.
    """

    sequence: Sequence
    tokens: np.ndarray
    position: int
    first: int


def check_parts(owner: Owner, parts: Several[Part], most: int) -> None:
    """Refuses parts that are no step of ``owner`` of at most ``most`` tokens."""
    total = sum(len(part.tokens) for part in parts)
    if not 1 <= total <= most:
        raise LumenError(f"a step takes 1 to {most} tokens, not {total}")
    seen = set()
    for part in parts:
        if part.sequence.owner is not owner:
            raise LumenError("a step takes sequences of its own executor only")
        if id(part.sequence) in seen:
            raise LumenError("a step takes a sequence once")
        seen.add(id(part.sequence))
        if not part.sequence.can_resume(part.position):
            raise LumenError(
                f"a step cannot go back to position {part.position}: of sliding windows only the last "
                "positions are kept"
            )
