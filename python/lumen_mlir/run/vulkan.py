# SPDX-License-Identifier: Apache-2.0
"""Devices of Vulkan: they keep weights and KV caches in their memory, and run kernels one after the other."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

from lumen_mlir.compiler import targets
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError
from lumen_mlir.run import launched_code
from lumen_mlir.run.code import Code
from lumen_mlir.run.device_name import DeviceName
from lumen_mlir.run.launched_code import LaunchedCode, Launches
from lumen_mlir.run.vulkan_driver import VulkanDriver, count_devices


class Driver(launched_code.Driver, Protocol):
    """What a device needs of Vulkan: ``VulkanDriver``."""

    name: str

    def allocate(self, size: int, shared: bool = False) -> int: ...
    def record(self, shaders: Any, launches: Sequence[tuple[int, int]]) -> Any: ...


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
        return () if target.has_shaders else (target.architecture,)

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        """``Device.load``: shaders by their number, and the object of what calls them."""
        return _VulkanCode(objects, self._driver)


class _VulkanCode(LaunchedCode):
    """Shaders, and code of this process that says which of them run."""

    def __init__(self, objects: Sequence[bytes], driver: Driver):
        *shaders, calls = objects
        self._driver = driver
        super().__init__(driver, shaders, calls)

    def _make_room(self, size: int) -> int:
        address = self._driver.allocate(size, shared=True)
        weakref.finalize(self, _free, self._driver, address).atexit = False
        return address

    def _record(self, launches: Launches) -> Any:
        return self._driver.record(self._kernels, launches)


def _free(driver: Driver, address: int) -> None:
    with contextlib.suppress(LumenError):
        driver.free(address)
