# SPDX-License-Identifier: Apache-2.0
"""``lumen bench --parallel``: many texts at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

from lumen_mlir.cli.report import Reporter, counted
from lumen_mlir.errors import LumenError

if TYPE_CHECKING:
    from lumen_mlir.generate.llm import LLM
    from lumen_mlir.measure.parallel import ParallelTest, Result

HEADER = (
    "threads", "PP", "TG", "B", "N_KV", "T_PP s", "S_PP t/s", "T_TG s", "S_TG t/s", "T s", "S t/s",
    "first ms", "last ms", "p50 ms", "p99 ms", "of memory", "of products",
)  # fmt: skip
# The columns of the table that hold numbers.
NUMBERS = tuple(range(len(HEADER)))


def tests(
    streams: list[int], prompts: list[int], generations: list[int], depths: list[int], shared: int
) -> list[ParallelTest]:
    """One for each combination. Raises ``LumenError`` where there is nothing to compute."""
    from lumen_mlir.measure.parallel import ParallelTest

    if any(depths):
        raise LumenError("--parallel measures whole texts: -d has no place there, but -p has")
    if min(prompts) + shared < 1 or min(generations) < 1:
        raise LumenError("--parallel measures texts with a prompt and an answer: -p and -n must be above 0")
    return [
        ParallelTest(count, prompt, generated, shared)
        for prompt, generated, count in product(prompts, generations, streams)
    ]


def options_for(tests: list[ParallelTest]) -> dict[str, int]:
    """Options of ``LLM`` that make room for all tests."""
    return {
        "context": max(test.length for test in tests),
        "sequences": max(test.streams for test in tests),
        "kv_pool": max(test.pool for test in tests),
    }


def measure(
    llm: LLM, tests: list[ParallelTest], threads: list[int], repetitions: int, reporter: Reporter
) -> Iterator[tuple[Result, int]]:
    """The result of each test, with so many threads."""
    from lumen_mlir.measure.parallel import ParallelMeter

    meter = ParallelMeter(llm)
    for count in threads:
        llm.set_threads(count)
        for test in tests:
            result = meter.measure(test, repetitions)
            speed = max(result.decode_speeds)
            streams, team = counted(test.streams, "stream"), counted(count, "thread")
            reporter.say(f"{team}, {streams}: {speed:.1f} tokens/s")
            yield result, count


def fields(result: Result, threads: int) -> dict[str, Any]:
    """By the names of llama-batched-bench; those behind ``speed`` are Lumen's own."""
    test = result.test
    return {
        "n_threads": threads,
        "pp": test.shared + test.n_prompt,
        "tg": test.n_gen,
        "pl": test.streams,
        "n_shared": test.shared,
        "n_kv": test.tokens,
        "t_pp": round(result.prompt_seconds, 6),
        "speed_pp": round(result.prompt_speed, 6),
        "t_tg": round(result.decode_seconds, 6),
        "speed_tg": round(sum(result.decode_speeds) / len(result.runs), 6),
        "t": round(result.seconds, 6),
        "speed": round(result.speed, 6),
        "first_token_ms": round(result.first(0) * 1e3, 3),
        "last_first_token_ms": round(result.first(1) * 1e3, 3),
        "between_tokens_p50_ms": round(result.between(0.5) * 1e3, 3),
        "between_tokens_p99_ms": round(result.between(0.99) * 1e3, 3),
        "share_read": round(result.share("read"), 4),
        "share_products": round(result.share("products"), 4),
        "samples_tg": [round(speed, 3) for speed in result.decode_speeds],
    }


def table(results: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The table, its header first."""
    rows = [
        (
            str(each["n_threads"]),
            *(str(each[name]) for name in ("pp", "tg", "pl", "n_kv")),
            *(f"{each[name]:.2f}" for name in ("t_pp", "speed_pp", "t_tg", "speed_tg", "t", "speed")),
            f"{each['first_token_ms']:.0f}",
            f"{each['last_first_token_ms']:.0f}",
            f"{each['between_tokens_p50_ms']:.1f}",
            f"{each['between_tokens_p99_ms']:.1f}",
            f"{each['share_read']:.0%}",
            f"{each['share_products']:.0%}",
        )
        for each in results
    ]
    return [HEADER, *rows]
