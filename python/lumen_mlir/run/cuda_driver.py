# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's driver, as far as Lumen needs it: one GPU, its memory, loaded code and launches.

It is called through ``cuda-bindings`` (of the extra ``cuda``), which is imported when it is first needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from collections.abc import Sequence
from typing import Any

from lumen_mlir.errors import LumenError, one_line

_MODULE = "cuda.bindings.driver"
# What compiled code is written in, PTX 8.0, came with CUDA 12.0.
_LEAST_VERSION = 12_000


class DriverError(LumenError):
    """A function of the driver has failed. ``status``: the name of its ``CUresult``."""

    def __init__(self, message: str, status: str):
        super().__init__(message)
        self.status = status


def load_bindings() -> Any:
    """The module of the bindings. Raises ``LumenError`` where there is none, or no driver, or an old one."""
    try:
        bindings = importlib.import_module(_MODULE)
    except ImportError:
        raise LumenError(
            "code for NVIDIA's GPUs needs the bindings of their driver: pip install 'lumen-mlir[cuda]'"
        ) from None
    except Exception as error:
        raise LumenError(f"the bindings of NVIDIA's driver do not work: {one_line(str(error))}") from None
    try:
        (status,) = bindings.cuInit(0)
    except Exception as error:
        raise LumenError(f"there is no driver for NVIDIA's GPUs: {one_line(error, 200)}") from None
    _check(bindings, "starting the driver", status)
    if (version := _version(bindings)) < _LEAST_VERSION:
        raise LumenError(
            f"the driver of NVIDIA's GPUs is for CUDA {version_text(version)}; Lumen needs one for CUDA "
            f"{version_text(_LEAST_VERSION)} or newer"
        )
    return bindings


def count(bindings: Any) -> int:
    """How many GPUs the driver knows."""
    return int(_call(bindings, "counting GPUs", "cuDeviceGetCount"))


