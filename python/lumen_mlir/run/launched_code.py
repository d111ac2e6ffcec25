# SPDX-License-Identifier: Apache-2.0
"""Code on a GPU that runs kernels one after the other, whichever driver launches them.

What calls kernels is code for this machine's CPU. It writes down which kernels to launch, and with what
(``lumen-record-launches``): for an entry always the same kernels, at the same places of the list. So a device
records its launches once, and a step writes words and starts them.
"""

from __future__ import annotations

import contextlib
import ctypes
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.run import driver_memory
from lumen_mlir.run.code import Passed
from lumen_mlir.run.device import LoadedCode
from lumen_mlir.run.driver_memory import DriverMemory
from lumen_mlir.run.gpu_code import GpuCode

_WORD = 8

Launches = list[tuple[int, int]]
"""The number of a kernel, and the address on the device of what it takes."""

_Entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class Driver(driver_memory.Driver, Protocol):
    """What is needed of a driver. Its methods raise ``LumenError``."""

    def load(self, objects: Sequence[bytes]) -> Any: ...
    def unload(self, code: Any) -> None: ...
    def forget(self, recorded: Any) -> None: ...
    def run(self, recorded: Any) -> None: ...


def read_launches(words: np.ndarray, address: int) -> Launches:
    """The launches of a list, which is or will be at an address of the device."""
    launches: Launches = []
    at = 1
    while at <= words[0]:
        launches.append((int(words[at]), address + _WORD * (at + 2)))
        at += 2 + int(words[at + 1])
    return launches


def read_names(calls: LoadedCode) -> list[str]:
    """The names of kernels, by number, of the object of what calls them."""
    return ctypes.string_at(calls.lookup("lumen_launch_names")).decode().split()


class LaunchedCode(GpuCode):
    """Kernels, and code of this process that says which of them run.

    Args:
      driver: of the GPU.
      kernels: what the driver loads.
      calls: the object of what calls them.
    """

    def __init__(self, driver: Driver, kernels: Sequence[bytes], calls: bytes):
        super().__init__(driver)
        self._calls = LoadedCode([calls])
        self._launcher = driver
        self._kernels = driver.load(kernels)
        # By entry: what the driver made of its launches.
        self._recorded: dict[int, Any] = {}
        # Objects of the driver outlive this one.
        weakref.finalize(self, _release, driver, self._kernels, self._recorded, self._memory).atexit = False
        # As the code writes it: how many words follow, and launches.
        self._list = np.zeros(self._calls.read_i64("lumen_launch_words"), np.uint64)
        # Its address on the device, from the first run on: what is free is counted before.
        self._words = 0

    def lookup(self, name: str) -> int:
        return self._calls.lookup(name)

    def read_i64(self, name: str) -> int:
        return self._calls.read_i64(name)

    def run(self, entry: int, slots: np.ndarray, passed: Passed) -> None:
        self._check()
        with self._copies.passed(slots, passed) as words:
            self._list[0] = 0
            _Entry(entry)(words.ctypes.data, self._list.ctypes.data)
            if not self._words:
                self._words = self._make_room(self._list.nbytes)
            if entry not in self._recorded:
                self._recorded[entry] = self._record(read_launches(self._list, self._words))
            self._launcher.write(self._words, self._list.ctypes.data, _WORD * (int(self._list[0]) + 1))
            self._launcher.run(self._recorded[entry])

    def _make_room(self, size: int) -> int:
        """The address of memory of the device for the list."""
        return self._memory.allocate(size, 0)

    def _record(self, launches: Launches) -> Any:
        """What the driver runs when it is to launch these."""
        raise NotImplementedError


def _release(driver: Driver, kernels: Any, recorded: dict[int, Any], memory: DriverMemory) -> None:
    """Gives back what code had on a device. What fails then is lost with it."""
    for each in recorded.values():
        with contextlib.suppress(LumenError):
            driver.forget(each)
    memory.free_all()
    with contextlib.suppress(LumenError):
        driver.unload(kernels)
