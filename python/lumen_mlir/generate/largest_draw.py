# SPDX-License-Identifier: Apache-2.0
"""Drawing a token from the largest logits, which is all that a GPU need give of most rows."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.sampling import Sampler
from lumen_mlir.run.ask import LOGIT_GROUP

logger = logging.getLogger(__name__)


class LargestDraw:
    """The next token of one text (``run.selection.Ask``), which all logits would give too.

    Attributes:
      wanted: groups that it asks for.
      token: that was drawn, and is not accepted yet; None where all logits are needed.
    """

    def __init__(
        self,
        sampler: Sampler,
        vocabulary: int,
        wanted: int,
        banned: np.ndarray | None,
        accept: Callable[[int], int | None],
    ):
        self.wanted = wanted
        self.token: int | None = None
        self._sampler, self._vocabulary, self._banned, self._accept = sampler, vocabulary, banned, accept

    @staticmethod
    def of(
        sampler: Sampler, vocabulary: int, banned: np.ndarray | None, accept: Callable[[int], int | None]
    ) -> LargestDraw | None:
        """None where the sampler needs all logits, or nearly as many.

        ``banned``: tokens (int32) that are not to be drawn. ``accept`` is told of the token that was drawn,
        and gives what the text gets.
        """
        wanted = sampler.wanted
        if not wanted:
            return None
        # Each token that is not to be drawn may have been one of the largest.
        wanted += 0 if banned is None else len(banned)
        if 2 * wanted * LOGIT_GROUP > vocabulary:
            return None
        return LargestDraw(sampler, vocabulary, wanted, banned, accept)

    def take(self, values: np.ndarray, numbers: np.ndarray) -> bool:
        """``Ask.take``. The sampler stays as it is: a step may be lost before its tokens are used."""
        try:
            self.token = self._sampler.find_largest(values, numbers, self._vocabulary, self._banned)
        except LumenError as error:
            # Whoever has all logits says what is wrong.
            logger.debug("no token was drawn from the largest logits: %s", error)
        return self.token is not None

    def finish(self) -> int | None:
        """Accepts the token; what the text gets, as ``Draw`` says."""
        assert self.token is not None
        self._sampler.accept_drawn(self.token)
        return self._accept(self.token)
