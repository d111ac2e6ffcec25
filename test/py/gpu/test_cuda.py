# SPDX-License-Identifier: Apache-2.0
"""A GPU with memory of its own, behind its driver's interface: with the emulator in the driver's place."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from cuda_bindings import Status, bindings
from emulated import EMULATED_GPU, ROOT, RUNNERS
from kernel_code import linear

import lumen_mlir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import CompilerOptions
from lumen_mlir.errors import LumenError
from lumen_mlir.run import cuda, cuda_driver, device, engine
from lumen_mlir.run.cuda import Cuda
from lumen_mlir.run.cuda_driver import CudaDriver
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.gpu import EmulatedDriver


@pytest.fixture
def driver():
    return EmulatedDriver(ROOT, RUNNERS)


@pytest.mark.gpu
def test_a_model_in_memory_of_its_own(tmp_path, driver):
    """The same texts; weights and the KV cache stay there, and all of it is given back."""
    prompts = ["배우들의 연기가", "이 영화는"]

    def texts(target: targets.Target | str) -> list[str]:
        llm = lumen_mlir.LLM(target=target, cache=Cache(tmp_path), context=64)
        return [llm.generate(each, 4, temperature=0, ignore_eos=True).text() for each in prompts]

    expected = texts("generic")
    with device.using(Cuda(driver)):
        assert texts(EMULATED_GPU) == expected
    gc.collect()
    assert not driver.memory


@pytest.mark.gpu
def test_too_little_memory(tmp_path):
    """An error that says so, and the CPU goes on."""
    small, options = EmulatedDriver(ROOT, RUNNERS, room=1 << 20), {"cache": Cache(tmp_path), "context": 64}
    with (
        device.using(Cuda(small)),
        pytest.raises(LumenError, match="has 1.05 MB of free memory"),
    ):
        lumen_mlir.LLM(target=EMULATED_GPU, gpu_layers="all", **options)
    assert lumen_mlir.LLM(target="generic", **options).generate("a", 2).text()


def test_what_a_gpu_runs(driver):
    gpu = Cuda(driver)
    assert gpu.missing(targets.get("sm_80")) == () and gpu.missing(targets.get("sm_90")) == ("sm_90",)
    assert gpu.missing(targets.get("x86-64-v2")) == ("x86_64",)


def test_without_a_driver(monkeypatch):
    """What is missing is said, whichever it is."""
    monkeypatch.setattr(cuda_driver, "_MODULE", "no_such_module_of_cuda")
    cuda.open_gpu.cache_clear()
    with pytest.raises(LumenError, match=r"pip install 'lumen-mlir\[cuda\]'"):
        engine.compile(linear("q4_0", 32, 64, 1), target="sm_90", use_cache=False)
    with (
        pytest.raises(LumenError, match="profiled on CPUs only"),
        device.using(Cuda(EmulatedDriver(ROOT, RUNNERS))),
    ):
        engine.compile(
            linear("q4_0", 32, 64, 1), target="sm_80", options=CompilerOptions(profile=True), use_cache=False
        )


def test_the_driver_is_called_as_it_wants():
    known = bindings(cuMemAlloc=(4096,), cuModuleGetFunction=("f",))
    gpu = CudaDriver(bindings=known)
    assert (gpu.name, gpu.capability, gpu.processors) == ("H200", 90, 132)
    assert gpu.allocate(100) == 4096
    function = gpu.find_function(gpu.load([b"text"]), "lumen_entry_step")
    assert ("cuModuleLoadData", b"text\0") in known.calls
    gpu.launch(function, 16, 1024, (1, 2))
    launch = next(call for call in known.calls if call[0] == "cuLaunchCooperativeKernel")
    assert launch[1:9] == ("f", 132, 1, 1, 512, 1, 1, 1024) and launch[10][0] == (1, 2)
    with pytest.raises(LumenError, match="needs 300000 bytes of shared memory; this GPU has 232448"):
        gpu.launch(function, 16, 300_000, (1, 2))


def test_errors_of_the_driver():
    with pytest.raises(LumenError, match="there is no GPU 3; the driver knows 1"):
        CudaDriver(3, bindings())
    with pytest.raises(LumenError, match="there is no GPU 0; the driver knows none"):
        CudaDriver(0, bindings(cuDeviceGetCount=(0,)))
    lost = CudaDriver(bindings=bindings(cuCtxSynchronize=Status.CUDA_ERROR_LAUNCH_FAILED))
    message = r"the GPU fails at running code: unspecified launch failure \(CUDA_ERROR_LAUNCH_FAILED\)"
    with pytest.raises(LumenError, match=message):
        lost.launch("f", 16, 0, (1, 2))
    assert np.isfinite(lost.capability)
