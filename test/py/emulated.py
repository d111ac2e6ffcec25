# SPDX-License-Identifier: Apache-2.0
"""Targets that tests run: on this machine's CPU, in an emulator of another or of a GPU, or in an engine of
WebAssembly.

Tests with the mark ``emulated`` run with ``DEVICE``, those with ``gpu`` with ``GPU``, and those with ``wasm``
with ``ENGINE`` (conftest.py). Those that have ``vulkan``, too, need a device of it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from lumen_mlir.compiler import targets
from lumen_mlir.compiler.linking import find_linker
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError
from lumen_mlir.run.code import Device
from lumen_mlir.run.vulkan import open_gpu
from lumen_mlir.testing.emulation import EMULATORS, Emulated
from lumen_mlir.testing.gpu import EMULATED as EMULATED_GPU
from lumen_mlir.testing.gpu import EMULATED_LAUNCHES, EmulatedGpu
from lumen_mlir.testing.wasm import ARCHITECTURE, Wasmtime

ROOT = Path(__file__).parents[2]
RUNNERS = ROOT / "build" / "runner"
DEVICE = Emulated(ROOT, RUNNERS)
ENGINE = Wasmtime()
GPU: Device = EmulatedGpu(ROOT, RUNNERS)
if os.environ.get("LUMEN_TEST_CUDA"):
    # The GPU of this machine in place of the emulator.
    from lumen_mlir.run.cuda import open_gpu

    GPU = open_gpu(0)
    EMULATED_GPU = next(target for target in targets.TARGETS if not GPU.missing(target))
    EMULATED_LAUNCHES = targets.launched(EMULATED_GPU)

VULKAN = targets.get("vulkan")

# Tests name targets. (The last one is what a port begins with.)
if EMULATED_GPU not in targets.TARGETS:
    targets.TARGETS = (*targets.TARGETS[:-1], EMULATED_GPU, EMULATED_LAUNCHES, targets.TARGETS[-1])


def is_emulated(target: Target) -> bool:
    """Whether tests run code for a target in an emulator."""
    return target.is_foreign() and target.architecture in EMULATORS


def is_wasm(target: Target) -> bool:
    """Whether tests run code for a target in an engine of WebAssembly."""
    return not ENGINE.missing(target)


EMULATED = tuple(target for target in targets.TARGETS if is_emulated(target))
"""From the most capable to the least."""

WASM = tuple(target for target in targets.TARGETS if is_wasm(target))
"""From the most capable to the least."""


def marks_of(name: str) -> list[pytest.MarkDecorator]:
    """Of a parameter that is this target."""
    target = targets.get(name)
    if is_emulated(target):
        return [pytest.mark.emulated]
    if is_wasm(target):
        return [pytest.mark.wasm]
    if target == EMULATED_GPU:
        return [pytest.mark.gpu]
    if target == EMULATED_LAUNCHES:
        return [pytest.mark.gpu, pytest.mark.matrix]
    if target == VULKAN:
        return [pytest.mark.gpu, pytest.mark.vulkan, pytest.mark.matrix]
    missing = target.missing()
    return [pytest.mark.skipif(bool(missing), reason=f"this CPU lacks {', '.join(missing)}")]


def check_installed() -> None:
    """Fails where an emulator is missing, instead of leaving out what it would run."""
    for emulator in EMULATORS.values():
        for program in (emulator.compiler, emulator.command[0]):
            if shutil.which(program) is None:
                pytest.fail(
                    f"{program} is missing: `make test` installs it; or leave these tests out: "
                    "-m 'not (matrix or emulated or wasm)'",
                    pytrace=False,
                )


def check_vulkan() -> None:
    """Skips a test where there is no device of Vulkan; fails where ``make test-gpu`` has installed one."""
    try:
        open_gpu(0)
    except LumenError as error:
        (pytest.fail if os.environ.get("LUMEN_TEST_VULKAN") else pytest.skip)(str(error))


def check_engine() -> None:
    """Fails where the engine of WebAssembly or its linker is missing."""
    if importlib.util.find_spec("wasmtime") is None:
        pytest.fail("wasmtime is missing: it is in the extra `test`", pytrace=False)
    try:
        find_linker(ARCHITECTURE)
    except LumenError as error:
        pytest.fail(
            f"{error}; or leave these tests out: -m 'not (matrix or emulated or wasm)'", pytrace=False
        )
