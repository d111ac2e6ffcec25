# SPDX-License-Identifier: Apache-2.0
"""Runs single functions of the ``lumen`` form as compiled code, for the tests of kernels."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

import numpy as np
import pytest
from emulated import EMULATED, EMULATED_GPU, VULKAN, WASM, marks_of

from lumen_mlir import ir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler, CompilerOptions
from lumen_mlir.run import device
from lumen_mlir.run.code import Buffer
from lumen_mlir.run.program import build
from lumen_mlir.testing import guarded

# One target per width of vectors, and one of each other architecture; what implements dot4 makes no
# difference to these kernels.
TARGETS = tuple(
    pytest.param(name, marks=marks_of(name))
    for name in (
        *("x86-64-v4", "x86-64-v3", "x86-64-v2", "generic"),
        *(each.name for each in (*EMULATED[-1:], *WASM[-1:], EMULATED_GPU)),
    )
)

# (What these tests compile for Vulkan takes a CPU in the place of a GPU seconds for each kernel.)
WITH_VULKAN = (*TARGETS, pytest.param(VULKAN.name, marks=marks_of(VULKAN.name)))

# For tests that take an emulator long: there they are left to the matrix.
RARELY_EMULATED = tuple(
    pytest.param(*each.values, marks=[*each.marks, pytest.mark.matrix])
    if pytest.mark.emulated in each.marks or pytest.mark.gpu in each.marks
    else each
    for each in TARGETS
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


def relative_error(values: np.ndarray, expected: np.ndarray) -> float:
    """Norm of the difference over the norm of what was expected."""
    return float(np.linalg.norm(values - expected) / np.linalg.norm(expected))


class _Passed:
    """What a device is told of the arrays of a call: everything may be written that can be."""

    def __init__(self, arrays: dict[int, np.ndarray], slots: Sequence[int], arena_bytes: int):
        self._buffers = [
            Buffer(slot, array.nbytes, bool(array.flags.writeable)) for slot, array in arrays.items()
        ]
        self._buffers.append(Buffer(len(slots) - 1, arena_bytes, scratch=True))

    def buffers(self) -> Iterable[Buffer]:
        return self._buffers


class Kernel:
    """The function ``@f`` of a module, compiled for the target of this name."""

    def __init__(self, text: str, target: str):
        chosen = targets.get(target)
        with ir.Context():
            if chosen.launches:
                objects = build(text, chosen, CompilerOptions(), "lumen", None, None, None, None).objects
            else:
                objects = (Compiler(chosen).compile(ir.Module.parse(text)),)
        self._code = device.of(chosen).load(objects, chosen)
        self._threads = 0
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
        arrays: dict[int, np.ndarray] = {}
        for value, dynamic in zip([*arguments, *outputs], [*self._dynamic, *free], strict=True):
            if isinstance(value, np.ndarray):
                assert value.flags.c_contiguous
                arrays[len(slots)] = value
                slots += [value.ctypes.data, *(value.shape[dim] for dim in dynamic)]
            else:
                slots.append(value)
        arena = guarded.array((self._code.read_i64("lumen_arena_size_f"),), at_end=at_end)
        assert arena.ctypes.data % 64 == 0
        slots.append(arena.ctypes.data)
        if threads != self._threads:
            self._code.set_threads(threads)
            self._threads = threads
        passed = _Passed(arrays, slots, arena.nbytes)
        self._code.run(self._code.lookup("lumen_entry_f"), np.array(slots, np.uint64), passed)
        for value, copy in zip(given, arguments, strict=True):
            # Caches have changed; other arrays may be read-only.
            if value is not copy and isinstance(value, np.ndarray) and value.tobytes() != copy.tobytes():
                value[...] = copy
        return outputs
