# SPDX-License-Identifier: Apache-2.0
"""How products are cut for one model on one machine: measured by ``lumen tune``, kept in the cache.

No result depends on it: every output is summed up in the same order however the work is cut.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from lumen_mlir import engine
from lumen_mlir._mlir import codegen
from lumen_mlir.cache import Cache
from lumen_mlir.targets import Target

if TYPE_CHECKING:
    from lumen_mlir.models import Model
    from lumen_mlir.session import Session
    from lumen_mlir.session_options import SessionOptions

# Tokens of a register tile.
_TILE_TOKENS = (2, 4, 6, 8)
# Blocks of activations for second-level caches of 256 KB to 4 MB; the compiler's own have 512 KB.
_BLOCK_BYTES = tuple(1 << bits for bits in (17, 18, 20, 21))

# A choice other than the compiler's own has to be this much faster: what is less may be noise.
_GAIN = 0.98


@dataclass(frozen=True)
class Tuning:
    """How products are cut; 0 where the compiler decides.

    Attributes:
      tile_tokens: tokens of a register tile.
      block_bytes: bytes of activations that stay in a cache while the weights pass by.
    """

    tile_tokens: int = 0
    block_bytes: int = 0

    def __str__(self) -> str:
        tile = f"tiles of {self.tile_tokens} tokens" if self.tile_tokens else "the target's tiles"
        block = f"blocks of {self.block_bytes >> 10} KB" if self.block_bytes else "the compiler's blocks"
        return f"{tile}, {block}"


@dataclass(frozen=True)
class Trial:
    """A way of cutting, and the least seconds that a prompt took with it."""

    tuning: Tuning
    seconds: float


Progress = Callable[[int, int], None]
"""Told how many of how many ways have been tried."""


def key(module: str, target: Target, activations: str) -> str:
    """Of the cache: what a choice was measured for. ``module``: the text of the model's module."""
    parts = (module, target.attribute(), activations, codegen.host_cpu_name(), engine.compiler_identity())
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=20).hexdigest()


def load(cache: Cache, key: str) -> Tuning:
    """What was found for a model; the compiler's own choice where nothing was."""
    payload = cache.load("tunings", key)
    return Tuning() if payload is None else Tuning(**json.loads(payload))


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
    from lumen_mlir.session import Session

    own = Session(model, options, cache=cache, tuned=Tuning())
    sizes = [size for size in _TILE_TOKENS if size != own.target.tokens]
    total, trials = 1 + len(sizes) + len(_BLOCK_BYTES), []

    def measure(base: Session, tunings: list[Tuning]) -> Session:
        """The session of the fastest way, of ``base`` and ``tunings``."""
        others = [Session(model, options, cache=cache, tuned=tuning) for tuning in tunings]
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
    cache.store("tunings", own.tuning_key, json.dumps(asdict(best.tuning)).encode())
    return sorted(trials, key=lambda trial: (trial.tuning != best.tuning, trial.seconds))


def prompt_seconds(session: Session) -> float:
    """Seconds that a prompt of a whole chunk takes."""
    count = min(session.options.chunk, session.context)
    tokens = [number % session.model.config.vocabulary for number in range(count)]
    start = time.perf_counter()
    session.step(tokens, 0, count - 1)
    return time.perf_counter() - start
