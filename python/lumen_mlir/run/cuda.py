# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's GPUs: devices that keep weights and KV caches in their memory, and run a step as one kernel.

Where a GPU cannot do that, a step is a chain of launches (``Target.launches``).
"""

from __future__ import annotations

import contextlib
import functools
import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lumen_mlir.compiler import targets
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError
from lumen_mlir.run import cuda_probe
from lumen_mlir.run.code import Code, Passed
from lumen_mlir.run.cuda_driver import CudaDriver, DriverError, count, load_bindings, version_text
from lumen_mlir.run.device_name import DeviceName
from lumen_mlir.run.driver_memory import DriverMemory
from lumen_mlir.run.gpu_code import GpuCode
from lumen_mlir.run.launched_code import LaunchedCode, Launches, read_names

# Of a block: each finds 128 registers.
_WARPS = 16
_CHAIN = "a chain of launches"


class Driver(Protocol):
    """What a device needs of a GPU: ``CudaDriver``, or what tests have in its place."""

    name: str
    capability: int
    processors: int
    reserved: int
    shared: int
    is_cooperative: bool

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
    def occupancy(self, function: Any, warps: int, shared: int) -> int: ...
    def record(self, launches: Sequence[tuple[Any, Sequence[int]]], warps: int, shared: int) -> Any: ...
    def run(self, graph: Any) -> None: ...
    def forget(self, graph: Any) -> None: ...


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
    capability = f"{driver.capability // 10}.{driver.capability % 10}"
    with contextlib.closing(driver):
        target = next((target for target in targets.TARGETS if not gpu.missing(target)), None)
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
            **({} if target is None else {"step": _CHAIN if target.launches else "one kernel"}),
        },
        "note": f"a step is {_CHAIN}: {gpu.refusal}" if target is not None and target.launches else "",
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
        return self._missing_launch(target) if able else (target.name,)

    def _missing_launch(self, target: Target) -> tuple[str, ...]:
        return ("cooperative launches",) if not target.launches and self.refusal else ()

    @functools.cached_property
    def refusal(self) -> str:
        """Why a step cannot be one kernel; "" where it can. Raises ``LumenError``."""
        return cuda_probe.refusal(self._driver)

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        """``Device.load``."""
        if target.launches:
            return _CudaLaunches(objects, self._driver)
        return _CudaStep(objects, self._driver, instead=targets.launched(target))

    def free_memory(self) -> int:
        """``Device.free_memory``; some is left for what the driver takes by itself, for launches and code."""
        return max(self._driver.memory_info()[0] - self._driver.reserved, 0)


@dataclass(frozen=True)
class _Block:
    """Warps of a block, and bytes of its shared memory."""

    warps: int
    shared: int

    @staticmethod
    def of(driver: Driver, scratch: int) -> _Block:
        """As many warps with so many bytes each as share the memory of a block."""
        warps = max(1, min(_WARPS, driver.shared // max(scratch, 1)))
        return _Block(warps, warps * scratch)


class _CudaStep(GpuCode):
    """Code on a GPU that runs as one kernel. ``instead``: the target of code that runs as launches."""

    def __init__(self, objects: Sequence[bytes], driver: Driver, instead: Target):
        super().__init__(driver)
        self._driver, self._instead = driver, instead
        self._code = driver.load(objects)
        # Addresses of functions are numbers of this list, from 1 on.
        self._functions: list[Any] = []
        # Objects of the driver outlive this one.
        weakref.finalize(self, _release, driver, self._code, self._memory).atexit = False
        self._block = _Block.of(driver, self.read_i64("lumen_scratch_size"))
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
            try:
                self._driver.launch(function, self._block.warps, self._block.shared, arguments)
            except DriverError as error:
                if error.status in cuda_probe.REFUSALS:
                    error.hints = (f"code for target {self._instead.name} needs no cooperative launch",)
                raise


class _CudaLaunches(LaunchedCode):
    """Kernels on a GPU, which a graph launches one after the other."""

    def __init__(self, objects: Sequence[bytes], driver: Driver):
        kernels, calls = objects
        self._driver = driver
        super().__init__(driver, [kernels], calls)
        self._names = read_names(self._calls)
        self._functions: dict[int, Any] = {}
        self._block = _Block.of(driver, self.read_i64("lumen_scratch_size"))
        # What the warps of a launch count in; each leaves zeros.
        self._counters = self.read_i64("lumen_team_size")
        self.own_bytes = self._counters + self._list.nbytes
        self._team = 0

    def _record(self, launches: Launches) -> Any:
        if not self._team:
            team = self._memory.allocate(self._counters, 0)
            self._memory.clear(team, self._counters)
            self._team = team
        calls = [(self._function(number), (words, self._team)) for number, words in launches]
        return self._driver.record(calls, self._block.warps, self._block.shared)

    def _function(self, number: int) -> Any:
        function = self._functions.get(number)
        if function is None:
            name = f"lumen_entry_{self._names[number]}"
            function = self._functions[number] = self._driver.find_function(self._kernels, name)
        return function


def _release(driver: Driver, code: Any, memory: DriverMemory) -> None:
    """Gives back what code had on a GPU. What fails then is lost with it."""
    memory.free_all()
    with contextlib.suppress(LumenError):
        driver.unload(code)
