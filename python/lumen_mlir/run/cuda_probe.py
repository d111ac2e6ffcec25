# SPDX-License-Identifier: Apache-2.0
"""Whether a GPU can run a step as one kernel, whose blocks wait for each other.

Drivers refuse such launches where blocks might not all run at the same time: in a part of a GPU that several
programs share, on virtual GPUs, or where the system does not allow them. Whether they do is only known once
one was tried. So a kernel is launched that takes as much of a processor as that of a step may at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from lumen_mlir.run.cuda_driver import DriverError

_NAME = "lumen_probe"
# As of a step: ``lumen-define-gpu-runtime``.
_WARPS, _REGISTERS = 16, 112

REFUSALS = (
    "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE",
    "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
    "CUDA_ERROR_NOT_PERMITTED",
    "CUDA_ERROR_NOT_SUPPORTED",
)
"""What drivers say where blocks do not all fit at the same time, or must not wait for each other."""


class Driver(Protocol):
    """What is needed of a driver: ``CudaDriver``."""

    shared: int
    is_cooperative: bool

    def load(self, objects: Sequence[bytes]) -> Any: ...
    def unload(self, code: Any) -> None: ...
    def find_function(self, code: Any, name: str) -> Any: ...
    def occupancy(self, function: Any, warps: int, shared: int) -> int: ...
    def launch(self, function: Any, warps: int, shared: int, arguments: Sequence[int]) -> None: ...


def probe() -> str:
    """A kernel in PTX that has 128 registers in use where its first argument is no null pointer."""
    places = [f"[%address + {4 * number}]" for number in range(_REGISTERS)]
    loads = [f"  ld.volatile.global.b32 %r{number}, {place};" for number, place in enumerate(places)]
    stores = [f"  st.volatile.global.b32 {place}, %r{number};" for number, place in enumerate(places)]
    return "\n".join(
        (
            ".version 8.0",
            ".target sm_80",
            ".address_size 64",
            ".extern .shared .align 16 .b8 memory[];",
            f".visible .entry {_NAME}(.param .u64 words, .param .u64 team)",
            f".maxntid {32 * _WARPS}, 1, 1",
            ".minnctapersm 1",
            "{",
            f"  .reg .pred %null; .reg .b64 %address; .reg .b32 %r<{_REGISTERS}>;",
            "  ld.param.b64 %address, [words];",
            "  setp.eq.b64 %null, %address, 0;",
            "  @%null bra end;",
            *loads,
            *stores,
            "end:",
            "  ret;",
            "}",
            "",
        )
    )


def refusal(driver: Driver) -> str:
    """Why a step cannot be one kernel; "" where it can. Raises ``LumenError`` where something else fails."""
    if not driver.is_cooperative:
        return "this GPU has no cooperative launches"
    code = driver.load([probe().encode()])
    try:
        function = driver.find_function(code, _NAME)
        if not driver.occupancy(function, _WARPS, driver.shared):
            return f"a processor of this GPU has no room for a block of {32 * _WARPS} threads"
        driver.launch(function, _WARPS, driver.shared, (0, 0))
    except DriverError as error:
        if error.status not in REFUSALS:
            raise
        return str(error)
    finally:
        driver.unload(code)
    return ""
