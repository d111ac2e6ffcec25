# SPDX-License-Identifier: Apache-2.0
"""Sampling alone: microseconds for a token, in native code and in the NumPy reference.

    python benchmarks/sampling.py --vocabulary 151936

Times are medians of draws by one thread from the same logits. Those of eight rows are for each row, with a
team of as many threads as there are physical cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from lumen_mlir.generate.sampling import Sampler, sample_batch
from lumen_mlir.reference.sampling import ReferenceSampler
from lumen_mlir.support.threads import ThreadTeam, default_thread_count

ALL = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
# What is measured, how far logits spread (their standard deviation), and the parameters.
CASES = (
    ("the likeliest token", 3.0, {"temperature": 0}),
    ("Lumen's defaults", 3.0, {}),
    ("OpenAI's defaults: all tokens", 3.0, ALL),
    ("all tokens, penalties", 3.0, {**ALL, "repeat_penalty": 1.1, "presence_penalty": 0.5}),
    ("top-p 0.95", 3.0, {**ALL, "top_p": 0.95}),
    ("top-p 0.95, flat logits", 0.1, {**ALL, "top_p": 0.95}),
    ("typical 0.9", 3.0, {**ALL, "typical_p": 0.9}),
)
ROWS = 8


def microseconds(draw: Callable[[], object], runs: int) -> float:
    """The median."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        draw()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    team = ThreadTeam(default_thread_count())
    print(f"| drawn from {options.vocabulary:,} logits | one row | each of {ROWS} rows | NumPy |")
    print("|---|---:|---:|---:|")
    for name, spread, parameters in CASES:
        rows = random.normal(0, spread, (ROWS, options.vocabulary)).astype(np.float32)
        samplers = [Sampler(seed=seed, **parameters) for seed in range(ROWS)]
        reference = ReferenceSampler(seed=0, **parameters)
        one = microseconds(lambda: samplers[0].sample(rows[0]), options.runs)  # noqa: B023
        many = microseconds(lambda: sample_batch(samplers, rows, team=team), options.runs // 4)  # noqa: B023
        plain = microseconds(lambda: reference.sample(rows[0]), max(options.runs // 20, 1))  # noqa: B023
        print(f"| {name} | {one:,.0f} | {many / ROWS:,.0f} | {plain:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
