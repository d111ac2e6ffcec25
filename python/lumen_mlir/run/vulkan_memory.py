# SPDX-License-Identifier: Apache-2.0
"""The memory of a device of Vulkan, by its addresses."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lumen_mlir.errors import LumenError
from lumen_mlir.run import vulkan_features

# Bytes that go through memory of both sides at a time.
_STAGE = 16 << 20
# Which the package lacks: VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT, VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT.
_BUFFER_ADDRESS_BIT, _MEMORY_ADDRESS_BIT = 0x20000, 2


@dataclass(frozen=True)
class Block:
    """What was allocated. ``mapped``: the same bytes in this process, if it sees them."""

    buffer: Any
    memory: Any
    address: int
    mapped: Any


class VulkanMemory:
    """Blocks of a device's memory.

    Args:
      vk: the package.
      call: calls one of its functions by name; the first argument says what for.
      physical, device: the package's objects.
      copy: copies bytes on the device: from a block, where in it they begin, to a block and where, how many.

    Its methods raise ``LumenError``.
    """

    def __init__(
        self,
        vk: Any,
        call: Callable[..., Any],
        physical: Any,
        device: Any,
        copy: Callable[[Block, int, Block, int, int], None],
    ):
        self._vk, self._call, self._physical, self._device, self._copy = vk, call, physical, device, copy
        self._blocks: dict[int, Block] = {}
        self._addresses: list[int] = []
        self._stage: Block | None = None

    def __len__(self) -> int:
        """How many blocks there are."""
        return len(self._blocks)

    def allocate(self, size: int, is_mapped: bool) -> Block:
        """So many new bytes. ``is_mapped``: this process sees them, too."""
        vk, what = self._vk, f"allocating {size} bytes"
        usage = (
            vk.VK_BUFFER_USAGE_STORAGE_BUFFER_BIT
            | _BUFFER_ADDRESS_BIT
            | vk.VK_BUFFER_USAGE_TRANSFER_SRC_BIT
            | vk.VK_BUFFER_USAGE_TRANSFER_DST_BIT
        )
        info = vk.VkBufferCreateInfo(size=max(size, 1), usage=usage)
        buffer = self._call(what, "vkCreateBuffer", self._device, info, None)
        needed = self._call(what, "vkGetBufferMemoryRequirements", self._device, buffer)
        kind = vulkan_features.memory_type(vk, self._physical, needed.memoryTypeBits, is_mapped)
        addressed = vk.VkMemoryAllocateFlagsInfo(flags=_MEMORY_ADDRESS_BIT)
        wanted = vk.VkMemoryAllocateInfo(pNext=addressed, allocationSize=needed.size, memoryTypeIndex=kind)
        try:
            memory = self._call(what, "vkAllocateMemory", self._device, wanted, None)
        except LumenError:
            self._call(what, "vkDestroyBuffer", self._device, buffer, None)
            raise
        self._call(what, "vkBindBufferMemory", self._device, buffer, memory, 0)
        # (The package's own function loses what Vulkan returns.)
        place = vk.VkBufferDeviceAddressInfo(buffer=buffer)
        address = int(vk.lib.vkGetBufferDeviceAddress(self._device, vk.ffi.addressof(place)))
        mapped = None
        if is_mapped:
            mapped = vk.ffi.from_buffer(self._call(what, "vkMapMemory", self._device, memory, 0, size, 0))
        block = self._blocks[address] = Block(buffer, memory, address, mapped)
        bisect.insort(self._addresses, address)
        return block

    def free(self, address: int) -> None:
        """Gives a block back."""
        self._addresses.remove(address)
        block = self._blocks.pop(address)
        self._call("freeing memory", "vkDestroyBuffer", self._device, block.buffer, None)
        self._call("freeing memory", "vkFreeMemory", self._device, block.memory, None)

    def write(self, address: int, source: int, size: int) -> None:
        """Copies bytes from an address of this process."""
        block, begin = self._find(address)
        data = self._vk.ffi.cast("char *", source)
        if block.mapped is not None:
            self._vk.ffi.memmove(block.mapped + begin, data, size)
            return
        stage = self._own_stage()
        for done in range(0, size, _STAGE):
            count = min(_STAGE, size - done)
            self._vk.ffi.memmove(stage.mapped, data + done, count)
            self._copy(stage, 0, block, begin + done, count)

    def read(self, address: int, target: int, size: int) -> None:
        """Copies bytes to an address of this process."""
        block, begin = self._find(address)
        data = self._vk.ffi.cast("char *", target)
        if block.mapped is not None:
            self._vk.ffi.memmove(data, block.mapped + begin, size)
            return
        stage = self._own_stage()
        for done in range(0, size, _STAGE):
            count = min(_STAGE, size - done)
            self._copy(block, begin + done, stage, 0, count)
            self._vk.ffi.memmove(data + done, stage.mapped, count)

    def _own_stage(self) -> Block:
        if self._stage is None:
            self._stage = self.allocate(_STAGE, True)
        return self._stage

    def _find(self, address: int) -> tuple[Block, int]:
        """The block of an address, and where in it that is."""
        begin = self._addresses[bisect.bisect_right(self._addresses, address) - 1]
        return self._blocks[begin], address - begin
