# SPDX-License-Identifier: Apache-2.0
"""Where the time of a step goes, kernel by kernel, beside what the machine could do at most."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from lumen_mlir import ir
from lumen_mlir.compiler.driver import Compiler, CompilerOptions
from lumen_mlir.errors import LumenError
from lumen_mlir.generate.llm import LLM
from lumen_mlir.measure import limits
from lumen_mlir.measure.bench import Test, run
from lumen_mlir.measure.limits import Limits
from lumen_mlir.measure.work import StepWork, Work
from lumen_mlir.storage.cache import Cache


@dataclass(frozen=True)
class KernelTime:
    """A kernel in all steps of a test: ``work`` is what it had to do, ``seconds`` what it took."""

    name: str
    seconds: float
    work: Work

    def least(self, limits: Limits) -> float:
        """The least seconds that the machine allows; 0 where the work is not counted."""
        return limits.seconds(self.work.read, self.work.int8, self.work.float32)


@dataclass(frozen=True)
class Profile:
    """The steps of a test.

    Attributes:
      label: of the test, as ``pp512``.
      threads: of the team.
      steps: how many there were.
      seconds: that they took, measured around them.
      kernels: the longest first.
      limits: of the machine with as many threads.
    """

    label: str
    threads: int
    steps: int
    seconds: float
    kernels: tuple[KernelTime, ...]
    limits: Limits

    @property
    def outside(self) -> float:
        """Seconds between the kernels: calls, starting the team, and Python."""
        return self.seconds - sum(kernel.seconds for kernel in self.kernels)

    @property
    def work(self) -> Work:
        """Of all kernels together."""
        return sum((kernel.work for kernel in self.kernels), Work())

    @property
    def least(self) -> float:
        """The least seconds that the machine allows for the kernels, one after the other."""
        return sum(kernel.least(self.limits) for kernel in self.kernels)


class Profiler:
    """Measures tests with ``llm``, which was opened with the option ``profile``."""

    def __init__(self, llm: LLM, cache: Cache | None = None):
        if llm.engine != "compiled":
            raise LumenError("only compiled models can be profiled; the reference has no kernels")
        self._llm = llm
        self._cache = cache
        self._executor = llm.executor
        self._times = llm.executor.engine.kernel_times
        options = CompilerOptions(llm.options.activations)
        with ir.Context():
            module = llm.model.module(kv_type=llm.options.kv_type, max_tokens=llm.options.chunk)
            fused = Compiler(llm.executor.target, options).run(module, "fused")
            self._work = StepWork(fused)

    def measure(self, test: Test, repetitions: int) -> Profile:
        """Runs ``test`` so many times, after a run that does not count, and measures the limits around it."""
        stepper, works, seconds, steps = self._llm.stepper(), {}, 0.0, 0

        def step(tokens: Sequence[int], position: int, first: int) -> None:
            nonlocal seconds, steps
            start = time.perf_counter()
            stepper.step(tokens, position, first)
            seconds += time.perf_counter() - start
            steps += 1
            for name, work in self._work.of(len(tokens), position, first).items():
                works[name] = works.get(name, Work()) + work

        def begin() -> None:
            nonlocal seconds, steps
            seconds, steps = 0.0, 0
            works.clear()
            self._times[:] = 0

        before = self._limits()
        with stepper:
            run(self._llm, test, repetitions, step, begin)
        kernels = self._kernels(works)
        best = before.best(self._limits())
        return Profile(test.label, self._llm.threads, steps, seconds, kernels, best)

    def _limits(self) -> Limits:
        return limits.measure(self._executor.target, self._llm.threads, self._cache)

    def _kernels(self, works: dict[str, Work]) -> tuple[KernelTime, ...]:
        names = self._executor.engine.program.kernels
        counted = {name: row for name, row in zip(names, self._times.tolist(), strict=True) if row[0]}
        expected = {name: work.calls for name, work in works.items()}
        if {name: calls for name, (calls, _) in counted.items()} != expected:
            raise LumenError(f"the kernels called are {counted}, but the module says {expected}")
        kernels = [KernelTime(name, ns / 1e9, works[name]) for name, (_, ns) in counted.items()]
        return tuple(sorted(kernels, key=lambda kernel: -kernel.seconds))
