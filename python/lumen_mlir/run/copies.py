# SPDX-License-Identifier: Apache-2.0
"""The arrays of calls where code runs with memory of its own: what is copied there, what back, what stays."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lumen_mlir.run.code import Buffer, Passed

# Buffers begin at the same place of a page as in this process, so that alignments are the same.
_PAGE = 4096
# In place of a word's number: the memory that several copies are parts of.
_WHOLE = -1


class Memory(Protocol):
    """The other memory. Its methods raise ``LumenError``."""

    def allocate(self, size: int, place: int) -> int:
        """The address of ``size`` new bytes, which begin at ``place`` of a page of 4096 bytes."""

    def free(self, address: int) -> None:
        """Gives back what ``allocate`` returned."""

    def write(self, address: int, data: memoryview) -> None:
        """Copies bytes of this process there."""

    def clear(self, address: int, size: int) -> None:
        """Writes zeros there."""

    def read(self, places: Sequence[tuple[int, memoryview]]) -> None:
        """Copies bytes at addresses there into memory of this process, once what was called has ended."""


@dataclass
class _Copy:
    """Other memory that stands for a buffer of this process.

    ``layout``: bytes, and where in a page they begin. ``holds``: the address and the version of a kept buffer
    whose bytes are there already. ``is_part``: its memory is given back with that of others.
    """

    address: int
    layout: tuple[int, int]
    holds: tuple[int, int] | None = None
    is_part: bool = False


class Copies:
    """What stands in the other memory for the buffers of calls, until these are gone.

    ``exact``: a buffer that becomes smaller gets memory of its new size, so that what leaves it is noticed.
    """

    def __init__(self, memory: Memory, exact: bool = True):
        self._memory, self._exact = memory, exact
        # By the call that they belong to, and the number of a word of it.
        self._of_calls: weakref.WeakKeyDictionary[Passed, dict[int, _Copy]] = weakref.WeakKeyDictionary()
        # Of calls that are gone.
        self._left: list[dict[int, _Copy]] = []

    def hold(self, slots: np.ndarray, call: Passed) -> HeldCopies:
        """Copies what a call keeps, and makes room for what it needs besides: all of it in one piece."""
        held, size, parts = self._held(call), 0, []
        for buffer in call.buffers():
            if buffer.kept or buffer.scratch:
                address = int(slots[buffer.slot])
                begin = size + (address - size) % _PAGE
                parts.append((buffer, address, begin))
                size = begin + buffer.size
        whole = self._memory.allocate(size, 0)
        held[_WHOLE] = _Copy(whole, (size, 0))
        for buffer, address, begin in parts:
            layout = (buffer.size, begin % _PAGE)
            copy = held[buffer.slot] = _Copy(whole + begin, layout, is_part=True)
            if not buffer.scratch:
                self._fill(copy, buffer, address)
        return HeldCopies(self._memory, held)

    @contextmanager
    def passed(self, slots: np.ndarray, call: Passed) -> Iterator[np.ndarray]:
        """The words of a call with addresses there. Inside, the code is called; what it wrote comes back."""
        while self._left:
            for copy in self._left.pop().values():
                self._free(copy)
        held = self._held(call)
        words, back = slots.copy(), []
        for buffer in call.buffers():
            address = int(slots[buffer.slot])
            copy = self._copy(held, buffer.slot, (buffer.size, address % _PAGE))
            words[buffer.slot] = copy.address
            if buffer.scratch or buffer.on_demand:
                continue
            self._fill(copy, buffer, address)
            if buffer.written and not buffer.kept:
                back.append((copy.address, _bytes_at(address, buffer.size)))
        yield words
        self._memory.read(back)

    def _held(self, call: Passed) -> dict[int, _Copy]:
        held = self._of_calls.get(call)
        if held is None:
            held = self._of_calls[call] = {}
            weakref.finalize(call, self._left.append, held).atexit = False
        return held

    def _free(self, copy: _Copy) -> None:
        if not copy.is_part:
            self._memory.free(copy.address)

    def _fill(self, copy: _Copy, buffer: Buffer, address: int) -> None:
        """Sees to it that a copy has the bytes of its buffer."""
        wanted = address, buffer.version
        if copy.holds == wanted:
            return
        copy.holds = None
        if buffer.zero:
            self._memory.clear(copy.address, buffer.size)
        else:
            self._memory.write(copy.address, _bytes_at(address, buffer.size))
        copy.holds = wanted if buffer.kept else None

    def _copy(self, held: dict[int, _Copy], slot: int, layout: tuple[int, int]) -> _Copy:
        copy = held.get(slot)
        if copy is not None:
            room, begin = copy.layout
            fits = layout[0] == room or (layout[0] < room and not self._exact)
            if fits and layout[1] == begin:
                return copy
            del held[slot]
            self._free(copy)
        copy = held[slot] = _Copy(self._memory.allocate(*layout), layout)
        return copy


class HeldCopies:
    """``Held`` in the other memory. ``copies``: of the call, by words, as they are now."""

    def __init__(self, memory: Memory, copies: dict[int, _Copy]):
        self._memory, self._copies = memory, copies

    def read(self, slot: int, places: Sequence[tuple[int, memoryview]]) -> None:
        begin = self._copies[slot].address
        self._memory.read([(begin + place, data) for place, data in places])

    def write(self, slot: int, places: Sequence[tuple[int, memoryview]]) -> None:
        for place, data in places:
            self._memory.write(self._copies[slot].address + place, data)


def _bytes_at(address: int, size: int) -> memoryview:
    """Memory of this process, which the arrays of a call keep alive."""
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B")
