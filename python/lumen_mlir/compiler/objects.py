# SPDX-License-Identifier: Apache-2.0
"""Object code, kernel by kernel: several at once, and none that is in the cache already.

The functions of a module that call kernels are one object more. What an object depends on is the text of its
own module, which is its key (``docs/decisions/kernel-cache.md``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from lumen_mlir import ir, pipelines
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler, CompilerOptions, Target
from lumen_mlir.passmanager import PassManager
from lumen_mlir.storage.cache import Cache
from lumen_mlir.support.interrupts import interrupts_held

KIND = "kernels"
"""The kind of cache entries that hold the object of a kernel."""

OnObject = Callable[[int, int], None]
"""Called with how many objects there are, and of how many."""


@dataclass(frozen=True)
class Kernel:
    """A kernel, or a loop that kernels share. ``text``: of its module."""

    name: str
    text: str


class ObjectCompiler:
    """Compiles modules behind ``lumen_mlir.pipelines.vector_to_kernels``.

    Args:
      target, options: of the compiler.
      identity: tells compilers apart, for the keys of kernels.
      cache: where the objects of kernels are kept, if anywhere.
      on_stage: called with "obj" before code is generated.
      on_object: told of each object that is done.
    """

    def __init__(
        self,
        target: Target,
        options: CompilerOptions,
        identity: object,
        cache: Cache | None = None,
        on_stage: Callable[[str], None] | None = None,
        on_object: OnObject | None = None,
    ):
        to_llvm = pipelines.KERNEL_TO_LLVM
        self._stage = pipelines.KERNEL_TO_SPIRV if target.has_shaders else to_llvm
        self._generate = Compiler(target, options, stages=(self._stage,))
        # What launches kernels is code for this machine.
        self._calls = Compiler(targets.HOST if target.has_shaders else target, options, stages=(to_llvm,))
        self._recipe = (self._stage.pipeline, pipelines.LLVM_PASSES, options.opt_level, identity)
        self._cache = cache
        self._on_stage = on_stage or (lambda name: None)
        self._on_object = on_object or (lambda done, total: None)

    def compile(self, module: ir.Module) -> tuple[bytes, ...]:
        """The objects, which are to be linked with each other. Takes the kernels out of the module.

        Raises ``LumenCompileError``.
        """
        kernels = take_kernels(module)
        keys = [self._key(kernel) for kernel in kernels]
        codes: list[bytes | None] = [self._cache.load(KIND, key) if self._cache else None for key in keys]
        missing = [number for number, code in enumerate(codes) if code is None]
        self._on_stage("obj")
        calls = self._compile_missing(kernels, missing, codes, module)
        objects = [code for code in codes if code is not None]
        if self._cache:
            for number in missing:
                self._cache.store(KIND, keys[number], objects[number])
        return (*objects, calls)

    def _key(self, kernel: Kernel) -> str:
        """What the object of a kernel is kept under."""
        return hashlib.blake2b(json.dumps((kernel.text, self._recipe)).encode(), digest_size=20).hexdigest()

    def _compile_missing(
        self, kernels: list[Kernel], missing: list[int], codes: list[bytes | None], rest: ir.Module
    ) -> bytes:
        """Fills in ``codes``, on all processors; returns the object of ``rest``."""
        # The longest first, so that all end at the same time.
        queue = deque(sorted(missing, key=lambda number: (-len(kernels[number].text), number)))
        failures: list[BaseException] = []
        total = len(codes) + 1

        def work() -> None:
            try:
                # One context and one pipeline for all: to make them takes as long as a small kernel.
                with ir.Context():
                    manager = PassManager.parse(self._stage.pipeline)
                    # Kernels were verified when they were parsed. LLVM verifies what comes out.
                    manager.enable_verifier(False)
                    while (number := _next(queue)) is not None:
                        kernel = kernels[number]
                        codes[number] = self._generate.compile_text(kernel.text, kernel.name, manager)
                        if threading.current_thread() is caller:
                            self._on_object(len(codes) - codes.count(None), total)
            except BaseException as error:
                queue.clear()
                failures.append(error)

        caller = threading.current_thread()
        helpers: list[threading.Thread] = []
        try:
            # Where the system gives no more threads, those that there are do it all.
            with contextlib.suppress(RuntimeError):
                for _ in range(min(len(missing), len(os.sched_getaffinity(0)) - 1)):
                    helper = threading.Thread(target=work, name="lumen-compile")
                    with interrupts_held():
                        helper.start()
                        helpers.append(helper)
            calls = self._calls.compile(rest)
            work()
        finally:
            queue.clear()
            for helper in helpers:
                helper.join()
        if failures:
            raise failures[0]
        self._on_object(total, total)
        return calls


def _next(queue: deque[int]) -> int | None:
    try:
        return queue.popleft()
    except IndexError:
        return None


def take_kernels(module: ir.Module) -> list[Kernel]:
    """The kernels of a module that was split, which loses them."""
    kernels = []
    for op in list(module.body.operations):
        if op.operation.name == "builtin.module":
            name = op.operation.attributes["sym_name"].value
            kernels.append(Kernel(name, op.operation.get_asm(use_local_scope=True)))
            op.operation.erase()
    return kernels
