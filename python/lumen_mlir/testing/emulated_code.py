# SPDX-License-Identifier: Apache-2.0
"""Code for the emulator of a GPU, in this process: a step as one kernel, or as launches of several."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.run.code import Passed
from lumen_mlir.run.device import LoadedCode
from lumen_mlir.run.launched_code import read_launches, read_names

_Entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_ERRORS = {
    1: "a grid has at least one block of one warp",
    2: "no memory for the stacks of so many threads",
    3: "its threads wait for each other for ever",
}


class Grid(Protocol):
    """What runs code: ``EmulatedGpu``."""

    blocks: int
    warps: int
    seed: int
    barriers: int


class EmulatedCode:
    """Code that calls the emulator. ``library``: where that is."""

    shares_memory = True
    own_bytes = 0

    def __init__(self, objects: Sequence[bytes], gpu: Grid, library: Path):
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


class EmulatedLaunches(EmulatedCode):
    """Kernels that are launched one after the other. ``objects``: theirs, and that of what calls them."""

    def __init__(self, objects: Sequence[bytes], gpu: Grid, library: Path):
        kernels, calls = objects
        self._calls = LoadedCode([calls])
        super().__init__([kernels], gpu, library)
        self._entries = [self._object.lookup(f"lumen_entry_{name}") for name in read_names(self._calls)]
        self._list = np.zeros(self._calls.read_i64("lumen_launch_words"), np.uint64)

    def lookup(self, name: str) -> int:
        return self._calls.lookup(name)

    def read_i64(self, name: str) -> int:
        return self._calls.read_i64(name)

    def run(self, entry: int, slots: np.ndarray, passed: Passed) -> None:
        self._list[0] = 0
        _Entry(entry)(slots.ctypes.data, self._list.ctypes.data)
        for number, words in read_launches(self._list, self._list.ctypes.data):
            self.start(self._entries[number], words, self._team.ctypes.data)
