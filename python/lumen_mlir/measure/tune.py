# SPDX-License-Identifier: Apache-2.0
"""Finds by measurement how to cut the products of a model on this machine: ``lumen tune``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from lumen_mlir.models import Model
from lumen_mlir.run import tuning
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.run.tuning import Tuning
from lumen_mlir.storage.cache import Cache

# Tokens of a register tile.
_TILE_TOKENS = (2, 4, 6, 8)
# Blocks of activations for second-level caches of 256 KB to 4 MB; the compiler's own have 512 KB.
_BLOCK_BYTES = tuple(1 << bits for bits in (17, 18, 20, 21))

# A choice other than the compiler's own has to be this much faster: what is less may be noise.
_GAIN = 0.98


@dataclass(frozen=True)
class Trial:
    """A way of cutting, and the least seconds that a prompt took with it."""

    tuning: Tuning
    seconds: float


Progress = Callable[[int, int], None]
"""Told how many of how many ways have been tried."""


def tune(
    model: Model,
    options: SessionOptions,
    cache: Cache,
    rounds: int = 5,
    progress: Progress = lambda done, total: None,
) -> list[Trial]:
    """Measures ways to cut the products of ``model``; the best is kept in ``cache`` and comes first.

    Tiles first, then, with the best of them, blocks. Those compared take turns, so that all see the machine's
    good and bad minutes.
    """
    own = Stepper(model, options, cache=cache, tuned=Tuning())
    sizes = [size for size in _TILE_TOKENS if size != own.target.tokens]
    total, trials = 1 + len(sizes) + len(_BLOCK_BYTES), []

    def measure(base: Stepper, tunings: list[Tuning]) -> Stepper:
        """The session of the fastest way, of ``base`` and ``tunings``."""
        others = [Stepper(model, options, cache=cache, tuned=tuned) for tuned in tunings]
        sessions = [base, *others]
        seconds = [float("inf")] * len(sessions)
        for _ in range(rounds):
            for number, session in enumerate(sessions):
                seconds[number] = min(seconds[number], prompt_seconds(session))
        found = [Trial(session.tuning, least) for session, least in zip(sessions, seconds, strict=True)]
        trials.extend(found if not trials else found[1:])
        progress(len(trials), total)
        best = min(range(len(sessions)), key=seconds.__getitem__)
        return sessions[best] if seconds[best] < seconds[0] * _GAIN else base

    progress(0, total)
    best = measure(own, [Tuning(tile_tokens=size) for size in sizes])
    best = measure(best, [replace(best.tuning, block_bytes=size) for size in _BLOCK_BYTES])
    for key in own.tuning_keys:
        tuning.store(cache, key, best.tuning)
    return sorted(trials, key=lambda trial: (trial.tuning != best.tuning, trial.seconds))


def prompt_seconds(session: Stepper) -> float:
    """Seconds that a prompt of a whole chunk takes."""
    count = min(session.options.chunk, session.context)
    tokens = [number % session.model.config.vocabulary for number in range(count)]
    start = time.perf_counter()
    session.step(tokens, 0, count - 1)
    return time.perf_counter() - start
