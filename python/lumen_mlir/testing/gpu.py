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
from lumen_mlir.run.code import Code, Passed
from lumen_mlir.run.cuda import Cuda
from lumen_mlir.run.device import LoadedCode
from lumen_mlir.testing.emulation import build_once

EMULATED = dataclasses.replace(
    targets.get("sm_80"), name="sm_80-emulated", triple="", cpu="generic", features="", needs=("warps",)
)
"""The row of a GPU, with code for this machine in place of PTX."""

_SOURCES, _HEADERS = ("runtime/emulator/GpuEmulator.cpp",), ("runtime/emulator/GpuEmulator.h",)
# Fibers leave functions by longjmp, which checked versions of it take for an error.
_FLAGS = ("-std=c++17", "-O2", "-shared", "-fPIC", "-U_FORTIFY_SOURCE")
_COMPILERS = ("clang++-22", "c++")
_ERRORS = {
    1: "a grid has at least one block of one warp",
    2: "no memory for the stacks of so many threads",
    3: "its threads wait for each other for ever",
}


class EmulatedGpu:
    """A device for ``EMULATED``.

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
        return () if target.name == EMULATED.name else (target.architecture,)

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        """``Device.load``."""
        return _EmulatedCode(objects, self, self._library)

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
        return () if target.name == EMULATED.name else (target.name,)


class EmulatedDriver:
    """In place of a GPU's driver (``lumen_mlir.run.cuda.Driver``): memory of its own, and launches.

    It runs code for ``EMULATED``.

    Args:
      checkout, folder, blocks: as of ``EmulatedGpu``.
      room: bytes of memory.

    Attributes:
      memory: what was allocated, by address.
      peak: most bytes that were allocated at a time.
      written: bytes that were copied to it.
      loaded: how many pieces of code are.
    """

    name, capability, reserved, shared = "an emulator", 80, 0, 227 << 10

    def __init__(self, checkout: Path, folder: Path, blocks: int = 2, room: int = 1 << 30):
        self._gpu = EmulatedGpu(checkout, folder, blocks)
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

    def load(self, objects: Sequence[bytes]) -> _EmulatedCode:
        self.loaded += 1
        return _EmulatedCode(objects, self._gpu, self._gpu._library)

    def unload(self, code: _EmulatedCode) -> None:
        self.loaded -= 1

    def find_function(self, code: _EmulatedCode, name: str) -> tuple[_EmulatedCode, int]:
        return code, code.lookup(name)

    def find_global(self, code: _EmulatedCode, name: str) -> int:
        return code.lookup(name)

    def launch(
        self, function: tuple[_EmulatedCode, int], warps: int, shared: int, arguments: Sequence[int]
    ) -> None:
        code, entry = function
        words, team = arguments
        self._check(team, code.team_bytes(self.processors))
        if shared < warps * code.scratch:
            raise LumenError(f"{warps} warps have {shared} bytes of memory to share")
        code.start(entry, words, team)

    def _check(self, address: int, size: int) -> None:
        if not any(
            begin <= address and address + size <= begin + each.size for begin, each in self.memory.items()
        ):
            raise LumenError(f"{size} bytes at {address} are not the GPU's")


class _EmulatedCode:
    """Code in this process, which calls the emulator."""

    shares_memory = True
    own_bytes = 0

    def __init__(self, objects: Sequence[bytes], gpu: EmulatedGpu, library: Path):
        self._gpu = gpu
        self._object = LoadedCode(objects, (str(library),))
        emulator = ctypes.CDLL(str(library))
        self._start, self._barriers = emulator.lumen_gpu_run, emulator.lumen_gpu_barriers
        self._barriers.restype = ctypes.c_int64
        self._start.argtypes = (
            *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int),
            *(ctypes.c_int64, ctypes.c_uint64),
        )
        self.scratch = self.read_i64("lumen_scratch_size")
        counters = self.read_i64("lumen_team_size")
        self._team = np.full(self.team_bytes(gpu.blocks), 0xCD, np.uint8)
        self._team[:counters] = 0

    def team_bytes(self, blocks: int) -> int:
        """What so many blocks count in, and their memory."""
        return self.read_i64("lumen_team_size") + blocks * self.read_i64("lumen_block_size")

    def lookup(self, name: str) -> int:
        return self._object.lookup(name)

    def read_i64(self, name: str) -> int:
        return self._object.read_i64(name)

    def set_threads(self, threads: int) -> None:
        """A grid is as large as its device says, whatever ``threads`` is."""

    def team(self) -> None:
        return None

    def hold(self, slots: np.ndarray, passed: Passed) -> None:
        return None

    def run(self, entry: int, slots: np.ndarray, passed: Passed) -> None:
        self.start(entry, slots.ctypes.data, self._team.ctypes.data)

    def start(self, entry: int, words: int, team: int) -> None:
        """Runs an entry with words, and memory for its team, at these addresses."""
        gpu = self._gpu
        error = self._start(entry, words, team, gpu.blocks, gpu.warps, self.scratch, gpu.seed)
        if error:
            raise LumenError(f"the emulator of a GPU says: {_ERRORS[error]}")
        gpu.barriers = self._barriers()

    def counters(self, name: str, count: int) -> np.ndarray:
        raise LumenError(
            "kernels are profiled only where their code runs in this process, not in an emulator"
        )

    def forget_threads(self) -> None:
        pass
