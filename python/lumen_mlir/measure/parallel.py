# SPDX-License-Identifier: Apache-2.0
"""Measuring many texts at a time: how fast they are written together, and how long each waits."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from lumen_mlir import ir
from lumen_mlir.compiler.driver import Compiler, CompilerOptions
from lumen_mlir.errors import LumenError
from lumen_mlir.generate.generation import Generation
from lumen_mlir.generate.llm import LLM
from lumen_mlir.measure import limits
from lumen_mlir.measure.limits import Limits
from lumen_mlir.measure.work import StepWork, Work


@dataclass(frozen=True)
class ParallelTest:
    """``streams`` texts that are asked for at once: prompts of ``shared`` tokens that are equal and
    ``n_prompt`` that are not, and answers of ``n_gen`` tokens.
    """

    streams: int
    n_prompt: int
    n_gen: int
    shared: int = 0

    @property
    def length(self) -> int:
        """Tokens of a text."""
        return self.shared + self.n_prompt + self.n_gen

    @property
    def tokens(self) -> int:
        """Tokens of all texts; those that are shared count once."""
        return self.shared + self.streams * (self.n_prompt + self.n_gen)

    @property
    def pool(self) -> int:
        """Tokens that the KV cache must have room for, if nothing is shared and all pages are whole."""
        return self.streams * (self.length + 64)


@dataclass
class Arrivals:
    """When tokens came, in seconds from the start.

    Attributes:
      times: of the tokens of each text.
    """

    times: list[list[float]]

    @property
    def prompt_seconds(self) -> float:
        """Until all texts have their first token."""
        return max(times[0] for times in self.times)

    @property
    def seconds(self) -> float:
        """Until all texts are at their ends."""
        return max(times[-1] for times in self.times)

    @property
    def decoded(self) -> int:
        """Tokens that came when all texts had their first one."""
        return sum(time > self.prompt_seconds for times in self.times for time in times)

    @property
    def steps(self) -> int:
        """Steps that these came in."""
        return len({time for times in self.times for time in times if time > self.prompt_seconds})

    @property
    def first(self) -> list[float]:
        """How long each text has waited for its first token, the shortest time first."""
        return sorted(times[0] for times in self.times)

    @property
    def between(self) -> list[float]:
        """Between tokens of a text, of all texts, the shortest time first."""
        return sorted(b - a for times in self.times for a, b in zip(times, times[1:], strict=False))


def quantile(ordered: list[float], share: float) -> float:
    """The smallest value that at least this ``share`` of them do not exceed; 0 where there are none."""
    return ordered[max(math.ceil(len(ordered) * share), 1) - 1] if ordered else 0.0


@dataclass
class Result:
    """What ``measure`` found; seconds, and tokens a second, are averages over the repetitions.

    Attributes:
      runs: of each repetition.
      least: what the steps behind the prompts have to do, all together, on average.
      limits: of the machine, measured around the runs.
    """

    test: ParallelTest
    runs: list[Arrivals] = field(default_factory=list)
    least: Work | None = None
    limits: Limits | None = None

    @property
    def prompt_seconds(self) -> float:
        return statistics.fmean(run.prompt_seconds for run in self.runs)

    @property
    def decode_seconds(self) -> float:
        return statistics.fmean(run.seconds - run.prompt_seconds for run in self.runs)

    @property
    def seconds(self) -> float:
        return statistics.fmean(run.seconds for run in self.runs)

    @property
    def prompt_speed(self) -> float:
        """Tokens of prompts a second; those that are shared count once."""
        count = self.test.shared + self.test.streams * self.test.n_prompt
        return count / self.prompt_seconds

    @property
    def decode_speeds(self) -> list[float]:
        """Of each repetition, tokens a second of all texts behind the prompts."""
        return [run.decoded / max(run.seconds - run.prompt_seconds, 1e-9) for run in self.runs]

    @property
    def speed(self) -> float:
        return self.test.tokens / self.seconds

    def first(self, share: float) -> float:
        """Quantile of the time to the first token."""
        return quantile(sorted(time for run in self.runs for time in run.first), share)

    def between(self, share: float) -> float:
        """Quantile of the time between tokens."""
        return quantile(sorted(time for run in self.runs for time in run.between), share)

    def share(self, name: str) -> float:
        """How much of the time behind the prompts reading memory (``read``) takes at least, or multiplying
        (``products``).
        """
        if self.least is None or self.limits is None or self.decode_seconds <= 0:
            return 0.0
        if name == "read":
            return self.least.read / self.limits.read / self.decode_seconds
        products = self.least.int8 / self.limits.int8 + self.least.float32 / self.limits.float32
        return products / self.decode_seconds


class ParallelMeter:
    """Measures ``ParallelTest`` on a model, which was opened with room for it.

    Args:
      patient: prompts are read as quickly as possible, however long that keeps texts that are being written.
    """

    def __init__(self, llm: LLM, patient: bool = False):
        if llm.engine != "compiled":
            raise LumenError("only compiled models compute several texts at a time")
        self._llm, self._patient = llm, patient
        self._random = np.random.default_rng(0)
        options = CompilerOptions(llm.options.activations)
        with ir.Context():
            module = llm.model.module(kv_type=llm.options.kv_type, max_tokens=llm.options.chunk)
            self._work = StepWork(Compiler(llm.executor.target, options).run(module, "fused"))

    def measure(self, test: ParallelTest, repetitions: int) -> Result:
        """Runs ``test`` so many times, after a short run that does not count."""
        self._run(ParallelTest(test.streams, min(test.n_prompt, 32), min(test.n_gen, 8)))
        before = self._limits()
        result = Result(test, [self._run(test) for _ in range(repetitions)])
        result.limits = before.best(self._limits())
        result.least = self._least(result)
        return result

    def _limits(self) -> Limits:
        return limits.measure(self._llm.executor.target, self._llm.threads)

    def _tokens(self, count: int) -> list[int]:
        return self._random.integers(self._llm.model.config.vocabulary, size=count).tolist()

    def _run(self, test: ParallelTest) -> Arrivals:
        shared = self._tokens(test.shared)
        texts = [
            self._llm.generate(
                [*shared, *self._tokens(test.n_prompt)], test.n_gen, temperature=0.0, ignore_eos=True
            )
            for _ in range(test.streams)
        ]
        start = time.perf_counter()
        for text in texts:
            text.request.patient = self._patient
            text.begin()
        times: list[list[float]] = [[] for _ in texts]
        waiting = list(enumerate(texts))
        while waiting:
            self._llm.wait(partial(_has_news, waiting))
            now = time.perf_counter() - start
            for number, text in waiting:
                _read(text, times[number], now)
            waiting = [(number, text) for number, text in waiting if text.finish_reason is None]
        return Arrivals(times)

    def _least(self, result: Result) -> Work:
        """Weights once a step; for each token of a text its products, and the cells that it attends to.

        Cells count as those of a text that is half written.
        """
        test = result.test
        steps = statistics.fmean(run.steps for run in result.runs)
        tokens = statistics.fmean(run.decoded for run in result.runs)
        one, two = (self._of(count, 0) for count in (1, 2))
        half = self._of(1, test.length - test.n_gen // 2)
        row = two.read - one.read
        return Work(
            round(steps),
            steps * (one.read - row) + tokens * (half.read - one.read + row),
            tokens * half.int8,
            tokens * half.float32,
        )

    def _of(self, tokens: int, position: int) -> Work:
        return sum(self._work.of(tokens, position, 0).values(), Work())


def _has_news(texts: Iterable[tuple[int, Generation]]) -> bool:
    return any(text.has_news for _, text in texts)


def _read(text: Generation, times: list[float], now: float) -> None:
    """Notes the time of the tokens that have come."""
    text.poll()
    times.extend([now] * (len(text.tokens) - len(times)))
