# SPDX-License-Identifier: Apache-2.0
"""Table of the rotary position embedding."""

from __future__ import annotations

import numpy as np

from lumen_mlir.models.config import Rope


def rope_table(rope: Rope, context: int, factors: np.ndarray | None = None) -> np.ndarray:
    """Cosines and sines of every position.

    Args:
      rope: the embedding's parameters.
      context: number of positions.
      factors: [dimensions / 2], divides the frequency of each pair (``rope_freqs.weight``), or None.

    Returns float32 [context, dimensions]: row p is [cos(p theta_i) ..., sin(p theta_i) ...], computed in
    float64 so that no precision is lost far into a long context.
    """
    exponents = np.arange(0, rope.dimensions, 2, dtype=np.float64) / rope.dimensions
    frequencies = rope.base**-exponents / rope.factor
    if factors is not None:
        frequencies /= factors.astype(np.float64)
    angles = np.arange(context, dtype=np.float64)[:, None] * frequencies
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
