# SPDX-License-Identifier: Apache-2.0
"""What Lumen's shaders ask of a device of Vulkan, and which of several is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lumen_mlir.errors import LumenError

# By the structure of Vulkan that has them.
_CORE = ("shaderInt16", "shaderInt64")
_VULKAN_11 = ("storageBuffer16BitAccess",)
_VULKAN_12 = ("bufferDeviceAddress", "shaderFloat16", "shaderInt8", "storageBuffer8BitAccess")
_VULKAN_13 = ("shaderIntegerDotProduct",)
# Of floats, which need no switching on.
_FLOATS = ("shaderRoundingModeRTEFloat16", "shaderSignedZeroInfNanPreserveFloat32")
# Of a launch: as many as a large device runs at the same time; where a CPU stands for a GPU, less.
_WORKGROUPS, _WORKGROUPS_OF_CPU = 256, 8
# Of a workgroup.
_INVOCATIONS, _SHARED_BYTES = 32, 16384


@dataclass(frozen=True)
class Chosen:
    """A device that can run the shaders.

    Attributes:
      name: as its maker calls it.
      device: the package's object.
      family: the number of its queues that compute.
      has_own_memory: it is no part of the CPU's.
      workgroups: of a launch. Each is a worker, and takes turns at the pieces of a kernel.
    """

    name: str
    device: Any
    family: int
    has_own_memory: bool
    workgroups: int


def choose(vk: Any, devices: Sequence[Any], number: int | None) -> Chosen:
    """The device of this number, those of the most capable kind first, or the first that can be used.

    ``LumenError`` if there is none.
    """
    if not devices:
        raise LumenError("there is no device of Vulkan: its driver is missing")
    order = (
        vk.VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
        vk.VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU,
        vk.VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU,
        vk.VK_PHYSICAL_DEVICE_TYPE_CPU,
    )

    def rank(device: Any) -> int:
        kind = vk.vkGetPhysicalDeviceProperties(device).deviceType
        return order.index(kind) if kind in order else len(order)

    devices = sorted(devices, key=rank)
    if number is not None:
        if not 0 <= number < len(devices):
            raise LumenError(f"there is no device {number} of Vulkan; there are {len(devices)}")
        return _check(vk, devices[number])
    errors = []
    for device in devices:
        try:
            return _check(vk, device)
        except LumenError as error:
            errors.append(error)
    raise errors[0]


def _check(vk: Any, device: Any) -> Chosen:
    """Raises ``LumenError`` that says what a device lacks."""
    properties = vk.vkGetPhysicalDeviceProperties(device)
    name = properties.deviceName
    version = properties.apiVersion
    if version < vk.VK_MAKE_VERSION(1, 3, 0):
        found = f"{vk.VK_VERSION_MAJOR(version)}.{vk.VK_VERSION_MINOR(version)}"
        raise LumenError(f"this device ({name}) has Vulkan {found}; code for it needs 1.3")
    core, *others = _features(vk)
    vk.vkGetPhysicalDeviceFeatures2(device, core)
    missing = [name for name in _CORE if not getattr(core.features, name)]
    for names, structure in zip((_VULKAN_11, _VULKAN_12, _VULKAN_13), others, strict=True):
        missing += [name for name in names if not getattr(structure, name)]
    floats = vk.VkPhysicalDeviceVulkan12Properties()
    vk.vkGetPhysicalDeviceProperties2(device, vk.VkPhysicalDeviceProperties2(pNext=floats))
    missing += [name for name in _FLOATS if not getattr(floats, name)]
    if missing:
        raise LumenError(f"this device ({name}) cannot run Lumen's code: it lacks {', '.join(missing)}")
    limits = properties.limits
    if (
        limits.maxComputeWorkGroupInvocations < _INVOCATIONS
        or limits.maxComputeSharedMemorySize < _SHARED_BYTES
    ):
        raise LumenError(f"this device ({name}) cannot run Lumen's code: its workgroups are too small")
    families = list(vk.vkGetPhysicalDeviceQueueFamilyProperties(device))
    family = next((i for i, each in enumerate(families) if each.queueFlags & vk.VK_QUEUE_COMPUTE_BIT), None)
    if family is None:
        raise LumenError(f"this device ({name}) cannot run Lumen's code: it does not compute")
    is_cpu = properties.deviceType == vk.VK_PHYSICAL_DEVICE_TYPE_CPU
    shares = is_cpu or properties.deviceType == vk.VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU
    return Chosen(name, device, family, not shares, _WORKGROUPS_OF_CPU if is_cpu else _WORKGROUPS)


def _features(vk: Any, value: int = 0) -> tuple[Any, Any, Any, Any]:
    """The structures of the features, which point to each other; all wanted ones have ``value``."""
    last = vk.VkPhysicalDeviceVulkan13Features(**dict.fromkeys(_VULKAN_13, value))
    middle = vk.VkPhysicalDeviceVulkan12Features(pNext=last, **dict.fromkeys(_VULKAN_12, value))
    first = vk.VkPhysicalDeviceVulkan11Features(pNext=middle, **dict.fromkeys(_VULKAN_11, value))
    core = vk.VkPhysicalDeviceFeatures(**dict.fromkeys(_CORE, value))
    return vk.VkPhysicalDeviceFeatures2(pNext=first, features=core), first, middle, last


def wanted(vk: Any) -> Any:
    """What a device is opened with."""
    return _features(vk, 1)[0]


def memory_type(vk: Any, device: Any, allowed: int, is_mapped: bool) -> int:
    """The number of the memory's kind: near the device, and in sight of this process if it must be.

    ``allowed``: a bit for each kind that can be used. Raises ``LumenError`` where there is none.
    """
    near = vk.VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
    seen = vk.VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | vk.VK_MEMORY_PROPERTY_HOST_COHERENT_BIT
    found = vk.vkGetPhysicalDeviceMemoryProperties(device)
    flags = [found.memoryTypes[i].propertyFlags for i in range(found.memoryTypeCount)]
    for needed in (near | seen, seen) if is_mapped else (near, 0):
        for number, has in enumerate(flags):
            if allowed >> number & 1 and has & needed == needed:
                return number
    raise LumenError("this device has no memory of the kind that Lumen needs")


def memory_bytes(vk: Any, device: Any) -> int:
    """Bytes of memory near the device."""
    found = vk.vkGetPhysicalDeviceMemoryProperties(device)
    heaps = [found.memoryHeaps[i] for i in range(found.memoryHeapCount)]
    return sum(heap.size for heap in heaps if heap.flags & vk.VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)
