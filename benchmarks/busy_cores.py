# SPDX-License-Identifier: Apache-2.0
"""How fast a team decodes while other programs keep some of the processors busy.

    python benchmarks/busy_cores.py [MODEL.gguf ...] [--synthetic qwen2.5-0.5b:q4_0] [-t 2] [--rounds 8]

Without files it measures the embedded model and one with random weights, which --synthetic names. Beside 0,
1, ... processes that only count, a team of all threads and one with a thread less per busy process decode
the same tokens in turns. Prints a Markdown table: tokens per second (medians), their ratio with its quartiles
over the rounds, and the same ratio for what the busy processes counted per second meanwhile.
"""

from __future__ import annotations

import argparse
import mmap
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lumen_mlir import LLM
from lumen_mlir.cli.table import markdown
from lumen_mlir.support.threads import default_thread_count
from lumen_mlir.testing.synthetic import write_synthetic

COUNT = """
import mmap, sys
with open(sys.argv[1], "r+b") as file:
    count = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")
while True:
    count[0] += 1
"""


@contextmanager
def busy_processes(number: int, folder: Path) -> Iterator[Callable[[], int]]:
    """Keeps so many processors busy; yields a function that says what the processes have counted so far."""
    counters, processes = [], []
    try:
        for i in range(number):
            path = folder / f"count-{i}"
            path.write_bytes(bytes(8))
            with open(path, "r+b") as file:
                counters.append(memoryview(mmap.mmap(file.fileno(), 8)).cast("Q"))
            processes.append(subprocess.Popen([sys.executable, "-c", COUNT, str(path)]))
        while not all(counter[0] for counter in counters):
            time.sleep(0.01)
        yield lambda: sum(counter[0] for counter in counters)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def decode(llm: LLM, seconds: float, count: Callable[[], int]) -> tuple[float, float]:
    """Tokens that the model decodes and steps that the busy processes count, per second."""
    steps, position = 0, 1
    with llm.stepper() as stepper:
        stepper.step([1], 0)
        before, start = count(), time.perf_counter()
        while (passed := time.perf_counter() - start) < seconds:
            stepper.step([1], position)
            steps, position = steps + 1, 1 + (position + 1) % 32
    return steps / passed, (count() - before) / passed


def measure(teams: list[LLM], rounds: int, seconds: float, count: Callable[[], int]) -> list[list]:
    """What ``decode`` finds for each team, round by round; the teams change turns."""
    found: list[list] = [[] for _ in teams]
    for number in range(rounds):
        for i in range(len(teams)) if number % 2 else reversed(range(len(teams))):
            found[i].append(decode(teams[i], seconds, count))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("models", type=Path, nargs="*")
    add("--synthetic", default="qwen2.5-0.5b:q4_0", metavar="SHAPE:FORMAT")
    add("-t", "--threads", type=int, default=default_thread_count())
    add("--busy", default="0,1,2", help="busy processes")
    add("--rounds", type=int, default=8)
    add("--seconds", type=float, default=0.5, help="of a team's turn")
    options = parser.parse_args()
    header = ("file", "busy", "threads", "tokens/s", "threads", "tokens/s", "ratio", "busy ratio")
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        models: list[Path | None] = list(options.models)
        if not models:
            shape, form = options.synthetic.split(":")
            models = [None, folder / f"{shape}-{form}.gguf"]
            write_synthetic(models[1], shape, form)
        for model in models:
            for number in map(int, options.busy.split(",")):
                fewer = max(1, options.threads - number)
                teams = [LLM(model, context=64, threads=threads) for threads in (fewer, options.threads)]
                with busy_processes(number, folder) as count:
                    found = measure(teams, options.rounds, options.seconds, count)
                speeds = [statistics.median(tokens for tokens, _ in turns) for turns in found]

                def ratio(which: int, found: list[list] = found) -> str:
                    ratios = [b[which] / a[which] for a, b in zip(*found, strict=True)]
                    low, middle, high = statistics.quantiles(ratios, n=4)
                    return f"{middle:.2f} ({low:.2f} to {high:.2f})"

                lines.append(
                    (
                        model.stem if model else "embedded",
                        str(number),
                        str(fewer),
                        f"{speeds[0]:,.1f}",
                        str(options.threads),
                        f"{speeds[1]:,.1f}",
                        ratio(0),
                        ratio(1) if number else "",
                    )
                )
    print(markdown(header, lines, right=tuple(range(1, 8))))


if __name__ == "__main__":
    main()
