# SPDX-License-Identifier: Apache-2.0
"""Steps as launches: which GPUs need them, and how the driver is called."""

from __future__ import annotations

import re
import sys

import pytest
from cuda_bindings import Status, bindings

from lumen_mlir.compiler import targets
from lumen_mlir.errors import LumenError
from lumen_mlir.run import cuda_driver, cuda_probe, device
from lumen_mlir.run.cuda import Cuda
from lumen_mlir.run.cuda_driver import CudaDriver, DriverError
from lumen_mlir.run.device_list import list_devices

LAUNCHES = [("f", (1, 2)), ("g", (3, 2)), ("f", (5, 2))]
REFUSALS = [Status[name] for name in cuda_probe.REFUSALS]


def called(known, prefix: str = "") -> list[str]:
    return [name for name, *_ in known.calls if name.startswith(prefix)]


def test_a_graph():
    """A chain of nodes, which is made once and launched many times."""
    known = bindings()
    gpu = CudaDriver(bindings=known)
    graph = gpu.record(LAUNCHES, 16, 1024)
    nodes = [call for call in known.calls if call[0] == "cuGraphAddKernelNode"]
    assert [(call[1], call[2], call[3]) for call in nodes] == [
        ("graph", [], 0),
        ("graph", ["node"], 1),
        ("graph", ["node"], 1),
    ]
    for (*_, node), (function, arguments) in zip(nodes, LAUNCHES, strict=True):
        assert (node.func, node.sharedMemBytes, node.kernelParams[0]) == (function, 1024, arguments)
        assert (node.gridDimX, node.gridDimY, node.gridDimZ) == (132, 1, 1)
        assert (node.blockDimX, node.blockDimY, node.blockDimZ) == (512, 1, 1)
    assert ("cuGraphInstantiate", "graph", 0) in known.calls and ("cuGraphDestroy", "graph") in known.calls
    before = len(known.calls)
    gpu.run(graph)
    gpu.run(graph)
    gpu.forget(graph)
    assert [call for call in known.calls[before:] if call[0] != "cuCtxSetCurrent"] == [
        ("cuGraphLaunch", "ready", 0),
        ("cuCtxSynchronize",),
        ("cuGraphLaunch", "ready", 0),
        ("cuCtxSynchronize",),
        ("cuGraphExecDestroy", "ready"),
    ]
    with pytest.raises(LumenError, match="needs 300000 bytes of shared memory; this GPU has 232448"):
        gpu.record(LAUNCHES, 16, 300_000)


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("cuGraphCreate", "making a graph"),
        ("cuFuncSetAttribute", "setting shared memory"),
        ("cuGraphAddKernelNode", "adding to a graph"),
        ("cuGraphInstantiate", "making a graph ready"),
        ("cuGraphLaunch", "starting code"),
        ("cuCtxSynchronize", "running code"),
        ("cuGraphExecDestroy", "giving a graph back"),
    ],
)
def test_each_call_may_fail(function, what):
    """The error says at what, and a graph that is not ready is given back."""
    known = bindings(**{function: Status.CUDA_ERROR_LAUNCH_FAILED})
    gpu = CudaDriver(bindings=known)
    with pytest.raises(DriverError, match=rf"the GPU fails at {what}: .* \(CUDA_ERROR_LAUNCH_FAILED\)"):
        graph = gpu.record(LAUNCHES, 16, 1024)
        gpu.run(graph)
        gpu.forget(graph)
    assert called(known).count("cuGraphDestroy") == (function != "cuGraphCreate")


def test_a_graph_that_cannot_be_given_back():
    """What is ready can be used nevertheless."""
    gpu = CudaDriver(bindings=bindings(cuGraphDestroy=Status.CUDA_ERROR_LAUNCH_FAILED))
    assert gpu.record(LAUNCHES, 16, 1024) == "ready"


