# SPDX-License-Identifier: Apache-2.0
"""How much of the read bandwidth decoding uses: a token and a reading of memory in turns.

    python benchmarks/decode_bandwidth.py MODEL.gguf ... [--threads 1,2] [--rounds 200]

The memory of a shared machine is fast in one second and slow in the next. So every step of one token stands
between two readings of 256 MB in order, by as many threads, and is compared with the mean of these two. What
a step reads is its weights and its KV cells, once each. Prints a Markdown table of medians and quartiles.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from lumen_mlir import LLM, ir
from lumen_mlir.compiler.driver import Compiler, CompilerOptions
from lumen_mlir.measure.limits import Meter
from lumen_mlir.measure.work import StepWork

POSITION = 32


def measure(llm: LLM, threads: int, rounds: int) -> list[tuple[float, float]]:
    """Bytes per second of a step and of the readings beside it, round by round."""
    session = llm.stepper()
    with ir.Context():
        module = llm.model.module(kv_type=llm.options.kv_type)
        work = StepWork(Compiler(session.target, CompilerOptions()).run(module, "fused"))
    size = sum(part.read for part in work.of(1, POSITION, 0).values())
    llm.set_threads(threads)
    meter = Meter(session.target, threads)
    session.step([1] * POSITION, 0)
    found = []
    before = meter.once("read")
    for _ in range(rounds):
        start = time.perf_counter()
        session.step([1], POSITION)
        seconds = time.perf_counter() - start
        after = meter.once("read")
        found.append((size / seconds, (before + after) / 2))
        before = after
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("-t", "--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    print("| file | threads | a step, GB/s | reading, GB/s | share (median, quartiles) |")
    print("|---|---:|---:|---:|---:|")
    for path in options.models:
        llm = LLM(path, context=64)
        for threads in map(int, options.threads.split(",")):
            found = measure(llm, threads, options.rounds)
            step, read = (statistics.median(values) / 1e9 for values in zip(*found, strict=True))
            low, middle, high = statistics.quantiles((a / b for a, b in found), n=4)
            share = f"{middle:.0%} ({low:.0%} to {high:.0%})"
            print(f"| {path.stem} | {threads} | {step:.1f} | {read:.1f} | {share} |", flush=True)


if __name__ == "__main__":
    main()
