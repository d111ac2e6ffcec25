# SPDX-License-Identifier: Apache-2.0
"""Runs single functions of the ``lumen`` form as compiled code, for the tests of kernels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from lumen_mlir import ir, targets
from lumen_mlir._mlir import codegen
from lumen_mlir.compiler import Compiler
from lumen_mlir.threads import ThreadTeam

# One target per width of vectors; what implements dot4 makes no difference to these kernels.
TARGETS = tuple(
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            bool(targets.get(name).missing()),
            reason=f"this CPU lacks {', '.join(targets.get(name).missing())}",
        ),
    )
    for name in ("x86-64-v4", "x86-64-v3", "x86-64-v2", "generic")
)

_team = cache(ThreadTeam)


def relative_error(values: np.ndarray, expected: np.ndarray) -> float:
    """Norm of the difference over the norm of what was expected."""
    return float(np.linalg.norm(values - expected) / np.linalg.norm(expected))


class Kernel:
    """The function ``@f`` of a module, compiled for the target of this name."""

    def __init__(self, text: str, target: str):
        with ir.Context():
            self._object = codegen.ObjectFile(Compiler(targets.get(target)).compile(ir.Module.parse(text)))
        signature = re.search(r"func\.func @f\((.*?)\)\s*->", text, re.DOTALL)
        assert signature is not None
        self._dynamic = [
            [dim for dim, size in enumerate(re.sub(r".*tensor<", "", kind).split("x")) if size == "?"]
            for kind in re.findall(r"%\w+:\s*([^%]*)", signature.group(1))
        ]

    def run(
        self, *arguments: np.ndarray | int, results: Sequence[tuple[tuple[int, ...], type]], threads: int = 1
    ) -> list[np.ndarray]:
        """Calls the function on a team of threads.

        ``results`` are the shape and dtype of every result but the caches, which change in place. The first
        dimension of a result is dynamic, unless a third entry () says that none is.
        """
        outputs = [np.full(shape, 99, dtype) for shape, dtype, *_ in results]
        free = [list(entry[2]) if len(entry) > 2 else [0] for entry in results]
        slots: list[int] = []
        for value, dynamic in zip([*arguments, *outputs], [*self._dynamic, *free], strict=True):
            if isinstance(value, np.ndarray):
                assert value.flags.c_contiguous
                slots += [value.ctypes.data, *(value.shape[dim] for dim in dynamic)]
            else:
                slots.append(value)
        arena = np.empty(self._object.read_i64("lumen_arena_size_f") + 64, np.uint8)
        slots.append(-(-arena.ctypes.data // 64) * 64)
        _team(threads).run(self._object.lookup("lumen_entry_f"), np.array(slots, np.uint64))
        return outputs
