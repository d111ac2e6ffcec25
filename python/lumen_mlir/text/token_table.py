# SPDX-License-Identifier: Apache-2.0
"""A vocabulary of byte-level BPE as one piece of memory that can be mapped and searched as it is.

Reading 151,936 tokens into Python strings and a dictionary takes a quarter of a second and 25 MB, for a
prompt that needs a dozen of them. Here a token is found by bisection in a mapped file, of which only the
pages looked at become resident.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

_HEADER = struct.Struct("<4Q")  # tokens, distinct tokens, merges, bytes of text


class MergeError(ValueError):
    """A merge that is not one of tokens in the vocabulary."""


class TokenTable:
    """Tokens by id, and merges by rank. ``payload``: what ``encode`` makes; it is kept.

    A text that several ids have stands for the last of them.
    """

    def __init__(self, payload: np.ndarray | bytes):
        view = memoryview(payload)  # type: ignore[arg-type]
        self._count, distinct, merges, size = _HEADER.unpack_from(view)
        position = _HEADER.size

        def take(kind: Literal["B", "I", "Q"], count: int) -> memoryview:
            nonlocal position
            begin, position = position, position + count * struct.calcsize(kind)
            return view[begin:position].cast(kind)

        self._keys = take("Q", merges)  # left id, right id: sorted
        self._offsets = take("I", self._count + 1)
        self._order = take("I", distinct)  # ids in the order of their texts
        self._ranks = take("I", merges)
        self._made = take("I", merges)  # what each merge makes
        self._text = take("B", size)

    @staticmethod
    def encode(tokens: Sequence[bytes], merges: Sequence[bytes]) -> bytes:
        """The payload of tokens by id and merges (two tokens and a space between them) by rank, in UTF-8.

        Raises ``MergeError``.
        """
        ids = dict(zip(tokens, range(len(tokens)), strict=True))
        order = sorted(ids.values(), key=tokens.__getitem__)
        offsets = np.cumsum([0, *map(len, tokens)])
        if offsets[-1] >= 1 << 32:
            raise MergeError(f"{offsets[-1]} bytes of tokens are more than 4 GB")
        pairs, made = np.empty(len(merges), np.uint64), np.empty(len(merges), "<u4")
        for rank, merge in enumerate(merges):
            left, _, right = merge.partition(b" ")
            try:
                pairs[rank] = ids[left] << 32 | ids[right]
                made[rank] = ids[left + right]
            except KeyError:
                raise MergeError(f"element {rank} {_fault(merge, ids)}") from None
        # The first of equal merges counts.
        keys, ranks = np.unique(pairs, return_index=True)
        text = b"".join(tokens)
        arrays = (
            keys,
            offsets.astype("<u4"),
            np.array(order, "<u4"),
            ranks.astype("<u4"),
            made[ranks],
        )
        header = _HEADER.pack(len(tokens), len(order), len(keys), len(text))
        return b"".join([header, *(array.tobytes() for array in arrays), text])

    def __len__(self) -> int:
        """Tokens, whether or not their texts differ."""
        return self._count

    def text(self, token: int) -> str:
        """Token number ``token``."""
        return self._bytes(token).decode("utf-8")

    def find(self, text: str) -> int | None:
        """The id of a token, or None."""
        wanted = text.encode("utf-8")
        place = self._place(wanted)
        found = place < len(self._order) and self._bytes(self._order[place]) == wanted
        return self._order[place] if found else None

    def merge(self, left: int, right: int) -> tuple[int, int] | None:
        """When two tokens merge (lower ranks first) and what they make; None where they do not."""
        key = left << 32 | right
        place = bisect_left(self._keys, key)
        found = place < len(self._keys) and self._keys[place] == key
        return (self._ranks[place], self._made[place]) if found else None

    def merges(self) -> list[tuple[str, str]]:
        """All merges, by rank."""
        texts = self.texts()
        sides = sorted(zip(self._ranks, self._keys, strict=True))
        return [(texts[key >> 32], texts[key & 0xFFFFFFFF]) for _, key in sides]

    def merge_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The merges, sorted by their tokens: left id << 32 | right id (uint64), rank and result (uint32)."""
        return np.array(self._keys, "<u8"), np.array(self._ranks, "<u4"), np.array(self._made, "<u4")

    def texts(self) -> list[str]:
        """All tokens, by id."""
        return [self.text(token) for token in range(self._count)]

    def _bytes(self, token: int) -> bytes:
        return bytes(self._text[self._offsets[token] : self._offsets[token + 1]])

    def _place(self, wanted: bytes) -> int:
        """Where a text is, or would be, among the tokens in their order."""
        return bisect_left(self._order, wanted, key=self._bytes)


def _fault(merge: bytes, ids: Mapping[bytes, int]) -> str:
    """What is wrong with a merge."""
    left, space, right = merge.partition(b" ")
    if not space:
        return "is not two tokens and a space"
    for name, side in (("left", left), ("right", right)):
        if side not in ids:
            return f"has the {name} side {side.decode()!r}, which is no token"
    return f"merges {left.decode()!r} and {right.decode()!r}, which is no token"
