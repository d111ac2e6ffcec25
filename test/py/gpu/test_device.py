# SPDX-License-Identifier: Apache-2.0
"""Devices by name: which one runs what, and two of them in one process."""

from __future__ import annotations

import pytest
from cuda_bindings import bindings
from emulated import EMULATED_GPU, ROOT, RUNNERS
from kernel_code import linear

import lumen_mlir
from lumen_mlir.compiler import targets
from lumen_mlir.errors import LumenError
from lumen_mlir.run import device
from lumen_mlir.run.cuda import Cuda
from lumen_mlir.run.cuda_driver import CudaDriver
from lumen_mlir.run.device_name import DeviceName
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.gpu import EmulatedCuda, EmulatedDriver
from lumen_mlir.testing.synthetic import Shape, write_synthetic


def gpu(capability: int, number: int = 0) -> Cuda:
    return Cuda(CudaDriver(0, bindings(capability)), number)


def test_names():
    assert [str(DeviceName.parse(name)) for name in ("cpu", "cuda", "cuda:12", "vulkan")] == [
        "cpu",
        "cuda:0",
        "cuda:12",
        "vulkan:0",
    ]
    for wrong in ("", "gpu", "cpu:0", "cuda:", "cuda:x", "CUDA0", "cuda:99999", 0, b"cpu", None):
        with pytest.raises(LumenError, match="unknown device .*; there are cpu, cuda, vulkan"):
            DeviceName.parse(wrong)
    with pytest.raises(LumenError, match="unknown device 'tpu'"):
        SessionOptions.of(device="tpu")


def test_the_best_target_of_a_device():
    new, old = gpu(100), gpu(86, 1)
    with device.using(new, "cuda"), device.using(old, "cuda:1"):
        for name, target, expected in (
            ("cuda", None, (new, "sm_90")),
            ("cuda:0", "native", (new, "sm_90")),
            ("cuda", "sm_80", (new, "sm_80")),
            ("cuda:1", None, (old, "sm_80")),
            (None, "sm_90", (new, "sm_90")),
        ):
            place = device.place_of(name, target)
            assert (place.device, place.target.name) == expected
        with pytest.raises(
            LumenError, match=r"device cuda:1 \(H200, sm_86\) cannot run code for target sm_90"
        ):
            device.place_of("cuda:1", "sm_90")
        with pytest.raises(LumenError, match="for target generic; it runs sm_90, sm_80"):
            device.place_of("cuda", "generic")
        with pytest.raises(LumenError, match="unknown target 'sm_1'"):
            device.place_of("cuda", "sm_1")
    assert device.place_of("cpu").target == device.place_of().target == targets.native()
    with pytest.raises(LumenError, match="device cpu cannot run code for target sm_80"):
        device.place_of("cpu", "sm_80")
    with device.using(gpu(75), "cuda"), pytest.raises(LumenError, match="sm_75.* it is too old"):
        device.place_of("cuda")


def test_what_this_version_has_not(monkeypatch):
    monkeypatch.setitem(device.GPUS, "vulkan", "lumen_mlir.run.no_such_module")
    with pytest.raises(LumenError, match="device vulkan:0 is not there: this version of Lumen"):
        lumen_mlir.compile(linear("q4_0", 32, 64, 1), device="vulkan", use_cache=False)


@pytest.mark.gpu
def test_models_on_two_devices(tmp_path):
    """In one process, in turns: each has its own memory, and both write what the CPU does."""
    drivers = [EmulatedDriver(ROOT, RUNNERS) for _ in range(2)]
    write_synthetic(path := tmp_path / "model.gguf", Shape(64, 1, 2, 1, 32, 96, 301, 64, True), seed=1)

    def tokens(llm: lumen_mlir.LLM, prompt: list[int]) -> list[int]:
        generation = llm.generate(prompt, 4, temperature=0, ignore_eos=True)
        generation.text()
        return list(generation.tokens)

    with device.using(EmulatedCuda(drivers[0]), "cuda"), device.using(EmulatedCuda(drivers[1], 1), "cuda:1"):
        models = [
            lumen_mlir.LLM(path, device=name, chunk=16, cache=Cache(tmp_path / "cache"))
            for name in ("cpu", "cuda", "cuda:1")
        ]
    names = [llm.executor.target.name for llm in models]
    assert names == [targets.native().name, EMULATED_GPU.name, EMULATED_GPU.name]
    assert models[2].executor.kernels.endswith(" on cuda:1 (an emulator, sm_80)")
    for prompt in ([5, 6, 7], [200, 9]):
        expected, *others = [tokens(llm, prompt) for llm in models]
        assert others == [expected, expected]
    assert all(driver.memory for driver in drivers)
    models[1].close()
    assert tokens(models[2], [8, 9]) == tokens(models[0], [8, 9])
