# SPDX-License-Identifier: Apache-2.0
"""Vulkan, as far as Lumen needs it: one device, its memory, shaders, and lists of launches.

It is called through the package ``vulkan`` (of the extra of this name), which is imported when it is first
needed.
"""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from lumen_mlir.errors import LumenError, one_line
from lumen_mlir.run import vulkan_features
from lumen_mlir.run.vulkan_memory import Block, VulkanMemory

_MODULE = "vulkan"
# Of the push constant: an address.
_PUSHED = 8
_ENTRY = "main"
# Bytes that are cleared at a time.
_CLEARED = 16 << 20
# So often, in nanoseconds, somebody can interrupt waiting.
_TURN = 200_000_000

_REASONS = {
    "VkErrorIncompatibleDriver": "there is no driver",
    "VkErrorOutOfDeviceMemory": "out of memory",
    "VkErrorOutOfHostMemory": "out of memory",
    "VkErrorDeviceLost": "the device is lost",
}


def load_bindings() -> Any:
    """The package. Raises ``LumenError`` where there is none, or no library of Vulkan."""
    try:
        return importlib.import_module(_MODULE)
    except ImportError:
        raise LumenError("code for Vulkan needs its package: pip install 'lumen-mlir[vulkan]'") from None
    except Exception as error:
        raise LumenError(f"there is no library of Vulkan: {one_line(str(error))}") from None


def count_devices() -> int:
    """How many devices there are. Raises ``LumenError`` where Vulkan cannot be used."""
    vk = load_bindings()
    application = vk.VkApplicationInfo(pApplicationName="lumen", apiVersion=vk.VK_MAKE_VERSION(1, 3, 0))
    try:
        instance = vk.vkCreateInstance(vk.VkInstanceCreateInfo(pApplicationInfo=application), None)
        found = len(vk.vkEnumeratePhysicalDevices(instance))
        vk.vkDestroyInstance(instance, None)
    except (vk.VkError, vk.VkException) as error:
        raise _failure("looking for devices", error) from None
    return found


@dataclass(frozen=True)
class Shaders:
    """Loaded shaders, by their number."""

    layout: Any
    modules: Sequence[Any]
    pipelines: Sequence[Any]


Method = TypeVar("Method", bound=Callable[..., Any])


def _alone(method: Method) -> Method:
    """No two threads are inside: what Vulkan makes is not to be used by several at a time."""

    @functools.wraps(method)
    def call(self: VulkanDriver, *arguments: Any, **options: Any) -> Any:
        with self._lock:
            return method(self, *arguments, **options)

    return call  # type: ignore[return-value]


