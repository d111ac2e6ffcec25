# SPDX-License-Identifier: Apache-2.0
"""In place of the bindings of NVIDIA's driver (``cuda.bindings.driver``), for tests."""

from __future__ import annotations

import enum
import types


class Status(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701
    CUDA_ERROR_LAUNCH_FAILED = 719
    CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE = 720
    CUDA_ERROR_NOT_PERMITTED = 800
    CUDA_ERROR_NOT_SUPPORTED = 801


# What functions of the driver return besides their status.
_ANSWERS = {
    "cuCtxSetCurrent": (),
    "cuCtxSynchronize": (),
    "cuDeviceGet": (0,),
    "cuDeviceGetAttribute": (0,),
    "cuDeviceGetCount": (1,),
    "cuDeviceGetName": (b"H200\0",),
    "cuDevicePrimaryCtxRelease": (),
    "cuDevicePrimaryCtxRetain": (0,),
    "cuDriverGetVersion": (13_000,),
    "cuFuncSetAttribute": (),
    "cuGraphAddKernelNode": ("node",),
    "cuGraphCreate": ("graph",),
    "cuGraphDestroy": (),
    "cuGraphExecDestroy": (),
    "cuGraphInstantiate": ("ready",),
    "cuGraphLaunch": (),
    "cuInit": (),
    "cuLaunchCooperativeKernel": (),
    "cuMemAlloc": (0,),
    "cuMemFree": (),
    "cuMemGetInfo": (130_000_000_000, 150_000_000_000),
    "cuMemcpyDtoH": (),
    "cuMemcpyHtoD": (),
    "cuModuleGetFunction": (0,),
    "cuModuleGetGlobal": (0, 8),
    "cuModuleLoadData": (0,),
    "cuModuleUnload": (),
    "cuOccupancyMaxActiveBlocksPerMultiprocessor": (1,),
}


class _Names:
    def __getattr__(self, name: str) -> str:
        return name


def bindings(capability: int = 90, cooperative: bool = True, **answers) -> types.SimpleNamespace:
    """Bindings of a driver with one GPU: every function succeeds, but for ``answers``.

    An answer is what a function returns besides its status, a ``Status`` that is an error, or an exception.
    ``calls`` of what is returned has the calls so far.
    """
    attributes = {"MAJOR": capability // 10, "MINOR": capability % 10, "COUNT": 132, "OPTIN": 232448}
    attributes["LAUNCH"] = int(cooperative)
    calls = []

    def function(name):
        def call(*arguments):
            calls.append((name, *arguments))
            answer = answers.get(name, _ANSWERS[name])
            if name == "cuDeviceGetAttribute":
                answer = (attributes[arguments[0].rsplit("_", 1)[1]],)
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, Status):
                return (answer,)
            return (Status.CUDA_SUCCESS, *answer)

        return call

    return types.SimpleNamespace(
        CUDA_KERNEL_NODE_PARAMS=types.SimpleNamespace,
        CUdevice_attribute=_Names(),
        CUfunction_attribute=_Names(),
        calls=calls,
        cuGetErrorString=lambda status: (Status.CUDA_SUCCESS, b"unspecified launch failure"),
        **{name: function(name) for name in _ANSWERS},
    )
