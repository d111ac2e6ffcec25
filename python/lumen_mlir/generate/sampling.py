# SPDX-License-Identifier: Apache-2.0
"""Choosing the next token from a row of logits.

Steps come in llama.cpp's order: biases, penalties, top-k, typical, top-p, min-p, temperature. Each filter
works on the probabilities of what the ones before it left. The temperature only shapes the draw.
The native code is ``runtime/sampling``; ``lumen_mlir.reference.sampling`` says plainly what it does.
"""

from __future__ import annotations

import copy
import logging
import math
import numbers
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lumen_mlir._mlir import sampling as native
from lumen_mlir.errors import LumenError, shown
from lumen_mlir.gguf.metadata import SAMPLING_KEYS, Metadata
from lumen_mlir.support.arguments import tokens_of, whole_number
from lumen_mlir.support.threads import ThreadTeam

logger = logging.getLogger(__name__)

# Logits in one group of the scan in ``largest``.
_GROUP = 64
# Ids that native code can have.
_MOST_TOKENS = (1 << 31) - 1


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
      typical_p: only those that are about as likely as a token is expected to be, up to this share.
      presence_penalty: makes tokens that were drawn before less likely; 0 does not.
      frequency_penalty: likewise, for each time that they were drawn.
      from_model: the names of those that the model's makers chose.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    typical_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
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
        names = [field.name for field in fields(self) if field.name != "from_model"]
        return {name: getattr(self, name) if given.get(name) is None else given[name] for name in names}


