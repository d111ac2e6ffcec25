# SPDX-License-Identifier: Apache-2.0
"""Thousands of requests take the memory of a few: nothing is kept of those that are done but pages."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kv_sequences import CHUNK, VOCABULARY

from lumen_mlir.models import Model
from lumen_mlir.run.executor import Executor, Part
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.families import write_family

BYTES = 2 << 20


def resident() -> int:
    """Bytes of memory and swap that this process has for itself."""
    gc.collect()
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(lines[name].split()[0]) << 10 for name in ("RssAnon", "VmSwap"))


@pytest.mark.parametrize(
    ("family", "kv_disk", "count"), [("qwen2", 0, 5000), ("exaone4-hybrid", 0, 1000), ("qwen2", "400K", 500)]
)
def test_many_requests(tmp_path, family, kv_disk, count):
    """In a process of its own, whose memory nothing else changes."""
    command = [sys.executable, __file__, str(tmp_path), family, str(kv_disk), str(count)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < BYTES


def growth(folder: Path, family: str, kv_disk: int | str, count: int) -> int:
    """Bytes that three quarters of so many requests leave."""
    path = folder / "model.gguf"
    write_family(path, family)
    options = SessionOptions(context=256, chunk=CHUNK, threads=1, kv_disk=kv_disk)
    cache = Cache(folder / "cache")
    executor = Executor(Model.open(path), options, sequences=4, pool=512, prefixes=True, cache=cache)
    rng = np.random.default_rng(0)
    out = np.empty((1, VOCABULARY), np.float32)
    before = 0
    for number in range(count):
        # Few tokens, or a block and more; some begin like others.
        length = int(rng.integers(60, 100) if number % 10 == 0 else rng.integers(2, CHUNK))
        ids = rng.integers(0, VOCABULARY, length).astype(np.int32)
        ids[: int(rng.integers(0, length))] = number % 3
        sequence = executor.open()
        for begin in range(sequence.adopt(ids), len(ids), CHUNK):
            tokens = ids[begin : begin + CHUNK]
            last = begin + len(tokens) == len(ids)
            executor.run([Part(sequence, tokens, begin, len(tokens) - last)], out[: int(last)])
        sequence.close()
        if number == count // 4:
            before = resident()
    after = resident()
    assert len(executor._tree) <= 2 * sum(pool.size for pool in executor._pools)
    return after - before


if __name__ == "__main__":
    where, name, disk, requests = sys.argv[1:]
    print(growth(Path(where), name, disk if disk != "0" else 0, int(requests)))
