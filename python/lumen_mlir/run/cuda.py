# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's GPUs: a device that keeps weights and KV caches in its memory, and runs a step as one kernel."""

from __future__ import annotations

import contextlib
import functools
import re
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from lumen_mlir.compiler import targets
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError
from lumen_mlir.run.code import Code, Passed
from lumen_mlir.run.cuda_driver import CudaDriver, count, load_bindings, version_text
from lumen_mlir.run.device_name import DeviceName
from lumen_mlir.run.driver_memory import DriverMemory
from lumen_mlir.run.gpu_code import GpuCode

# Of a block: each finds 128 registers.
_WARPS = 16


class Driver(Protocol):
    """What a device needs of a GPU: ``CudaDriver``, or what tests have in its place."""

    name: str
    capability: int
    processors: int
    reserved: int
    shared: int

    def memory_info(self) -> tuple[int, int]: ...
    def allocate(self, size: int) -> int: ...
    def free(self, address: int) -> None: ...
    def write(self, address: int, source: int, size: int) -> None: ...
    def clear(self, address: int, size: int) -> None: ...
    def read(self, address: int, target: int, size: int) -> None: ...
    def load(self, objects: Sequence[bytes]) -> Any: ...
    def unload(self, code: Any) -> None: ...
    def find_function(self, code: Any, name: str) -> Any: ...
    def find_global(self, code: Any, name: str) -> int: ...
    def launch(self, function: Any, warps: int, shared: int, arguments: Sequence[int]) -> None: ...


@functools.cache
def open_gpu(number: int) -> Cuda:
    """The device that is GPU ``number``. Raises ``LumenError`` where it is not there."""
    return Cuda(CudaDriver(number), number)


def count_gpus() -> int:
    """How many GPUs there are. Raises ``LumenError`` where Lumen cannot use any, and says why."""
    return count(load_bindings())


def describe_gpu(number: int) -> dict[str, Any]:
    """The fields of ``DeviceInfo`` of a GPU."""
    driver = CudaDriver(number)
    gpu = Cuda(driver, number)
    target = next((target for target in targets.TARGETS if not gpu.missing(target)), None)
    capability = f"{driver.capability // 10}.{driver.capability % 10}"
    with contextlib.closing(driver):
        free, total = driver.memory_info()
    return {
        "device": gpu.name,
        "name": driver.name,
        "target": "" if target is None else target.name,
        "memory_free": free,
        "memory_total": total,
        "facts": {
            "processors": driver.processors,
            "capability": capability,
            "driver": f"CUDA {version_text(driver.version)}",
        },
        "reason": "" if target else f"its compute capability is {capability}; Lumen needs 8.0 or more",
    }


class Cuda:
    """A device: one GPU.

    Args:
      driver: of the GPU.
      number: by which people know it.
    """

    def __init__(self, driver: Driver, number: int = 0):
        self.name = str(DeviceName("cuda", number))
        self._driver = driver

    def __str__(self) -> str:
        return f"{self.name} ({self._driver.name}, sm_{self._driver.capability})"

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

    def free_memory(self) -> int:
        """``Device.free_memory``; some is left for what the driver takes by itself, for launches and code."""
        return max(self._driver.memory_info()[0] - self._driver.reserved, 0)


class _CudaCode(GpuCode):
    """Code on a GPU."""

    def __init__(self, objects: Sequence[bytes], driver: Driver):
        super().__init__(driver)
        self._driver = driver
        self._code = driver.load(objects)
        # Addresses of functions are numbers of this list, from 1 on.
        self._functions: list[Any] = []
        # Objects of the driver outlive this one.
        weakref.finalize(self, _release, driver, self._code, self._memory).atexit = False
        scratch = self.read_i64("lumen_scratch_size")
        # As many as share the memory of a block.
        self._warps = max(1, min(_WARPS, driver.shared // max(scratch, 1)))
        self._shared = self._warps * scratch
        # What all count in, and the memory of each block.
        self._counters = self.read_i64("lumen_team_size")
        self.own_bytes = self._counters + driver.processors * self.read_i64("lumen_block_size")
        self._team, self._words, self._room = 0, 0, 0

    def lookup(self, name: str) -> int:
        if name.startswith("lumen_entry_"):
            self._functions.append(self._driver.find_function(self._code, name))
            return len(self._functions)
        return self._driver.find_global(self._code, name)

    def read_i64(self, name: str) -> int:
        value = np.zeros(1, np.int64)
        self._driver.read(self.lookup(name), value.ctypes.data, value.nbytes)
        return int(value[0])

    def run(self, entry: int, slots: np.ndarray, passed: Passed) -> None:
        self._check()
        if not self._team:
            team = self._memory.allocate(self.own_bytes, 0)
            self._memory.clear(team, self._counters)
            self._team = team
        with self._copies.passed(slots, passed) as words:
            data = words.astype("<u8").tobytes()
            if len(data) > self._room:
                if self._room:
                    self._room = 0
                    self._memory.free(self._words)
                self._words, self._room = self._memory.allocate(len(data), 0), len(data)
            self._memory.write(self._words, memoryview(data))
            function, arguments = self._functions[entry - 1], (self._words, self._team)
            self._driver.launch(function, self._warps, self._shared, arguments)


def _release(driver: Driver, code: Any, memory: DriverMemory) -> None:
    """Gives back what code had on a GPU. What fails then is lost with it."""
    memory.free_all()
    with contextlib.suppress(LumenError):
        driver.unload(code)
