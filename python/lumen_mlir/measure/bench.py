# SPDX-License-Identifier: Apache-2.0
"""Measuring speed the way llama-bench does: prompts and generations of fixed lengths, with random tokens."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lumen_mlir.generate.llm import LLM


@dataclass(frozen=True)
class Test:
    """``n_prompt`` tokens in chunks and then ``n_gen`` tokens one by one, behind ``n_depth`` others."""

    n_prompt: int
    n_gen: int
    n_depth: int

    @property
    def length(self) -> int:
        """Tokens of context it needs."""
        return self.n_prompt + self.n_gen + self.n_depth

    @property
    def label(self) -> str:
        """llama-bench's name: ``pp512``, ``tg128``, ``tg128 @ d4096``."""
        name = f"pp{self.n_prompt}" if self.n_prompt else ""
        name += f"{'+' if name and self.n_gen else ''}tg{self.n_gen}" if self.n_gen else ""
        return name + (f" @ d{self.n_depth}" if self.n_depth else "")


@dataclass(frozen=True)
class Samples:
    """Nanoseconds of each repetition of a test, and tokens per second, as llama-bench reports them."""

    tokens: int
    ns: list[int]

    @property
    def ts(self) -> list[float]:
        return [self.tokens * 1e9 / ns for ns in self.ns]

    @property
    def avg_ns(self) -> int:
        return round(statistics.fmean(self.ns))

    @property
    def stddev_ns(self) -> int:
        return round(_deviation(self.ns))

    @property
    def avg_ts(self) -> float:
        return statistics.fmean(self.ts)

    @property
    def stddev_ts(self) -> float:
        return _deviation(self.ts)


def _deviation(values: list) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def tests(prompts: list[int], generations: list[int], depths: list[int]) -> Iterator[Test]:
    """llama-bench's tests: each prompt and generation length at each depth; zeros are left out."""
    for depth in depths:
        yield from (Test(count, 0, depth) for count in prompts if count)
        yield from (Test(0, count, depth) for count in generations if count)


Step = Callable[[Sequence[int], int, int], object]
"""Runs tokens at a position, with logits from one of them on (``Stepper.step``)."""


def measure(llm: LLM, test: Test, repetitions: int) -> Samples:
    """Runs ``test`` so many times, after a run that does not count; the depth is filled beforehand."""
    with llm.stepper() as stepper:
        return Samples(test.n_prompt + test.n_gen, run(llm, test, repetitions, stepper.step))


def run(
    llm: LLM, test: Test, repetitions: int, step: Step, begin: Callable[[], None] = lambda: None
) -> list[int]:
    """Nanoseconds of each repetition of ``test``. ``begin`` is called when the first one begins."""
    random = np.random.default_rng(0)

    def tokens(count: int) -> list[int]:
        return random.integers(llm.model.config.vocabulary, size=count).tolist()

    def prefill(count: int, position: int) -> None:
        chunk = llm.options.chunk
        for start in range(0, count, chunk):
            piece = tokens(min(chunk, count - start))
            last = start + len(piece) == count
            step(piece, position + start, len(piece) - last)

    def generate(count: int, position: int) -> None:
        for index in range(count):
            step(tokens(1), position + index, 0)

    prefill(test.n_prompt, 0)
    generate(min(test.n_gen, 1), test.n_prompt)
    prefill(test.n_depth, 0)
    begin()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter_ns()
        prefill(test.n_prompt, test.n_depth)
        generate(test.n_gen, test.n_depth + test.n_prompt)
        times.append(time.perf_counter_ns() - start)
    return times
