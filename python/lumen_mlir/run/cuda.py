# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's GPUs: a device that keeps weights and KV caches in its memory, and runs a step as one kernel."""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError
from lumen_mlir.run.code import Code, Passed
from lumen_mlir.run.copies import Copies
from lumen_mlir.run.driver_memory import DriverMemory

# Of a block: each finds 128 registers.
_WARPS = 16
# Of the team, whose barrier counts in it: blocks that arrived, and how often all met.
_TEAM_BYTES = 8


class Driver(Protocol):
    """What a device needs of a GPU: ``CudaDriver``, or what tests have in its place."""

    name: str
    capability: int

    def allocate(self, size: int) -> int: ...
    def free(self, address: int) -> None: ...
    def write(self, address: int, source: int, size: int) -> None: ...
    def read(self, address: int, target: int, size: int) -> None: ...
    def load(self, objects: Sequence[bytes]) -> Any: ...
    def unload(self, code: Any) -> None: ...
    def find_function(self, code: Any, name: str) -> Any: ...
    def find_global(self, code: Any, name: str) -> int: ...
    def launch(self, function: Any, warps: int, shared: int, arguments: Sequence[int]) -> None: ...


class Cuda:
    """A device: one GPU."""

    def __init__(self, driver: Driver):
        self._driver = driver

    def missing(self, target: Target) -> tuple[str, ...]:
        """``Device.missing``; code for an older GPU runs on a newer one."""
        if target.warp == 1:
            return (target.architecture,)
        wanted = re.match(r"sm_(\d+)", target.name)
        able = wanted is not None and self._driver.capability >= int(wanted[1])
        return () if able else (target.name,)

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        """``Device.load``."""
        return _CudaCode(objects, self._driver)


class _CudaCode:
    """Code on a GPU."""

    shares_memory = False

    def __init__(self, objects: Sequence[bytes], driver: Driver):
        self._driver = driver
        self._code = driver.load(objects)
        self._is_lost = False
        # Addresses of functions are numbers of this list, from 1 on.
        self._functions: list[Any] = []
        self._memory = DriverMemory(driver)
        self._copies = Copies(self._memory)
        # Objects of the driver outlive this one.
        weakref.finalize(self, _release, driver, self._code, self._memory).atexit = False
        self._shared = _WARPS * self.read_i64("lumen_scratch_size")
        self._team = self._memory.allocate(_TEAM_BYTES, 0)
        self._memory.write(self._team, memoryview(bytes(_TEAM_BYTES)))
        self._words, self._room = 0, 0

    def lookup(self, name: str) -> int:
        if name.startswith("lumen_entry_"):
            self._functions.append(self._driver.find_function(self._code, name))
            return len(self._functions)
        return self._driver.find_global(self._code, name)

    def read_i64(self, name: str) -> int:
        value = np.zeros(1, np.int64)
        self._driver.read(self.lookup(name), value.ctypes.data, value.nbytes)
        return int(value[0])

    def set_threads(self, threads: int) -> None:
        """A GPU has the threads that it has, whatever ``threads`` is."""

    def team(self) -> None:
        return None

    def run(self, entry: int, slots: np.ndarray, passed: Passed) -> None:
        if self._is_lost:
            raise LumenError("a forked process cannot use code that was loaded on a GPU before")
        with self._copies.passed(slots, passed) as words:
            data = words.astype("<u8").tobytes()
            if len(data) > self._room:
                if self._words:
                    self._memory.free(self._words)
                self._words, self._room = self._memory.allocate(len(data), 0), len(data)
            self._memory.write(self._words, memoryview(data))
            self._driver.launch(self._functions[entry - 1], _WARPS, self._shared, (self._words, self._team))

    def counters(self, name: str, count: int) -> np.ndarray:
        raise LumenError("kernels are profiled only where their code runs in this process, not on a GPU")

    def forget_threads(self) -> None:
        self._is_lost = True


def _release(driver: Driver, code: Any, memory: DriverMemory) -> None:
    """Gives back what code had on a GPU. What fails then is lost with it."""
    with contextlib.suppress(LumenError):
        for address in memory.addresses():
            memory.free(address)
        driver.unload(code)