class VulkanDriver:
    """One device. Any thread may call it.

    Args:
      number: of the device, from 0 on; None for the first of the most capable kind.
      bindings: by default those that are installed.
      staged: whether memory of the device is out of this process's sight; by default that of GPUs with
        memory of their own is.

    Attributes:
      name: as its maker calls it.
      memory: bytes of memory near it.

    All methods raise ``LumenError``, which says what Vulkan says.
    """

    def __init__(self, number: int | None = None, bindings: Any = None, staged: bool | None = None):
        self._lock = threading.RLock()
        vk = self._vk = load_bindings() if bindings is None else bindings
        application = vk.VkApplicationInfo(pApplicationName="lumen", apiVersion=vk.VK_MAKE_VERSION(1, 3, 0))
        info = vk.VkInstanceCreateInfo(pApplicationInfo=application)
        self._instance = self._call("starting Vulkan", "vkCreateInstance", info, None)
        found = self._call("looking for devices", "vkEnumeratePhysicalDevices", self._instance)
        chosen = vulkan_features.choose(vk, list(found), number)
        self.name, self._physical = chosen.name, chosen.device
        queue = vk.VkDeviceQueueCreateInfo(
            queueFamilyIndex=chosen.family, queueCount=1, pQueuePriorities=[1.0]
        )
        wanted = vk.VkDeviceCreateInfo(pNext=vulkan_features.wanted(vk), pQueueCreateInfos=[queue])
        self._device = self._call("opening it", "vkCreateDevice", self._physical, wanted, None)
        self._queue = self._call("opening it", "vkGetDeviceQueue", self._device, chosen.family, 0)
        pool = vk.VkCommandPoolCreateInfo(queueFamilyIndex=chosen.family)
        self._pool = self._call("opening it", "vkCreateCommandPool", self._device, pool, None)
        self._fence = self._call("opening it", "vkCreateFence", self._device, vk.VkFenceCreateInfo(), None)
        self._workgroups = chosen.workgroups
        self.memory = vulkan_features.memory_bytes(vk, self._physical)
        self._staged = chosen.has_own_memory if staged is None else staged
        self._memory = VulkanMemory(vk, self._call, self._physical, self._device, self._copy)

    @_alone
    def allocate(self, size: int, shared: bool = False) -> int:
        """The address of so many bytes, at a multiple of 64. ``shared``: this process writes them often."""
        return self._memory.allocate(size, shared or not self._staged).address

    @_alone
    def free(self, address: int) -> None:
        """Gives back what ``allocate`` returned."""
        self._memory.free(address)

    @_alone
    def write(self, address: int, source: int, size: int) -> None:
        """Copies bytes from an address of this process."""
        self._memory.write(address, source, size)

    @_alone
    def clear(self, address: int, size: int) -> None:
        """Writes zeros."""
        zeros = np.zeros(min(size, _CLEARED), np.uint8)
        for begin in range(0, size, _CLEARED):
            self._memory.write(address + begin, zeros.ctypes.data, min(_CLEARED, size - begin))

    @_alone
    def read(self, address: int, target: int, size: int) -> None:
        """Copies bytes to an address of this process."""
        self._memory.read(address, target, size)

    @_alone
    def load(self, objects: Sequence[bytes]) -> Shaders:
        """Shaders, each in SPIR-V with an entry ``main``."""
        vk = self._vk
        constant = vk.VkPushConstantRange(stageFlags=vk.VK_SHADER_STAGE_COMPUTE_BIT, offset=0, size=_PUSHED)
        info = vk.VkPipelineLayoutCreateInfo(pPushConstantRanges=[constant])
        layout = self._call("loading shaders", "vkCreatePipelineLayout", self._device, info, None)
        modules = []
        for code in objects:
            module = vk.VkShaderModuleCreateInfo(codeSize=len(code), pCode=code)
            modules.append(self._call("loading shaders", "vkCreateShaderModule", self._device, module, None))
        pipelines = []
        for module in modules:
            stage = vk.VkPipelineShaderStageCreateInfo(
                stage=vk.VK_SHADER_STAGE_COMPUTE_BIT, module=module, pName=_ENTRY
            )
            pipeline = vk.VkComputePipelineCreateInfo(stage=stage, layout=layout, basePipelineIndex=-1)
            made = self._call(
                "compiling shaders", "vkCreateComputePipelines", self._device, None, 1, [pipeline], None
            )
            pipelines.append(made[0])
        return Shaders(layout, modules, pipelines)

    @_alone
    def unload(self, shaders: Shaders) -> None:
        """Gives loaded shaders back."""
        for pipeline in shaders.pipelines:
            self._call("unloading shaders", "vkDestroyPipeline", self._device, pipeline, None)
        for module in shaders.modules:
            self._call("unloading shaders", "vkDestroyShaderModule", self._device, module, None)
        self._call("unloading shaders", "vkDestroyPipelineLayout", self._device, shaders.layout, None)

    @_alone
    def record(self, shaders: Shaders, launches: Sequence[tuple[int, int]]) -> Any:
        """Commands that run shaders one after the other, each when the one before has ended.

        ``launches``: the number of a shader, and the address of its words.
        """
        vk = self._vk
        commands = self._begin(0)
        compute = vk.VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT
        behind = vk.VkMemoryBarrier(
            srcAccessMask=vk.VK_ACCESS_SHADER_WRITE_BIT,
            dstAccessMask=vk.VK_ACCESS_SHADER_READ_BIT | vk.VK_ACCESS_SHADER_WRITE_BIT,
        )
        for number, address in launches:
            pushed = vk.ffi.new("uint64_t *", address)
            vk.vkCmdBindPipeline(commands, vk.VK_PIPELINE_BIND_POINT_COMPUTE, shaders.pipelines[number])
            vk.vkCmdPushConstants(
                commands, shaders.layout, vk.VK_SHADER_STAGE_COMPUTE_BIT, 0, _PUSHED, pushed
            )
            vk.vkCmdDispatch(commands, self._workgroups, 1, 1)
            vk.vkCmdPipelineBarrier(commands, compute, compute, 0, 1, [behind], 0, None, 0, None)
        self._end(commands)
        return commands

    @_alone
    def forget(self, commands: Any) -> None:
        """Gives recorded commands back."""
        self._call("recording", "vkFreeCommandBuffers", self._device, self._pool, 1, [commands])

    @_alone
    def run(self, commands: Any) -> None:
        """Runs recorded commands to their end."""
        vk = self._vk
        submitted = vk.VkSubmitInfo(pCommandBuffers=[commands])
        self._call("starting code", "vkQueueSubmit", self._queue, 1, [submitted], self._fence)
        try:
            while not self._wait():
                pass
        finally:
            self._call("running code", "vkQueueWaitIdle", self._queue)
            self._call("running code", "vkResetFences", self._device, 1, [self._fence])

    def _wait(self) -> bool:
        """Whether what was submitted has ended within a turn."""
        try:
            self._vk.vkWaitForFences(self._device, 1, [self._fence], 1, _TURN)
        except self._vk.VkTimeout:
            return False
        except self._vk.VkError as error:
            raise _failure("running code", error) from None
        return True

    def _begin(self, flags: int) -> Any:
        vk = self._vk
        info = vk.VkCommandBufferAllocateInfo(
            commandPool=self._pool, level=vk.VK_COMMAND_BUFFER_LEVEL_PRIMARY, commandBufferCount=1
        )
        (commands,) = self._call("recording", "vkAllocateCommandBuffers", self._device, info)
        self._call("recording", "vkBeginCommandBuffer", commands, vk.VkCommandBufferBeginInfo(flags=flags))
        return commands

    def _end(self, commands: Any) -> None:
        """What was written is seen by this process, and by whatever runs next."""
        vk = self._vk
        everything = vk.VkMemoryBarrier(
            srcAccessMask=vk.VK_ACCESS_MEMORY_WRITE_BIT,
            dstAccessMask=vk.VK_ACCESS_MEMORY_READ_BIT
            | vk.VK_ACCESS_MEMORY_WRITE_BIT
            | vk.VK_ACCESS_HOST_READ_BIT,
        )
        before = vk.VK_PIPELINE_STAGE_ALL_COMMANDS_BIT
        after = before | vk.VK_PIPELINE_STAGE_HOST_BIT
        vk.vkCmdPipelineBarrier(commands, before, after, 0, 1, [everything], 0, None, 0, None)
        self._call("recording", "vkEndCommandBuffer", commands)

    def _copy(self, source: Block, begin: int, target: Block, to: int, size: int) -> None:
        vk = self._vk
        commands = self._begin(vk.VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT)
        part = vk.VkBufferCopy(srcOffset=begin, dstOffset=to, size=size)
        vk.vkCmdCopyBuffer(commands, source.buffer, target.buffer, 1, [part])
        self._end(commands)
        self.run(commands)
        self.forget(commands)

    def _call(self, what: str, name: str, *arguments: Any) -> Any:
        try:
            return getattr(self._vk, name)(*arguments)
        except (self._vk.VkError, self._vk.VkException) as error:
            raise _failure(what, error) from None


def _failure(what: str, error: Exception) -> LumenError:
    name = type(error).__name__
    return LumenError(f"the GPU fails at {what}: {_REASONS.get(name, name)}")
