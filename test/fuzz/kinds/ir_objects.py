# SPDX-License-Identifier: Apache-2.0
"""Random calls on the objects of ``lumen_mlir.ir``: values of other kinds, other contexts, erased ones.

Every call ends in a value, in a ``LumenError`` or in one of Python's own errors for wrong values.
"""

from __future__ import annotations

import random
from pathlib import Path
from types import ModuleType

import numpy as np

from lumen_mlir import ir
from lumen_mlir.errors import LumenError
from lumen_mlir.passmanager import PassManager

GOAL = 20_000
SMOKE = 60
SECONDS = 10.0
MEMORY = 2 << 30

TEXT = """
#m = affine_map<(d0) -> (d0 + 1)>
module attributes {test.a = dense<[1, 2]> : tensor<2xi32>, test.b = array<i32: 1, 2>, test.m = #m} {
  func.func @f(%x: tensor<?x64xf32>, %c: i1) -> tensor<?x64xf32> {
    %0 = lumen.add %x, %x {test.s = "x", test.d = {k = 1.5 : f32}} : tensor<?x64xf32>
    %1 = scf.if %c -> tensor<?x64xf32> {
      scf.yield %0 : tensor<?x64xf32>
    } else {
      scf.yield %x : tensor<?x64xf32>
    }
    return %1 : tensor<?x64xf32>
  }
}
"""
# Of the names with underscores these alone are Lumen's own.
_SPECIAL = {
    "__getitem__", "__setitem__", "__delitem__", "__contains__", "__len__", "__iter__", "__eq__", "__hash__",
    "__str__", "__repr__", "__int__", "__bool__", "__float__", "__array__",
}  # fmt: skip
_HUGE = [0, 1, -1, 2, 2**31, 2**32, 2**63 - 1, -(2**63), 2**64, 10**30]
_PYTHON = (
    TypeError, ValueError, IndexError, KeyError, RuntimeError, AttributeError, OverflowError, StopIteration,
    BufferError, MemoryError, NotImplementedError,
)  # fmt: skip


def prepare(folder: Path) -> None:
    return None


def attempt(state: None, rng: random.Random) -> str:
    pool = [ir, PassManager]
    for _ in range(2):
        context = ir.Context()
        context.enable_multithreading(False)
        with context:
            module = ir.Module.parse(TEXT)
        pool += [context, module, module.operation, module.body]
    with context:
        for _ in range(150):
            target = rng.choice(pool)
            names = [name for name in dir(target) if not name.startswith("_") or name in _SPECIAL]
            try:
                made = getattr(target, rng.choice(names))
                if callable(made) and rng.random() < 0.85:
                    made = made(*(argument(pool, rng) for _ in range(rng.choice((0, 0, 1, 1, 2, 3)))))
                elif rng.random() < 0.2 and not isinstance(target, (type, ModuleType)):
                    setattr(target, rng.choice(names), argument(pool, rng))
            except (LumenError, *_PYTHON):
                continue
            for each in made[:3] if isinstance(made, list) else [made]:
                if type(each).__module__.startswith("lumen_mlir"):
                    pool.append(each)
            if len(pool) > 60:
                del pool[rng.randrange(2, 60)]
    return "called"


def argument(pool: list, rng: random.Random) -> object:
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(pool)
    if kind < 0.65:
        return rng.choice(_HUGE)
    if kind < 0.75:
        return rng.choice(
            ["", "f", "i32", "tensor<2xi8>", "builtin.module(cse)", "x" * 100, "\0", "func.func"]
        )
    if kind < 0.85:
        return [rng.choice(pool) for _ in range(rng.randrange(3))]
    if kind < 0.92:
        return rng.choice([None, True, 1.5, {}, b"x", ()])
    return np.zeros(rng.choice([(), (2,), (0, 3)]), rng.choice(["f4", "i8", "?", "u1", "c8"]))
