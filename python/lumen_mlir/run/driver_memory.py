# SPDX-License-Identifier: Apache-2.0
"""The memory of a GPU, through its driver, as ``Copies`` wants it."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from typing import Protocol

from lumen_mlir.errors import LumenError

# Buffers begin at the same place of a page as in this process.
_PAGE = 4096


class Driver(Protocol):
    """What is needed of a driver. Its methods raise ``LumenError``."""

    def allocate(self, size: int) -> int: ...
    def free(self, address: int) -> None: ...
    def write(self, address: int, source: int, size: int) -> None: ...
    def clear(self, address: int, size: int) -> None: ...
    def read(self, address: int, target: int, size: int) -> None: ...


class DriverMemory:
    """What was allocated through a driver (``lumen_mlir.run.copies.Memory``)."""

    def __init__(self, driver: Driver):
        self._driver = driver
        # What the driver gave, by what was given on.
        self._blocks: dict[int, int] = {}

    def allocate(self, size: int, place: int) -> int:
        block = self._driver.allocate(size + 2 * _PAGE)
        address = block + (place - block) % _PAGE
        self._blocks[address] = block
        return address

    def free(self, address: int) -> None:
        self._driver.free(self._blocks[address])
        # (What cannot be given back now is tried again at the end.)
        del self._blocks[address]

    def free_all(self) -> None:
        """Frees what is left. What cannot be given back is lost."""
        for address in list(self._blocks):
            with contextlib.suppress(LumenError):
                self.free(address)

    def write(self, address: int, data: memoryview) -> None:
        if len(data):
            # (Copies' views may be written; what is constant is copied first.)
            held = data if not data.readonly else bytearray(data)
            source = (ctypes.c_char * len(data)).from_buffer(held)
            self._driver.write(address, ctypes.addressof(source), len(data))

    def clear(self, address: int, size: int) -> None:
        self._driver.clear(address, size)

    def read(self, places: Sequence[tuple[int, memoryview]]) -> None:
        for address, data in places:
            if len(data):
                target = (ctypes.c_char * len(data)).from_buffer(data)
                self._driver.read(address, ctypes.addressof(target), len(data))
