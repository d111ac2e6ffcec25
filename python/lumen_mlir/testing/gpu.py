# SPDX-License-Identifier: Apache-2.0
"""A GPU in this process: an emulator that runs code for warps, thread by thread.

The passes are those of real GPUs; only the instructions at their end become functions of the emulator
(``runtime/emulator/``), which is compiled from a checkout of the sources. In which order threads run, up to
the next point where they wait for each other, is drawn by lot. So code that lacks a barrier shows.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lumen_mlir._mlir import codegen
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError
from lumen_mlir.run.code import Code, Passed
from lumen_mlir.testing.emulation import build_once

EMULATED = dataclasses.replace(
    targets.get("sm_80"), name="sm_80-emulated", triple="", cpu="generic", features="", needs=("warps",)
)
"""The row of a GPU, with code for this machine in place of PTX."""

_SOURCES, _HEADERS = ("runtime/emulator/GpuEmulator.cpp",), ("runtime/emulator/GpuEmulator.h",)
# Fibers leave functions by longjmp, which checked versions of it take for an error.
_FLAGS = ("-std=c++17", "-O2", "-shared", "-fPIC", "-U_FORTIFY_SOURCE")
_COMPILERS = ("clang++-22", "c++")
_ERRORS = {
    1: "a grid has at least one block of one warp",
    2: "no memory for the stacks of so many threads",
    3: "its threads wait for each other for ever",
}


class EmulatedGpu:
    """A device for ``EMULATED``.

    Args:
      checkout: the sources of the emulator.
      folder: where the compiled emulator is kept.
      blocks, warps: of a grid, and of a block.

    Attributes:
      seed: decides in which order threads run; may be changed between runs.
    """

    def __init__(self, checkout: Path, folder: Path, blocks: int = 2, warps: int = 2):
        self._checkout, self._folder = checkout, folder
        self.blocks, self.warps, self.seed = blocks, warps, 0

    def missing(self, target: Target) -> tuple[str, ...]:
        """``Device.missing``."""
        return () if target.name == EMULATED.name else (target.architecture,)

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        """``Device.load``."""
        return _EmulatedCode(objects, self, self._library)

    @functools.cached_property
    def _library(self) -> Path:
        compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
        if compiler is None:
            raise LumenError(f"the emulator of GPUs needs a compiler: {' or '.join(_COMPILERS)}")
        return build_once(
            compiler, self._checkout, _SOURCES, _HEADERS, _FLAGS, self._folder, "lumen-gpu-emulator"
        )


class _EmulatedCode:
    """Code in this process, which calls the emulator."""

    shares_memory = True

    def __init__(self, objects: Sequence[bytes], gpu: EmulatedGpu, library: Path):
        self._gpu = gpu
        self._object = codegen.ObjectFile(list(objects), shared_libs=[str(library)])
        self._start = ctypes.CDLL(str(library)).lumen_gpu_run
        self._start.argtypes = (
            *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int),
            *(ctypes.c_int64, ctypes.c_uint64),
        )
        self._scratch = self.read_i64("lumen_scratch_size")

    def lookup(self, name: str) -> int:
        return self._object.lookup(name)

    def read_i64(self, name: str) -> int:
        return self._object.read_i64(name)

    def set_threads(self, threads: int) -> None:
        """A grid is as large as its device says, whatever ``threads`` is."""

    def team(self) -> None:
        return None

    def run(self, entry: int, slots: np.ndarray, passed: Passed) -> None:
        gpu = self._gpu
        error = self._start(entry, slots.ctypes.data, gpu.blocks, gpu.warps, self._scratch, gpu.seed)
        if error:
            raise LumenError(f"the emulator of a GPU says: {_ERRORS[error]}")

    def counters(self, name: str, count: int) -> np.ndarray:
        raise LumenError(
            "kernels are profiled only where their code runs in this process, not in an emulator"
        )

    def forget_threads(self) -> None:
        pass
