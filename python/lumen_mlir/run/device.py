# SPDX-License-Identifier: Apache-2.0
"""Where compiled code runs: in this process, or elsewhere for targets that this machine cannot run.

A device loads the objects of a program and calls their entries. The arrays of a call lie in this process;
a device with memory of its own copies what ``Buffer`` says.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lumen_mlir import env
from lumen_mlir._mlir import codegen
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError
from lumen_mlir.support.threads import ThreadTeam


@dataclass(frozen=True)
class Buffer:
    """Memory whose address a word of a call is.

    Attributes:
      slot: the number of the word.
      size: bytes.
      written: the code changes what is there.
      kept: from one run of the call to the next, nothing but its code reads or writes it.
      scratch: what is there before and after a run matters to nobody.
    """

    slot: int
    size: int
    written: bool = False
    kept: bool = False
    scratch: bool = False


class Passed(Protocol):
    """The arguments of one call, which may run many times."""

    def buffers(self) -> Iterable[Buffer]:
        """The memory that the words of the call stand for, as they are now."""


class Code(Protocol):
    """Loaded objects, and the team of threads that runs them. Its methods raise ``LumenError``.

    Who calls them sees to it that no two run at the same time.
    """

    def lookup(self, name: str) -> int:
        """The address of a symbol, where the code runs."""

    def read_i64(self, name: str) -> int:
        """The value of a 64-bit integer global."""

    def set_threads(self, threads: int) -> None:
        """Runs with a team of another size from now on."""

    def run(self, entry: int, slots: np.ndarray, passed: Passed) -> None:
        """Calls the entry at this address. ``slots``: its words (uint64), with addresses of this process.

        A device that shares the memory of this process does not ask ``passed``.
        """

    def counters(self, name: str, count: int) -> np.ndarray:
        """So many 64-bit integers that the code counts in, in place: int64 [count]."""

    def forget_threads(self) -> None:
        """In a forked child: goes on with threads of its own, or raises at the next use."""


class Device(Protocol):
    """What runs code for some targets."""

    def missing(self, target: Target) -> tuple[str, ...]:
        """What it lacks to run code for a target: the architecture, or features of the CPU."""

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        """Links object files with each other. ``Code.set_threads`` comes before the first run."""


class ThisProcess:
    """The device that every machine has."""

    def missing(self, target: Target) -> tuple[str, ...]:
        return target.missing()

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        return _LoadedCode(objects)


class _LoadedCode:
    """Code in this process."""

    def __init__(self, objects: Sequence[bytes]):
        self._object = codegen.ObjectFile(list(objects))
        self._team: ThreadTeam | None = None
        self._threads = 1

    def lookup(self, name: str) -> int:
        return self._object.lookup(name)

    def read_i64(self, name: str) -> int:
        return self._object.read_i64(name)

    def set_threads(self, threads: int) -> None:
        self._team = _team_of(threads)
        self._threads = threads

    def run(self, entry: int, slots: np.ndarray, passed: Passed) -> None:
        team = self._team
        if team is None:
            team = self._team = _team_of(self._threads)
        team.run(entry, slots)

    def counters(self, name: str, count: int) -> np.ndarray:
        words = (ctypes.c_int64 * count).from_address(self._object.lookup(name))
        # The counters are gone when the object is.
        words.owner = self._object  # type: ignore[attr-defined]
        return np.frombuffer(words, np.int64)  # type: ignore[call-overload]

    def forget_threads(self) -> None:
        # Those of the team exist in the parent only, perhaps amid a call.
        self._team = None


def _team_of(threads: int) -> ThreadTeam:
    try:
        return ThreadTeam(threads)
    except RuntimeError as error:
        raise LumenError(f"a team of {threads} threads cannot be started: {error}") from None


_this_process = ThisProcess()
_others: list[Device] = []


@contextlib.contextmanager
def using(other: Device) -> Iterator[None]:
    """Inside, targets that ``other`` can run are run by it, even those that this process could run."""
    _others.append(other)
    try:
        yield
    finally:
        _others.remove(other)


def of(target: Target) -> Device:
    """The device that runs code for ``target``.

    That is one of ``using``, else this process, else the program that ``LUMEN_RUNNER`` names.

    Raises:
      LumenError: says what is lacking where none of them can run it, or that the program does not work.
    """
    for other in reversed(_others):
        if not other.missing(target):
            return other
    if not _this_process.missing(target):
        return _this_process
    command = env.RUNNER.get()
    if not command:
        targets.check_runs(target)
        return _this_process
    from lumen_mlir.run.runner import Runner

    runner = Runner(command)
    if missing := runner.missing(target):
        raise LumenError(
            f"the runner ({runner.architecture}) cannot run code for target {target.name}: "
            f"it lacks {', '.join(missing)}"
        )
    return runner


def check_runs(target: Target) -> Target:
    """``target``, if a device runs its code; ``LumenError`` says what is lacking otherwise."""
    of(target)
    return target
