# SPDX-License-Identifier: Apache-2.0
"""What a device is to an engine: it loads the objects of a program and calls their entries.

The arrays of a call lie in this process; a device with memory of its own copies what ``Buffer`` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lumen_mlir.compiler.targets import Target

if TYPE_CHECKING:
    from lumen_mlir.support.threads import ThreadTeam


@dataclass(frozen=True)
class Buffer:
    """Memory whose address a word of a call is.

    Attributes:
      slot: the number of the word.
      size: bytes.
      written: the code changes what is there.
      kept: from one run of the call to the next, nothing but its code reads or writes it.
      zero: kept, and only zeros before the first run.
      version: of a kept buffer: another one where its bytes were changed nevertheless.
      scratch: what is there before and after a run matters to nobody.
      on_demand: written as a whole, and read back only where somebody asks for it.
    """

    slot: int
    size: int
    written: bool = False
    kept: bool = False
    zero: bool = False
    version: int = 0
    scratch: bool = False
    on_demand: bool = False


class Passed(Protocol):
    """The arguments of one call, which may run many times."""

    def buffers(self) -> Iterable[Buffer]:
        """The memory that the words of the call stand for, as they are now."""


class Held(Protocol):
    """What a call has in the memory of a device, after its runs, too. Its methods raise ``LumenError``."""

    def read(self, slot: int, places: Sequence[tuple[int, memoryview]]) -> None:
        """Copies bytes from places of the buffer of a word into memory of this process."""

    def write(self, slot: int, places: Sequence[tuple[int, memoryview]]) -> None:
        """Copies bytes of this process to places of the buffer of a word."""


class Code(Protocol):
    """Loaded objects, and the team of threads that runs them. Its methods raise ``LumenError``.

    Attributes:
      shares_memory: whether it works on the arrays of this process themselves.
      own_bytes: memory that its runs take besides what they are passed.

    Who calls them sees to it that no two run at the same time.
    """

    shares_memory: bool
    own_bytes: int

    def lookup(self, name: str) -> int:
        """The address of a symbol, where the code runs."""

    def read_i64(self, name: str) -> int:
        """The value of a 64-bit integer global."""

    def set_threads(self, threads: int) -> None:
        """Runs with a team of another size from now on."""

    def team(self) -> ThreadTeam | None:
        """The threads that run it; None where these are not of this process."""

    def hold(self, slots: np.ndarray, passed: Passed) -> Held | None:
        """Takes over what a call keeps, before its first run; None where the arrays stay in use."""

    def run(self, entry: int, slots: np.ndarray, passed: Passed) -> None:
        """Calls the entry at this address. ``slots``: its words (uint64), with addresses of this process.

        A device that shares the memory of this process does not ask ``passed``.
        """

    def counters(self, name: str, count: int) -> np.ndarray:
        """So many 64-bit integers that the code counts in, in place: int64 [count]."""

    def forget_threads(self) -> None:
        """In a forked child: goes on with threads of its own, or raises at the next use."""


class Device(Protocol):
    """What runs code for some targets.

    Attributes:
      name: what people call it, such as "cpu" or "cuda:0".
    """

    name: str

    def missing(self, target: Target) -> tuple[str, ...]:
        """What it lacks to run code for a target: the architecture, or features of the CPU."""

    def free_memory(self) -> int | None:
        """Bytes of memory of its own that are free; None where it has none, or nobody knows."""

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        """Links object files with each other. ``Code.set_threads`` comes before the first run."""
