# SPDX-License-Identifier: Apache-2.0
"""Code of kernels that a host launches one after the other, and of what says which: for NVIDIA's GPUs."""

from __future__ import annotations

from collections.abc import Callable

from lumen_mlir import ir, pipelines
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler, CompilerOptions, Target


def compile_launched(
    vector: ir.Module,
    target: Target,
    options: CompilerOptions,
    on_stage: Callable[[str], None] | None = None,
) -> tuple[bytes, bytes]:
    """The kernels of a module in the vector stage, and the object of what calls them.

    Kernels are PTX, which the driver assembles as a whole, or an object for the emulator. What calls them is
    code for this machine. Raises ``LumenCompileError``.
    """
    recorded = Compiler(target, options, stages=(pipelines.VECTOR_TO_LAUNCHES,), on_stage=on_stage).run(
        vector
    )
    of_device = Compiler(target, options, stages=(pipelines.KERNELS_TO_LLVM,), on_stage=on_stage)
    kernels = of_device.emit(recorded, "asm" if target.triple.startswith("nvptx") else "obj")
    of_host = Compiler(targets.HOST, options, stages=(pipelines.CALLS_TO_LLVM,))
    return kernels.encode() if isinstance(kernels, str) else kernels, of_host.compile(recorded)