def test_a_probe():
    """It is as large as a step can be, runs once, and is given back."""
    known = bindings()
    gpu = Cuda(CudaDriver(bindings=known))
    assert gpu.missing(targets.get("sm_90")) == gpu.missing(targets.get("sm_80")) == ()
    assert ("cuOccupancyMaxActiveBlocksPerMultiprocessor", 0, 512, 232448) in known.calls
    (launch,) = [call for call in known.calls if call[0] == "cuLaunchCooperativeKernel"]
    assert launch[2:9] == (132, 1, 1, 512, 1, 1, 232448)
    assert called(known).count("cuModuleLoadData") == called(known).count("cuModuleUnload") == 1
    assert not called(known, "cuMem")


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"cooperative": False}, "this GPU has no cooperative launches"),
        (
            {"cuOccupancyMaxActiveBlocksPerMultiprocessor": (0,)},
            "a processor of this GPU has no room for a block of 512 threads",
        ),
        *(
            ({"cuLaunchCooperativeKernel": status}, rf"fails at starting code: .* \({status.name}\)")
            for status in REFUSALS
        ),
    ],
)
def test_what_needs_launches(monkeypatch, answers, reason):
    """The target is chosen, and the list of devices says why; nothing of the probe is left."""
    known = bindings(**answers)
    gpu = Cuda(CudaDriver(bindings=known))
    assert gpu.missing(targets.get("sm_90")) == ("cooperative launches",)
    assert gpu.missing(targets.get("sm_90-launches")) == () and gpu.missing(targets.get("vulkan"))
    assert called(known).count("cuModuleLoadData") == called(known).count("cuModuleUnload")
    with device.using(gpu, "cuda"):
        place = device.place_of("cuda")
        assert (place.device, place.target.name) == (gpu, "sm_90-launches")
        with pytest.raises(LumenError, match="for target sm_90; it runs sm_90-launches, sm_80-launches"):
            device.place_of("cuda", "sm_90")
    monkeypatch.setattr(cuda_driver, "_MODULE", "bindings_for_tests")
    monkeypatch.setitem(sys.modules, "bindings_for_tests", bindings(**answers))
    (info,) = [info for info in list_devices() if info.device == "cuda:0"]
    assert (info.target, info.facts["step"]) == ("sm_90-launches", "a chain of launches")
    assert info.note.startswith("a step is a chain of launches: ")
    assert re.search(reason, info.note), info.note


def test_an_older_gpu():
    gpu = Cuda(CudaDriver(bindings=bindings(86, cooperative=False)))
    assert gpu.missing(targets.get("sm_90-launches")) == ("sm_90-launches",)
    assert gpu.missing(targets.get("sm_80-launches")) == ()
    assert gpu.missing(targets.get("sm_80")) == ("cooperative launches",)


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("cuModuleLoadData", "assembling code"),
        ("cuModuleGetFunction", "looking for lumen_probe"),
        ("cuOccupancyMaxActiveBlocksPerMultiprocessor", "counting the blocks that fit"),
        ("cuLaunchCooperativeKernel", "starting code"),
        ("cuCtxSynchronize", "running code"),
        ("cuModuleUnload", "unloading code"),
    ],
)
def test_a_probe_that_fails(function, what):
    """For another reason: that is an error, and no target is chosen."""
    gpu = Cuda(CudaDriver(bindings=bindings(**{function: Status.CUDA_ERROR_LAUNCH_FAILED})))
    with pytest.raises(LumenError, match=f"the GPU fails at {what}"):
        gpu.missing(targets.get("sm_90"))
    with device.using(gpu, "cuda"), pytest.raises(LumenError, match=f"the GPU fails at {what}"):
        device.place_of("cuda")


def test_nothing_is_probed_for_a_chain():
    """Whoever asks for launches needs no cooperative one."""
    known = bindings(cuLaunchCooperativeKernel=Status.CUDA_ERROR_LAUNCH_FAILED)
    with device.using(Cuda(CudaDriver(bindings=known)), "cuda"):
        assert device.place_of("cuda", "sm_90-launches").target.launches
    assert not called(known, "cuLaunch")
