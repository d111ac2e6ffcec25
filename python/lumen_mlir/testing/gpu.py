# SPDX-License-Identifier: Apache-2.0
"""A GPU in this process: an emulator that runs code for warps, thread by thread.

The passes are those of real GPUs; only the instructions at their end become functions of the emulator
(``runtime/emulator/``), which is compiled from a checkout of the sources. In which order threads run, up to
the next point where they wait for each other, is drawn by lot. So code that lacks a barrier shows.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lumen_mlir.compiler import targets
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError
from lumen_mlir.run import cuda_probe
from lumen_mlir.run.code import Code
from lumen_mlir.run.cuda import Cuda
from lumen_mlir.run.cuda_driver import DriverError
from lumen_mlir.testing.emulated_code import EmulatedCode, EmulatedLaunches
from lumen_mlir.testing.emulation import build_once

EMULATED = dataclasses.replace(
    targets.get("sm_80"), name="sm_80-emulated", triple="", cpu="generic", features="", needs=("warps",)
)
"""The row of a GPU, with code for this machine in place of PTX."""

EMULATED_LAUNCHES = targets.launched(EMULATED)
"""The same, with a step as launches of kernels."""

_NAMES = (EMULATED.name, EMULATED_LAUNCHES.name)

_SOURCES, _HEADERS = ("runtime/emulator/GpuEmulator.cpp",), ("runtime/emulator/GpuEmulator.h",)
# Fibers leave functions by longjmp, which checked versions of it take for an error.
_FLAGS = ("-std=c++17", "-O2", "-shared", "-fPIC", "-U_FORTIFY_SOURCE")
_COMPILERS = ("clang++-22", "c++")


class EmulatedGpu:
    """A device for ``EMULATED`` and ``EMULATED_LAUNCHES``.

    Args:
      checkout: the sources of the emulator.
      folder: where the compiled emulator is kept.
      blocks, warps: of a grid, and of a block.

    Attributes:
      seed: decides in which order threads run; may be changed between runs.
      barriers: how often all threads waited for each other in the last run.
    """

    def __init__(self, checkout: Path, folder: Path, blocks: int = 2, warps: int = 2):
        self.name = "an emulator of a GPU"
        self._checkout, self._folder = checkout, folder
        self.blocks, self.warps, self.seed = blocks, warps, 0
        self.barriers = 0

    def missing(self, target: Target) -> tuple[str, ...]:
        """``Device.missing``."""
        return () if target.name in _NAMES else (target.architecture,)

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        """``Device.load``."""
        kind = EmulatedLaunches if target.launches else EmulatedCode
        return kind(objects, self, self._library)

    def free_memory(self) -> None:
        """``Device.free_memory``: its memory is this process's."""
        return None

    @functools.cached_property
    def _library(self) -> Path:
        compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
        if compiler is None:
            raise LumenError(f"the emulator of GPUs needs a compiler: {' or '.join(_COMPILERS)}")
        return build_once(
            compiler, self._checkout, _SOURCES, _HEADERS, _FLAGS, self._folder, "lumen-gpu-emulator"
        )


class EmulatedCuda(Cuda):
    """A GPU whose driver is an ``EmulatedDriver``."""

    def missing(self, target: Target) -> tuple[str, ...]:
        """``Device.missing``."""
        return self._missing_launch(target) if target.name in _NAMES else (target.name,)


_Function = tuple["EmulatedCode | None", int]
_Launch = tuple[_Function, Sequence[int]]


@dataclasses.dataclass(frozen=True, eq=False)
class _Graph:
    """Launches that follow each other."""

    launches: Sequence[_Launch]
    warps: int
    shared: int


