# SPDX-License-Identifier: Apache-2.0
"""Shaders for Vulkan: what they consist of, and what a device makes of them (with ``make test-gpu``)."""

from __future__ import annotations

import gc
import shutil
import subprocess
import types

import numpy as np
import pytest
from emulated import marks_of
from format_kernels import Case, Terms, aligned, compile_cases, rounding_bound
from kernel_code import linear

import lumen_mlir
from lumen_mlir import formats, ir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler, CompilerOptions
from lumen_mlir.data import embedded_model_path
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import packing
from lumen_mlir.models import Model
from lumen_mlir.run import device, engine, vulkan_driver
from lumen_mlir.run.program import build
from lumen_mlir.run.vulkan import Vulkan, open_gpu
from lumen_mlir.run.vulkan_driver import VulkanDriver
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.random_blocks import random_weights

on_a_device = [pytest.param("vulkan", marks=marks_of("vulkan"))]
FORMATS = tuple(name for name in formats.names() if not formats.get(name).is_float)
ROWS = 37
"""Fills no tile."""


def shaders(module: ir.Module | str) -> tuple[bytes, ...]:
    """What a module is compiled to, without the code that launches it."""
    program = build(module, targets.get("vulkan"), CompilerOptions(), "lumen", None, None, None, None)
    return program.objects[:-1]


def embedded_step(kv_type: str) -> ir.Module:
    """The step of the embedded model. Needs a context."""
    return Model.open(embedded_model_path()).module(kv_type=kv_type, max_tokens=64)