class Sampler:
    """Draws the tokens of one text, in native code; the same seed and logits give the same tokens.

    ``temperature`` 0 takes the largest logit (the first of equals). ``top_k`` 0 or -1, ``typical_p`` 1,
    ``top_p`` 1, ``min_p`` 0, ``repeat_penalty`` 1 and the other penalties 0 turn theirs off; ``top_p`` 0
    leaves the likeliest token. ``typical_p`` keeps the tokens whose surprise is closest to the entropy, until
    they have that share of the probability.

    ``repeat_penalty`` looks at the last ``repeat_last`` tokens, the prompt's too: a positive logit is divided
    by it, another multiplied. The other penalties (-2 to 2) are OpenAI's: they look at all tokens that the
    sampler has drawn, and at no prompt. ``presence_penalty`` is subtracted once from the logits of each of
    them, ``frequency_penalty`` as often as it was drawn. (llama.cpp subtracts the same, over the last 64
    tokens and the prompt.) ``logit_bias`` maps tokens to what is added to their logits (-100 to 100).

    ``seed``: 0 to 2^63 - 1; None or -1 draws differently each time. Token number i of a text is drawn by the
    seed's number i (Philox4x32-10), so texts with seeds of their own do not depend on each other. One thread
    at a time may use a sampler. Raises ``SamplingError`` for values out of range.

    Attributes:
      number: of the next token, the first is 0. May be set.
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
        *,
        typical_p: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        logit_bias: Mapping[int, float] | None = None,
    ):
        self.temperature = _number("temperature", temperature, 0.0, math.inf)
        self.top_k = max(whole_number("top_k", top_k, -1, SamplingError), 0)
        self.typical_p = _number("typical_p", typical_p, 0.0, 1.0)
        self.top_p = _number("top_p", top_p, 0.0, 1.0)
        self.min_p = _number("min_p", min_p, 0.0, 1.0)
        self.repeat_penalty = _number("repeat_penalty", repeat_penalty, 0.0, math.inf, least_included=False)
        self.presence_penalty = _number("presence_penalty", presence_penalty, -2.0, 2.0)
        self.frequency_penalty = _number("frequency_penalty", frequency_penalty, -2.0, 2.0)
        self.logit_bias = _biases(logit_bias)
        self.seed = None if seed is None or whole_number("seed", seed, -1, SamplingError) == -1 else int(seed)
        if self.seed is not None and self.seed >= 1 << 63:
            raise SamplingError(f"seed is {shown(self.seed)}; at most 2^63 - 1 was expected")
        self._repeat_last = min(whole_number("repeat_last", repeat_last, 0, SamplingError), 1 << 20)
        self._native = native.Sampler(
            self.temperature,
            min(self.top_k, _MOST_TOKENS),
            self.typical_p,
            self.top_p,
            self.min_p,
            self.repeat_penalty,
            self._repeat_last,
            self.presence_penalty,
            self.frequency_penalty,
            int.from_bytes(os.urandom(8), "little") >> 1 if self.seed is None else self.seed,
            [(token, bias) for token, bias in self.logit_bias.items() if 0 <= token <= _MOST_TOKENS],
        )

    @property
    def number(self) -> int:
        """Of the next token."""
        return self._native.number

    @number.setter
    def number(self, number: int) -> None:
        self._native.number = min(whole_number("number", number, 0, SamplingError), (1 << 64) - 1)

    def accept(self, tokens: Iterable[int], written: bool = False) -> None:
        """Count ``tokens`` (the prompt's, say) among those that the repeat penalty looks at.

        ``written``: as if this sampler had drawn them, but the number of the next token stays as it is.
        """
        most = self._repeat_last if self.repeat_penalty != 1 else 0
        if isinstance(tokens, Sequence) and not written:
            tokens = tokens[-most:] if most else ()
        # None of a vocabulary has an id that is not of 32 bits.
        ids = [token if -1 < token <= _MOST_TOKENS else -1 for token in tokens_of(tokens)]
        try:
            self._native.accept(np.array(ids, np.int32), written)
        except ValueError as error:
            raise SamplingError(str(error)) from None

    @property
    def wanted(self) -> int:
        """From how many groups of largest logits the next token can probably be drawn; 0 if it needs all."""
        return self._native.wanted

    def find_largest(
        self,
        values: np.ndarray,
        numbers: np.ndarray,
        vocabulary: int,
        banned: np.ndarray | None = None,
        allowed: np.ndarray | None = None,
    ) -> int | None:
        """The token that ``sample`` would draw from all logits, from some groups of the largest ones.

        None where others could matter, or ``sample`` would raise. Nothing is accepted (``accept_drawn``).
        ``values`` (float32 [groups, size]) and ``numbers`` (int32 [groups]) are as ``run.ask`` says: all
        groups up to some rank, of a row of ``vocabulary`` logits. ``banned`` (int32) are tokens whose logits
        count as -inf, and ``allowed`` is as for ``sample``.
        """
        banned = np.empty(0, np.int32) if banned is None else banned
        try:
            return self._native.find_largest(values, numbers, vocabulary, banned, _mask(allowed))
        except (TypeError, ValueError) as error:
            raise SamplingError(f"groups of logits: {error}") from None

    def accept_drawn(self, token: int) -> None:
        """Counts ``token`` as drawn, as ``sample`` does."""
        self.accept([token], written=True)
        self._native.number += 1

    def fork(self) -> Sampler:
        """Another sampler in the same state: it draws the same tokens, and neither changes the other."""
        other = copy.copy(self)
        try:
            other._native = self._native.fork()
        except ValueError as error:
            raise SamplingError(str(error)) from None
        return other

    def sample(self, logits: np.ndarray, number: int | None = None, allowed: np.ndarray | None = None) -> int:
        """The next token for ``logits`` (float32 [vocabulary], left unchanged); it is accepted as well.

        ``number``: of the token, where it is not the next one. ``allowed``: the tokens that may be drawn, as
        a bit mask (int32, token i is bit i % 32 of word i / 32); tokens beyond its end may not.
        """
        try:
            logits = np.asarray(logits)
        except (ValueError, MemoryError):
            raise SamplingError(f"logits are {shown(logits)}; an array of numbers was expected") from None
        if logits.dtype.kind not in "fiu":
            raise SamplingError(f"logits are numbers, not of type {logits.dtype}")
        if logits.ndim != 1 or logits.size == 0:
            raise SamplingError(f"logits of one token were expected, got shape {list(logits.shape)}")
        if number is not None:
            self.number = number
        (token,) = sample_batch([self], logits.astype(np.float32, copy=False)[np.newaxis], [allowed])
        if isinstance(token, SamplingError):
            raise token
        return token


def sample_batch(
    samplers: Sequence[Sampler],
    logits: np.ndarray,
    allowed: Sequence[np.ndarray | None] = (),
    team: ThreadTeam | None = None,
) -> list[int | SamplingError]:
    """The next tokens of several texts: those that ``Sampler.sample`` would draw one by one.

    ``logits`` are float32 [texts, vocabulary], ``allowed`` one mask or None for each text, or empty, and
    ``team`` the threads that draw them. Where no token can be drawn for a text, the error stands in its
    place, and the others are not affected. Raises ``SamplingError`` where a sampler is used twice at once.
    """
    masks = [_mask(words) for words in allowed] if any(words is not None for words in allowed) else []
    try:
        tokens, errors = native.sample(
            [sampler._native for sampler in samplers], np.ascontiguousarray(logits, np.float32), masks, team
        )
    except (TypeError, ValueError) as error:
        message = str(error) if isinstance(error, ValueError) else "logits of several texts were expected"
        raise SamplingError(message) from None
    return [SamplingError(error) if error else token for token, error in zip(tokens, errors, strict=True)]


def _mask(words: np.ndarray | None) -> np.ndarray | None:
    if words is None:
        return None
    if not isinstance(words, np.ndarray) or words.dtype.kind not in "iu" or words.dtype.itemsize != 4:
        raise SamplingError(f"allowed is {shown(words)}; an array of int32 was expected")
    return np.ascontiguousarray(words).view(np.int32).reshape(-1)


def _biases(logit_bias: Mapping[int, float] | None) -> dict[int, float]:
    """``logit_bias``, checked: None stands for none."""
    if logit_bias is None:
        return {}
    if not isinstance(logit_bias, Mapping):
        raise SamplingError(
            f"logit_bias is {shown(logit_bias)}; a mapping of token ids to numbers was expected"
        )
    return {
        whole_number("a token of logit_bias", token, 0, SamplingError): _number(
            "a bias of logit_bias", bias, -100.0, 100.0
        )
        for token, bias in logit_bias.items()
    }


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