class EmulatedDriver:
    """In place of a GPU's driver (``lumen_mlir.run.cuda.Driver``): memory of its own, and launches.

    It runs code for ``EMULATED`` and ``EMULATED_LAUNCHES``.

    Args:
      checkout, folder, blocks: as of ``EmulatedGpu``.
      room: bytes of memory.
      refuses: the status with which it refuses cooperative launches; "" where it does not.

    Attributes:
      memory: what was allocated, by address.
      peak: most bytes that were allocated at a time.
      written: bytes that were copied to it.
      loaded: how many pieces of code are.
      graphs: those that there are; ``recorded``: how many were made.
      launched: how many launches there were.
      seed: as of ``EmulatedGpu``.
    """

    name, capability, reserved, shared, is_cooperative = "an emulator", 80, 0, 227 << 10, True

    def __init__(
        self,
        checkout: Path,
        folder: Path,
        blocks: int = 2,
        room: int = 1 << 30,
        refuses: str = "",
    ):
        self._gpu = EmulatedGpu(checkout, folder, blocks)
        self.refuses = refuses
        self.graphs: list[_Graph] = []
        self.recorded, self.launched = 0, 0
        self.processors = blocks
        self.memory: dict[int, np.ndarray] = {}
        self.room, self.peak, self.written, self.loaded = room, 0, 0, 0

    def allocate(self, size: int) -> int:
        used = size + sum(array.size for array in self.memory.values())
        if used > self.room:
            raise LumenError(f"the GPU fails at allocating {size} bytes: out of memory")
        self.peak = max(self.peak, used)
        # What is there before is no zero.
        array = np.full(size, 0xCD, np.uint8)
        self.memory[array.ctypes.data] = array
        return array.ctypes.data

    def memory_info(self) -> tuple[int, int]:
        return self.room - sum(array.size for array in self.memory.values()), self.room

    def free(self, address: int) -> None:
        self.memory.pop(address)[:] = 0xCD

    def write(self, address: int, source: int, size: int) -> None:
        self._check(address, size)
        self.written += size
        ctypes.memmove(address, source, size)

    def clear(self, address: int, size: int) -> None:
        self._check(address, size)
        ctypes.memset(address, 0, size)

    def read(self, address: int, target: int, size: int) -> None:
        ctypes.memmove(target, address, size)

    @property
    def seed(self) -> int:
        return self._gpu.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._gpu.seed = seed

    def load(self, objects: Sequence[bytes]) -> EmulatedCode | None:
        self.loaded += 1
        # (There is no assembler for a probe, which does nothing.)
        if tuple(objects) == (cuda_probe.probe().encode(),):
            return None
        return EmulatedCode(objects, self._gpu, self._gpu._library)

    def unload(self, code: EmulatedCode | None) -> None:
        self.loaded -= 1

    def find_function(self, code: EmulatedCode | None, name: str) -> _Function:
        return code, code.lookup(name) if code else 0

    def find_global(self, code: EmulatedCode, name: str) -> int:
        return code.lookup(name)

    def occupancy(self, function: _Function, warps: int, shared: int) -> int:
        return 1

    def launch(self, function: _Function, warps: int, shared: int, arguments: Sequence[int]) -> None:
        if self.refuses:
            raise DriverError(f"the GPU fails at starting code: {self.refuses}", self.refuses)
        self._start(function, warps, shared, arguments)

    def record(self, launches: Sequence[_Launch], warps: int, shared: int) -> _Graph:
        self.recorded += 1
        # A copy, as graphs have it.
        graph = _Graph([(function, tuple(arguments)) for function, arguments in launches], warps, shared)
        self.graphs.append(graph)
        return graph

    def forget(self, graph: _Graph) -> None:
        self.graphs.remove(graph)

    def run(self, graph: _Graph) -> None:
        if graph not in self.graphs:
            raise LumenError("a graph that was given back cannot be launched")
        warps, shared = graph.warps, graph.shared
        for function, arguments in graph.launches:
            self._start(function, warps, shared, arguments)
            # One launch ends before the next one begins, and no thread waits for those of other blocks.
            if self._gpu.barriers:
                raise LumenError("blocks of a launch wait for each other")

    def _start(self, function: _Function, warps: int, shared: int, arguments: Sequence[int]) -> None:
        code, entry = function
        words, team = arguments
        if code is None:
            return
        self._check(words, ctypes.sizeof(ctypes.c_uint64))
        self._check(team, code.team_bytes(self.processors))
        if shared < warps * code.scratch:
            raise LumenError(f"{warps} warps have {shared} bytes of memory to share")
        self.launched += 1
        code.start(entry, words, team)

    def _check(self, address: int, size: int) -> None:
        if not any(
            begin <= address and address + size <= begin + each.size for begin, each in self.memory.items()
        ):
            raise LumenError(f"{size} bytes at {address} are not the GPU's")
