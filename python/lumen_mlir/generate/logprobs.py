# SPDX-License-Identifier: Apache-2.0
"""How likely tokens were: natural logarithms of the probabilities that a model gave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lumen_mlir._mlir import sampling as native
from lumen_mlir.errors import LumenError
from lumen_mlir.generate.sampling import largest
from lumen_mlir.support.arguments import whole_number
from lumen_mlir.text.tokenizer import Tokenizer

# Alternatives of a token; each of them is an object.
_MOST = 1000


@dataclass(frozen=True)
class Logprob:
    """A token and its log probability.

    Attributes:
      token: its id.
      bytes: what it stands for, of control tokens their name; perhaps part of a character.
      logprob: the natural logarithm of its probability, at most 0.
    """

    token: int
    bytes: bytes
    logprob: float

    @property
    def text(self) -> str:
        """``bytes`` as text, with U+FFFD for parts of characters."""
        return self.bytes.decode("utf-8", "replace")


@dataclass(frozen=True)
class TokenLogprob(Logprob):
    """A token of a generated text; ``top`` are the likeliest tokens at its place, the likeliest first.

    The token itself is among them where it is one of the likeliest.
    """

    top: tuple[Logprob, ...] = ()


class LogprobRecorder:
    """Makes the records of tokens. ``count``: how many of the likeliest each record has.

    Probabilities are those of the model: the softmax of its logits, before ``ignore_eos``, the repeat
    penalty, the temperature and the other filters of sampling. Tokens of probability 0 are not in ``top``.
    """

    def __init__(self, tokenizer: Tokenizer, count: int):
        self._count = whole_number("logprobs", count, least=0)
        if self._count > _MOST:
            raise LumenError(f"logprobs is {self._count}; at most {_MOST} can be listed")
        self._tokenizer = tokenizer

    def record(self, logits: np.ndarray, token: int) -> TokenLogprob:
        """The record of ``token``, which was drawn for ``logits`` (float32 [vocabulary])."""
        softmax = native.log_sum(np.ascontiguousarray(logits))
        likeliest = largest(logits, min(self._count, logits.size)) if self._count else ()
        top = tuple(
            self._entry(logits, softmax, int(other)) for other in likeliest if logits[other] > -np.inf
        )
        chosen = self._entry(logits, softmax, token)
        return TokenLogprob(chosen.token, chosen.bytes, chosen.logprob, top)

    def _entry(self, logits: np.ndarray, softmax: tuple[float, float], token: int) -> Logprob:
        # Embedding tables may have more rows than the vocabulary has tokens.
        known = token < len(self._tokenizer)
        text = self._tokenizer.token_bytes(token, special=True) if known else b""
        return Logprob(token, text, (float(logits[token]) - softmax[0]) - softmax[1])


class PromptRecorder:
    """Records how likely the tokens of ``prompt`` were, from logits that come in order.

    Attributes:
      records: of its tokens but the first, before which there is nothing.
    """

    def __init__(self, recorder: LogprobRecorder, prompt: Sequence[int]):
        self._recorder, self._tokens = recorder, iter(prompt[1:])
        self.records: list[TokenLogprob] = []

    def __call__(self, logits: np.ndarray) -> None:
        """Takes the logits behind the next tokens, float32 [tokens, vocabulary]."""
        # (What comes behind the prompt is left over.)
        for row, token in zip(logits, self._tokens, strict=False):
            self.records.append(self._recorder.record(row, token))