def version_text(version: int) -> str:
    """``12.8`` for 12080."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _version(bindings: Any) -> int:
    return int(_call(bindings, "asking for its version", "cuDriverGetVersion"))


def _call(bindings: Any, what: str, name: str, *arguments: Any) -> Any:
    """What a function of the driver returns besides its status: nothing, a value, or a tuple of them."""
    try:
        status, *results = getattr(bindings, name)(*arguments)
    except Exception as error:
        raise LumenError(f"the GPU fails at {what}: {one_line(error, 200)}") from None
    _check(bindings, what, status)
    return results[0] if len(results) == 1 else tuple(results) or None


def _values(arguments: Sequence[int]) -> tuple[tuple[int, ...], tuple[type, ...]]:
    """Addresses, as the bindings take what a function is given."""
    return tuple(arguments), tuple(ctypes.c_void_p for _ in arguments)


def _check(bindings: Any, what: str, status: Any) -> None:
    if int(status) == 0:
        return
    name = getattr(status, "name", str(status))
    text = ""
    try:
        known, found = bindings.cuGetErrorString(status)
        text = found.decode(errors="replace") if int(known) == 0 else ""
    except Exception:
        text = ""
    raise DriverError(f"the GPU fails at {what}: {text or name} ({name})", name)


class CudaDriver:
    """One GPU.

    Args:
      number: of the GPU, from 0 on.
      bindings: by default those that are installed.

    Attributes:
      name: as its maker calls it.
      capability: of its code: 90 for ``sm_90``.
      processors: how many blocks of threads run at the same time.
      shared: bytes of memory that the threads of a block may share.
      version: of the driver: 12080 for CUDA 12.8.
      is_cooperative: whether all blocks of a launch can wait for each other.

    All methods raise ``LumenError``, which says what the driver says.
    """

    # Bytes of its memory that are not to be taken.
    reserved = 128 << 20

    def __init__(self, number: int = 0, bindings: Any = None):
        self._bindings = load_bindings() if bindings is None else bindings
        known = count(self._bindings)
        if not 0 <= number < known:
            raise LumenError(f"there is no GPU {number}; the driver knows {known or 'none'}")
        self._device = self._call("looking for it", "cuDeviceGet", number)
        name = self._call("asking for its name", "cuDeviceGetName", 256, self._device)
        self.name = name.split(b"\0")[0].decode(errors="replace")
        self.capability = 10 * self._attribute("COMPUTE_CAPABILITY_MAJOR")
        self.capability += self._attribute("COMPUTE_CAPABILITY_MINOR")
        self.processors = self._attribute("MULTIPROCESSOR_COUNT")
        self.version = _version(self._bindings)
        self.shared = self._attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")
        self.is_cooperative = bool(self._attribute("COOPERATIVE_LAUNCH"))
        # It takes memory, so it is made when it is first needed.
        self._context: Any = None

    def close(self) -> None:
        """Gives its context back. What was allocated must not be used any more."""
        if self._context is not None:
            self._context = None
            self._call("giving its context back", "cuDevicePrimaryCtxRelease", self._device)

    def memory_info(self) -> tuple[int, int]:
        """Bytes of memory that are free, and of all."""
        self._enter()
        free, total = self._call("asking for its memory", "cuMemGetInfo")
        return int(free), int(total)

    def allocate(self, size: int) -> int:
        """The address of so many bytes, at a multiple of 256."""
        self._enter()
        return int(self._call(f"allocating {size} bytes", "cuMemAlloc", size))

    def free(self, address: int) -> None:
        """Gives back what ``allocate`` returned."""
        self._enter()
        self._call("freeing memory", "cuMemFree", address)

    def write(self, address: int, source: int, size: int) -> None:
        """Copies bytes from an address of this process."""
        self._enter()
        self._call("copying to it", "cuMemcpyHtoD", address, source, size)

    def clear(self, address: int, size: int) -> None:
        """Fills bytes with zeros."""
        self._enter()
        self._call("clearing memory", "cuMemsetD8", address, 0, size)

    def read(self, address: int, target: int, size: int) -> None:
        """Copies bytes to an address of this process, once what was launched has ended."""
        self._enter()
        self._call("copying from it", "cuMemcpyDtoH", target, address, size)

    def load(self, objects: Sequence[bytes]) -> Any:
        """Code: one text in PTX, which the driver assembles."""
        (text,) = objects
        self._enter()
        return self._call("assembling code", "cuModuleLoadData", text + b"\0")

    def unload(self, code: Any) -> None:
        """Gives loaded code back."""
        self._enter()
        self._call("unloading code", "cuModuleUnload", code)

    def find_function(self, code: Any, name: str) -> Any:
        """A function that can be launched."""
        self._enter()
        return self._call(f"looking for {name}", "cuModuleGetFunction", code, name.encode())

    def find_global(self, code: Any, name: str) -> int:
        """The address of a global."""
        self._enter()
        address, _ = self._call(f"looking for {name}", "cuModuleGetGlobal", code, name.encode())
        return int(address)

    def launch(self, function: Any, warps: int, shared: int, arguments: Sequence[int]) -> None:
        """Runs a function with addresses as arguments to its end, on all processors at the same time.

        ``warps``: of a block, of which each processor has one. ``shared``: bytes of its shared memory.
        """
        self._enter()
        self._allow_shared(function, shared)
        grid, block = (self.processors, 1, 1), (32 * warps, 1, 1)
        values = _values(arguments)
        self._call("starting code", "cuLaunchCooperativeKernel", function, *grid, *block, shared, 0, values)
        self._call("running code", "cuCtxSynchronize")

    def occupancy(self, function: Any, warps: int, shared: int) -> int:
        """How many blocks of a function a processor has room for at the same time."""
        self._enter()
        self._allow_shared(function, shared)
        name = "cuOccupancyMaxActiveBlocksPerMultiprocessor"
        return int(self._call("counting the blocks that fit", name, function, 32 * warps, shared))

    def record(self, launches: Sequence[tuple[Any, Sequence[int]]], warps: int, shared: int) -> Any:
        """A graph that launches functions one after the other, each when the one before has ended.

        ``launches``: functions, with addresses as arguments. ``warps``, ``shared``: as of ``launch``.
        """
        self._enter()
        graph = self._call("making a graph", "cuGraphCreate", 0)
        before: list[Any] = []
        try:
            for function, arguments in launches:
                self._allow_shared(function, shared)
                node = self._node(function, warps, shared, arguments)
                added = self._call(
                    "adding to a graph", "cuGraphAddKernelNode", graph, before, len(before), node
                )
                before = [added]
            return self._call("making a graph ready", "cuGraphInstantiate", graph, 0)
        finally:
            # (What is ready is a copy of it. What cannot be given back is lost.)
            with contextlib.suppress(LumenError):
                self._call("giving a graph back", "cuGraphDestroy", graph)

    def run(self, graph: Any) -> None:
        """Runs a graph to its end."""
        self._enter()
        self._call("starting code", "cuGraphLaunch", graph, 0)
        self._call("running code", "cuCtxSynchronize")

    def forget(self, graph: Any) -> None:
        """Gives a graph back."""
        self._enter()
        self._call("giving a graph back", "cuGraphExecDestroy", graph)

    def _node(self, function: Any, warps: int, shared: int, arguments: Sequence[int]) -> Any:
        """A launch, as a graph takes it."""
        node = self._bindings.CUDA_KERNEL_NODE_PARAMS()
        node.func = function
        node.gridDimX, node.gridDimY, node.gridDimZ = self.processors, 1, 1
        node.blockDimX, node.blockDimY, node.blockDimZ = 32 * warps, 1, 1
        node.sharedMemBytes = shared
        node.kernelParams = _values(arguments)
        return node

    def _allow_shared(self, function: Any, shared: int) -> None:
        """Lets blocks of a function have so many bytes of shared memory."""
        if shared > self.shared:
            raise LumenError(f"a block needs {shared} bytes of shared memory; this GPU has {self.shared}")
        kind = self._bindings.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        self._call("setting shared memory", "cuFuncSetAttribute", function, kind, shared)

    def _enter(self) -> None:
        """A context belongs to a thread; any thread may call."""
        if self._context is None:
            self._context = self._call("making a context", "cuDevicePrimaryCtxRetain", self._device)
        self._call("entering its context", "cuCtxSetCurrent", self._context)

    def _attribute(self, name: str) -> int:
        kind = getattr(self._bindings.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self._call("asking what it has", "cuDeviceGetAttribute", kind, self._device))

    def _call(self, what: str, name: str, *arguments: Any) -> Any:
        return _call(self._bindings, what, name, *arguments)
