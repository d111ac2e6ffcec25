# SPDX-License-Identifier: Apache-2.0
"""Runs single functions of the ``lumen`` form as compiled code, for the tests of kernels."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from functools import cache

import numpy as np
import pytest

from lumen_mlir import ir
from lumen_mlir._mlir import codegen
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler
from lumen_mlir.support.threads import ThreadTeam
from lumen_mlir.testing import guarded

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


def on_targets(keys: Iterable[object], chosen: Container[object], among: Sequence = TARGETS) -> list:
    """Parameters of a key (a value or a tuple) and a target, in that order.

    All keys on the most capable of the targets that this machine runs, and the chosen ones on the others;
    what is left is marked as of the matrix.
    """
    best = next(target.values[0] for target in among if not targets.get(target.values[0]).missing())
    result = []
    for target in among:
        (name,) = target.values
        for key in keys:
            left = name != best and key not in chosen
            marks = [*target.marks, *([pytest.mark.matrix] if left else [])]
            result.append(pytest.param(*(key if isinstance(key, tuple) else (key,)), name, marks=marks))
    return result


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
        self,
        *arguments: np.ndarray | int,
        results: Sequence[tuple[tuple[int, ...], type]],
        threads: int = 1,
        in_place: bool = False,
    ) -> list[np.ndarray]:
        """Calls the function on a team of threads.

        ``results`` are the shape and dtype of every result but the caches, which change in place. The first
        dimension of a result is dynamic, unless a third entry () says that none is. Every buffer lies at a
        page without access: at its end, or at its beginning where the number of threads is even.
        ``in_place``: the arguments are used where they are.
        """
        at_end = threads % 2 == 1
        outputs = [guarded.array(shape, dtype, at_end=at_end) for shape, dtype, *_ in results]
        for output in outputs:
            output.fill(99)
        given = arguments
        if not in_place:
            arguments = tuple(
                guarded.copy(value, at_end=at_end) if isinstance(value, np.ndarray) else value
                for value in given
            )
        free = [list(entry[2]) if len(entry) > 2 else [0] for entry in results]
        slots: list[int] = []
        for value, dynamic in zip([*arguments, *outputs], [*self._dynamic, *free], strict=True):
            if isinstance(value, np.ndarray):
                assert value.flags.c_contiguous
                slots += [value.ctypes.data, *(value.shape[dim] for dim in dynamic)]
            else:
                slots.append(value)
        arena = guarded.array((self._object.read_i64("lumen_arena_size_f"),), at_end=at_end)
        assert arena.ctypes.data % 64 == 0
        slots.append(arena.ctypes.data)
        _team(threads).run(self._object.lookup("lumen_entry_f"), np.array(slots, np.uint64))
        for value, copy in zip(given, arguments, strict=True):
            # Caches have changed; other arrays may be read-only.
            if value is not copy and isinstance(value, np.ndarray) and value.tobytes() != copy.tobytes():
                value[...] = copy
        return outputs
