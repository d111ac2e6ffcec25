# SPDX-License-Identifier: Apache-2.0
"""Code that runs in another process, a runner, for targets that this machine cannot run.

The runner (``runtime/runner/Runner.cpp``) is a program of the other architecture that an emulator starts. It
reads requests and writes answers, so its command may lead to another machine too. A program that is loaded
has a runner of its own, which ends with it.
"""

from __future__ import annotations

import functools
import shlex
import struct
import weakref
from collections.abc import Sequence

import numpy as np

from lumen_mlir.compiler.linking import link_shared
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError
from lumen_mlir.run.code import Code, Passed
from lumen_mlir.run.copies import Copies
from lumen_mlir.run.runner_process import RunnerProcess

# What a request begins with.
_LOAD, _LOOKUP, _READ, _SET_THREADS, _ALLOCATE, _FREE, _WRITE, _RUN = range(1, 9)


class Runner:
    """A device: the machine that a command starts a runner on.

    Attributes:
      name: "runner".
      command: what starts a runner.
      architecture: LLVM's name of what it runs.
      features: of its CPU, by LLVM's names.

    Raises:
      LumenError: the command does not start a runner of this version.
    """

    def __init__(self, command: Sequence[str]):
        self.name = "runner"
        self.command = tuple(command)
        self.architecture, *self.features = _machine_of(self.command)

    def missing(self, target: Target) -> tuple[str, ...]:
        if target.architecture != self.architecture:
            return (target.architecture,)
        return tuple(feature for feature in target.needs if feature not in self.features)

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        return _RemoteCode(self.command, link_shared(objects, self.architecture))

    def free_memory(self) -> None:
        return None

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Runner({shlex.join(self.command)!r})"


@functools.cache
def _machine_of(command: tuple[str, ...]) -> tuple[str, ...]:
    """The architecture and the features that a runner tells."""
    process = RunnerProcess(command)
    process.stop()
    return tuple(process.greeting.split())


class _RemoteCode:
    """A shared library in a runner."""

    shares_memory = False
    own_bytes = 0

    def __init__(self, command: Sequence[str], library: bytes):
        self._process = RunnerProcess(command)
        weakref.finalize(self, self._process.stop)
        self._process.send(_words(_LOAD, len(library)), library)
        self._process.receive()
        self._copies = Copies(_RemoteMemory(self._process))

    def lookup(self, name: str) -> int:
        data = name.encode()
        self._process.send(_words(_LOOKUP, len(data)), data)
        return self._receive_word()

    def read_i64(self, name: str) -> int:
        self._process.send(_words(_READ, self.lookup(name), 8))
        return int(np.array(self._receive_word(), np.uint64).view(np.int64))

    def set_threads(self, threads: int) -> None:
        self._process.send(_words(_SET_THREADS, threads))
        self._process.receive()

    def team(self) -> None:
        return None

    def hold(self, slots: np.ndarray, passed: Passed) -> None:
        # It does so with the first run.
        return None

    def run(self, entry: int, slots: np.ndarray, passed: Passed) -> None:
        with self._copies.passed(slots, passed) as words:
            self._process.send(_words(_RUN, entry, len(words)), words.astype("<u8").tobytes())

    def counters(self, name: str, count: int) -> np.ndarray:
        raise LumenError("kernels are profiled only where their code runs in this process, not by a runner")

    def forget_threads(self) -> None:
        self._process.abandon("a forked process cannot use code that a runner has loaded before")

    def _receive_word(self) -> int:
        return _receive_word(self._process)


class _RemoteMemory:
    """The memory of a runner."""

    def __init__(self, process: RunnerProcess):
        self._process = process

    def allocate(self, size: int, place: int) -> int:
        self._process.send(_words(_ALLOCATE, size, place))
        return _receive_word(self._process)

    def free(self, address: int) -> None:
        self._process.send(_words(_FREE, address))

    def write(self, address: int, data: memoryview) -> None:
        self._process.send(_words(_WRITE, address, len(data)), data)

    def clear(self, address: int, size: int) -> None:
        self.write(address, memoryview(bytes(size)))

    def read(self, places: Sequence[tuple[int, memoryview]]) -> None:
        for address, data in places:
            self._process.send(_words(_READ, address, len(data)))
        # Of the run.
        self._process.receive()
        for _, data in places:
            self._process.receive_into(data)


def _receive_word(process: RunnerProcess) -> int:
    answer = bytearray(8)
    process.receive_into(memoryview(answer))
    return int.from_bytes(answer, "little")


def _words(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}Q", *words)
