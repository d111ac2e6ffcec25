# SPDX-License-Identifier: Apache-2.0
"""How products are cut for one model on one machine: what ``lumen tune`` found (``measure.tune``).

No result depends on it: every output is summed up in the same order however the work is cut.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from lumen_mlir._mlir import codegen
from lumen_mlir.compiler.targets import Target
from lumen_mlir.run.program import compiler_identity
from lumen_mlir.storage.cache import Cache


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


def key(module: str, target: Target, activations: str) -> str:
    """Of the cache: what a choice was measured for. ``module``: the text of the model's module."""
    parts = (module, target.attribute(), activations, codegen.host_cpu_name(), compiler_identity())
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=20).hexdigest()


def load(cache: Cache, key: str) -> Tuning:
    """What was found for a model; the compiler's own choice where nothing was."""
    payload = cache.load("tunings", key)
    return Tuning() if payload is None else Tuning(**json.loads(payload))


def store(cache: Cache, key: str, tuning: Tuning) -> None:
    """Keeps what was found for a model."""
    cache.store("tunings", key, json.dumps(asdict(tuning)).encode())
