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

from lumen_mlir.run.code import Passed

# Buffers begin at the same place of a page as in this process, so that alignments are the same.
_PAGE = 4096


class Memory(Protocol):
    """The other memory. Its methods raise ``LumenError``."""

    def allocate(self, size: int, place: int) -> int:
        """The address of ``size`` new bytes, which begin at ``place`` of a page of 4096 bytes."""

    def free(self, address: int) -> None:
        """Gives back what ``allocate`` returned."""

    def write(self, address: int, data: memoryview) -> None:
        """Copies bytes of this process there."""

    def read(self, places: Sequence[tuple[int, memoryview]]) -> None:
        """Copies bytes at addresses there into memory of this process, once what was called has ended."""


@dataclass
class _Copy:
    """Other memory that stands for a buffer of this process.

    ``layout``: bytes, and where in a page they begin. ``holds``: the address of a kept buffer whose bytes are
    there already; else 0.
    """

    address: int
    layout: tuple[int, int]
    holds: int = 0


class Copies:
    """What stands in the other memory for the buffers of calls, until these are gone."""

    def __init__(self, memory: Memory):
        self._memory = memory
        # By the call that they belong to, and the number of a word of it.
        self._of_calls: weakref.WeakKeyDictionary[Passed, dict[int, _Copy]] = weakref.WeakKeyDictionary()
        # Of calls that are gone.
        self._left: list[dict[int, _Copy]] = []

    @contextmanager
    def passed(self, slots: np.ndarray, call: Passed) -> Iterator[np.ndarray]:
        """The words of a call with addresses there. Inside, the code is called; what it wrote comes back."""
        while self._left:
            for copy in self._left.pop().values():
                self._memory.free(copy.address)
        held = self._of_calls.get(call)
        if held is None:
            held = self._of_calls[call] = {}
            weakref.finalize(call, self._left.append, held).atexit = False
        words, back = slots.copy(), []
        for buffer in call.buffers():
            address = int(slots[buffer.slot])
            copy = self._copy(held, buffer.slot, (buffer.size, address % _PAGE))
            words[buffer.slot] = copy.address
            if buffer.scratch:
                continue
            if copy.holds != address:
                self._memory.write(copy.address, _bytes_at(address, buffer.size))
            copy.holds = address if buffer.kept else 0
            if buffer.written and not buffer.kept:
                back.append((copy.address, _bytes_at(address, buffer.size)))
        yield words
        self._memory.read(back)

    def _copy(self, held: dict[int, _Copy], slot: int, layout: tuple[int, int]) -> _Copy:
        copy = held.get(slot)
        if copy is not None and copy.layout == layout:
            return copy
        if copy is not None:
            del held[slot]
            self._memory.free(copy.address)
        copy = held[slot] = _Copy(self._memory.allocate(*layout), layout)
        return copy


def _bytes_at(address: int, size: int) -> memoryview:
    """Memory of this process, which the arrays of a call keep alive."""
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B")
