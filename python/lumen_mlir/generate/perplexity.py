# SPDX-License-Identifier: Apache-2.0
"""Perplexity of a model on a text, by the method of ``llama-perplexity``, so that numbers compare.

The text is cut into parts of ``context`` tokens; what remains at its end is left out. Each part is read on
its own, its first token replaced by the one that begins a text where the model wants that. Only the second
half of a part is scored, so that every prediction has at least half a part before it. The perplexity is the
exponential of the mean negative log-likelihood per scored token; its error is the standard error of that mean
times the perplexity (the tokens taken as independent).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.support.arguments import whole_number
from lumen_mlir.text.tokenizer import Tokenizer


class Scored(Protocol):
    """What is asked of a model: ``LLM`` is one."""

    context: int
    tokenizer: Tokenizer

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """The token ids of a text; control tokens written in it are text unless ``special``."""

    def each_logits(self, ids: Sequence[int], receive: Callable[[np.ndarray], None], first: int) -> None:
        """Calls ``receive`` with the logits of the tokens from number ``first`` on, in order."""


@dataclass(frozen=True)
class Perplexity:
    """The result, also while it is being computed.

    Attributes:
      value, error: the perplexity and its standard error.
      nll: mean negative log-likelihood in nats per token.
      tokens: that were scored.
      parts: of the text, of ``context`` tokens each.
    """

    value: float
    error: float
    nll: float
    tokens: int
    parts: int
    context: int

    def __str__(self) -> str:
        return f"{self.value:.4f} ± {self.error:.4f}"

    @staticmethod
    def of(losses: np.ndarray, parts: int, context: int) -> Perplexity:
        """From the negative log-likelihoods of the scored tokens."""
        mean = float(losses.mean())
        value = math.exp(mean)
        error = value * float(losses.std()) / math.sqrt(len(losses) - 1) if len(losses) > 1 else math.inf
        return Perplexity(value, error, mean, len(losses), parts, context)


Progress = Callable[[Perplexity, int], None]
"""Called after each part with the estimate so far and the number of parts."""


def perplexity(
    llm: Scored,
    text: str | Sequence[int],
    *,
    context: int = 512,
    parts: int | None = None,
    progress: Progress | None = None,
) -> Perplexity:
    """The perplexity of ``llm`` on ``text``, a string or token ids.

    Args:
      context: tokens of a part, at least 4; they must fit the context of ``llm``.
      parts: at most so many are read; None for all.
      progress: told of the estimate after each part.

    Raises LumenError where the text has less than two parts, or a number is out of range.
    """
    context = whole_number("context", context)
    parts = None if parts is None else whole_number("parts", parts)
    if not 4 <= context <= llm.context:
        raise LumenError(
            f"a part of {context} tokens was asked for; 4 to {llm.context}, the model's context, are possible"
        )
    if parts is not None and parts < 1:
        raise LumenError(f"{parts} parts were asked for; at least 1 was expected")
    # Control tokens written in the text are text, as in llama-perplexity.
    ids = llm.tokenize(text, special=False) if isinstance(text, str) else _ids(text)
    if len(ids) < 2 * context:
        raise LumenError(
            f"the text has {len(ids)} tokens; two parts of {context} need {2 * context}: take a longer text "
            "or a shorter context"
        )
    count = len(ids) // context
    count = count if parts is None else min(count, parts)
    losses = np.empty(0)
    for number in range(count):
        part = ids[number * context : (number + 1) * context]
        losses = np.concatenate([losses, _losses(llm, part)])
        if progress is not None:
            progress(Perplexity.of(losses, number + 1, context), count)
    return Perplexity.of(losses, count, context)


def _ids(text: Sequence[int]) -> list[int]:
    try:
        ids = np.asarray(text)
    except Exception:
        ids = np.empty((), object)
    if ids.ndim != 1 or (ids.dtype.kind not in "iu" and ids.size):
        raise LumenError(f"a text is a string or a list of token ids, not {shown(text)}")
    return ids.tolist()


def _losses(llm: Scored, ids: list[int]) -> np.ndarray:
    """Negative log-likelihoods (float64) of the second half of ``ids``."""
    first, bos = len(ids) // 2, llm.tokenizer.bos
    if llm.tokenizer.add_bos and bos is not None:
        ids = [bos, *ids[1:]]
    # The last token has nothing to predict.
    inputs, targets, losses, done = ids[:-1], np.array(ids[1:]), [], first

    def receive(logits: np.ndarray) -> None:
        nonlocal done
        losses.append(_negative_log_likelihood(logits, targets[done : done + len(logits)]))
        done += len(logits)

    llm.each_logits(inputs, receive, first)
    return np.concatenate(losses)


def _negative_log_likelihood(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """log(sum(exp(logits))) - logits[target] of every row, float64; overwrites ``logits``."""
    chosen = logits[np.arange(len(targets)), targets].astype(np.float64)
    greatest = logits.max(axis=1, keepdims=True)
    logits -= greatest
    np.exp(logits, out=logits)
    return np.log(logits.sum(axis=1, dtype=np.float64)) + greatest[:, 0] - chosen
