# SPDX-License-Identifier: Apache-2.0
"""Code that runs in another process, a runner, for targets that this machine cannot run.

The runner (``runtime/runner/Runner.cpp``) is a program of the other architecture that an emulator starts. It
reads requests and writes answers, so its command may lead to another machine too. A program that is loaded
has a runner of its own, which ends with it.
"""

from __future__ import annotations

import ctypes
import functools
import shlex
import struct
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lumen_mlir.compiler.linking import link_shared
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError
from lumen_mlir.run.code import Code, Passed
from lumen_mlir.run.runner_process import RunnerProcess

# What a request begins with.
_LOAD, _LOOKUP, _READ, _SET_THREADS, _ALLOCATE, _FREE, _WRITE, _RUN = range(1, 9)
# Buffers begin at the same place of a page as in this process, so that alignments are the same.
_PAGE = 4096


class Runner:
    """A device: the machine that a command starts a runner on.

    Attributes:
      command: what starts a runner.
      architecture: LLVM's name of what it runs.
      features: of its CPU, by LLVM's names.

    Raises:
      LumenError: the command does not start a runner of this version.
    """

    def __init__(self, command: Sequence[str]):
        self.command = tuple(command)
        self.architecture, *self.features = _machine_of(self.command)

    def missing(self, target: Target) -> tuple[str, ...]:
        if target.architecture != self.architecture:
            return (target.architecture,)
        return tuple(feature for feature in target.needs if feature not in self.features)

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        return _RemoteCode(self.command, link_shared(objects, self.architecture))

    def __repr__(self) -> str:
        return f"Runner({shlex.join(self.command)!r})"


@functools.cache
def _machine_of(command: tuple[str, ...]) -> tuple[str, ...]:
    """The architecture and the features that a runner tells."""
    process = RunnerProcess(command)
    process.stop()
    return tuple(process.greeting.split())


@dataclass
class _Memory:
    """Memory of the runner that stands for a buffer of this process.

    ``layout``: bytes, and where in a page they begin. ``holds``: the address of a kept buffer whose bytes are
    there already; else 0.
    """

    address: int
    layout: tuple[int, int]
    holds: int = 0


class _RemoteCode:
    """A shared library in a runner."""

    def __init__(self, command: Sequence[str], library: bytes):
        self._process = RunnerProcess(command)
        weakref.finalize(self, self._process.stop)
        self._process.send(_words(_LOAD, len(library)), library)
        self._process.receive()
        # By the call that they belong to, and the number of a word of it.
        self._memories: weakref.WeakKeyDictionary[Passed, dict[int, _Memory]] = weakref.WeakKeyDictionary()
        # Of calls that are gone.
        self._left: list[dict[int, _Memory]] = []

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

    def run(self, entry: int, slots: np.ndarray, passed: Passed) -> None:
        while self._left:
            for memory in self._left.pop().values():
                self._process.send(_words(_FREE, memory.address))
        held = self._memories.get(passed)
        if held is None:
            held = self._memories[passed] = {}
            weakref.finalize(passed, self._left.append, held).atexit = False
        words, back = slots.copy(), []
        for buffer in passed.buffers():
            address = int(slots[buffer.slot])
            memory = self._memory(held, buffer.slot, (buffer.size, address % _PAGE))
            words[buffer.slot] = memory.address
            if buffer.scratch:
                continue
            if memory.holds != address:
                self._process.send(
                    _words(_WRITE, memory.address, buffer.size), _bytes_at(address, buffer.size)
                )
            memory.holds = address if buffer.kept else 0
            if buffer.written and not buffer.kept:
                back.append((memory, address))
        self._process.send(_words(_RUN, entry, len(words)), words.astype("<u8").tobytes())
        for memory, _ in back:
            self._process.send(_words(_READ, memory.address, memory.layout[0]))
        self._process.receive()
        for memory, address in back:
            self._process.receive_into(_bytes_at(address, memory.layout[0]))

    def counters(self, name: str, count: int) -> np.ndarray:
        raise LumenError("kernels are profiled only where their code runs in this process, not by a runner")

    def forget_threads(self) -> None:
        self._process.abandon("a forked process cannot use code that a runner has loaded before")

    def _memory(self, held: dict[int, _Memory], slot: int, layout: tuple[int, int]) -> _Memory:
        memory = held.get(slot)
        if memory is not None and memory.layout == layout:
            return memory
        if memory is not None:
            del held[slot]
            self._process.send(_words(_FREE, memory.address))
        self._process.send(_words(_ALLOCATE, *layout))
        memory = held[slot] = _Memory(self._receive_word(), layout)
        return memory

    def _receive_word(self) -> int:
        answer = bytearray(8)
        self._process.receive_into(memoryview(answer))
        return int.from_bytes(answer, "little")


def _words(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}Q", *words)


def _bytes_at(address: int, size: int) -> memoryview:
    """Memory of this process, which the arrays of a call keep alive."""
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B")
