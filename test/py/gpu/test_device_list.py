# SPDX-License-Identifier: Apache-2.0
"""What devices there are: with another thing in place of a driver's bindings, or without any."""

from __future__ import annotations

import re
import sys

import pytest
from cuda_bindings import Status, bindings

from lumen_mlir.compiler import targets
from lumen_mlir.run import cuda_driver
from lumen_mlir.run.device_list import DeviceInfo, list_devices

MODULE = "bindings_for_tests"


@pytest.fixture
def installed(monkeypatch):
    """Puts a module in the place of the bindings; without one there are none."""
    monkeypatch.setattr(cuda_driver, "_MODULE", MODULE)

    def install(module) -> None:
        monkeypatch.setitem(sys.modules, MODULE, module)

    return install


def gpus() -> list[DeviceInfo]:
    cpu, *others = [info for info in list_devices() if not info.device.startswith("vulkan")]
    assert (cpu.device, cpu.target, cpu.reason) == ("cpu", targets.native().name, "")
    assert cpu.name and cpu.facts["threads"] >= 1 and 0 < cpu.memory_free < cpu.memory_total
    return others


def test_a_gpu(installed):
    known = bindings()
    installed(known)
    expected = DeviceInfo(
        device="cuda:0",
        name="H200",
        target="sm_90",
        memory_free=130_000_000_000,
        memory_total=150_000_000_000,
        facts={"processors": 132, "capability": "9.0", "driver": "CUDA 13.0", "step": "one kernel"},
    )
    assert gpus() == [expected]
    names = [name for name, *_ in known.calls]
    assert names.count("cuDevicePrimaryCtxRelease") == names.count("cuDevicePrimaryCtxRetain") == 1


def test_several_gpus(installed):
    installed(bindings(86, cuDeviceGetCount=(2,)))
    assert [(info.device, info.target) for info in gpus()] == [("cuda:0", "sm_80"), ("cuda:1", "sm_80")]


@pytest.mark.parametrize(
    ("answers", "device", "reason"),
    [
        (None, "cuda", r"pip install 'lumen-mlir\[cuda\]'"),
        ({"cuInit": RuntimeError("no libcuda.so.1")}, "cuda", "there is no driver .*: no libcuda.so.1"),
        ({"cuInit": Status.CUDA_ERROR_NO_DEVICE}, "cuda", "fails at starting the driver: .*NO_DEVICE"),
        ({"cuDriverGetVersion": (11_080,)}, "cuda", "is for CUDA 11.8; Lumen needs one for CUDA 12.0 or"),
        ({"cuDeviceGetCount": (0,)}, "cuda", "there is no GPU"),
        ({"cuDeviceGetName": Status.CUDA_ERROR_LAUNCH_FAILED}, "cuda:0", "asking for its name"),
        ({"cuMemGetInfo": OSError("no such\nfunction")}, "cuda:0", "asking for its memory: no such function"),
        ({"capability": 75}, "cuda:0", "its compute capability is 7.5; Lumen needs 8.0 or more"),
    ],
)
def test_what_cannot_be_used(installed, answers, device, reason):
    if answers is not None:
        installed(bindings(**answers))
    (info,) = gpus()
    assert info.device == device and info.target == ""
    assert re.search(reason, info.reason), info.reason


def test_a_module_that_breaks(installed):
    """Whatever it is, the CPU is listed."""
    installed(object())
    (info,) = gpus()
    assert info.reason.startswith("there is no driver for NVIDIA's GPUs: ")
