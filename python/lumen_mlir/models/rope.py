# SPDX-License-Identifier: Apache-2.0
"""Rotary position embeddings: their parameters, and the table of angles that a step reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Yarn:
    """YaRN (Peng et al. 2023, arXiv:2309.00071): slow pairs are interpolated, fast ones extrapolated.

    Attributes:
      original_context: tokens that the model was first trained on.
      beta_fast, beta_slow: turns over the original context above which a pair keeps its frequency, and below
        which it is divided by the factor; between them the two are mixed.
      extrapolation: share of the kept frequencies in the mix; 0 interpolates all pairs.
    """

    original_context: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    extrapolation: float = 1.0


@dataclass(frozen=True)
class LongRope:
    """LongRoPE (Ding et al. 2024, arXiv:2402.13753): a divisor per pair, another set for long contexts.

    Attributes:
      original_context: contexts up to this length use ``short``, longer ones ``long``.
      short, long: [dimensions / 2] divisors.
    """

    original_context: int
    short: tuple[float, ...]
    long: tuple[float, ...]


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding.

    Attributes:
      dimensions: values of each head that turn (even, at most the head's size).
      base: theta of pair i is base**(-2i / dimensions).
      style: "neox" pairs i with i + dimensions/2, "norm" pairs 2i with 2i + 1.
      factor: positions are divided by it (with YaRN only in slow pairs); 1 for none.
      divisors: [dimensions / 2], divides the frequency of each pair (``rope_freqs.weight``), or None.
      yarn, long: how contexts beyond the original one are reached, if in one of these ways.
      magnitude: multiplies cosines and sines (the attention factor of YaRN and LongRoPE).
    """

    dimensions: int
    base: float
    style: str
    factor: float = 1.0
    divisors: tuple[float, ...] | None = None
    yarn: Yarn | None = None
    long: LongRope | None = None
    magnitude: float = 1.0

    def frequencies(self, context: int) -> np.ndarray:
        """Radians per position of each pair: float64 [dimensions / 2]; LongRoPE's depend on ``context``."""
        exponents = np.arange(0, self.dimensions, 2, dtype=np.float64) / self.dimensions
        plain = self.base**-exponents
        if self.divisors is not None:
            plain /= np.asarray(self.divisors)
        if self.long is not None:
            long = context > self.long.original_context
            plain /= np.asarray(self.long.long if long else self.long.short)
        if self.yarn is None:
            return plain / self.factor
        kept = _yarn_ramp(self.yarn, self.dimensions, self.base) * self.yarn.extrapolation
        return plain / self.factor * (1 - kept) + plain * kept

    def __str__(self) -> str:
        parts = [self.style, f"base {self.base:g}", f"{self.dimensions} dimensions"]
        if self.yarn is not None:
            parts.append(f"YaRN x {self.factor:g} from {self.yarn.original_context:,} tokens")
        elif self.factor != 1:
            parts.append(f"positions / {self.factor:g}")
        if self.long is not None:
            parts.append(f"LongRoPE from {self.long.original_context:,} tokens")
        if self.divisors is not None:
            parts.append(f"frequencies / {min(self.divisors):g} to {max(self.divisors):g}")
        return ", ".join(parts)


def _yarn_ramp(yarn: Yarn, dimensions: int, base: float) -> np.ndarray:
    """1 for pairs that keep their frequency, 0 for those that are interpolated (arXiv:2309.00071, 3.2)."""

    def pair(turns: float) -> float:
        """The (fractional) number of the pair that turns so often over the original context."""
        return dimensions * math.log(yarn.original_context / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(pair(yarn.beta_fast)), 0)
    high = min(math.ceil(pair(yarn.beta_slow)), dimensions - 1)
    ramp = (np.arange(dimensions // 2) - low) / max(high - low, 0.001)
    return 1 - np.clip(ramp, 0, 1)


def yarn_magnitude(factor: float, weight: float = 1.0) -> float:
    """The attention factor of YaRN, 0.1 ``weight`` ln(``factor``) + 1 (arXiv:2309.00071, equation 15)."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def llama3_divisors(
    dimensions: int, base: float, factor: float, low: float, high: float, original_context: int
) -> tuple[float, ...]:
    """The divisors of Llama 3.1's scaling (``rope_type`` "llama3" of transformers).

    Pairs with a wavelength below ``original_context / high`` keep their frequency, those above
    ``original_context / low`` are divided by ``factor``; between the two the frequency is interpolated.
    """
    wavelengths = 2 * math.pi * base ** (np.arange(0, dimensions, 2, dtype=np.float64) / dimensions)
    smooth = np.clip((original_context / wavelengths - low) / (high - low), 0, 1)
    return tuple((1 / ((1 - smooth) / factor + smooth)).tolist())


def rope_table(rope: Rope, context: int, start: int = 0, end: int | None = None) -> np.ndarray:
    """Cosines and sines of the positions from ``start`` to before ``end`` (default: all of ``context``).

    Returns float32 [end - start, dimensions]: a row is [cos(p theta_i) ..., sin(p theta_i) ...], computed in
    float64 so that no precision is lost far into a long context.
    """
    positions = np.arange(start, context if end is None else end, dtype=np.float64)
    angles = positions[:, None] * rope.frequencies(context)
    table = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    return (rope.magnitude * table).astype(np.float32)


def divisors_of(values: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    """Divisors as a ``Rope`` holds them."""
    return tuple(float(value) for value in values)
