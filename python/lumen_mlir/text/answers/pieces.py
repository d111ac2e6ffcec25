# SPDX-License-Identifier: Apache-2.0
"""Markers: texts around the parts of an answer, matched whatever white space stands in them.

A template writes white space exactly, and a model nearly so. So texts are cut into pieces (a tag, a word or
another character), and white space between pieces does not count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_TAG = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]|\[\|[^\[\]|\s]+\|\]")
_PIECE = re.compile(rf"{_TAG.pattern}|\w+|\S")
_PARTS = re.compile(rf"{_PIECE.pattern}|\s+")
_SPACE = re.compile(r"\s*")

MORE = -1
"""More text is needed to say whether a marker stands somewhere."""


def pieces_of(text: str) -> tuple[str, ...]:
    """The pieces of ``text``, without white space."""
    return tuple(_PIECE.findall(text))


def past_space(text: str, at: int) -> int:
    """Where the white space that begins at ``at`` ends."""
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def is_tag(piece: str) -> bool:
    """Whether a piece looks like ``<tag>`` or ``[TAG]``."""
    return _TAG.fullmatch(piece) is not None


def common_length(a: str, b: str) -> int:
    """Characters of what ``a`` and ``b`` begin with alike; pieces and white space are not cut."""
    length = 0
    for left, right in zip(_PARTS.finditer(a), _PARTS.finditer(b), strict=False):
        if left[0] != right[0]:
            break
        length = left.end()
    return length


def split_pieces(text: str, count: int) -> int:
    """Where the first ``count`` pieces of ``text`` end."""
    return [found.end() for found in _PIECE.finditer(text)][count - 1] if count else 0


def common_prefix(a: Sequence[str], b: Sequence[str]) -> tuple[str, ...]:
    """What ``a`` and ``b`` begin with alike."""
    count = 0
    while count < min(len(a), len(b)) and a[count] == b[count]:
        count += 1
    return tuple(a[:count])


def common_suffix(a: Sequence[str], b: Sequence[str]) -> tuple[str, ...]:
    """What ``a`` and ``b`` end with alike."""
    return common_prefix(a[::-1], b[::-1])[::-1]


@dataclass(frozen=True)
class Marker:
    """A text that is looked for; an empty one stands anywhere."""

    pieces: tuple[str, ...] = ()
    first: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", self.pieces[0][0] if self.pieces else "")

    @staticmethod
    def of(text: str) -> Marker:
        return Marker(pieces_of(text))

    def __bool__(self) -> bool:
        return bool(self.pieces)

    @property
    def is_distinctive(self) -> bool:
        """Whether it is more than punctuation, so that it may be looked for anywhere."""
        return any(is_tag(piece) or piece[0].isalpha() for piece in self.pieces)

    def match(self, text: str, at: int, ended: bool, loose: bool = False) -> int | None:
        """Where the marker that begins at ``at`` ends, None where none does, or ``MORE``.

        ``loose``: at the end of an answer its first piece is enough.
        """
        for index, piece in enumerate(self.pieces):
            if index:
                at = past_space(text, at)
                if loose and ended and at == len(text):
                    return at
            if text.startswith(piece, at):
                at += len(piece)
            else:
                return MORE if not ended and piece.startswith(text[at : at + len(piece)]) else None
        return at

    def match_end(self, text: str, at: int, ended: bool) -> int | None:
        """``match`` of this marker, or of its first pieces, where nothing but white space follows."""
        for index, piece in enumerate(self.pieces):
            at = past_space(text, at) if index else at
            if at == len(text):
                return (at if index else None) if ended else MORE
            if not text.startswith(piece, at):
                return MORE if not ended and piece.startswith(text[at:]) else None
            at += len(piece)
        if past_space(text, at) < len(text):
            return None
        return len(text) if ended else MORE

    def ends(self, text: str) -> bool:
        """Whether ``text`` ends with it, but for white space."""
        found = pieces_of(text[-8 * sum(map(len, self.pieces)) - 64 :])
        return bool(self.pieces) and found[-len(self.pieces) :] == self.pieces


NOTHING = Marker()
