# SPDX-License-Identifier: Apache-2.0
"""Cold starts that are killed at any moment, half by a power cut, which loses what is not on the disk.

A fault is a next start that fails or computes anything else, or that leaves files of the one that died.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

from fuzz import cold_start

GOAL = 500
SMOKE = 1
SECONDS = 20.0
MEMORY = None
BATCH = 10


def prepare(folder: Path) -> cold_start.Models:
    return cold_start.prepare(folder)


def attempt(models: cold_start.Models, rng: random.Random) -> str:
    which = rng.choice(sorted(models.tokens))
    with tempfile.TemporaryDirectory(prefix="lumen-kill-") as folder:
        cache = Path(folder) / "cache"
        child = os.fork()
        if child == 0:
            try:
                cold_start.start(models, which, cache)
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0, 1.2) * models.seconds[which])
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        outcome = "killed" if os.WIFSIGNALED(status) else "done before"
        if rng.random() < 0.5:
            outcome += ", power cut"
            _cut_power(cache, rng)
        # Twice: what the first one makes anew has to be sound as well.
        for _ in range(2):
            status, found = cold_start.in_a_child(cold_start.start, models, which, cache)
            assert status == 0 and found == str(models.tokens[which]), (status, found[:500])
        left = [path.name for path in cache.rglob("*.tmp")]
        assert not left, f"left: {left}"
        shutil.rmtree(cache)
    return outcome


def _cut_power(cache: Path, rng: random.Random) -> None:
    """Of any file only a beginning may have reached the disk; the rest is missing, or zeros."""
    for path in sorted(cache.rglob("*")):
        if path.is_file() and rng.random() < 0.5:
            size = path.stat().st_size
            kept = rng.choice((0, rng.randrange(size + 1), rng.randrange(size + 1) // 4096 * 4096))
            os.truncate(path, kept)
            if rng.random() < 0.5:
                os.truncate(path, size)
