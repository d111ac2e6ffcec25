# SPDX-License-Identifier: Apache-2.0
"""Lumen as a worker: ``python lumen_worker.py MODEL CONTEXT [OPTION=VALUE ...]``."""

from __future__ import annotations

import sys
from typing import Any

from worker import Runner, serve

from lumen_mlir import __version__, ir
from lumen_mlir.compiler.driver import Compiler, CompilerOptions
from lumen_mlir.generate.llm import LLM
from lumen_mlir.measure import limits
from lumen_mlir.measure.work import StepWork


class Lumen:
    """Also tells the least time that the machine's limits, measured beside the run, allow."""

    def __init__(self, model: str, context: int, options: dict[str, Any]):
        self._llm = LLM(model, context=context, threads=1, **options)
        # (Of versions that are compared with.)
        self._session = self._llm.stepper() if hasattr(self._llm, "stepper") else self._llm.session
        self.vocabulary = self._llm.model.config.vocabulary
        self._threads = 1
        with ir.Context():
            module = self._llm.model.module(kv_type=self._llm.options.kv_type)
            options = CompilerOptions(self._llm.options.activations)
            self._work = StepWork(Compiler(self._session.target, options).run(module, "fused"))
        self._limits: dict[int, limits.Limits] = {}

    def set_threads(self, count: int) -> None:
        self._llm.set_threads(count)
        self._threads = count

    def step(self, tokens: list[int], position: int, count: int) -> None:
        self._session.step(tokens, position, len(tokens) - count)

    def info(self) -> dict[str, Any]:
        return {"engine": "Lumen", "version": __version__, "kernels": self._session.kernels}

    def extra(self, request: dict[str, int]) -> dict[str, Any]:
        now = limits.measure(self._session.target, self._threads)
        best = self._limits[self._threads] = now.best(self._limits.get(self._threads, now))
        least = 0.0
        for tokens, position, first in self._steps(**request):
            for work in self._work.of(tokens, position, first).values():
                least += best.seconds(work.read, work.int8, work.float32)
        return {
            "least_ns": round(least * 1e9),
            "read": round(best.read),
            "int8": round(best.int8),
            "float32": round(best.float32),
        }

    def _steps(self, threads: int, prompt: int, generate: int, depth: int, batch: int):
        for first in range(0, prompt, Runner.CHUNK):
            size = min(Runner.CHUNK, prompt - first)
            yield size, depth + first, size - int(first + size == prompt)
        for index in range(0 if prompt else generate):
            yield batch, depth + index * batch, 0


if __name__ == "__main__":
    path, context, *options = sys.argv[1:]
    serve(lambda: Lumen(path, int(context), dict(option.split("=", 1) for option in options)))
