# SPDX-License-Identifier: Apache-2.0
"""What the native sampler draws (``runtime/sampling``), stated plainly with NumPy.

The same logits, parameters and seeds give the same tokens, bit for bit. A weight is a power of 2, rounded to
a multiple of a unit so large that sums of weights are exact in float64. So the order of sums does not matter.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping

import numpy as np

from lumen_mlir.errors import LumenError

_LN2 = 0.69314718055994531
# Adding it rounds to a whole number.
_TO_INTEGER = np.float32(1.5 * 2**23)
# 2^f for f from -0.5 to 0.5, the highest power first.
_POWER = [
    np.float32(float.fromhex(text))
    for text in ("0x1.5bba14p-10", "0x1.3cea88p-7", "0x1.c6b752p-5", "0x1.ebf9bcp-3", "0x1.62e42ap-1", "1")
]
_TINY, _HUGE = (float(number) for number in (np.finfo(np.float32).tiny, np.finfo(np.float32).max))


def philox(counter: Iterable[int], key: Iterable[int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 (Salmon et al., 2011): four random words from four of a counter and two of a key."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (second >> 32) ^ c1 ^ k0,
            second & 0xFFFFFFFF,
            (first >> 32) ^ c3 ^ k1,
            first & 0xFFFFFFFF,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def random_number(seed: int, number: int) -> float:
    """Number ``number`` of those of a seed: in [0, 1), of 53 bits."""
    words = philox((number & 0xFFFFFFFF, number >> 32, 0, 0), (seed & 0xFFFFFFFF, seed >> 32))
    return float(((words[1] << 32 | words[0]) >> 11) * 2.0**-53)


def logarithm(value: float) -> float:
    """The natural logarithm, by operations that give the same bits everywhere."""
    mantissa, exponent = math.frexp(value)
    if mantissa < 0.70710678118654752:
        mantissa, exponent = mantissa * 2, exponent - 1
    s = (mantissa - 1) / (mantissa + 1)
    square, total = s * s, 0.0
    for i in reversed(range(13)):
        total = total * square + 1.0 / (2 * i + 1)
    return exponent * _LN2 + 2 * s * total


def unit_of(count: int) -> float:
    """What weights are multiples of, so that sums of ``count`` of them are exact."""
    return 2.0 ** (min((count - 1).bit_length(), 30) - 53)


def rounded(values: np.ndarray, unit: float) -> np.ndarray:
    """float32 values from 0 to 1 as multiples of ``unit``."""
    magic = np.float32(unit * 2**23)  # from here on, float32 has no finer numbers
    return np.where(values < magic, (values + magic) - magic, values)


def weights_of(values: np.ndarray, temperature: float, unit: float) -> np.ndarray:
    """exp((values - largest) / temperature) of float32 values, as multiples of ``unit`` in float64."""
    with np.errstate(all="ignore"):
        scale = np.float32(np.clip(1.4426950408889634 / np.float64(temperature), _TINY, _HUGE))
        exponent = (values - values.max()) * scale
        shifted = exponent + _TO_INTEGER
        f = exponent - (shifted - _TO_INTEGER)
        power = np.zeros_like(f)
        for coefficient in _POWER:
            power = power * f + coefficient
        power = (power.view(np.uint32) + (shifted.view(np.uint32) << np.uint32(23))).view(np.float32)
        # What is less than 2^-120 is less than half a unit.
        return np.where(exponent >= -120, rounded(power, unit), np.float32(0)).astype(np.float64)


class ReferenceSampler:
    """Draws the tokens of one text; the parameters are those of ``Sampler``, and are not checked."""

    def __init__(
        self,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        repeat_penalty: float = 1.0,
        seed: int = 0,
        repeat_last: int = 64,
        *,
        typical_p: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        logit_bias: Mapping[int, float] | None = None,
    ):
        self.temperature, self.top_k, self.typical_p = temperature, top_k, typical_p
        self.top_p, self.min_p, self.repeat_penalty = top_p, min_p, repeat_penalty
        self.presence_penalty, self.frequency_penalty = presence_penalty, frequency_penalty
        self.logit_bias = dict(logit_bias or {})
        self.seed, self.number = seed, 0
        self._recent: deque[int] = deque(maxlen=repeat_last)
        self._written: Counter[int] = Counter()

    def accept(self, tokens: Iterable[int], written: bool = False) -> None:
        """Counts tokens among the last ones, and perhaps among those that were written."""
        tokens = list(tokens)
        self._recent.extend(tokens)
        if written:
            self._written.update(tokens)

    def sample(self, logits: np.ndarray, allowed: np.ndarray | None = None) -> int:
        """The next token for ``logits`` (float32 [vocabulary])."""
        logits = self._edited(logits, allowed)
        best = int(logits.argmax())
        if not np.isfinite(logits[best]):
            raise LumenError(f"logit {best} is {logits[best]}; no token can be drawn")
        token = best if self.temperature == 0 else self._draw(logits)
        self.accept([token], written=True)
        self.number += 1
        return token

    def _edited(self, logits: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
        logits = logits.copy()
        for token, bias in self.logit_bias.items():
            if 0 <= token < logits.size:
                logits[token] += np.float32(bias)
        penalty = np.float32(min(max(self.repeat_penalty, _TINY), _HUGE))
        if penalty != 1:
            for token in set(self._recent):
                if 0 <= token < logits.size:
                    value = logits[token]
                    with np.errstate(over="ignore"):
                        logits[token] = value / penalty if value > 0 else value * penalty
        presence, frequency = np.float32(self.presence_penalty), np.float32(self.frequency_penalty)
        for token, times in self._written.items():
            if 0 <= token < logits.size:
                logits[token] -= np.float32(times) * frequency + presence
        if allowed is not None:
            bits = np.unpackbits(allowed.view(np.uint8), bitorder="little")[: logits.size].astype(bool)
            logits[: bits.size][~bits] = -np.inf
            logits[bits.size :] = -np.inf
        return logits

    def _draw(self, logits: np.ndarray) -> int:
        unit = unit_of(logits.size)
        tokens = np.arange(logits.size)
        if self.top_k > 0:
            tokens = np.sort(np.argsort(-logits, kind="stable")[: self.top_k])
        if self.typical_p < 1:
            weights = weights_of(logits[tokens], 1.0, unit)
            differences = logits[tokens].max() - logits[tokens]
            with np.errstate(invalid="ignore"):
                products = rounded(weights.astype(np.float32) * differences, unit).astype(np.float64)
            surprise = products[weights > 0].sum()
            scores = np.abs(differences.astype(np.float64) - surprise / weights.sum())
            tokens = _until(self.typical_p, tokens, weights, np.argsort(scores, kind="stable"))
        if self.top_p < 1:
            weights = weights_of(logits[tokens], 1.0, unit)
            tokens = _until(self.top_p, tokens, weights, np.argsort(-logits[tokens], kind="stable"))
        values = logits[tokens]
        weights = weights_of(values, self.temperature, unit)
        if self.min_p > 0:
            weights[values < np.float32(float(values.max()) + logarithm(self.min_p))] = 0
        sums = weights.cumsum()
        place = random_number(self.seed, self.number) * sums[-1]
        found = np.flatnonzero((sums > place) & (weights > 0))
        return int(tokens[found[0] if found.size else np.flatnonzero(weights)[-1]])


def _until(share: float, tokens: np.ndarray, weights: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The first ``tokens``, in ``order``, that have a share of the weight together, by id."""
    sums = weights[order].cumsum()
    kept = int(np.searchsorted(sums, share * weights.sum(), side="left")) + 1
    return np.sort(tokens[order[:kept]])