def check(objects: tuple[bytes, ...], folder) -> None:
    """Each is what the specification of SPIR-V takes, as far as its validator can tell."""
    for number, code in enumerate(objects):
        assert code[:4] == b"\x03\x02\x23\x07" and len(code) % 4 == 0
        path = folder / f"{number}.spv"
        path.write_bytes(code)
        done = subprocess.run(
            ["spirv-val", "--target-env", "vulkan1.3", str(path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


needs_validator = pytest.mark.skipif(shutil.which("spirv-val") is None, reason="spirv-val is not installed")


@needs_validator
@pytest.mark.parametrize("name", ["q4_0", "q6_k", "iq2_s"])
def test_products_are_valid(tmp_path, name):
    check(shaders(linear(name, 64, 512, tokens=8)), tmp_path)


@needs_validator
@pytest.mark.parametrize("kv_type", ["f16", "f32", "q8_0"])
def test_a_step_is_valid(tmp_path, kv_type):
    with ir.Context():
        objects = shaders(embedded_step(kv_type))
    assert len(objects) > 10
    check(objects, tmp_path)


def test_the_last_form():
    """A shader per kernel, and no assembly."""
    with ir.Context():
        module = ir.Module.parse(linear("q4_0", 32, 64, tokens=1))
        compiler = Compiler(targets.get("vulkan"))
        text = compiler.emit(module, "spirv")
        assert text.count("spirv.module") == 2 and "SDot" in text or "SUDot" in text
        with pytest.raises(LumenError, match="its last form is spirv"):
            compiler.emit(module, "asm")
    with pytest.raises(LumenError, match="profiled on CPUs only"):
        options = CompilerOptions(profile=True)
        build(linear("q4_0", 32, 64, 1), targets.get("vulkan"), options, "lumen", None, None, None, None)


@pytest.mark.parametrize("target", on_a_device)
@pytest.mark.parametrize("name", FORMATS)
def test_formats(name, target):
    """Weights are packed to the bytes of NumPy, embeddings are its values, products are within bounds."""
    fmt = formats.get(name)
    columns = 288 if fmt.block == 32 else 768
    raw = random_weights(np.random.default_rng(len(name)), name, ROWS * columns, 0.05).reshape(ROWS, -1)
    case = Case(fmt, raw, columns)
    compiled = compile_cases([case], target, "int8", tokens=2)
    expected = packing.pack(fmt, raw, *targets.get(target).tile(fmt))
    packed = aligned(np.zeros_like(expected))
    compiled.invoke(f"pack_{name}", raw.reshape(-1), ROWS, columns, outs=[packed])
    np.testing.assert_array_equal(packed, expected)
    ids = np.array([0, ROWS - 1, 5, 5], np.int32)
    rows = compiled.invoke(f"embedding_{name}", ids, raw.reshape(-1))
    np.testing.assert_array_equal(rows, fmt.dequantize(raw)[ids])
    x = np.random.default_rng(3).standard_normal((17, columns), np.float32)
    terms = Terms.of(case, x)
    found = compiled.invoke(f"linear_{name}", x, packed)
    assert np.all(abs(found - terms.product()) <= min(2e-6, rounding_bound(case)) * terms.magnitude())
    # What a token becomes does not depend on those beside it.
    np.testing.assert_array_equal(compiled.invoke(f"linear_{name}", x[:1], packed), found[:1])


def texts(target: str, folder, kv_type: str = "f16") -> list[str]:
    llm = lumen_mlir.LLM(target=target, cache=Cache(folder), context=64, kv_type=kv_type)
    prompts = ["배우들의 연기가", "이 영화는"]
    return [llm.generate(each, 5, temperature=0, ignore_eos=True).text() for each in prompts]


@pytest.mark.parametrize("target", on_a_device)
@pytest.mark.parametrize("kv_type", ["f16", "f32", "q8_0"])
def test_the_embedded_model(tmp_path, target, kv_type):
    """The same texts as on the CPU."""
    assert texts(target, tmp_path, kv_type) == texts("generic", tmp_path, kv_type)


@pytest.mark.parametrize("target", on_a_device)
def test_memory_out_of_sight(tmp_path, target):
    """As of GPUs with memory of their own; in the end, all of it is given back."""
    driver = VulkanDriver(staged=True)
    with device.using(Vulkan(driver)):
        assert texts(target, tmp_path) == texts("generic", tmp_path)
    gc.collect()
    # (What is copied goes through one block that stays.)
    assert len(driver._memory) == 1


@pytest.mark.parametrize("target", on_a_device)
def test_a_fork_is_refused(target):
    compiled = engine.compile(linear("q4_0", 32, 64, 1), target=target, use_cache=False)
    compiled._code.forget_threads()
    with pytest.raises(LumenError, match="a forked process cannot use code"):
        compiled.invoke("f", np.zeros((1, 64), np.float32), engine.aligned_empty(32 * 64 * 18 // 32))


def test_without_a_package(monkeypatch):
    monkeypatch.setattr(vulkan_driver, "_MODULE", "no_such_module_of_vulkan")
    open_gpu.cache_clear()
    with pytest.raises(LumenError, match=r"pip install 'lumen-mlir\[vulkan\]'"):
        engine.compile(linear("q4_0", 32, 64, 1), target="vulkan", use_cache=False)


def test_without_a_library(monkeypatch):
    def fail(name):
        raise OSError("Cannot find Vulkan SDK version")

    monkeypatch.setattr(vulkan_driver.importlib, "import_module", fail)
    with pytest.raises(LumenError, match="there is no library of Vulkan: Cannot find Vulkan SDK version"):
        VulkanDriver()


class VkException(Exception):
    """As the package has it: of what is no error."""


class VkError(Exception):
    """As the package has it: the others' class."""


class VkErrorOutOfDeviceMemory(VkError):
    pass


class VkErrorDeviceLost(VkError):
    pass


class VkErrorIncompatibleDriver(VkError):
    pass


class VkTimeout(VkException):
    pass


class Anything(types.SimpleNamespace):
    """A structure with whatever it is given."""


class Package:
    """In place of the package ``vulkan``: one device that has everything, but for ``answers``."""

    VkException, VkError, VkTimeout = VkException, VkError, VkTimeout

    def __init__(self, lacking=(), version=(1, 3), devices=1, **answers):
        self.lacking, self.version, self.devices, self.answers = lacking, version, devices, answers
        self.calls = []
        self.ffi = types.SimpleNamespace(addressof=lambda each: each, new=lambda *each: each)
        self.lib = types.SimpleNamespace(vkGetBufferDeviceAddress=lambda *each: 4096)

    def VK_MAKE_VERSION(self, major, minor, patch):
        return major << 22 | minor << 12 | patch

    def VK_VERSION_MAJOR(self, version):
        return version >> 22

    def VK_VERSION_MINOR(self, version):
        return version >> 12 & 1023

    def __getattr__(self, name):
        if name.startswith("VK_"):
            return 4 if name.endswith("TYPE_CPU") else 2 if "DISCRETE" in name else 1
        if name.startswith("Vk"):
            return Anything
        return lambda *arguments: self.call(name, arguments)

    def call(self, name, arguments):
        self.calls.append(name)
        answer = self.answers.get(name)
        if isinstance(answer, type):
            raise answer
        if name == "vkEnumeratePhysicalDevices":
            return ["device"] * self.devices
        if name == "vkGetPhysicalDeviceProperties":
            limits = Anything(maxComputeWorkGroupInvocations=1024, maxComputeSharedMemorySize=32768)
            version = self.VK_MAKE_VERSION(*self.version, 0)
            return Anything(deviceName="a device", apiVersion=version, deviceType=4, limits=limits)
        if name == "vkGetPhysicalDeviceFeatures2" or name == "vkGetPhysicalDeviceProperties2":
            self.fill(arguments[1])
        if name == "vkGetPhysicalDeviceQueueFamilyProperties":
            return [Anything(queueFlags=1)]
        if name == "vkGetBufferMemoryRequirements":
            return Anything(size=4096, memoryTypeBits=1)
        if name == "vkGetPhysicalDeviceMemoryProperties":
            kinds = [Anything(propertyFlags=1)]
            heaps = [Anything(size=1 << 30, flags=1)]
            return Anything(memoryTypeCount=1, memoryTypes=kinds, memoryHeapCount=1, memoryHeaps=heaps)
        return [name] if name.endswith("s") else name

    def fill(self, structure):
        """Says what the device has, in each structure that the one before points to."""
        names = ("shaderRoundingModeRTEFloat16", "shaderSignedZeroInfNanPreserveFloat32")
        while structure is not None:
            for fields in (structure, getattr(structure, "features", None)):
                for name in [*vars(fields or Anything())] + [*names]:
                    if fields is not None and name not in ("pNext", "features"):
                        setattr(fields, name, int(name not in self.lacking))
            structure = getattr(structure, "pNext", None)


def test_what_a_device_lacks():
    with pytest.raises(LumenError, match="there is no device of Vulkan: its driver is missing"):
        VulkanDriver(bindings=Package(devices=0))
    with pytest.raises(LumenError, match="there is no device 2 of Vulkan; there are 1"):
        VulkanDriver(2, bindings=Package())
    with pytest.raises(LumenError, match=r"this device \(a device\) has Vulkan 1.1; code for it needs 1.3"):
        VulkanDriver(bindings=Package(version=(1, 1)))
    lacking = ("shaderInt8", "bufferDeviceAddress", "shaderRoundingModeRTEFloat16")
    message = "it lacks bufferDeviceAddress, shaderInt8, shaderRoundingModeRTEFloat16"
    with pytest.raises(LumenError, match=message):
        VulkanDriver(bindings=Package(lacking))
    with pytest.raises(LumenError, match="the GPU fails at starting Vulkan: there is no driver"):
        VulkanDriver(bindings=Package(vkCreateInstance=VkErrorIncompatibleDriver))


def test_errors_of_the_driver():
    small = Package(vkAllocateMemory=VkErrorOutOfDeviceMemory)
    with pytest.raises(LumenError, match="the GPU fails at allocating 64 bytes: out of memory"):
        VulkanDriver(bindings=small, staged=True).allocate(64)
    assert small.calls[-1] == "vkDestroyBuffer"
    lost = VulkanDriver(bindings=Package(vkWaitForFences=VkErrorDeviceLost))
    with pytest.raises(LumenError, match="the GPU fails at running code: the device is lost"):
        lost.run("commands")
    gone = VulkanDriver(bindings=Package(vkQueueSubmit=VkErrorDeviceLost))
    with pytest.raises(LumenError, match="the GPU fails at starting code: the device is lost"):
        gone.run("commands")
    assert Vulkan(lost).missing(targets.get("vulkan")) == ()
    assert Vulkan(lost).missing(targets.get("generic")) == (targets.get("generic").architecture,)
