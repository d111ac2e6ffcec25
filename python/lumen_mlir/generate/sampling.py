# SPDX-License-Identifier: Apache-2.0
"""Choosing the next token from a row of logits.

The filters come in llama.cpp's order: repeat penalty, top-k, top-p, min-p, temperature. Each works on the
probabilities of what the ones before it left, without the temperature, which only shapes the final draw.
"""

from __future__ import annotations

import logging
import math
import numbers
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.gguf.metadata import SAMPLING_KEYS, Metadata
from lumen_mlir.support.arguments import tokens_of, whole_number

logger = logging.getLogger(__name__)

# Logits in one group of the scan in ``largest``.
_GROUP = 64


class SamplingError(LumenError):
    """A sampling parameter out of its range, or logits that no token can be drawn from."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn where nothing else is asked for.

    Attributes:
      temperature: 0 takes the likeliest token; higher ones make unlikely tokens likelier.
      top_k: only the K likeliest tokens are drawn from; 0 means all.
      top_p: only the likeliest that have this share of the probability together.
      min_p: only those at least this likely, relative to the likeliest.
      repeat_penalty: makes the last 64 tokens less likely; 1 does not.
      from_model: the names of those that the model's makers chose.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    from_model: tuple[str, ...] = ()

    @staticmethod
    def of_metadata(path: str, metadata: Metadata) -> Sampling:
        """What the keys ``general.sampling.*`` of a file say. What is out of range is left out, with a
        warning."""
        found: dict[str, Any] = {}
        for name, key in SAMPLING_KEYS.items():
            if key not in metadata:
                continue
            try:
                value = round(metadata.number(key), 6)  # float32 has no more digits
                number: Any = int(value) if name == "top_k" and value.is_integer() else value
                check = Sampler(**{name: number})
                found[name] = getattr(check, name)
            except LumenError as error:
                logger.warning("%s: '%s' is not used: %s", path, key, error)
        return Sampling(**found, from_model=tuple(found))

    def chosen(self, **given: Any) -> dict[str, Any]:
        """The parameters of ``Sampler``: those ``given`` that are not None, and these for the others."""
        return {
            name: getattr(self, name) if given.get(name) is None else given[name] for name in SAMPLING_KEYS
        }


class Sampler:
    """Draws tokens; the same seed and logits give the same tokens.

    ``temperature`` 0 takes the largest logit (the first of equals). ``top_k`` 0 or -1, ``top_p`` 1, ``min_p``
    0 and ``repeat_penalty`` 1 turn their filter off; ``top_p`` 0 leaves the likeliest token. The penalty
    looks at the last ``repeat_last`` accepted tokens: a positive logit is divided by it, another multiplied.
    ``seed`` None or -1 draws differently each time. Raises ``SamplingError`` for values out of range.
    """

    def __init__(
        self,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        repeat_penalty: float = 1.0,
        seed: int | None = None,
        repeat_last: int = 64,
    ):
        self.temperature = _number("temperature", temperature, 0.0, math.inf)
        self.top_k = max(whole_number("top_k", top_k, -1, SamplingError), 0)
        self.top_p = _number("top_p", top_p, 0.0, 1.0)
        self.min_p = _number("min_p", min_p, 0.0, 1.0)
        self.repeat_penalty = _number("repeat_penalty", repeat_penalty, 0.0, math.inf, least_included=False)
        self.seed = None if seed is None or whole_number("seed", seed, -1, SamplingError) == -1 else int(seed)
        self._recent: deque[int] = deque(
            maxlen=min(whole_number("repeat_last", repeat_last, 0, SamplingError), 1 << 20)
        )
        self._random = np.random.default_rng(self.seed)

    def accept(self, tokens: Iterable[int]) -> None:
        """Count ``tokens`` (the prompt's, say) among those that the repeat penalty looks at."""
        most = self._recent.maxlen
        if isinstance(tokens, Sequence):
            tokens = tokens[-most:] if most else ()
        self._recent.extend(tokens_of(tokens))

    def sample(self, logits: np.ndarray) -> int:
        """The next token for ``logits`` (float32 [vocabulary], left unchanged); it is accepted as well."""
        try:
            logits = np.asarray(logits)
        except (ValueError, MemoryError):
            raise SamplingError(f"logits are {shown(logits)}; an array of numbers was expected") from None
        if logits.dtype.kind not in "fiu":
            raise SamplingError(f"logits are numbers, not of type {logits.dtype}")
        if logits.ndim != 1 or logits.size == 0:
            raise SamplingError(f"logits of one token were expected, got shape {list(logits.shape)}")
        logits = self._penalized(logits.astype(np.float32, copy=False))
        best = int(logits.argmax())
        if not np.isfinite(logits[best]):
            raise SamplingError(f"logit {best} is {logits[best]}; no token can be drawn")
        token = best if self.temperature == 0 else self._draw(logits)
        self.accept([token])
        return token

    def _penalized(self, logits: np.ndarray) -> np.ndarray:
        if self.repeat_penalty == 1 or not self._recent:
            return logits
        recent = np.unique(np.fromiter(self._recent, np.int64))
        recent = recent[(recent >= 0) & (recent < logits.size)]
        logits, penalty = logits.copy(), np.float32(self.repeat_penalty)
        values = logits[recent]
        logits[recent] = np.where(values > 0, values / penalty, values * penalty)
        return logits

    def _draw(self, logits: np.ndarray) -> int:
        tokens = self._candidates(logits)
        values = logits[tokens].astype(np.float64)
        if self.min_p > 0:
            kept = values >= values.max() + math.log(self.min_p)
            tokens, values = tokens[kept], values[kept]
        sums = np.exp((values - values.max()) / self.temperature).cumsum()
        place = np.searchsorted(sums, self._random.random() * sums[-1], side="right")
        return int(tokens[min(int(place), tokens.size - 1)])

    def _candidates(self, logits: np.ndarray) -> np.ndarray:
        """The tokens that top-k and top-p leave, the likeliest first (by id where neither filters)."""
        if 0 < self.top_k < logits.size:
            tokens = largest(logits, self.top_k)
            weights = _weights(logits[tokens], logits[tokens[0]])
            return tokens[: self._nucleus(weights, weights.sum())] if self.top_p < 1 else tokens
        if self.top_p == 1:
            return np.arange(logits.size)
        # The nucleus is a few hundred tokens as a rule: sort more only where it is larger.
        total = _weights(logits, logits.max()).sum()
        count = 1024
        while True:
            tokens = largest(logits, min(count, logits.size))
            size = self._nucleus(_weights(logits[tokens], logits[tokens[0]]), total)
            if size < tokens.size or tokens.size == logits.size:
                return tokens[:size]
            count *= 16

    def _nucleus(self, weights: np.ndarray, total: float) -> int:
        """How many of the sorted ``weights`` reach the share ``top_p`` of ``total`` (at least 1)."""
        return min(int(np.searchsorted(weights.cumsum(), self.top_p * total, side="left")) + 1, weights.size)


def _weights(values: np.ndarray, best: np.floating) -> np.ndarray:
    return np.exp(values.astype(np.float64) - np.float64(best))


def largest(logits: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` tokens of largest logits, largest first, equals by id.

    The count-th largest of the maxima of groups is a lower bound of the count-th largest logit: one scan for
    the maxima and one against that bound leave few logits to sort, several times faster than
    ``argpartition``. (A group is a column, not a row, because NumPy vectorizes that reduction.)
    """
    groups = logits.size // _GROUP
    if count < groups:
        maxima = logits[: groups * _GROUP].reshape(_GROUP, groups).max(axis=0)
        bound = np.partition(maxima, groups - count)[groups - count]
        tokens = np.flatnonzero(logits >= bound)
    else:
        tokens = np.arange(logits.size)
    order = np.argsort(-logits[tokens], kind="stable")
    return tokens[order[:count]]


def _number(name: str, value: float, least: float, most: float, least_included: bool = True) -> float:
    """``value`` as a finite float in its range."""
    bound = "at least" if least_included else "more than"
    expected = f"a number {bound} {least:g}" + ("" if most == math.inf else f" and at most {most:g}")
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise SamplingError(f"{name} is {shown(value)}; expected {expected}")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value) or value > most or value < least or (value == least and not least_included):
        raise SamplingError(f"{name} is {value:g}; expected {expected}")
    return value
