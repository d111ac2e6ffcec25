# SPDX-License-Identifier: Apache-2.0
"""What a page of the KV cache costs: computed, copied for the disk, and read from it.

    python benchmarks/kv_disk.py [MODEL] [--threads 2] [--rounds 5]

Without MODEL a synthetic one of the 0.5B shape is made. A page is 64 tokens. Times are the least of the
rounds, in milliseconds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lumen_mlir.formats.kv_cache import PAGE
from lumen_mlir.models import Model
from lumen_mlir.run.executor import Executor, Part
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.synthetic import write_synthetic

PAGES = 8


def least(rounds: int, work: Callable[[], object]) -> float:
    """Milliseconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def measure(path: Path, threads: int, rounds: int, folder: Path) -> None:
    options = SessionOptions(context=(PAGES + 1) * PAGE, threads=threads, kv_disk="4G")
    executor = Executor(Model.open(path), options, sequences=2, prefixes=True, cache=Cache(folder))
    tokens = np.arange(1, PAGES * PAGE + 2, dtype=np.int32)
    out = np.empty((1, executor.model.config.vocabulary), np.float32)

    def compute() -> None:
        executor.forget()
        sequence = executor.open()
        executor.run([Part(sequence, tokens[:-1], 0, len(tokens) - 2)], out)
        sequence.close()

    def adopt() -> None:
        executor.forget()
        sequence = executor.open()
        assert sequence.adopt(tokens) == PAGES * PAGE
        sequence.close()

    memory = executor.memories[0]
    data = np.empty(memory.page_bytes, np.uint8)
    print(f"a page: {memory.page_bytes / 1e6:.2f} MB")
    print(f"computed: {least(rounds, compute) / PAGES:.1f} ms")
    print(f"copied: {least(20 * rounds, lambda: memory.read(0, data)):.2f} ms")
    time.sleep(2)  # until all is written
    print(f"read: {least(rounds, adopt) / PAGES:.2f} ms")


if __name__ == "__main__":
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if chosen.model is None:
            chosen.model = Path(scratch, "model.gguf")
            write_synthetic(chosen.model, "qwen2.5-0.5b", "q8_0")
        measure(chosen.model, chosen.threads, chosen.rounds, Path(scratch, "cache"))
