# SPDX-License-Identifier: Apache-2.0
"""Objects of WebAssembly linked to a module, with a team of one worker in it.

A worker is four words of 64 bits, ``WORKER``, which whoever calls an entry has in the memory of the module.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from lumen_mlir import ir
from lumen_mlir.compiler.driver import generate_code
from lumen_mlir.compiler.linking import link
from lumen_mlir.compiler.targets import Target

WORKER = struct.pack("<4Q", 0, 1, 0, 0)
"""Its number, how many there are, whether it has taken the loop that it is in, and nothing."""

HEAP = "__heap_base"
"""The global with the address from which on the memory is free."""

# Of intermediates that find no register, and of what kernels keep for themselves.
_STACK = 1 << 20

# As runtime/ThreadTeam.h has them: the first claim of a loop takes all of it, the next one nothing.
_TEAM = """
llvm.func @lumen_claim(%worker: !llvm.ptr, %total: i64) -> !llvm.struct<(i64, i64)> {
  %zero = llvm.mlir.constant(0 : i64) : i64
  %place = llvm.getelementptr %worker[2] : (!llvm.ptr) -> !llvm.ptr, i64
  %taken = llvm.load %place {alignment = 8 : i64} : !llvm.ptr -> i64
  %untaken = llvm.icmp "eq" %taken, %zero : i64
  %some = llvm.icmp "ne" %total, %zero : i64
  %takes = llvm.and %untaken, %some : i1
  %now = llvm.zext %takes : i1 to i64
  llvm.store %now, %place {alignment = 8 : i64} : i64, !llvm.ptr
  %first = llvm.select %takes, %zero, %total : i1, i64
  %none = llvm.mlir.undef : !llvm.struct<(i64, i64)>
  %half = llvm.insertvalue %first, %none[0] : !llvm.struct<(i64, i64)>
  %piece = llvm.insertvalue %total, %half[1] : !llvm.struct<(i64, i64)>
  llvm.return %piece : !llvm.struct<(i64, i64)>
}
llvm.func @lumen_barrier(%worker: !llvm.ptr) {
  llvm.return
}
"""


def link_module(objects: Sequence[bytes], target: Target, exports: Sequence[str] = ()) -> bytes:
    """The module of these objects. It has a memory of its own, ``memory``, and imports nothing.

    Args:
      objects: object files.
      target: what they were compiled for.
      exports: names that others see; by default all that objects show each other.

    Raises:
      LumenError: there is no linker, it fails, or the objects ask for what is not there.
    """
    options = [
        "--no-entry",
        # Below everything else: a stack that is used up is an error then, and overwrites nothing.
        "--stack-first",
        "-z",
        f"stack-size={_STACK}",
        f"--export={HEAP}",
    ]
    if exports:
        options += ["--strip-all", *(f"--export={name}" for name in exports)]
    else:
        options.append("--export-all")
    return link([*objects, _team(target)], target.architecture, options)


def _team(target: Target) -> bytes:
    with ir.Context():
        return generate_code(ir.Module.parse(_TEAM), "obj", target, 2)
