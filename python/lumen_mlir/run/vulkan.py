# SPDX-License-Identifier: Apache-2.0
"""Devices of Vulkan: they keep weights and KV caches in their memory, and run kernels one after the other.

What calls kernels is code for this machine's CPU. It writes down which kernels to launch, and with what
(``lumen-record-launches``): for an entry always the same kernels, so that a device records them once.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from lumen_mlir._mlir import codegen
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import launches
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError
from lumen_mlir.run import driver_memory
from lumen_mlir.run.code import Code, Passed
from lumen_mlir.run.device_name import DeviceName
from lumen_mlir.run.driver_memory import DriverMemory
from lumen_mlir.run.gpu_code import GpuCode
from lumen_mlir.run.vulkan_driver import VulkanDriver, count_devices

_WORD = 8

_Launches = list[tuple[int, int]]
_Recorded = dict[int, tuple[_Launches, Any]]
_Entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class Driver(driver_memory.Driver, Protocol):
    """What a device needs of Vulkan: ``VulkanDriver``."""

    name: str

    def allocate(self, size: int, shared: bool = False) -> int: ...
    def load(self, objects: Sequence[bytes]) -> Any: ...
    def unload(self, shaders: Any) -> None: ...
    def record(self, shaders: Any, launches: Sequence[tuple[int, int]]) -> Any: ...
    def forget(self, commands: Any) -> None: ...
    def run(self, commands: Any) -> None: ...


@functools.cache
def open_gpu(number: int) -> Vulkan:
    """The device of this number. Raises ``LumenError`` where it is not there."""
    return Vulkan(VulkanDriver(number), number)


def count_gpus() -> int:
    """How many devices there are. Raises ``LumenError`` where Lumen cannot use any, and says why."""
    return count_devices()


def describe_gpu(number: int) -> dict[str, Any]:
    """The fields of ``DeviceInfo`` of a device."""
    driver = VulkanDriver(number)
    gpu = Vulkan(driver, number)
    target = next(target for target in targets.TARGETS if not gpu.missing(target))
    return {"device": gpu.name, "name": driver.name, "target": target.name, "memory_total": driver.memory}


class Vulkan:
    """A device.

    Args:
      driver: of the device.
      number: by which people know it.
    """

    def __init__(self, driver: Driver, number: int = 0):
        self.name = str(DeviceName("vulkan", number))
        self._driver = driver

    def __str__(self) -> str:
        return f"{self.name} ({self._driver.name})"

    def free_memory(self) -> None:
        """``Device.free_memory``: Vulkan does not say."""
        return None

    def missing(self, target: Target) -> tuple[str, ...]:
        """``Device.missing``."""
        return () if launches(target) else (target.architecture,)

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        """``Device.load``: shaders by their number, and the object of what calls them."""
        return _VulkanCode(objects, self._driver)


class _VulkanCode(GpuCode):
    """Shaders, and code of this process that says which of them run."""

    def __init__(self, objects: Sequence[bytes], driver: Driver):
        super().__init__(driver)
        *shaders, calls = objects
        self._driver = driver
        self._calls = codegen.ObjectFile(calls)
        self._shaders = driver.load(shaders)
        # By entry: which launches were recorded, and their commands.
        self._recorded: _Recorded = {}
        # Objects of the driver outlive this one.
        weakref.finalize(self, _release, driver, self._shaders, self._recorded, self._memory).atexit = False
        # As the code writes it: how many words follow, and launches.
        self._list = np.zeros(self._calls.read_i64("lumen_launch_words"), np.uint64)
        self._words = driver.allocate(self._list.nbytes, shared=True)
        weakref.finalize(self, _free, driver, self._words).atexit = False

    def lookup(self, name: str) -> int:
        return self._calls.lookup(name)

    def read_i64(self, name: str) -> int:
        return self._calls.read_i64(name)

    def run(self, entry: int, slots: np.ndarray, passed: Passed) -> None:
        self._check()
        with self._copies.passed(slots, passed) as words:
            self._list[0] = 0
            _Entry(entry)(words.ctypes.data, self._list.ctypes.data)
            commands = self._commands(entry, self._launches())
            self._driver.write(self._words, self._list.ctypes.data, self._list.nbytes)
            self._driver.run(commands)

    def _launches(self) -> _Launches:
        """The numbers of shaders, and where on the device their words are."""
        words, at = self._list.tolist(), 1
        launches: _Launches = []
        while at <= words[0]:
            launches.append((words[at], self._words + _WORD * (at + 2)))
            at += 2 + words[at + 1]
        return launches

    def _commands(self, entry: int, launches: _Launches) -> Any:
        known, commands = self._recorded.get(entry, ([], None))
        if commands is None or known != launches:
            if commands is not None:
                self._driver.forget(commands)
            commands = self._driver.record(self._shaders, launches)
            self._recorded[entry] = launches, commands
        return commands


def _release(driver: Driver, shaders: Any, recorded: _Recorded, memory: DriverMemory) -> None:
    """Gives back what code had on a device. What fails then is lost with it."""
    for _, commands in recorded.values():
        with contextlib.suppress(LumenError):
            driver.forget(commands)
    memory.free_all()
    with contextlib.suppress(LumenError):
        driver.unload(shaders)


def _free(driver: Driver, address: int) -> None:
    with contextlib.suppress(LumenError):
        driver.free(address)
